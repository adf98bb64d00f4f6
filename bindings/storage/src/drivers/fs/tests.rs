use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aerostack_bindings::{ErrorKind, ManualClock};
use bytes::Bytes;
use rusqlite::Connection;

use super::store::INLINE_BODY_BYTES;
use super::*;

struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("storage/bucket")
    }

    fn bucket(&self) -> FsStorage {
        open(&self.path()).expect("the bucket opens")
    }

    fn other_tool(&self) -> Connection {
        Connection::open(self.path().join("metadata.sqlite")).expect("another connection")
    }

    /// How many files there are in `objects` and in `unsettled`.
    fn files(&self) -> (usize, usize) {
        (count(&self.path().join("objects")), count(&self.path().join("unsettled")))
    }
}

fn open(folder: &Path) -> Result<FsStorage> {
    let options = FsOptions { name: "STORAGE".to_owned(), folder: folder.to_owned() };
    FsStorage::open(&options, Arc::new(ManualClock::new(1_000_000)))
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { count(&path) } else { 1 })
        .sum()
}

fn refused(folder: &Path) -> String {
    match open(folder) {
        Ok(_) => panic!("{} must not open", folder.display()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            error.to_string()
        }
    }
}

/// The outcome of the first poll, outside any runtime.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call did not finish in its first poll"),
    }
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

async fn put(bucket: &FsStorage, key: &str, bytes: impl Into<Bytes>) -> Object {
    let bytes = bytes.into();
    let object = NewObject { key: key.to_owned(), size: bytes.len() as u64, ..NewObject::default() };
    let mut upload = bucket.put(object).await.expect("put");
    upload.write(bytes).await.expect("write");
    upload.finish().await.expect("finish").expect("there was no condition")
}

async fn upload(bucket: &FsStorage, parts: u32) -> Object {
    let upload = NewUpload { key: "key".to_owned(), ..NewUpload::default() };
    let upload_id = bucket.create_multipart_upload(upload).await.expect("create");
    let mut uploaded = Vec::new();
    for number in 1..=parts {
        let part = NewPart { key: "key".to_owned(), upload_id: upload_id.clone(), number, size: 10 };
        let mut part = bucket.upload_part(part).await.expect("part");
        part.write("0123456789".into()).await.expect("write");
        uploaded.push(part.finish().await.expect("finish"));
    }
    bucket.complete_multipart_upload("key", &upload_id, &uploaded, 1).await.expect("complete")
}

#[test]
fn small_objects_are_read_in_the_first_poll() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        put(&bucket, "key", vec![7; INLINE_BODY_BYTES as usize]).await;
    });
    assert!(at_once(bucket.head("key")).expect("head").is_some());
    let found = at_once(bucket.get("key", &GetRequest::default())).expect("get").expect("it is there");
    let mut body = found.body.expect("a body");
    assert_eq!(at_once(body.read()).expect("read").len() as u64, INLINE_BODY_BYTES);
    assert_eq!(
        at_once(bucket.list(&ListRequest { limit: 10, ..ListRequest::default() })).expect("list").objects.len(),
        1
    );
    assert!(at_once(bucket.get("missing", &GetRequest::default())).expect("get").is_none());
}

#[test]
fn beginning_and_collecting_a_put_touches_no_file() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    let object = NewObject { key: "key".to_owned(), size: 1000, ..NewObject::default() };
    let mut upload = at_once(bucket.put(object)).expect("put");
    at_once(upload.write(vec![1; 1000].into())).expect("write");
    assert_eq!(fixture.files(), (0, 0));
}

