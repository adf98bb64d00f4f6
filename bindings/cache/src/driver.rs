use std::sync::Arc;

use aerostack_bindings::{BindingInfo, Result};
use async_trait::async_trait;
use bytes::Bytes;

use crate::limits::check_bulk_bytes;

/// A store of keys and values that forgets each entry at its own time.
///
/// A driver stores what it is given and checks nothing: [`crate::NamedCache`] has checked every argument. Its clock is
/// passed in where it is opened, and an entry whose time has come is gone for `get` and `list` at that very second, whether
/// or not its bytes still lie somewhere.
///
/// Its futures are polled on an isolate's own thread, so whatever can finish within microseconds should finish in the first
/// poll, and whatever cannot must not block.
#[async_trait]
pub trait CacheDriver: Send + Sync {
    /// What the start table shows of this driver.
    fn info(&self) -> BindingInfo;

    /// The entry under `key`, or `None` where there is none or it has expired.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Stores `entry` under `key`, in place of whatever was there. A `get` that starts after this finished sees it.
    async fn put(&self, key: &str, entry: Entry) -> Result<()>;

    /// Removes `key`. That it was not there is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// The first `limit` keys that begin with `prefix` and come after `start_after`, in the order of their UTF-8 bytes.
    async fn list(&self, prefix: &str, limit: usize, start_after: Option<&str>) -> Result<Listing>;

    /// The entries under `keys`, in the same order. A driver with a cheaper way than one `get` a key overrides this. Ends with the error
    /// of [`check_bulk_bytes`] as soon as it has found more than one answer may hold.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>> {
        let mut entries = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for key in keys {
            let entry = self.get(key).await?;
            bytes += entry.as_ref().map_or(0, |entry| entry.value.len());
            check_bulk_bytes(bytes)?;
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// A stored value and what is known of it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value as written; text is its UTF-8.
    pub value: Bytes,
    /// JSON text, or `None` where none was given.
    pub metadata: Option<Arc<str>>,
    /// The first second, counted from the UNIX epoch, at which the entry is gone; `None` where it stays.
    pub expires_at: Option<u64>,
}

impl Entry {
    /// An entry without metadata that stays until it is deleted.
    pub fn lasting(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), metadata: None, expires_at: None }
    }
}

/// One key of a [`Listing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedKey {
    /// The key.
    pub name: String,
    /// As in [`Entry::metadata`].
    pub metadata: Option<Arc<str>>,
    /// As in [`Entry::expires_at`].
    pub expires_at: Option<u64>,
}

/// What [`CacheDriver::list`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The keys, in the order of their UTF-8 bytes.
    pub keys: Vec<ListedKey>,
    /// Whether no further key follows the last of `keys`.
    pub complete: bool,
}
