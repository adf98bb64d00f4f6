use std::sync::Arc;

use aerostack_bindings::{Clock, Lazy, Result};
use bytes::Bytes;

use crate::limits::{self, Expiry, Operation};
use crate::{CacheDriver, Entry, ListedKey};

/// A cache under its name on `env`: the rules of Workers KV over a driver.
///
/// Every error of kind `InvalidInput` holds the exact text of the contract; see [`limits`].
pub struct NamedCache {
    /// The name on `env`, for example `CACHE`.
    pub name: String,
    /// Where the entries are.
    pub driver: Arc<Lazy<dyn CacheDriver>>,
    /// The time from which lifetimes are counted.
    pub clock: Arc<dyn Clock>,
    /// The least lifetime a caller may ask for, in seconds (`[cache] min_ttl`).
    pub min_ttl_seconds: u64,
}

/// One page of [`NamedCache::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys, in the order of their UTF-8 bytes.
    pub keys: Vec<ListedKey>,
    /// What to pass to get the next page; `None` where this is the last.
    pub cursor: Option<String>,
}

impl NamedCache {
    /// The entry under `key`, or `None`.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>> {
        limits::check_key(Operation::Get, key)?;
        self.driver.get()?.get(key).await
    }

    /// The entries under 1 to 100 keys, in their order. `form` is the name of the form that the values will be given.
    pub async fn get_many(&self, keys: &[String], form: &str) -> Result<Vec<Option<Entry>>> {
        limits::bulk_form(form)?;
        limits::check_bulk_keys(keys)?;
        self.driver.get()?.get_many(keys).await
    }

    /// Stores `value` under `key`. `metadata` is JSON text.
    pub async fn put(&self, key: &str, value: Bytes, expiry: Expiry, metadata: Option<Arc<str>>) -> Result<()> {
        limits::check_key(Operation::Put, key)?;
        let expires_at = match expiry {
            // The time of day costs more than the rest of this function and is not needed here.
            Expiry::Never => None,
            _ => limits::expires_at(expiry, self.clock.now_ms() / 1000, self.min_ttl_seconds)?,
        };
        if let Some(json) = &metadata {
            limits::check_metadata(json)?;
        }
        limits::check_value_length(value.len() as u64)?;
        self.driver.get()?.put(key, Entry { value, metadata, expires_at }).await
    }

    /// Removes `key`, if it is there.
    pub async fn delete(&self, key: &str) -> Result<()> {
        limits::check_key(Operation::Delete, key)?;
        self.driver.get()?.delete(key).await
    }

    /// A page of at most `limit` keys (below one: 1000) that begin with `prefix`. `cursor` is that of the page before, or
    /// empty for the first.
    pub async fn list(&self, prefix: &str, limit: i32, cursor: &str) -> Result<KeyPage> {
        limits::check_key(Operation::Get, prefix)?;
        let limit = limits::list_limit(limit)?;
        let start_after = limits::key_of_cursor(cursor)?;
        let listing = self.driver.get()?.list(prefix, limit, start_after.as_deref()).await?;
        let cursor = match listing.keys.last() {
            Some(last) if !listing.complete => Some(limits::cursor_after(&last.name)),
            _ => None,
        };
        Ok(KeyPage { keys: listing.keys, cursor })
    }
}