#[test]
fn each_object_has_one_file_named_by_its_version() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        let first = put(&bucket, "../../escape", "first").await;
        let path = fixture.path().join("objects").join(&first.version[..2]).join(&first.version);
        assert_eq!(std::fs::read(&path).expect("the file"), b"first");
        let second = put(&bucket, "../../escape", "second").await;
        assert!(!path.exists(), "what was replaced is gone");
        assert_eq!(fixture.files(), (1, 0));
        assert_ne!(first.version, second.version);
        bucket.delete(&["../../escape".to_owned()]).await.expect("delete");
        assert_eq!(fixture.files(), (0, 0));
    });
    let others: Vec<_> = std::fs::read_dir(fixture.folder.path()).expect("readable").collect();
    assert_eq!(others.len(), 1, "nothing is beside the folder of the bucket");
}

#[test]
fn an_upload_that_is_dropped_leaves_no_file() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        let object = NewObject { key: "key".to_owned(), size: 10_000_000, ..NewObject::default() };
        let mut upload = bucket.put(object.clone()).await.expect("put");
        for _ in 0..4 {
            upload.write(vec![1; 500_000].into()).await.expect("write");
        }
        assert_eq!(fixture.files(), (1, 1));
        drop(upload);
        // One whose last write is still going on.
        let mut upload = bucket.put(object).await.expect("put");
        upload.write(vec![1; 500_000].into()).await.expect("write");
        drop(upload);
    });
    // The end of the runtime waits for what was sent to its threads.
    assert_eq!(fixture.files(), (0, 0));
}

#[test]
fn a_condition_that_fails_leaves_no_file() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        let only_if = crate::conditional::Conditional { uploaded_after: Some(0), ..Default::default() };
        let object = NewObject { key: "key".to_owned(), only_if: Some(only_if), ..NewObject::default() };
        let upload = bucket.put(object).await.expect("put");
        assert_eq!(upload.finish().await.expect("finish"), None);
        assert_eq!(fixture.files(), (0, 0));
    });
}

#[test]
fn completing_keeps_the_files_of_the_parts_and_removes_the_others() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        upload(&bucket, 3).await;
        assert_eq!(fixture.files(), (3, 0));
        upload(&bucket, 2).await;
        assert_eq!(fixture.files(), (2, 0));
        put(&bucket, "key", "one").await;
        assert_eq!(fixture.files(), (1, 0));
    });
}

#[test]
fn files_that_are_being_read_are_removed_when_the_reader_is_done() {
    let fixture = Fixture::new();
    let (bucket, other) = (fixture.bucket(), fixture.bucket());
    block_on(async {
        upload(&bucket, 3).await;
        let found = other.get("key", &GetRequest::default()).await.expect("get").expect("it is there");
        bucket.delete(&["key".to_owned()]).await.expect("delete");
        assert_eq!(fixture.files(), (3, 1));
        drop(found);
        put(&bucket, "other", "x").await;
        assert_eq!(fixture.files(), (1, 0));
    });
}

#[test]
fn whoever_opens_the_bucket_alone_removes_what_was_never_stored() {
    let fixture = Fixture::new();
    block_on(async {
        let bucket = fixture.bucket();
        let kept = put(&bucket, "kept", "value").await;
        upload(&bucket, 2).await;
        // As a process leaves it that is killed: a file without a row, marks of files with one, marks of no file.
        let folder = fixture.path();
        let orphan = "0123456789abcdef0123456789abcdef";
        std::fs::create_dir_all(folder.join("objects/01")).expect("a folder");
        std::fs::write(folder.join("objects/01").join(orphan), "torn").expect("a file");
        std::fs::write(folder.join("unsettled").join(orphan), "").expect("a mark");
        std::fs::write(folder.join("unsettled").join(&kept.version), "").expect("a mark");
        std::fs::write(folder.join("unsettled").join("f".repeat(32)), "").expect("a mark");
        std::fs::write(folder.join("unsettled").join("notes.txt"), "somebody's own").expect("a file");

        let beside = fixture.bucket();
        assert_eq!(fixture.files(), (4, 4), "not while another has it open");
        drop((bucket, beside));
        let bucket = fixture.bucket();
        assert_eq!(fixture.files(), (3, 1), "what is not ours stays");
        assert_eq!(bucket.head("kept").await.expect("head"), Some(kept));
    });
}

