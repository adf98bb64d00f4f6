use std::sync::Arc;

use aerostack_bindings::{Lazy, Result};

use crate::limits::{self, MAX_LIST_KEYS_WITH_METADATA};
use crate::listing;
use crate::{
    Found, GetRequest, Include, ListRequest, NewObject, NewPart, NewUpload, Object, StorageDriver, Upload, UploadedPart,
};

/// A bucket under its name on `env`: the rules of R2 over a driver.
///
/// An error that R2 has a text for is a [`limits::Problem`]; [`limits::framed`] makes the whole text of any error.
pub struct NamedStorage {
    /// The name on `env`, for example `STORAGE`.
    pub name: String,
    /// Where the objects are.
    pub driver: Arc<Lazy<dyn StorageDriver>>,
    /// The smallest part of an upload that is not the last: [`limits::MIN_PART_BYTES`] but for tests.
    pub min_part_bytes: u64,
}

/// Which page of [`NamedStorage::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// What the keys begin with.
    pub prefix: String,
    /// Keys that have it behind the prefix are told as one prefix. Empty is none.
    pub delimiter: String,
    /// The cursor of the page before.
    pub cursor: Option<String>,
    /// The keys come after this one.
    pub start_after: Option<String>,
    /// How many objects and prefixes at most; 1000 where it is `None`.
    pub limit: Option<i64>,
    /// What is told of each object.
    pub include: Include,
}

/// One page of [`NamedStorage::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// The objects, in the order of the UTF-8 bytes of their keys.
    pub objects: Vec<Object>,
    /// The prefixes that stand for several keys, in the same order.
    pub delimited_prefixes: Vec<String>,
    /// What to pass to get the next page; `None` where this is the last.
    pub cursor: Option<String>,
}

impl NamedStorage {
    /// What is known of the object under `key`, or `None`.
    pub async fn head(&self, key: &str) -> Result<Option<Object>> {
        limits::check_key(key)?;
        self.driver.get()?.head(key).await
    }

    /// The object under `key`, or `None`.
    pub async fn get(&self, key: &str, request: &GetRequest) -> Result<Option<Found>> {
        limits::check_key(key)?;
        self.driver.get()?.get(key, request).await
    }

    /// Begins to store an object. What it becomes is `None` where the condition did not hold.
    pub async fn put(&self, object: NewObject) -> Result<Box<dyn Upload<Stored = Option<Object>>>> {
        limits::check_key(&object.key)?;
        limits::check_size(object.size)?;
        limits::check_metadata(&object.custom_metadata)?;
        self.driver.get()?.put(object).await
    }

    /// Removes up to 1000 keys, those that are there.
    pub async fn delete(&self, keys: &[String]) -> Result<()> {
        limits::check_delete_keys(keys.len())?;
        keys.iter().try_for_each(|key| limits::check_key(key))?;
        self.driver.get()?.delete(keys).await
    }

    /// A page of the objects. A cursor that no page gave leads to an empty page, as in R2.
    pub async fn list(&self, options: ListOptions) -> Result<ObjectPage> {
        let mut limit = limits::list_limit(options.limit)?;
        if options.include != Include::default() {
            limit = limit.min(MAX_LIST_KEYS_WITH_METADATA);
        }
        let mut from = options.start_after.as_deref().map(listing::after).unwrap_or_default();
        if let Some(cursor) = options.cursor {
            let Some(position) = listing::position_of(&cursor) else { return Ok(ObjectPage::default()) };
            from = from.max(position);
        }
        let delimiter = Some(options.delimiter).filter(|delimiter| !delimiter.is_empty());
        let request = ListRequest { prefix: options.prefix, delimiter, from, limit, include: options.include };
        let page = self.driver.get()?.list(&request).await?;
        let cursor = page.next.map(|position| listing::cursor_of(&position));
        Ok(ObjectPage { objects: page.objects, delimited_prefixes: page.delimited_prefixes, cursor })
    }

    /// Begins an upload in parts and returns its id.
    pub async fn create_multipart_upload(&self, upload: NewUpload) -> Result<String> {
        limits::check_key(&upload.key)?;
        limits::check_metadata(&upload.custom_metadata)?;
        self.driver.get()?.create_multipart_upload(upload).await
    }

    /// Begins to store a part.
    pub async fn upload_part(&self, part: NewPart) -> Result<Box<dyn Upload<Stored = UploadedPart>>> {
        limits::check_key(&part.key)?;
        limits::check_part_number(part.number)?;
        limits::check_size(part.size)?;
        self.driver.get()?.upload_part(part).await
    }

    /// Makes an object of the parts that were uploaded.
    pub async fn complete_multipart_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[UploadedPart],
    ) -> Result<Object> {
        limits::check_key(key)?;
        parts.iter().try_for_each(|part| limits::check_part_number(part.number))?;
        self.driver.get()?.complete_multipart_upload(key, upload_id, parts, self.min_part_bytes).await
    }

    /// Forgets an upload.
    pub async fn abort_multipart_upload(&self, key: &str, upload_id: &str) -> Result<()> {
        limits::check_key(key)?;
        self.driver.get()?.abort_multipart_upload(key, upload_id).await
    }
}
