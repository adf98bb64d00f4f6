//! The record of cron firings under fire.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aerostack_cron::{CronExpression, MINUTE_MS, Weekdays, WhenMissed, minute_text};
use aerostack_faults::{Say, Storm, kill_a_child, rounds};
use aerostack_queue::QueueBatch;
use aerostack_scheduler::{
    BatchOutcome, BatchReport, ClockWentBack, CronReport, EventTarget, HandlerOutcome, ManualTimer, MissedFirings,
    ScheduledEvent, ScheduledOutcome, Scheduler, SchedulerLog, Trouble,
};
use async_trait::async_trait;
use libtest_mimic::{Failed, Trial};
use tokio::sync::watch;

const NAME: &str =
    "a process killed while cron triggers fire loses at most the firing of that minute, and repeats none on record";

/// Minutes since the epoch at which the first child begins.
const START: u64 = 28_000_000;
/// Minutes between the beginnings of two children.
const BETWEEN: u64 = 1_000;

/// The child of [`trial`]: turns the clock, a minute at a time, under a trigger that fires every minute.
pub(crate) struct CronStorm;

/// Says what ran and tells the child's loop.
struct Saying {
    say: Say,
    ran: watch::Sender<u64>,
}

impl Storm for CronStorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn work(&self, folder: &Path, say: &Say) {
        aerostack_faults::block_on(turn_until_killed(folder, say));
    }
}

async fn turn_until_killed(folder: &Path, say: &Say) {
    let start = START + say.round() * BETWEEN;
    let timer = Arc::new(ManualTimer::new(start * MINUTE_MS));
    let saying = Arc::new(Saying { say: say.clone(), ran: watch::Sender::new(0) });
    let mut ran = saying.ran.subscribe();
    let scheduler = Scheduler::new(timer.clone(), saying.clone(), folder);
    let every_minute = CronExpression::parse("* * * * *", Weekdays::Unix).expect("it is one");
    say.line(&format!("set {start}"));
    scheduler.set_triggers("main", saying, vec![every_minute], WhenMissed::Skip);
    for minute in start + 1.. {
        say.line(&format!("clock {minute}"));
        timer.set(minute * MINUTE_MS);
        ran.wait_for(|ran| *ran == minute).await.expect("the sender lives");
        if minute.is_multiple_of(4) {
            wait_until_recorded(folder, minute).await;
            say.line(&format!("recorded {minute}"));
        }
    }
}

async fn wait_until_recorded(folder: &Path, minute: u64) {
    let wanted = format!("{}\tmain\t* * * * *\n", minute_text(minute * MINUTE_MS));
    while !std::fs::read_to_string(folder.join("cron/handled")).is_ok_and(|text| text == wanted) {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

#[async_trait]
impl EventTarget for Saying {
    async fn scheduled(&self, event: ScheduledEvent) -> ScheduledOutcome {
        let minute = event.scheduled_time_ms / MINUTE_MS;
        self.say.line(&format!("ran {minute}"));
        self.ran.send_replace(minute);
        ScheduledOutcome { outcome: HandlerOutcome::Ok, no_retry: false, output: Vec::new() }
    }

    async fn queue(&self, _batch: QueueBatch) -> BatchOutcome {
        unreachable!("no queue is consumed")
    }
}

impl SchedulerLog for Saying {
    fn cron_ran(&self, _report: &CronReport) {}

    fn firings_missed(&self, missed: &MissedFirings) {
        let (first, last) = (missed.firings.first_ms / MINUTE_MS, missed.firings.last_ms / MINUTE_MS);
        self.say.line(&format!("missed {first} {last}"));
    }

    fn clock_went_back(&self, report: &ClockWentBack) {
        self.say.line(&format!("trouble {report:?}"));
    }

    fn batch_ran(&self, _report: &BatchReport) {}

    fn waits_for_process(&self, process: Option<u32>) {
        unreachable!("nobody else is there, but {process:?}")
    }

    fn took_over(&self) {
        unreachable!("nobody else was there")
    }

    fn trouble(&self, trouble: &Trouble) {
        self.say.line(&format!("trouble {trouble}"));
    }
}

/// What the children said.
#[derive(Default)]
struct Minutes {
    first: Option<u64>,
    clock: u64,
    recorded: u64,
    covered: BTreeSet<u64>,
    /// The minutes in which a child was killed.
    fatal: BTreeSet<u64>,
}

pub(crate) fn trial() -> Trial {
    Trial::test(NAME, || {
        let folder = tempfile::tempdir()?;
        let mut minutes = Minutes::default();
        for round in 0..rounds() {
            kill_a_child(&CronStorm, folder.path(), round, |line| minutes.hear(line))?;
            minutes.fatal.insert(minutes.clock);
            for entry in std::fs::read_dir(folder.path().join("cron")).into_iter().flatten() {
                let name = entry?.file_name();
                assert!(
                    ["handled", "handled.new"].iter().any(|known| name == *known),
                    "{} is left over",
                    name.display()
                );
            }
        }
        let first = minutes.first.ok_or("no child came so far as to set its trigger")?;
        let lost: Vec<u64> = (first + 1..=minutes.clock)
            .filter(|minute| !minutes.covered.contains(minute) && !minutes.fatal.contains(minute))
            .collect();
        assert!(lost.is_empty(), "neither run nor told missed: {lost:?}");
        Ok(())
    })
}

impl Minutes {
    fn hear(&mut self, line: &str) -> Result<(), Failed> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["set", minute] => {
                let minute = minute.parse()?;
                // A trigger begins after it is first set, so time that passed before the first record is nobody's.
                if self.recorded == 0 {
                    self.first = Some(minute);
                }
                self.clock = minute;
            }
            ["clock", minute] => self.clock = minute.parse()?,
            ["recorded", minute] => self.recorded = minute.parse()?,
            ["ran", minute] => {
                let minute = minute.parse()?;
                if minute <= self.recorded {
                    return Err(format!("{minute} ran again, and {} was on record", self.recorded).into());
                }
                self.covered.insert(minute);
            }
            ["missed", first, last] => self.covered.extend(first.parse::<u64>()?..=last.parse()?),
            _ => return Err(format!("the child said {line:?}").into()),
        }
        Ok(())
    }
}
