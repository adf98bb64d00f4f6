//! Objects as plain files, and what is known of them in one SQLite file beside.
//!
//! The folder of a bucket holds:
//!
//! | | |
//! |---|---|
//! | `metadata.sqlite` | a row an object, an upload and a part: the only truth |
//! | `objects/<2 digits>/<32 digits>` | the bytes, in a file that is written once and never changed; named by chance, so that no key can lead out of the folder |
//! | `unsettled/<32 digits>` | names files that are there although no row may name them: those being written, and those being removed |
//! | `lock` | held, shared, by every process that has the bucket open |
//!
//! **A write** names its file in `unsettled`, writes and flushes it, and commits the row that names it. Only then is it there. Where
//! the process ends before that, whoever opens the bucket next, alone, removes what `unsettled` names and no row does.
//!
//! **A read** opens the file that the row names, and goes on reading it whatever happens to the row. An object in parts has
//! several files, and they are opened one after the other; so its reader holds a shared lock on the first, and whoever wants to
//! remove the files needs that lock alone, or leaves them for later.
//!
//! **Parts stay the files they were uploaded as.** To complete an upload is then one short transaction, whatever the size, and
//! nothing is written twice. The price is the lock above, and a file opened for each part while reading.

mod body;
mod folder;
mod incoming;
mod metadata_file;
mod offloaded;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod upload;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;

use aerostack_bindings::{BindingInfo, BindingState, Clock, Result};
use async_trait::async_trait;

use self::offloaded::offload;
use self::store::{Attempt, Patience, Refusal, Store};
use self::upload::FileUpload;
use crate::{
    Found, GetRequest, KIND, ListRequest, Listing, NewObject, NewPart, NewUpload, Object, StorageDriver, Upload,
    UploadedPart,
};

/// What an [`FsStorage`] is opened with.
#[derive(Debug, Clone)]
pub struct FsOptions {
    /// The name on `env`.
    pub name: String,
    /// The folder of the bucket; it is made where it is missing.
    pub folder: PathBuf,
}

/// A bucket in a folder.
pub struct FsStorage {
    name: String,
    store: Arc<Store>,
}

impl FsStorage {
    /// Opens the bucket, and removes what a process that was killed has left in it.
    ///
    /// # Errors
    /// `ConfigInvalid`, with the path and what to do, where the folder cannot be used.
    pub fn open(options: &FsOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = Store::open(&options.folder, clock)?;
        Ok(Self { name: options.name.clone(), store: Arc::new(store) })
    }

    /// Runs `work` here, or where waiting is allowed if it turns out to need that.
    async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Arc<Store>, Patience) -> Attempt<T> + Send + 'static,
    ) -> Result<T> {
        match work(&self.store, Patience::None) {
            Ok(value) => return Ok(value),
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::NotHere) => {}
        }
        let store = Arc::clone(&self.store);
        match offload(move || work(&store, Patience::UntilTimeout)).await? {
            Ok(value) => Ok(value),
            Err(Refusal::Failed(error)) => Err(error),
            Err(Refusal::NotHere) => unreachable!("a patient call is never sent elsewhere"),
        }
    }

    /// Runs `work` where waiting is allowed: a commit waits for the disk.
    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> Result<T> + Send + 'static) -> Result<T> {
        let store = Arc::clone(&self.store);
        offload(move || work(&store)).await?
    }
}

#[async_trait]
impl StorageDriver for FsStorage {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: self.name.clone(),
            kind: KIND,
            driver: "fs",
            summary: self.store.folder().path().display().to_string(),
            state: BindingState::Ready,
        }
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        let key = key.to_owned();
        self.read(move |store, patience| store.head(&key, patience)).await
    }

    async fn get(&self, key: &str, request: &GetRequest) -> Result<Option<Found>> {
        let (key, request) = (key.to_owned(), request.clone());
        self.read(move |store, patience| store.get(&key, &request, patience)).await
    }

    async fn put(&self, object: NewObject) -> Result<Box<dyn Upload<Stored = Option<Object>>>> {
        Ok(Box::new(FileUpload::new(Arc::clone(&self.store), object)))
    }

    async fn delete(&self, keys: &[String]) -> Result<()> {
        let keys = keys.to_vec();
        self.write(move |store| store.delete(&keys)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Listing> {
        let request = request.clone();
        self.read(move |store, patience| store.list(&request, patience)).await
    }

    async fn create_multipart_upload(&self, upload: NewUpload) -> Result<String> {
        self.write(move |store| store.create_upload(&upload)).await
    }

    async fn upload_part(&self, part: NewPart) -> Result<Box<dyn Upload<Stored = UploadedPart>>> {
        Ok(Box::new(FileUpload::new(Arc::clone(&self.store), part)))
    }

    async fn complete_multipart_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[UploadedPart],
        min_part_bytes: u64,
    ) -> Result<Object> {
        let (key, upload_id, parts) = (key.to_owned(), upload_id.to_owned(), parts.to_vec());
        self.write(move |store| store.complete_upload(&key, &upload_id, &parts, min_part_bytes)).await
    }

    async fn abort_multipart_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        let (key, upload_id) = (key.to_owned(), upload_id.to_owned());
        self.write(move |store| store.abort_upload(&key, &upload_id)).await
    }
}