#[test]
fn a_file_name_from_the_table_never_becomes_another_path() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        put(&bucket, "key", "value").await;
        let secret = fixture.folder.path().join("secret");
        std::fs::write(&secret, "secret").expect("a file");
        fixture.other_tool().execute("UPDATE objects SET version = '../../../secret'", []).expect("update");
        let outcome = bucket.get("key", &GetRequest::default()).await;
        let Err(error) = outcome else { panic!("it must fail") };
        assert!(error.message().contains("the value is not what aerostack writes"), "{error}");
        assert!(bucket.delete(&["key".to_owned()]).await.is_err());
        assert!(secret.exists());
    });
}

#[test]
fn a_file_that_is_lost_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        let stored = put(&bucket, "key", "value").await;
        std::fs::remove_dir_all(fixture.path().join("objects").join(&stored.version[..2])).expect("removed");
        let outcome = bucket.get("key", &GetRequest::default()).await;
        let Err(error) = outcome else { panic!("it must fail") };
        assert_eq!(error.message(), "the file of an object is missing from the bucket's folder");
        assert_eq!(error.context()[0], ("key", "key".to_owned()));
        bucket.delete(&["key".to_owned()]).await.expect("it can be deleted");
        put(&bucket, "key", "again").await;
    });
}

#[test]
fn a_file_that_was_cut_short_is_an_error() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        let stored = put(&bucket, "key", vec![1; 500_000]).await;
        let path = fixture.path().join("objects").join(&stored.version[..2]).join(&stored.version);
        std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(300_000)).expect("cut");
        let found = bucket.get("key", &GetRequest::default()).await.expect("get").expect("it is there");
        let mut body = found.body.expect("a body");
        assert_eq!(body.read().await.expect("the first chunk").len(), 256 * 1024);
        let error = body.read().await.expect_err("the rest is missing");
        assert_eq!(error.message(), "a file of the bucket is shorter than when it was stored");
        assert!(body.read().await.is_err(), "nothing comes after an error");
    });
}

#[test]
fn a_write_waits_for_a_lock_of_another_process_and_reads_do_not() {
    let fixture = Fixture::new();
    let bucket = fixture.bucket();
    block_on(async {
        put(&bucket, "old", "value").await;
        let other = fixture.other_tool();
        other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        let mut writing = pin!(put(&bucket, "new", "value"));
        assert!(writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(at_once(bucket.head("old")).expect("head").is_some());
        other.execute_batch("COMMIT").expect("the lock is given back");
        writing.await;
        assert!(at_once(bucket.head("new")).expect("head").is_some());
    });
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_with_its_path_and_a_hint() {
    let fixture = Fixture::new();
    let text = fixture.folder.path().join("notes.txt");
    std::fs::write(&text, "no folder").expect("a file");
    assert!(refused(&text.join("bucket")).contains("cannot make the folder"));
    std::fs::create_dir_all(fixture.path()).expect("a folder");
    std::fs::write(fixture.path().join("metadata.sqlite"), "this is no database at all, ".repeat(100)).expect("a file");
    let message = refused(&fixture.path());
    assert!(message.contains("metadata.sqlite is not a SQLite database"), "{message}");
}

#[test]
fn a_file_of_a_later_layout_is_refused() {
    let fixture = Fixture::new();
    drop(fixture.bucket());
    fixture.other_tool().execute_batch("PRAGMA user_version = 2").expect("a later layout");
    let message = refused(&fixture.path());
    assert!(message.contains("has layout 2"), "{message}");
}

#[test]
fn the_start_table_shows_where_the_folder_is() {
    let fixture = Fixture::new();
    let info = fixture.bucket().info();
    assert_eq!((info.kind, info.driver, info.name.as_str()), ("storage", "fs", "STORAGE"));
    assert!(info.summary.ends_with("storage/bucket"));
}
