//! A file that is being written. Everything here is synchronous.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use aerostack_bindings::Result;
use bytes::Bytes;

use super::folder::{self, FileId};
use super::store::Store;
use crate::checksum::{Checksum, Checksums, Hashes};

/// After so many bytes the file is flushed while it is still growing, so that the last flush does not take minutes.
const FLUSH_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// A file that no row names yet. Dropping it removes the file, unless it was [kept](Incoming::keep).
pub(super) struct Incoming {
    store: Arc<Store>,
    id: FileId,
    file: File,
    hashes: Option<Hashes>,
    written: u64,
    unflushed: u64,
    fate: Fate,
}

/// A file that is whole and on the disk, but still without a row.
pub(super) struct Sealed {
    pub(super) id: FileId,
    pub(super) size: u64,
    pub(super) checksums: Checksums,
}

#[derive(PartialEq, Eq)]
enum Fate {
    Remove,
    Keep,
}

impl Incoming {
    pub(super) fn create(store: &Arc<Store>, expected: Option<Checksum>) -> Result<Self> {
        store.check_in_place()?;
        let id = FileId::random()?;
        let file = store.folder().create(&id)?;
        Ok(Self {
            store: Arc::clone(store),
            id,
            file,
            hashes: Some(Hashes::new(expected)),
            written: 0,
            unflushed: 0,
            fate: Fate::Remove,
        })
    }

    pub(super) fn append(&mut self, chunks: &[Bytes]) -> Result<()> {
        for chunk in chunks {
            let outcome = self.file.write_all(chunk);
            outcome.map_err(|error| self.failed("write", error))?;
            if let Some(hashes) = &mut self.hashes {
                hashes.update(chunk);
            }
            self.written += chunk.len() as u64;
            self.unflushed += chunk.len() as u64;
        }
        if self.unflushed >= FLUSH_EVERY_BYTES {
            self.file.sync_data().map_err(|error| self.failed("flush", error))?;
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Compares the checksum and flushes the file.
    pub(super) fn seal(&mut self) -> Result<Sealed> {
        let checksums = self.hashes.take().map(Hashes::finish).transpose()?.unwrap_or_default();
        self.store.folder().flush(&self.id, &self.file)?;
        Ok(Sealed { id: self.id.clone(), size: self.written, checksums })
    }

    /// Leaves the file where it is: a row names it now, or may do so.
    pub(super) fn keep(mut self) {
        self.fate = Fate::Keep;
    }

    fn failed(&self, action: &str, error: std::io::Error) -> aerostack_bindings::Error {
        folder::failed(action, &self.store.folder().file_path(&self.id), error)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.fate == Fate::Remove
            && let Err(error) = self.store.folder().remove_files(std::slice::from_ref(&self.id))
        {
            // Its mark is still there, so it is removed when the bucket is opened next.
            tracing::warn!(%error, file = self.id.as_str(), "a file that was not stored could not be removed");
        }
    }
}
