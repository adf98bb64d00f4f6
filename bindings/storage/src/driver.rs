use aerostack_bindings::{BindingInfo, Result};
use async_trait::async_trait;
use bytes::Bytes;

use crate::checksum::{Checksum, Checksums};
use crate::conditional::Conditional;
use crate::range::{ByteRange, RangeRequest};
use crate::{CustomMetadata, HttpMetadata, StorageClass};

/// A store of objects: bytes of any length under a key, with metadata.
///
/// What an object is changes as a whole: whoever reads sees all of the object before a change, or all of the one after it. What
/// was acknowledged stays. A driver checks no argument, [`crate::NamedStorage`] has; but what has to be judged in the middle of
/// its own work it judges by the rules of this crate: [`Conditional::holds`], [`RangeRequest::resolve`],
/// [`crate::checksum::Hashes`], [`crate::multipart::select`].
///
/// Its futures are polled on an isolate's own thread, so whatever can finish within microseconds should finish in the first
/// poll, and whatever cannot must not block. It never holds an object in memory, however it is read or written.
#[async_trait]
pub trait StorageDriver: Send + Sync {
    /// What the start table shows of this driver.
    fn info(&self) -> BindingInfo;

    /// What is known of the object under `key`, or `None`.
    async fn head(&self, key: &str) -> Result<Option<Object>>;

    /// The object under `key`, or `None`. Its body goes on although the object is replaced or deleted meanwhile.
    async fn get(&self, key: &str, request: &GetRequest) -> Result<Option<Found>>;

    /// Begins to store an object in place of whatever is there. It becomes `None` where the condition did not hold, which is
    /// judged when the object is finished.
    async fn put(&self, object: NewObject) -> Result<Box<dyn Upload<Stored = Option<Object>>>>;

    /// Removes keys. That one was not there is no error.
    async fn delete(&self, keys: &[String]) -> Result<()>;

    /// A page of the objects.
    async fn list(&self, request: &ListRequest) -> Result<Listing>;

    /// Begins an upload in parts and returns its id.
    async fn create_multipart_upload(&self, upload: NewUpload) -> Result<String>;

    /// Begins to store a part, in place of the one with its number.
    async fn upload_part(&self, part: NewPart) -> Result<Box<dyn Upload<Stored = UploadedPart>>>;

    /// Makes an object of parts, and ends the upload. The time it takes does not depend on how many bytes there are.
    async fn complete_multipart_upload(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[UploadedPart],
        min_part_bytes: u64,
    ) -> Result<Object>;

    /// Forgets the parts, and ends the upload. Where it has ended before, nothing happens.
    async fn abort_multipart_upload(&self, key: &str, upload_id: &str) -> Result<()>;
}

/// Bytes on their way in. Dropping it before it is finished leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// What is there when all bytes are.
    type Stored;

    /// Takes the next bytes. When this returns, the driver holds no more than a bounded number of them in memory.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Stores what was written, which must be as much as was announced.
    async fn finish(self: Box<Self>) -> Result<Self::Stored>;
}

/// Bytes on their way out.
#[async_trait]
pub trait Body: Send {
    /// How many bytes are still to come.
    fn remaining(&self) -> u64;

    /// The next bytes; none at the end. A call that is given up loses none.
    async fn read(&mut self) -> Result<Bytes>;
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The key.
    pub key: String,
    /// 32 hex digits, new each time the object is stored.
    pub version: String,
    /// In bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// When it was stored, in milliseconds since the UNIX epoch.
    pub uploaded_ms: u64,
    /// By which algorithms there are checksums: MD5 and what the caller gave; none of an object in parts.
    pub checksums: Checksums,
    /// `None` in a listing that does not include it.
    pub http_metadata: Option<HttpMetadata>,
    /// `None` in a listing that does not include it.
    pub custom_metadata: Option<CustomMetadata>,
    /// The class it was stored with.
    pub storage_class: StorageClass,
}

/// How an object is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GetRequest {
    /// Which bytes.
    pub range: RangeRequest,
    /// Without it, any object is given.
    pub only_if: Option<Conditional>,
}

/// An object that was read.
pub struct Found {
    /// What is known of it.
    pub object: Object,
    /// The bytes of the body.
    pub range: ByteRange,
    /// `None` where the condition did not hold.
    pub body: Option<Box<dyn Body>>,
}

/// An object that is to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewObject {
    /// The key.
    pub key: String,
    /// How many bytes will be written.
    pub size: u64,
    /// See [`HttpMetadata`].
    pub http_metadata: HttpMetadata,
    /// See [`CustomMetadata`].
    pub custom_metadata: CustomMetadata,
    /// See [`StorageClass`].
    pub storage_class: StorageClass,
    /// What the bytes must have.
    pub checksum: Option<Checksum>,
    /// Without it, any object is replaced.
    pub only_if: Option<Conditional>,
}

/// An upload in parts that is to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUpload {
    /// The key of the object.
    pub key: String,
    /// See [`HttpMetadata`].
    pub http_metadata: HttpMetadata,
    /// See [`CustomMetadata`].
    pub custom_metadata: CustomMetadata,
    /// See [`StorageClass`].
    pub storage_class: StorageClass,
}

/// A part that is to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPart {
    /// The key of the object.
    pub key: String,
    /// The upload.
    pub upload_id: String,
    /// 1 to 10,000; the parts lie in the object in the order of their numbers.
    pub number: u32,
    /// How many bytes will be written.
    pub size: u64,
}

/// A part that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedPart {
    /// Its number.
    pub number: u32,
    /// Tells it from another part with the same number. Says nothing of its bytes.
    pub etag: String,
}

/// Which page of the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// What the keys begin with.
    pub prefix: String,
    /// Keys that have it behind the prefix are told as one prefix. Never empty.
    pub delimiter: Option<String>,
    /// The position that the page begins at, see [`crate::listing`].
    pub from: String,
    /// How many objects and prefixes at most; at least one.
    pub limit: usize,
    /// What is told of each object.
    pub include: Include,
}

/// What a listing tells of each object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Include {
    /// [`Object::http_metadata`].
    pub http_metadata: bool,
    /// [`Object::custom_metadata`].
    pub custom_metadata: bool,
}

impl Include {
    /// Everything, as outside listings.
    pub const ALL: Self = Self { http_metadata: true, custom_metadata: true };
}

/// A page of the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The objects, in the order of the UTF-8 bytes of their keys.
    pub objects: Vec<Object>,
    /// The prefixes that stand for several keys, in the same order.
    pub delimited_prefixes: Vec<String>,
    /// The position at which the next page begins; `None` where this is the last.
    pub next: Option<String>,
}
