//! A state folder that is removed while its files are open. What is written into them then nobody could ever read again, so it is
//! refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aerostack_bindings::{Error, ErrorKind, SystemClock};
use aerostack_cache::Entry;
use aerostack_database::Statement;
use aerostack_faults::block_on;
use aerostack_queue::{ContentType, Outgoing};
use aerostack_storage::NewObject;
use aerostack_vectorize::{Vector, Writing};
use bytes::Bytes;
use libtest_mimic::Trial;

use crate::places;

/// A write to an open driver.
type Write = Box<dyn Fn() -> Result<(), Error>>;

type Open = fn(&Path) -> Result<Write, Error>;

pub(crate) fn trials() -> Vec<Trial> {
    let kind = |name: &'static str, open: Open| {
        Trial::test(name, move || {
            let place = tempfile::tempdir()?;
            let (state, aside) = (place.path().join("state"), place.path().join("aside"));
            let write = open(&state)?;
            write()?;
            fs::rename(&state, &aside)?;
            let error = write().err().ok_or("a write into nowhere is acknowledged")?;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.message().contains(&state.display().to_string()), "the error names the file: {error}");
            fs::rename(&aside, &state)?;
            write()?;
            fs::remove_dir_all(&state)?;
            assert!(write().is_err(), "a write into nowhere is acknowledged");
            // Another begins anew beside it, and what the first has open is not taken for it.
            let anew = open(&state)?;
            anew()?;
            assert!(write().is_err(), "a write into nowhere is acknowledged");
            Ok(())
        })
    };
    vec![
        kind(
            "a database whose folder is removed refuses to write, goes on when it is back, and can be begun anew",
            |state| {
                let driver = places::database(state)?;
                block_on(driver.run(vec![Statement::new("CREATE TABLE t (number INTEGER)")]))?;
                Ok(Box::new(move || block_on(driver.run(vec![Statement::new("INSERT INTO t VALUES (1)")])).map(drop)))
            },
        ),
        kind(
            "a cache whose folder is removed refuses to write, goes on when it is back, and can be begun anew",
            |state| {
                let driver = places::cache(state, Arc::new(SystemClock))?;
                Ok(Box::new(move || block_on(driver.put("key", Entry::lasting("value")))))
            },
        ),
        kind("queues whose folder is removed refuse to write, go on when it is back, and can be begun anew", |state| {
            let driver = places::queues(state, Arc::new(SystemClock))?;
            Ok(Box::new(move || {
                let body = Bytes::from_static(b"body");
                let message = Outgoing { content_type: ContentType::Text, body, delay: std::time::Duration::ZERO };
                block_on(driver.send("jobs", vec![message])).map(drop)
            }))
        }),
        kind(
            "a bucket whose folder is removed refuses to write, goes on when it is back, and can be begun anew",
            |state| {
                let driver = places::bucket(state)?;
                Ok(Box::new(move || {
                    block_on(async {
                        let object = NewObject { key: "key".to_owned(), size: 5, ..NewObject::default() };
                        let mut upload = driver.put(object).await?;
                        upload.write(Bytes::from_static(b"bytes")).await?;
                        upload.finish().await.map(drop)
                    })
                }))
            },
        ),
        kind(
            "a vector index whose folder is removed refuses to write, goes on when it is back, and can be begun anew",
            |state| {
                let driver = places::vectors(state)?;
                Ok(Box::new(move || {
                    let vector =
                        Vector { id: "id".to_owned(), values: vec![1.0, 2.0], namespace: None, metadata: None };
                    block_on(driver.write(vec![vector], Writing::Upsert)).map(drop)
                }))
            },
        ),
    ]
}
