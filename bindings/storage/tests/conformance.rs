//! The behaviour suite of the buckets, run over every driver; and what a process that is killed leaves behind.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use aerostack_bindings::{Clock, SystemClock};
use aerostack_storage::checksum::{md5_of, to_hex};
use aerostack_storage::conformance::{Open, trials};
use aerostack_storage::drivers::fs::{FsOptions, FsStorage};
use aerostack_storage::{GetRequest, ListRequest, NewObject, NewPart, NewUpload, StorageDriver};
use bytes::Bytes;
use libtest_mimic::{Arguments, Failed, Trial};

/// Set where this binary is to be the process that is killed: the folder it is to write to.
const WRITE_TO: &str = "AEROSTACK_TEST_STORAGE_WRITE_TO";
/// Objects of the writer have so many bytes: more than are collected before they go to the file.
const OBJECT_BYTES: usize = 600_000;
const KEYS: usize = 5;

fn main() -> ExitCode {
    if let Some(folder) = std::env::var_os(WRITE_TO) {
        block_on(write_for_ever(Path::new(&folder))).expect("the writer writes until it is killed");
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().to_owned();
    let fs: Open = Arc::new(move |place, clock| open(&root.join(place), clock));
    let mut tests = trials("fs", &fs);
    let path = folder.path().join("killed");
    tests.push(Trial::test("fs::a_killed_process_loses_nothing_and_leaves_nothing", move || killed_process(&path)));
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn open(folder: &Path, clock: Arc<dyn Clock>) -> Arc<dyn StorageDriver> {
    let options = FsOptions { name: "STORAGE".to_owned(), folder: PathBuf::from(folder) };
    Arc::new(FsStorage::open(&options, clock).expect("the bucket opens"))
}

fn block_on<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(call)
}

/// The same byte everywhere would hide a piece in the wrong place.
fn bytes_of_round(round: usize) -> Bytes {
    (0..OBJECT_BYTES).map(|position| ((position / 7 + round * 13) % 251) as u8).collect::<Vec<_>>().into()
}

/// Puts, replaces, deletes and uploads in parts, and says on standard output what was acknowledged.
async fn write_for_ever(folder: &Path) -> Result<(), Failed> {
    let driver = open(folder, Arc::new(SystemClock));
    let mut say = std::io::stdout();
    for round in 0.. {
        let bytes = bytes_of_round(round);
        let key = format!("key{}", round % KEYS);
        writeln!(say, "begin {key}")?;
        if round % 3 == 0 {
            driver.delete(std::slice::from_ref(&key)).await?;
        }
        let etag = if round % 2 == 0 {
            let object = NewObject { key: key.clone(), size: bytes.len() as u64, ..NewObject::default() };
            let mut upload = driver.put(object).await?;
            for piece in bytes.chunks(100_000) {
                upload.write(Bytes::copy_from_slice(piece)).await?;
            }
            upload.finish().await?.ok_or("there was no condition")?.etag
        } else {
            let upload = NewUpload { key: key.clone(), ..NewUpload::default() };
            let upload_id = driver.create_multipart_upload(upload).await?;
            let mut parts = Vec::new();
            for (place, piece) in bytes.chunks(200_000).enumerate() {
                let number = place as u32 + 1;
                let size = piece.len() as u64;
                let part = NewPart { key: key.clone(), upload_id: upload_id.clone(), number, size };
                let mut part = driver.upload_part(part).await?;
                part.write(Bytes::copy_from_slice(piece)).await?;
                parts.push(part.finish().await?);
            }
            driver.complete_multipart_upload(&key, &upload_id, &parts, 1).await?.etag
        };
        writeln!(say, "stored {key} {etag}")?;
    }
    Ok(())
}

fn killed_process(folder: &Path) -> Result<(), Failed> {
    // Killed after so many lines, that is, at another step each time.
    for lines in [1, 2, 3, 4, 5, 9, 14, 20, 33] {
        let mut writer = Command::new(std::env::current_exe()?).env(WRITE_TO, folder).stdout(Stdio::piped()).spawn()?;
        let acknowledged = read_lines_and_kill(&mut writer, lines)?;
        check(folder, &acknowledged)?;
    }
    Ok(())
}

/// What was acknowledged of each key, and the keys on which something was going on afterwards.
struct Acknowledged {
    etags: HashMap<String, String>,
    unsure: HashSet<String>,
}

/// SIGKILL, as soon as so many lines have come. What comes out of the pipe after that was said before.
fn read_lines_and_kill(writer: &mut Child, lines: usize) -> Result<Acknowledged, Failed> {
    let output = BufReader::new(writer.stdout.take().ok_or("the output is piped")?);
    let mut acknowledged = Acknowledged { etags: HashMap::new(), unsure: HashSet::new() };
    let mut count = 0;
    for line in output.lines() {
        let line = line?;
        count += 1;
        if count == lines {
            writer.kill()?;
        }
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["begin", key] => {
                acknowledged.unsure.insert(key.to_owned());
            }
            ["stored", key, etag] => {
                acknowledged.unsure.remove(key);
                acknowledged.etags.insert(key.to_owned(), etag.to_owned());
            }
            _ => return Err(format!("the writer said {line:?}").into()),
        }
    }
    writer.wait()?;
    assert!(count >= lines, "the writer ended after {count} lines");
    Ok(acknowledged)
}

fn check(folder: &Path, acknowledged: &Acknowledged) -> Result<(), Failed> {
    block_on(async {
        let driver = open(folder, Arc::new(SystemClock));
        for (key, etag) in &acknowledged.etags {
            if !acknowledged.unsure.contains(key) {
                let object = driver.head(key).await?.ok_or_else(|| format!("{key} was acknowledged and is gone"))?;
                assert_eq!(&object.etag, etag, "{key}");
            }
        }
        let listing = driver.list(&ListRequest { limit: 1000, ..ListRequest::default() }).await?;
        let mut files = 0;
        for object in &listing.objects {
            files += if object.etag.contains('-') { 3 } else { 1 };
            let found = driver.get(&object.key, &GetRequest::default()).await?.ok_or("it is listed")?;
            let mut body = found.body.ok_or("there was no condition")?;
            let mut bytes = Vec::new();
            while body.remaining() > 0 {
                bytes.extend_from_slice(&body.read().await?);
            }
            let actual = if object.etag.contains('-') {
                let digests: Vec<u8> = bytes.chunks(200_000).flat_map(md5_of).collect();
                format!("{}-3", to_hex(&md5_of(&digests)))
            } else {
                to_hex(&md5_of(&bytes))
            };
            assert_eq!(object.etag, actual, "{} is torn", object.key);
        }
        let parts = parts_of_open_uploads(folder)?;
        assert_eq!(count_files(&folder.join("objects"))?, files + parts, "no file is left that no row names");
        assert_eq!(count_files(&folder.join("unsettled"))?, 0);
        Ok(())
    })
}

/// An upload that was begun is no rubbish: it can go on.
fn parts_of_open_uploads(folder: &Path) -> Result<usize, Failed> {
    let metadata = rusqlite::Connection::open(folder.join("metadata.sqlite"))?;
    let parts: i64 = metadata.query_row("SELECT count(*) FROM upload_parts", [], |row| row.get(0))?;
    Ok(parts as usize)
}

fn count_files(folder: &Path) -> Result<usize, Failed> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        count += if path.is_dir() { count_files(&path)? } else { 1 };
    }
    Ok(count)
}
