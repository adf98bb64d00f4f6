//! What every driver must do, as tests that any driver's test binary can run.
//!
//! A suite gets a function that opens a *place* (a name, new for each test) with a clock. Opening the same place twice gives
//! two drivers over the same objects, as two processes or a restart would.

mod basics;
mod concurrency;
mod listing;
mod model;
mod multipart;
mod ranges;

use std::future::Future;
use std::sync::Arc;

use aerostack_bindings::{Clock, Error, ManualClock};
use bytes::Bytes;
use libtest_mimic::{Failed, Trial};

use crate::range::ByteRange;
use crate::{
    Body, GetRequest, NamedStorage, NewObject, NewPart, NewUpload, Object, StorageDriver, Upload, UploadedPart,
};

/// Milliseconds since the UNIX epoch at which every test begins: within a second, not at its edge.
const START_MS: u64 = 1_700_000_000_250;

/// The smallest part that is not the last, in these tests.
const MIN_PART_BYTES: u64 = 10;

/// Opens a place.
pub type Open = Arc<dyn Fn(&str, Arc<dyn Clock>) -> Arc<dyn StorageDriver> + Send + Sync>;

/// Every test of the suite, named `<driver>::<sentence>`.
pub fn trials(driver: &'static str, open: &Open) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: &'static str, test: fn(&Place) -> Result<(), Failed>| {
        let open = Arc::clone(open);
        trials.push(Trial::test(format!("{driver}::{name}"), move || test(&Place::new(name, open))));
    };
    basics::add(&mut add);
    ranges::add(&mut add);
    listing::add(&mut add);
    multipart::add(&mut add);
    concurrency::add(&mut add);
    add("any_sequence_of_calls_behaves_like_a_sorted_map", model::any_sequence_of_calls_behaves_like_a_sorted_map);
    trials
}

/// Takes a test and its name.
type Add<'a> = &'a mut dyn FnMut(&'static str, fn(&Place) -> Result<(), Failed>);

/// Where one test has its objects.
struct Place {
    name: String,
    clock: Arc<ManualClock>,
    open: Open,
}

impl Place {
    fn new(name: &str, open: Open) -> Self {
        Self { name: name.to_owned(), clock: Arc::new(ManualClock::new(START_MS)), open }
    }

    /// Another place, for one of several runs of the same test.
    fn beside(&self, number: usize) -> Self {
        Self::new(&format!("{}-{number}", self.name), Arc::clone(&self.open))
    }

    fn driver(&self) -> Arc<dyn StorageDriver> {
        (self.open)(&self.name, self.clock.clone())
    }

    fn binding(&self) -> NamedStorage {
        NamedStorage {
            name: "STORAGE".to_owned(),
            driver: Arc::new(self.driver().into()),
            min_part_bytes: MIN_PART_BYTES,
        }
    }
}

/// Runs a test on a current-thread runtime, as an isolate would.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// Bytes that differ from place to place, so that a piece in the wrong place is seen.
fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length).map(|position| ((position * 31 + position / 251 + seed * 7) % 251) as u8).collect::<Vec<_>>().into()
}

fn plain(key: &str, size: usize) -> NewObject {
    NewObject { key: key.to_owned(), size: size as u64, ..NewObject::default() }
}

/// Writes bytes to what was begun, and finishes it.
async fn fill<T>(mut upload: Box<dyn Upload<Stored = T>>, bytes: impl Into<Bytes>) -> Result<T, Error> {
    upload.write(bytes.into()).await?;
    upload.finish().await
}

/// Stores an object without metadata or condition.
async fn store(driver: &dyn StorageDriver, key: &str, bytes: impl Into<Bytes>) -> Result<Object, Failed> {
    let bytes = bytes.into();
    let upload = driver.put(plain(key, bytes.len())).await?;
    fill(upload, bytes).await?.ok_or_else(|| "there was no condition".into())
}

/// Everything that is still to come of a body.
async fn drain(mut body: Box<dyn Body>) -> Result<Bytes, Error> {
    let mut all = Vec::new();
    while body.remaining() > 0 {
        let before = body.remaining();
        let bytes = body.read().await?;
        assert_eq!(body.remaining(), before - bytes.len() as u64, "the body counts what it has given");
        assert!(!bytes.is_empty(), "there is more");
        all.extend_from_slice(&bytes);
    }
    assert!(body.read().await?.is_empty(), "nothing comes after the end");
    Ok(all.into())
}

/// The bytes of an object, and what is known of it.
async fn read(
    driver: &dyn StorageDriver,
    key: &str,
    request: &GetRequest,
) -> Result<Option<(Object, ByteRange, Option<Bytes>)>, Error> {
    let Some(found) = driver.get(key, request).await? else { return Ok(None) };
    let bytes = match found.body {
        None => None,
        Some(body) => {
            assert_eq!(body.remaining(), found.range.length, "the body has the bytes of the range");
            Some(drain(body).await?)
        }
    };
    Ok(Some((found.object, found.range, bytes)))
}

/// The bytes of an object that is there.
async fn bytes_of(driver: &dyn StorageDriver, key: &str) -> Result<Bytes, Failed> {
    let found = read(driver, key, &GetRequest::default()).await?;
    Ok(found.and_then(|(_, _, bytes)| bytes).ok_or("the object is there")?)
}

async fn begin(driver: &dyn StorageDriver, key: &str) -> Result<String, Error> {
    driver.create_multipart_upload(NewUpload { key: key.to_owned(), ..NewUpload::default() }).await
}

async fn add_part(
    driver: &dyn StorageDriver,
    key: &str,
    upload_id: &str,
    number: u32,
    bytes: impl Into<Bytes>,
) -> Result<UploadedPart, Error> {
    let bytes = bytes.into();
    let part = NewPart { key: key.to_owned(), upload_id: upload_id.to_owned(), number, size: bytes.len() as u64 };
    fill(driver.upload_part(part).await?, bytes).await
}

/// The text of an error that must come.
fn refused<T>(outcome: Result<T, Error>) -> String {
    match outcome {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.message().to_owned(),
    }
}
