//! A disk that fills up: what was acknowledged stays, the error names the file and the cause, and it goes on when there is room.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Error, SystemClock};
use aerostack_cache::{CacheDriver, Entry};
use aerostack_cron::{CronExpression, MINUTE_MS, Weekdays, WhenMissed};
use aerostack_database::{Cell, DatabaseDriver, Statement, Value};
use aerostack_faults::{block_on, trial_on_disk};
use aerostack_queue::{ContentType, Outgoing, QueueBatch, QueueDriver};
use aerostack_scheduler::{
    BatchOutcome, BatchReport, ClockWentBack, CronReport, EventTarget, HandlerOutcome, ManualTimer, MissedFirings,
    ScheduledEvent, ScheduledOutcome, Scheduler, SchedulerLog, Trouble,
};
use aerostack_storage::{GetRequest, NewObject, StorageDriver};
use aerostack_vectorize::{Vector, VectorDriver, Writing};
use async_trait::async_trait;
use bytes::Bytes;
use libtest_mimic::{Failed, Trial};
use tokio::sync::watch;

use crate::places;

const DISK_BYTES: u64 = 4 * 1024 * 1024;
const BODY_BYTES: usize = 10_000;
/// Writes before the disk is full.
const EARLY: u64 = 20;
/// A full disk must have shown after so many more.
const ENOUGH: u64 = 2_000;

/// One kind of file with numbers in it.
trait Numbers {
    fn write(&self, number: u64) -> Result<(), Error>;

    fn is_there(&self, number: u64) -> Result<bool, Error>;
}

type Open = fn(&Path) -> Result<Box<dyn Numbers>, Error>;

pub(crate) fn trials() -> Vec<Trial> {
    let kind = |name: &'static str, open: Open, text: &'static [&'static str]| {
        trial_on_disk(name, DISK_BYTES, move |disk| {
            let driver = open(disk.path())?;
            let mut acknowledged = 0;
            let mut write = || driver.write(acknowledged).map(|()| acknowledged += 1);
            (0..EARLY).try_for_each(|_| write())?;
            disk.fill()?;
            let error = (0..ENOUGH).find_map(|_| write().err()).ok_or("the disk is never full")?;
            let named = disk.path().display().to_string();
            assert!(error.message().contains(&named), "the error names the file: {error}");
            assert!(text.iter().any(|text| error.message().contains(text)), "the error tells the cause: {error}");
            assert!(write().is_err(), "it is still full");
            (0..EARLY).try_for_each(|number| is_there(&*driver, number))?;
            disk.make_room()?;
            (0..EARLY).try_for_each(|_| driver.write(acknowledged).map(|()| acknowledged += 1))?;
            (0..acknowledged).try_for_each(|number| is_there(&*driver, number))?;
            drop(driver);
            let driver = open(disk.path())?;
            (0..acknowledged).try_for_each(|number| is_there(&*driver, number))?;
            drop(driver);
            let files = [places::database_file, places::queues_file, places::cache_file, places::vectors_file];
            files.iter().try_for_each(|file| places::check_integrity(&file(disk.path())))
        })
    };
    vec![
        kind(
            "a database on a full disk says so, keeps its rows, and writes again when there is room",
            database,
            &["database or disk is full: SQLITE_FULL", "disk I/O error: SQLITE_IOERR"],
        ),
        kind(
            "a cache on a full disk says so, keeps its entries, and writes again when there is room",
            cache,
            &["the disk is full", "disk I/O error"],
        ),
        kind(
            "queues on a full disk say so, keep their messages, and take more when there is room",
            queues,
            &["the disk is full", "disk I/O error"],
        ),
        kind(
            "a bucket on a full disk says so, keeps its objects, and stores again when there is room",
            bucket,
            &["no space left on device", "the disk is full"],
        ),
        kind(
            "a vector index on a full disk says so, keeps its vectors, and writes again when there is room",
            vectors,
            &["the disk is full", "disk I/O error"],
        ),
        trial_on_disk(
            "cron triggers fire on a full disk, which is told, and are on record again when there is room",
            DISK_BYTES,
            |disk| block_on(fire_on_a_full_disk(disk)),
        ),
    ]
}

