use std::path::Path;

use aerostack_bindings::Error;
use aerostack_database::{Cell, script};
use aerostack_faults::{Observed, Say, Storm, WriteStorm, block_on, content};
use aerostack_storage::checksum::{md5_of, to_hex};
use aerostack_storage::{CustomMetadata, GetRequest, Include, ListRequest, NewObject, StorageDriver, Upload};
use bytes::Bytes;
use libtest_mimic::Failed;

use super::write_until_killed;
use crate::places::{bucket, bucket_folder, check_integrity};

const KEYS: u64 = 24;
/// How much of a body is handed over at a time.
const PIECE: usize = 100_000;

/// `put`, in place of what was there, and `delete`.
pub(super) struct ObjectStorm;

impl Storm for ObjectStorm {
    fn name(&self) -> &'static str {
        "a bucket killed while objects are put and deleted has the old or the new one of each, with the right checksum"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = bucket(folder).expect("the bucket opens");
        write_until_killed(KEYS, say, async |key, version| {
            let outcome = match version {
                Some(version) => put(&*driver, key, version).await,
                None => driver.delete(&[key.to_owned()]).await,
            };
            outcome.expect("the write goes through");
        });
    }
}

impl WriteStorm for ObjectStorm {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        objects(folder)
    }
}

async fn put(driver: &dyn StorageDriver, key: &str, version: u64) -> Result<(), Error> {
    let bytes = content(key, version);
    let object = NewObject {
        key: key.to_owned(),
        size: bytes.len() as u64,
        custom_metadata: versioned(version),
        ..NewObject::default()
    };
    fill(driver.put(object).await?, bytes).await.map(drop)
}

/// Writes a body piece by piece, as a stream would.
pub(super) async fn fill<T>(mut upload: Box<dyn Upload<Stored = T>>, bytes: Vec<u8>) -> Result<T, Error> {
    for piece in bytes.chunks(PIECE) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

pub(super) fn versioned(version: u64) -> CustomMetadata {
    CustomMetadata(vec![("version".to_owned(), version.to_string())])
}

/// Every object of a bucket that nobody else has open, and that no file is there without a row.
pub(super) fn objects(folder: &Path) -> Result<Observed, Failed> {
    let driver = bucket(folder)?;
    let request =
        ListRequest { prefix: String::new(), delimiter: None, from: String::new(), limit: 1000, include: Include::ALL };
    let mut observed = Observed::new();
    for listed in block_on(driver.list(&request))?.objects {
        let metadata = listed.custom_metadata.ok_or("a listing that includes it has the metadata")?;
        let version = metadata.0.first().ok_or("every object has a version")?.1.parse()?;
        let bytes = block_on(bytes_of(&*driver, &listed.key))?;
        if bytes != content(&listed.key, version) {
            return Err(format!("the bytes of {} are not those of version {version}", listed.key).into());
        }
        let is_in_parts = listed.checksums.0.is_empty();
        if !is_in_parts && listed.etag != to_hex(&md5_of(&bytes)) {
            return Err(format!("the etag of {} is not the MD5 of its bytes", listed.key).into());
        }
        observed.insert(listed.key, version);
    }
    let metadata = bucket_folder(folder).join("metadata.sqlite");
    check_integrity(&metadata)?;
    check_files(folder, &metadata)?;
    Ok(observed)
}

async fn bytes_of(driver: &dyn StorageDriver, key: &str) -> Result<Vec<u8>, Error> {
    let found = driver.get(key, &GetRequest::default()).await?;
    let mut bytes = Vec::new();
    if let Some(mut body) = found.and_then(|found| found.body) {
        while body.remaining() > 0 {
            bytes.extend_from_slice(&body.read().await?);
        }
    }
    Ok(bytes)
}

fn check_files(folder: &Path, metadata: &Path) -> Result<(), Failed> {
    let named = script::execute(
        metadata,
        "SELECT (SELECT count(*) FROM objects WHERE part_count IS NULL) + (SELECT count(*) FROM object_files)
            + (SELECT count(*) FROM upload_parts)",
    )?;
    let files = |name: &str| count_files(&bucket_folder(folder).join(name));
    let (objects, unsettled) = (files("objects")?, files("unsettled")?);
    if named[0].cells != [Cell::Integer(objects)] || unsettled != 0 {
        let named = &named[0].cells;
        return Err(format!("{objects} files, {named:?} of them named by rows, {unsettled} unsettled").into());
    }
    Ok(())
}

fn count_files(folder: &Path) -> Result<i64, Failed> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}
