use std::path::Path;
use std::sync::Arc;

use aerostack_bindings::SystemClock;
use aerostack_cache::Entry;
use aerostack_faults::{Observed, Say, Storm, WriteStorm, block_on, content};
use libtest_mimic::Failed;

use super::write_until_killed;
use crate::places::{cache, cache_file, check_integrity};

const KEYS: u64 = 24;

/// `put`, in place of what was there, and `delete`.
pub(super) struct CacheStorm;

impl Storm for CacheStorm {
    fn name(&self) -> &'static str {
        "a cache killed while entries are put and deleted has the last acknowledged one of each key, whole"
    }

    fn work(&self, folder: &Path, say: &Say) {
        let driver = cache(folder, Arc::new(SystemClock)).expect("the cache opens");
        write_until_killed(KEYS, say, async |key, version| {
            let outcome = match version {
                Some(version) => {
                    let metadata = Some(version.to_string().into());
                    driver.put(key, Entry { metadata, ..Entry::lasting(content(key, version)) }).await
                }
                None => driver.delete(key).await,
            };
            outcome.expect("the write goes through");
        });
    }
}

impl WriteStorm for CacheStorm {
    fn observe(&self, folder: &Path) -> Result<Observed, Failed> {
        let driver = cache(folder, Arc::new(SystemClock))?;
        let mut observed = Observed::new();
        for listed in block_on(driver.list("", 1000, None))?.keys {
            let entry = block_on(driver.get(&listed.name))?.ok_or("a listed key has no entry")?;
            let version = entry.metadata.as_deref().unwrap_or_default().parse()?;
            if entry.value != content(&listed.name, version) {
                return Err(format!("the value of {} is not that of version {version}", listed.name).into());
            }
            observed.insert(listed.name, version);
        }
        check_integrity(&cache_file(folder))?;
        Ok(observed)
    }
}
