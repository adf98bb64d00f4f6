use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::SystemClock;
use aerostack_cache::Entry;
use aerostack_database::Statement;
use aerostack_faults::{Observed, Say, Storm, Timing, WriteStorm, block_on};
use aerostack_queue::{ContentType, Outgoing};
use aerostack_storage::NewObject;
use aerostack_vectorize::{Vector, Writing};
use libtest_mimic::Failed;

use super::objects::fill;
use crate::places;

/// The files of all bindings, made anew by each child.
pub(super) struct OpeningStorm;

impl Storm for OpeningStorm {
    fn name(&self) -> &'static str {
        "a process killed while it makes its files leaves files that open, with what was acknowledged in them"
    }

    /// Two lines for each of five files.
    fn timing(&self) -> Timing {
        Timing { lines: 10, rest: Duration::from_millis(5) }
    }

    fn work(&self, folder: &Path, say: &Say) {
        let folder = &folder.join(say.round().to_string());
        let version = say.first_version();
        let writes = |kind: &str, write: &dyn Fn()| {
            let key = format!("{}/{kind}", say.round());
            say.begins(&key, Some(version));
            write();
            say.was_promised(&key);
        };
        writes("database", &|| {
            let driver = places::database(folder).expect("it opens");
            let text = format!("CREATE TABLE t (version INTEGER); INSERT INTO t VALUES ({version})");
            let statements = text.split("; ").map(Statement::new).collect();
            block_on(driver.run(statements)).expect("it goes through");
        });
        writes("queue", &|| {
            let driver = places::queues(folder, Arc::new(SystemClock)).expect("it opens");
            let body = version.to_string().into();
            let message = Outgoing { content_type: ContentType::Text, body, delay: Duration::ZERO };
            block_on(driver.send("jobs", vec![message])).expect("it goes through");
        });
        writes("cache", &|| {
            let driver = places::cache(folder, Arc::new(SystemClock)).expect("it opens");
            block_on(driver.put("key", Entry::lasting(version.to_string()))).expect("it goes through");
        });
        writes("storage", &|| {
            let driver = places::bucket(folder).expect("it opens");
            let bytes = version.to_string().into_bytes();
            let object = NewObject { key: "key".to_owned(), size: bytes.len() as u64, ..NewObject::default() };
            block_on(async { fill(driver.put(object).await?, bytes).await }).expect("it goes through");
        });
        writes("vectorize", &|| {
            let driver = places::vectors(folder).expect("it opens");
            let vector = Vector {
                id: "id".to_owned(),
                values: vec![1.0, 2.0],
                namespace: None,
                metadata: Some(version.to_string()),
            };
            block_on(driver.write(vec![vector], Writing::Insert)).expect("it goes through");
        });
        std::thread::park();
    }
}

impl WriteStorm for OpeningStorm {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        let mut observed = Observed::new();
        for entry in std::fs::read_dir(folder)? {
            let round = entry?.file_name().to_string_lossy().into_owned();
            for (kind, version) in written(&folder.join(&round))? {
                observed.insert(format!("{round}/{kind}"), version);
            }
        }
        Ok(observed)
    }
}

/// What is in each file, of those that are there.
fn written(folder: &Path) -> Result<Vec<(&'static str, u64)>, Failed> {
    let mut written = Vec::new();
    let database = places::database(folder)?;
    let tables = block_on(database.run(vec![Statement::new("SELECT name FROM sqlite_schema WHERE name = 't'")]))?;
    if !tables[0].cells.is_empty() {
        let rows = block_on(database.run(vec![Statement::new("SELECT version FROM t")]))?;
        if let Some(version) = rows[0].cells.only_integer() {
            written.push(("database", version as u64));
        }
    }
    let queues = places::queues(folder, Arc::new(SystemClock))?;
    for message in block_on(queues.peek("jobs", 10))? {
        written.push(("queue", std::str::from_utf8(&message.body)?.parse()?));
    }
    let cache = places::cache(folder, Arc::new(SystemClock))?;
    if let Some(entry) = block_on(cache.get("key"))? {
        written.push(("cache", std::str::from_utf8(&entry.value)?.parse()?));
    }
    let bucket = places::bucket(folder)?;
    if let Some(found) = block_on(bucket.get("key", &aerostack_storage::GetRequest::default()))? {
        let mut body = found.body.ok_or("there was no condition")?;
        let bytes = block_on(body.read())?;
        written.push(("storage", std::str::from_utf8(&bytes)?.parse()?));
    }
    let vectors = places::vectors(folder)?;
    for vector in block_on(vectors.get(vec!["id".to_owned()]))? {
        written.push(("vectorize", vector.metadata.ok_or("the vector has metadata")?.parse()?));
    }
    drop((database, queues, cache, bucket, vectors));
    let files = [
        places::database_file(folder),
        places::queues_file(folder),
        places::cache_file(folder),
        places::bucket_folder(folder).join("metadata.sqlite"),
        places::vectors_file(folder),
    ];
    files.iter().try_for_each(|file| places::check_integrity(file))?;
    Ok(written)
}
