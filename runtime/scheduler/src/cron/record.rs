//! `<state folder>/cron/handled`: how far each trigger was handled, for the next process.
//!
//! One line a trigger, tabs between: the minute in UTC up to which every firing ran or was counted as missed, the worker, the
//! expression.
//!
//! ```text
//! 2026-11-24 21:41    shop    */5 * * * *
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerostack_bindings::make_state_folder;
use aerostack_cron::{minute_of_text, minute_text};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::log::{SchedulerLog, Trouble};

/// Up to when each trigger was handled, milliseconds since the UNIX epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record(BTreeMap<TriggerKey, u64>);

/// One trigger, over restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TriggerKey {
    pub(super) worker: Arc<str>,
    pub(super) cron: Arc<str>,
}

/// Writes records one after the other, the newest only, on a thread that may block.
pub(super) struct RecordWriter {
    newest: watch::Sender<Record>,
    task: JoinHandle<()>,
}

impl Record {
    pub(super) fn insert(&mut self, key: TriggerKey, handled_ms: u64) {
        self.0.insert(key, handled_ms);
    }

    /// Takes out what belongs to one worker, by expression.
    pub(super) fn take_worker(&mut self, worker: &str) -> BTreeMap<Arc<str>, u64> {
        let mut taken = BTreeMap::new();
        self.0.retain(|key, handled_ms| {
            if *key.worker == *worker {
                taken.insert(Arc::clone(&key.cron), *handled_ms);
            }
            *key.worker != *worker
        });
        taken
    }

    /// An absent file is an empty record.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut record = Self::default();
        for (index, line) in text.lines().enumerate() {
            let parsed = line.split_once('\t').and_then(|(minute, trigger)| {
                let (worker, cron) = trigger.split_once('\t')?;
                Some((minute_of_text(minute)?, TriggerKey { worker: worker.into(), cron: cron.into() }))
            });
            let (handled_ms, key) =
                parsed.ok_or_else(|| format!("line {} is not `minute<tab>worker<tab>expression`", index + 1))?;
            record.insert(key, handled_ms);
        }
        Ok(record)
    }

    fn text(&self) -> String {
        let line = |(key, handled_ms): (&TriggerKey, &u64)| {
            [&*minute_text(*handled_ms), "\t", &*key.worker, "\t", &*key.cron, "\n"].concat()
        };
        self.0.iter().map(line).collect()
    }

    /// Replaces the file as a whole: a crash leaves the old one or the new one.
    fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            make_state_folder(folder)?;
        }
        let fresh = path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_data()?;
        fs::rename(&fresh, path)
    }
}

impl RecordWriter {
    /// `written` is what the file holds now.
    pub(super) fn start(path: PathBuf, written: Record, log: Arc<dyn SchedulerLog>) -> Self {
        let (newest, mut changes) = watch::channel(written);
        let task = tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let record = changes.borrow_and_update().clone();
                let to = path.clone();
                let written = tokio::task::spawn_blocking(move || record.write(&to)).await;
                let reason = match written {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => format!("cannot be written: {error}"),
                    Err(error) => format!("cannot be written: {error}"),
                };
                log.trouble(&Trouble::CronRecord { path: path.clone(), reason });
            }
        });
        Self { newest, task }
    }

    /// Writes the record soon, if it is another one than before.
    pub(super) fn write(&self, record: Record) {
        self.newest.send_if_modified(|newest| {
            let changed = *newest != record;
            *newest = record;
            changed
        });
    }

    /// Waits until the newest record is written.
    pub(super) async fn finish(self) {
        drop(self.newest);
        // An error would be a panic of the task, which its hook has printed.
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut record = Record::default();
        let key = |worker: &str, cron: &str| TriggerKey { worker: worker.into(), cron: cron.into() };
        record.insert(key("shop/auth", "*/5 *\t* * *"), 1_699_999_980_000);
        record.insert(key("main", "0 9 * * MON"), 0);
        record
    }

    #[test]
    fn a_record_is_plain_text_and_comes_back_as_it_was() {
        let text = record().text();
        assert_eq!(text, "1970-01-01 00:00\tmain\t0 9 * * MON\n2023-11-14 22:13\tshop/auth\t*/5 *\t* * *\n");
        assert_eq!(Record::parse(&text), Ok(record()));
        assert_eq!(Record::parse(""), Ok(Record::default()));
    }

    #[test]
    fn a_broken_line_is_named() {
        for text in ["\n", "x", "1970-01-01 00:00\tmain", "1970-01-01\tmain\t* * * * *"] {
            let broken = format!("1970-01-01 00:00\tmain\t* * * * *\n{text}\n");
            assert_eq!(Record::parse(&broken), Err("line 2 is not `minute<tab>worker<tab>expression`".to_owned()));
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cron").join("handled");
        assert_eq!(Record::read(&path), Ok(Record::default()));
        Record::default().write(&path).expect("it is written");
        record().write(&path).expect("it is written");
        assert_eq!(Record::read(&path), Ok(record()));
        let files: Vec<_> = fs::read_dir(folder.path().join("cron")).expect("a folder").collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }
}