fn is_there(numbers: &dyn Numbers, number: u64) -> Result<(), Failed> {
    if numbers.is_there(number)? { Ok(()) } else { Err(format!("{number} was acknowledged and is lost").into()) }
}

fn body(number: u64) -> Vec<u8> {
    (0..BODY_BYTES).map(|place| (place as u64 * 31 + number) as u8).collect()
}

fn database(folder: &Path) -> Result<Box<dyn Numbers>, Error> {
    struct Rows(Arc<dyn DatabaseDriver>);
    impl Numbers for Rows {
        fn write(&self, number: u64) -> Result<(), Error> {
            let values = [Value::Real(number as f64), Value::Blob(body(number))];
            block_on(self.0.run(vec![Statement::with_params("INSERT INTO t VALUES (?, ?)", values)])).map(drop)
        }

        fn is_there(&self, number: u64) -> Result<bool, Error> {
            let query = Statement::with_params("SELECT body FROM t WHERE number = ?", [Value::Real(number as f64)]);
            Ok(block_on(self.0.run(vec![query]))?[0].cells == [Cell::Blob(body(number))])
        }
    }
    let driver = places::database(folder)?;
    let table = "CREATE TABLE IF NOT EXISTS t (number INTEGER PRIMARY KEY, body BLOB)";
    block_on(driver.run(vec![Statement::new(table)]))?;
    Ok(Box::new(Rows(driver)))
}

fn cache(folder: &Path) -> Result<Box<dyn Numbers>, Error> {
    struct Entries(Arc<dyn CacheDriver>);
    impl Numbers for Entries {
        fn write(&self, number: u64) -> Result<(), Error> {
            block_on(self.0.put(&number.to_string(), Entry::lasting(body(number))))
        }

        fn is_there(&self, number: u64) -> Result<bool, Error> {
            Ok(block_on(self.0.get(&number.to_string()))? == Some(Entry::lasting(body(number))))
        }
    }
    Ok(Box::new(Entries(places::cache(folder, Arc::new(SystemClock))?)))
}

fn queues(folder: &Path) -> Result<Box<dyn Numbers>, Error> {
    struct Messages(Arc<dyn QueueDriver>);
    impl Numbers for Messages {
        fn write(&self, number: u64) -> Result<(), Error> {
            let body = Bytes::from(body(number));
            let message = Outgoing { content_type: ContentType::Bytes, body, delay: Duration::ZERO };
            block_on(self.0.send("jobs", vec![message])).map(drop)
        }

        fn is_there(&self, number: u64) -> Result<bool, Error> {
            let messages = block_on(self.0.peek("jobs", 10_000))?;
            Ok(messages.get(number as usize).is_some_and(|message| message.body == body(number)))
        }
    }
    Ok(Box::new(Messages(places::queues(folder, Arc::new(SystemClock))?)))
}

fn bucket(folder: &Path) -> Result<Box<dyn Numbers>, Error> {
    struct Objects(Arc<dyn StorageDriver>);
    impl Numbers for Objects {
        fn write(&self, number: u64) -> Result<(), Error> {
            let object = NewObject { key: number.to_string(), size: BODY_BYTES as u64, ..NewObject::default() };
            block_on(async {
                let mut upload = self.0.put(object).await?;
                upload.write(body(number).into()).await?;
                upload.finish().await.map(drop)
            })
        }

        fn is_there(&self, number: u64) -> Result<bool, Error> {
            block_on(async {
                let found = self.0.get(&number.to_string(), &GetRequest::default()).await?;
                let Some(mut bytes) = found.and_then(|found| found.body) else { return Ok(false) };
                Ok(bytes.read().await? == body(number))
            })
        }
    }
    Ok(Box::new(Objects(places::bucket(folder)?)))
}

