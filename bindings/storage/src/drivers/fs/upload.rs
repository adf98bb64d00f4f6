use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;

use super::incoming::{Incoming, Sealed};
use super::offloaded::{Offloaded, offload};
use super::store::{Store, WriteError};
use crate::checksum::Checksum;
use crate::{NewObject, NewPart, Object, Upload, UploadedPart};

/// So many bytes are collected before they go to another thread. What has no more is stored in one step.
const COLLECT_BYTES: usize = 256 * 1024;

/// What a file becomes when it is whole.
pub(super) trait Destination: Send + 'static {
    /// See [`Upload::Stored`].
    type Stored: Send + 'static;

    /// How many bytes were announced.
    fn size(&self) -> u64;

    /// The checksum that the bytes must have.
    fn checksum(&self) -> Option<Checksum>;

    /// Has a row name the file. `None` where it is not to be named.
    fn commit(&self, store: &Store, file: &Sealed) -> Result<Committed<Self::Stored>, WriteError>;
}

/// Whether a row names the file now.
pub(super) enum Committed<Stored> {
    Named(Stored),
    NotNamed(Stored),
}

/// Bytes on their way into a file. One piece of work goes on while the next is collected.
pub(super) struct FileUpload<D: Destination> {
    store: Arc<Store>,
    destination: D,
    collected: Vec<Bytes>,
    collected_bytes: usize,
    written: u64,
    file: Offloaded<Option<Incoming>, Result<()>>,
}

impl<D: Destination> FileUpload<D> {
    /// Nothing is made before there are bytes to write.
    pub(super) fn new(store: Arc<Store>, destination: D) -> Self {
        Self { store, destination, collected: Vec::new(), collected_bytes: 0, written: 0, file: Offloaded::new(None) }
    }

    /// Waits until what was sent to the file is in it. Where that failed the file is given up, whatever the caller does next:
    /// it would have a hole.
    async fn caught_up(&mut self) -> Result<()> {
        let outcome = self.file.outcome().await?.unwrap_or(Ok(()));
        if outcome.is_err() {
            drop(self.file.take());
        }
        outcome
    }
}

#[async_trait]
impl<D: Destination + Sync> Upload for FileUpload<D>
where
    D::Stored: Send,
{
    type Stored = D::Stored;

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.destination.size() {
            return Err(wrong_length(format!("there were more than the {} announced bytes", self.destination.size())));
        }
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < COLLECT_BYTES {
            return Ok(());
        }
        self.caught_up().await?;
        let (store, checksum) = (Arc::clone(&self.store), self.destination.checksum());
        let chunks = std::mem::take(&mut self.collected);
        self.collected_bytes = 0;
        self.file.begin(move |file| append(file, &store, checksum, &chunks))
    }

    async fn finish(mut self: Box<Self>) -> Result<D::Stored> {
        self.caught_up().await?;
        let announced = self.destination.size();
        if self.written != announced {
            return Err(wrong_length(format!("there were {} of {announced} announced bytes", self.written)));
        }
        let mut file = self.file.take()?;
        let mut upload = self;
        let chunks = std::mem::take(&mut upload.collected);
        offload(move || {
            append(&mut file, &upload.store, upload.destination.checksum(), &chunks)?;
            let Some(mut file) = file else { unreachable!("something was appended") };
            let sealed = file.seal()?;
            match upload.destination.commit(&upload.store, &sealed) {
                Ok(Committed::Named(stored)) => {
                    file.keep();
                    Ok(stored)
                }
                Ok(Committed::NotNamed(stored)) => Ok(stored),
                Err(WriteError::Undone(error)) => Err(error),
                Err(WriteError::Unsure(error)) => {
                    // The next to open the bucket sees whether a row names it.
                    file.keep();
                    Err(error)
                }
            }
        })
        .await?
    }
}

impl<D: Destination> Drop for FileUpload<D> {
    fn drop(&mut self) {
        // An upload that was given up has a file to remove, which takes long where it is large.
        if let Ok(Some(file)) = self.file.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(file))),
                Err(_) => drop(file),
            }
        }
    }
}

fn append(file: &mut Option<Incoming>, store: &Arc<Store>, checksum: Option<Checksum>, chunks: &[Bytes]) -> Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(Incoming::create(store, checksum)?),
    };
    file.append(chunks)
}

fn wrong_length(text: String) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

impl Destination for NewObject {
    type Stored = Option<Object>;

    fn size(&self) -> u64 {
        self.size
    }

    fn checksum(&self) -> Option<Checksum> {
        self.checksum.clone()
    }

    fn commit(&self, store: &Store, file: &Sealed) -> Result<Committed<Option<Object>>, WriteError> {
        Ok(match store.put(self, file)? {
            Some(object) => Committed::Named(Some(object)),
            None => Committed::NotNamed(None),
        })
    }
}

impl Destination for NewPart {
    type Stored = UploadedPart;

    fn size(&self) -> u64 {
        self.size
    }

    fn checksum(&self) -> Option<Checksum> {
        None
    }

    fn commit(&self, store: &Store, file: &Sealed) -> Result<Committed<UploadedPart>, WriteError> {
        store.put_part(self, file).map(Committed::Named)
    }
}
