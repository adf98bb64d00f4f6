//! From rows to objects and back.

use rusqlite::Row;
use rusqlite::types::Type;
use serde_json::{Map, Value};

use super::folder::FileId;
use crate::checksum::{Algorithm, Checksum, Checksums, from_hex, to_hex};
use crate::{CustomMetadata, HttpMetadata, Include, Object, StorageClass};

/// The columns that [`stored_object`] reads, in its order. Those that are not included are not read from the file.
pub(super) fn columns(include: Include) -> String {
    let http = if include.http_metadata { "http_metadata" } else { "NULL" };
    let custom = if include.custom_metadata { "custom_metadata" } else { "NULL" };
    format!("key, version, size, etag, uploaded, checksums, storage_class, part_count, {http}, {custom}")
}

/// A row of `objects`.
pub(super) struct StoredObject {
    pub(super) object: Object,
    /// In how many files its bytes lie; `None` where it is the one that is named by the version.
    pub(super) part_count: Option<usize>,
}

pub(super) fn stored_object(row: &Row<'_>) -> rusqlite::Result<StoredObject> {
    let object = Object {
        key: row.get(0)?,
        version: row.get(1)?,
        size: unsigned(row, 2)?,
        etag: row.get(3)?,
        uploaded_ms: unsigned(row, 4)?,
        checksums: checksums_of(&row.get::<_, String>(5)?).ok_or_else(|| damaged(5))?,
        storage_class: storage_class(row, 6)?,
        http_metadata: row.get::<_, Option<String>>(8)?.map(|json| http_metadata_of(&json, 8)).transpose()?,
        custom_metadata: row.get::<_, Option<String>>(9)?.map(|json| custom_metadata_of(&json, 9)).transpose()?,
    };
    let part_count = row.get::<_, Option<i64>>(7)?.map(|count| usize::try_from(count).map_err(|_| damaged(7)));
    Ok(StoredObject { object, part_count: part_count.transpose()? })
}

pub(super) fn storage_class(row: &Row<'_>, column: usize) -> rusqlite::Result<StorageClass> {
    StorageClass::parse(&row.get::<_, String>(column)?).ok_or_else(|| damaged(column))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged(column))
}

/// The name of a file. Another tool may have written something else there, which must not become a path.
pub(super) fn file_id(row: &Row<'_>, column: usize) -> rusqlite::Result<FileId> {
    FileId::parse(&row.get::<_, String>(column)?).ok_or_else(|| damaged(column))
}

pub(super) fn hex(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    from_hex(&row.get::<_, String>(column)?).ok_or_else(|| damaged(column))
}

pub(super) fn json_of_checksums(checksums: &Checksums) -> String {
    let entry = |checksum: &Checksum| (checksum.algorithm.as_str().to_owned(), Value::from(to_hex(&checksum.digest)));
    Value::Object(checksums.0.iter().map(entry).collect()).to_string()
}

pub(super) fn json_of_http_metadata(metadata: &HttpMetadata) -> rusqlite::Result<String> {
    serde_json::to_string(metadata).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn json_of_custom_metadata(metadata: &CustomMetadata) -> String {
    let entries = metadata.0.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    Value::Object(entries.collect()).to_string()
}

pub(super) fn http_metadata_of(json: &str, column: usize) -> rusqlite::Result<HttpMetadata> {
    serde_json::from_str(json).map_err(|_| damaged(column))
}

pub(super) fn custom_metadata_of(json: &str, column: usize) -> rusqlite::Result<CustomMetadata> {
    let entries: Map<String, Value> = serde_json::from_str(json).map_err(|_| damaged(column))?;
    let texts = entries.into_iter().map(|(name, value)| match value {
        Value::String(text) => Ok((name, text)),
        _ => Err(damaged(column)),
    });
    texts.collect::<rusqlite::Result<_>>().map(CustomMetadata)
}

fn checksums_of(json: &str) -> Option<Checksums> {
    let entries: Map<String, Value> = serde_json::from_str(json).ok()?;
    let checksum = |(name, value): (String, Value)| {
        Some(Checksum { algorithm: Algorithm::parse(&name)?, digest: from_hex(value.as_str()?)? })
    };
    entries.into_iter().map(checksum).collect::<Option<_>>().map(Checksums)
}

fn damaged(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "the value is not what aerostack writes".into())
}