fn vectors(folder: &Path) -> Result<Box<dyn Numbers>, Error> {
    struct Vectors(Arc<dyn VectorDriver>);
    impl Vectors {
        fn vector(number: u64) -> Vector {
            let values = body(number).iter().take(1500).map(|byte| f32::from(*byte)).collect();
            Vector { id: number.to_string(), values, namespace: None, metadata: None }
        }
    }
    impl Numbers for Vectors {
        fn write(&self, number: u64) -> Result<(), Error> {
            block_on(self.0.write(vec![Self::vector(number)], Writing::Upsert)).map(drop)
        }

        fn is_there(&self, number: u64) -> Result<bool, Error> {
            Ok(block_on(self.0.get(vec![number.to_string()]))? == [Self::vector(number)])
        }
    }
    Ok(Box::new(Vectors(places::vectors(folder)?)))
}

/// A worker that counts, and a log that keeps what does not work.
struct Counting {
    ran: watch::Sender<u64>,
    troubles: watch::Sender<Vec<String>>,
}

async fn fire_on_a_full_disk(disk: &aerostack_faults::SmallDisk) -> Result<(), Failed> {
    let timer = Arc::new(ManualTimer::new(28_000_000 * MINUTE_MS));
    let counting = Arc::new(Counting { ran: watch::Sender::new(0), troubles: watch::Sender::new(Vec::new()) });
    let (mut ran, mut troubles) = (counting.ran.subscribe(), counting.troubles.subscribe());
    let scheduler = Scheduler::new(timer.clone(), counting.clone(), disk.path());
    let every_minute = CronExpression::parse("* * * * *", Weekdays::Unix)?;
    scheduler.set_triggers("main", counting, vec![every_minute], WhenMissed::Skip);
    let record = disk.path().join("cron/handled");
    timer.set(28_000_001 * MINUTE_MS);
    ran.wait_for(|ran| *ran == 28_000_001).await?;
    wait_for_record(&record, "01").await?;

    disk.fill()?;
    for minute in 28_000_002..28_000_005 {
        timer.set(minute * MINUTE_MS);
        ran.wait_for(|ran| *ran == minute).await?;
    }
    let told = troubles.wait_for(|troubles| !troubles.is_empty()).await?.clone();
    let expected = format!("cron triggers: {}: cannot be written: No space left on device", record.display());
    assert!(told[0].starts_with(&expected), "{told:?}");

    disk.make_room()?;
    timer.set(28_000_005 * MINUTE_MS);
    ran.wait_for(|ran| *ran == 28_000_005).await?;
    wait_for_record(&record, "05").await?;
    scheduler.stop(Duration::ZERO).await;
    Ok(())
}

/// Waits until the record holds a minute of the hour in which the test plays.
async fn wait_for_record(path: &Path, minute: &str) -> Result<(), Failed> {
    // 28,000,000 minutes after the epoch an hour is forty minutes old.
    let minute = format!("{}\tmain", minute.parse::<u64>()? + 40);
    let recorded = async {
        while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(&minute)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), recorded).await.map_err(Failed::from)
}

#[async_trait]
impl EventTarget for Counting {
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome {
        self.ran.send_replace(event.scheduled_time_ms / MINUTE_MS);
        ScheduledOutcome { outcome: HandlerOutcome::Ok, no_retry: false, output: Vec::new() }
    }

    async fn queue(&self, _batch: QueueBatch) -> BatchOutcome {
        unreachable!("no queue is consumed")
    }
}

impl SchedulerLog for Counting {
    fn cron_ran(&self, _report: &CronReport) {}

    fn firings_missed(&self, _missed: &MissedFirings) {}

    fn clock_went_back(&self, _report: &ClockWentBack) {}

    fn batch_ran(&self, _report: &BatchReport) {}

    fn waits_for_process(&self, process: Option<u32>) {
        unreachable!("nobody else is there, but {process:?}")
    }

    fn took_over(&self) {
        unreachable!("nobody else was there")
    }

    fn trouble(&self, trouble: &Trouble) {
        self.troubles.send_modify(|troubles| troubles.push(trouble.to_string()));
    }
}
