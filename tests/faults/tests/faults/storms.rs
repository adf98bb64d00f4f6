//! `kill -9` at random moments during every kind of write.
//!
//! What acknowledged means here is that the operating system has it: a killed process loses nothing of it. What the end of the
//! *power* may take is another question, that no test here can ask: nothing of a queue's messages and of a bucket's objects,
//! which are flushed before they are acknowledged, and the last moments of a database, a cache and a vector index, which are
//! not.

mod cache;
mod database;
pub(crate) mod migrations;
mod multipart;
mod objects;
mod opening;
mod vectors;

use std::sync::Arc;

use aerostack_faults::{Say, Storm, WriteStorm, block_on, random_below};

use crate::cron::CronStorm;

/// The storms of writes.
pub(crate) fn of_writes() -> Vec<Arc<dyn WriteStorm>> {
    vec![
        Arc::new(database::Autocommit),
        Arc::new(database::Batches),
        Arc::new(database::Scripts),
        Arc::new(cache::CacheStorm),
        Arc::new(objects::ObjectStorm),
        Arc::new(multipart::MultipartStorm),
        Arc::new(vectors::VectorStorm),
        Arc::new(opening::OpeningStorm),
    ]
}

/// Everything that a child may be asked to do.
pub(crate) fn all() -> Vec<Arc<dyn Storm>> {
    let of_writes = of_writes().into_iter().map(|storm| -> Arc<dyn Storm> { storm });
    let others: [Arc<dyn Storm>; 2] = [Arc::new(migrations::MigrationStorm), Arc::new(CronStorm)];
    of_writes.chain(others).collect()
}

/// Writers of a child. Each has keys of its own.
const WRITERS: u64 = 2;

/// Runs `write` for ever, on several threads with a runtime each. It gets a key and the version to leave there, `None` for nothing:
/// one write in five removes.
fn write_until_killed(keys: u64, say: &Say, write: impl AsyncFn(&str, Option<u64>) + Sync) {
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let write = &write;
            scope.spawn(move || {
                block_on(async {
                    for version in (say.first_version() + writer..).step_by(WRITERS as usize) {
                        let key = format!("{writer}/{}", random_below(keys));
                        let version = (random_below(5) > 0).then_some(version);
                        say.begins(&key, version);
                        write(&key, version).await;
                        say.was_promised(&key);
                    }
                });
            });
        }
    });
}
