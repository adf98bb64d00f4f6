//! A state folder that cannot be written: permission bits do not bind root, so it lies on a disk that is mounted read-only.

use std::path::Path;
use std::sync::Arc;

use aerostack_bindings::{Error, Lazy, SystemClock};
use aerostack_cache::{CacheDriver, Entry};
use aerostack_database::Statement;
use aerostack_faults::{Access, block_on, trial_on_disk};
use libtest_mimic::{Failed, Trial};

use crate::places;

const DISK_BYTES: u64 = 4 * 1024 * 1024;

type Use = fn(&Path) -> Result<(), Error>;

pub(crate) fn trials() -> Vec<Trial> {
    let kind = |name: &'static str, use_it: Use| {
        trial_on_disk(name, DISK_BYTES, move |disk| {
            // Once where there are files, and once where they would have to be made.
            let (used, fresh) = (disk.path().join("used"), disk.path().join("fresh"));
            use_it(&used)?;
            disk.remount(Access::ReadOnly)?;
            for folder in [&used, &fresh] {
                let error = use_it(folder).err().ok_or("nothing can be written, and nothing was refused")?;
                let text = error.message().to_lowercase();
                assert!(
                    text.contains(&folder.display().to_string().to_lowercase()),
                    "the error names the file: {text}"
                );
                let causes = ["read-only", "readonly", "permission", "cannot be written", "may not be written"];
                assert!(causes.iter().any(|cause| text.contains(cause)), "the error tells the cause: {text}");
            }
            disk.remount(Access::ReadWrite)?;
            [&used, &fresh].into_iter().try_for_each(|folder| use_it(folder)).map_err(Failed::from)
        })
    };
    vec![
        kind("a database in a read-only folder says so, and works once it can be written", |folder| {
            let table = "CREATE TABLE IF NOT EXISTS t (number INTEGER)";
            block_on(places::database(folder)?.run(vec![Statement::new(table)])).map(drop)
        }),
        kind("a cache in a read-only folder says so, and works once it can be written", |folder| {
            block_on(places::cache(folder, Arc::new(SystemClock))?.put("key", Entry::lasting("value")))
        }),
        kind("queues in a read-only folder say so, and work once it can be written", |folder| {
            block_on(places::queues(folder, Arc::new(SystemClock))?.send("jobs", Vec::new())).map(drop)
        }),
        kind("a bucket in a read-only folder says so, and works once it can be written", |folder| {
            block_on(places::bucket(folder)?.delete(&["key".to_owned()]))
        }),
        kind("a vector index in a read-only folder says so, and works once it can be written", |folder| {
            block_on(places::vectors(folder)?.delete(vec!["id".to_owned()])).map(drop)
        }),
        trial_on_disk(
            "a binding that could not be opened is opened by the next call, without a restart",
            DISK_BYTES,
            |disk| {
                let folder = disk.path().join("state");
                let binding = Lazy::<dyn CacheDriver>::new(move || places::cache(&folder, Arc::new(SystemClock)));
                disk.remount(Access::ReadOnly)?;
                assert!(binding.get().is_err());
                disk.remount(Access::ReadWrite)?;
                block_on(binding.get()?.put("key", Entry::lasting("value")))?;
                Ok(())
            },
        ),
    ]
}
