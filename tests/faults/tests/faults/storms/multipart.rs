use std::path::Path;

use aerostack_bindings::Error;
use aerostack_faults::{Observed, Say, Storm, WriteStorm, content, random_below};
use aerostack_storage::{NewPart, NewUpload, StorageDriver};
use libtest_mimic::Failed;

use super::objects::{fill, objects, versioned};
use super::write_until_killed;
use crate::places::bucket;

const KEYS: u64 = 12;

/// Uploads in parts: begun, given parts, parts replaced, completed in place of what was there, aborted, deleted.
pub(super) struct MultipartStorm;

impl Storm for MultipartStorm {
    fn name(&self) -> &'static str {
        "a bucket killed during uploads in parts has the old or the new object of each key, and no stray file"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = bucket(folder).expect("the bucket opens");
        write_until_killed(KEYS, say, async |key, version| {
            let outcome = match version {
                Some(version) => upload(&*driver, key, version).await,
                None => driver.delete(&[key.to_owned()]).await,
            };
            outcome.expect("the write goes through");
        });
    }
}

impl WriteStorm for MultipartStorm {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        objects(folder)
    }
}

async fn upload(driver: &dyn StorageDriver, key: &str, version: u64) -> Result<(), Error> {
    if random_below(4) == 0 {
        let given_up = begin(driver, key, version).await?;
        part(driver, key, &given_up, 1, vec![1; 5000]).await?;
        driver.abort_multipart_upload(key, &given_up).await?;
    }
    let upload_id = begin(driver, key, version).await?;
    let mut first = content(key, version);
    let second = first.split_off(first.len().div_ceil(2));
    // Replaced at once.
    part(driver, key, &upload_id, 2, vec![2; 100]).await?;
    let parts = [part(driver, key, &upload_id, 1, first).await?, part(driver, key, &upload_id, 2, second).await?];
    driver.complete_multipart_upload(key, &upload_id, &parts, 0).await.map(drop)
}

async fn begin(driver: &dyn StorageDriver, key: &str, version: u64) -> Result<String, Error> {
    let upload = NewUpload { key: key.to_owned(), custom_metadata: versioned(version), ..NewUpload::default() };
    driver.create_multipart_upload(upload).await
}

async fn part(
    driver: &dyn StorageDriver,
    key: &str,
    upload_id: &str,
    number: u32,
    bytes: Vec<u8>,
) -> Result<aerostack_storage::UploadedPart, Error> {
    let part = NewPart { key: key.to_owned(), upload_id: upload_id.to_owned(), number, size: bytes.len() as u64 };
    fill(driver.upload_part(part).await?, bytes).await
}
