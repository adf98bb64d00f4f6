//! What is left when the process of a driver is killed at any moment.
//!
//! A child process sends and consumes as fast as it can and says on a pipe what it was promised; the parent kills it, again and
//! again, and holds the queues to those promises.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Clock, ManualClock};
use libtest_mimic::Failed;

use super::{Outcome, START_MS, block_on, text};
use crate::{Delivery, QueueDriver, Settlement, Verdict};

/// How often the child is killed where `AEROSTACK_FAULT_ROUNDS` does not say it.
const DEFAULT_ROUNDS: u64 = 20;

/// How many sent messages the child is let live for, at least.
const MESSAGES_A_ROUND: u64 = 1000;
/// How many more lines it is let say at most.
const FURTHER_LINES: u8 = 64;
const MESSAGES_A_SEND: u64 = 25;
const PRODUCERS: u64 = 2;
const CONSUMERS: u64 = 2;
/// Between the numbers of the messages of two producers.
const NUMBERS_A_PRODUCER: u64 = 1_000_000;
const QUEUES: [&str; 2] = ["jobs", "dead"];
/// Longer than any test, and shorter than the time between two rounds.
const VISIBILITY: Duration = Duration::from_hours(1);

/// How often the child is killed.
pub fn rounds() -> u64 {
    match std::env::var("AEROSTACK_FAULT_ROUNDS") {
        Ok(text) => text.parse().expect("AEROSTACK_FAULT_ROUNDS is a number"),
        Err(_) => DEFAULT_ROUNDS,
    }
}

/// The clock of a round: a day on from the one before, so that what a killed child had leased is due again.
pub fn clock(round: u64) -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(START_MS + round * 86_400_000))
}

/// The child: sends and consumes until it is killed, and says so on standard output, each line in one write.
///
/// `sent 1 25` after a send of the messages 1 to 25 has resolved; `got 1 2` when messages were leased; `return 2` before a
/// message is retried or dead-lettered and `delete 1` before it is deleted; `done 1` after its deletion has resolved.
pub fn work_until_killed(driver: &Arc<dyn QueueDriver>, round: u64) {
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let first = (round * PRODUCERS + producer) * NUMBERS_A_PRODUCER;
            scope.spawn(move || block_on(produce(&**driver, first)));
        }
        for _ in 0..CONSUMERS {
            scope.spawn(|| block_on(consume(&**driver)));
        }
    });
}

/// The parent. `child` makes the command that calls [`work_until_killed`] in the round; `open` opens the same queues afterwards.
pub fn kill_again_and_again(child: impl Fn(u64) -> Command, open: impl Fn() -> Arc<dyn QueueDriver>) -> Outcome {
    let mut promises = Promises::default();
    for round in 0..rounds() {
        promises.next_process();
        let mut process = child(round).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("the child has no standard output")?);
        let mut random = [0];
        getrandom::fill(&mut random)?;
        let mut further_lines = random[0] % FURTHER_LINES;
        let enough = promises.sent.len() as u64 + MESSAGES_A_ROUND;
        let mut line = String::new();
        let mut was_killed = false;
        // What it said before it was killed counts, too.
        while lines.read_line(&mut line)? > 0 {
            if line.ends_with('\n') {
                promises.hear(&line)?;
            }
            line.clear();
            if promises.sent.len() as u64 >= enough && !was_killed {
                was_killed = further_lines == 0;
                further_lines = further_lines.saturating_sub(1);
                if was_killed {
                    process.kill()?;
                }
            }
        }
        let status = process.wait()?;
        if !was_killed {
            return Err(format!("the child ended by itself in round {round}: {status}").into());
        }
    }
    promises.next_process();
    block_on(drain(&*open(), &mut promises))?;
    promises.check()
}

async fn produce(driver: &dyn QueueDriver, first: u64) {
    for number in (first..).step_by(MESSAGES_A_SEND as usize) {
        let messages = (number..number + MESSAGES_A_SEND).map(|number| text(&number.to_string())).collect();
        driver.send("jobs", messages).await.expect("the send goes through");
        say(&format!("sent {number} {}", number + MESSAGES_A_SEND));
    }
}

async fn consume(driver: &dyn QueueDriver) {
    let mut changes = QUEUES.map(|queue| driver.changes(queue));
    loop {
        let mut found = 0;
        for queue in QUEUES {
            let deliveries = driver.lease(queue, 40, VISIBILITY).await.expect("the lease goes through");
            found += deliveries.len();
            if !deliveries.is_empty() {
                consume_batch(driver, queue, &deliveries).await;
            }
        }
        if found == 0 {
            let [jobs, dead] = &mut changes;
            tokio::select! {
                changed = jobs.changed() => changed.expect("the driver lives"),
                changed = dead.changed() => changed.expect("the driver lives"),
            }
        }
    }
}

/// A tenth of the messages is retried at first, another tenth dies at first; all others are done.
async fn consume_batch(driver: &dyn QueueDriver, queue: &str, deliveries: &[Delivery]) {
    say(&format!("got {}", numbers(deliveries)));
    let verdict = |delivery: &Delivery| match number(delivery) % 10 {
        3 if delivery.attempts == 1 => Verdict::Retry(Duration::ZERO),
        7 if queue == "jobs" => Verdict::DeadLetter("dead".to_owned()),
        _ => Verdict::Delete,
    };
    let (done, returned): (Vec<_>, Vec<_>) =
        deliveries.iter().cloned().partition(|delivery| verdict(delivery) == Verdict::Delete);
    say(&format!("return {}", numbers(&returned)));
    say(&format!("delete {}", numbers(&done)));
    let settlements =
        deliveries.iter().map(|delivery| Settlement { lease: delivery.lease, verdict: verdict(delivery) }).collect();
    assert_eq!(driver.settle(queue, settlements).await.expect("the settle goes through"), 0);
    say(&format!("done {}", numbers(&done)));
}

fn number(delivery: &Delivery) -> u64 {
    std::str::from_utf8(&delivery.body).ok().and_then(|text| text.parse().ok()).expect("the body is a number")
}

fn numbers(deliveries: &[Delivery]) -> String {
    deliveries.iter().map(|delivery| number(delivery).to_string()).collect::<Vec<_>>().join(" ")
}

fn say(line: &str) {
    // Shorter than what a pipe takes in one piece, so that the lines of two threads do not mix.
    if std::io::stdout().write_all(format!("{line}\n").as_bytes()).is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}

async fn drain(driver: &dyn QueueDriver, promises: &mut Promises) -> Outcome {
    for queue in QUEUES {
        loop {
            let deliveries = driver.lease(queue, 500, VISIBILITY).await?;
            if deliveries.is_empty() {
                break;
            }
            for delivery in &deliveries {
                promises.got(number(delivery))?;
                promises.handled.insert(number(delivery));
            }
            let settlements = deliveries
                .iter()
                .map(|delivery| Settlement { lease: delivery.lease, verdict: Verdict::Delete })
                .collect();
            assert_eq!(driver.settle(queue, settlements).await?, 0);
        }
        assert_eq!(driver.backlog(queue).await?.messages, 0, "the counts of {queue} are right");
    }
    Ok(())
}

/// What the children said.
#[derive(Default)]
struct Promises {
    sent: HashSet<u64>,
    seen: HashSet<u64>,
    held: HashSet<u64>,
    /// Messages whose deletion was asked for: they may be gone, or come again.
    handled: HashSet<u64>,
    /// Messages whose deletion was acknowledged: they are gone.
    done: HashSet<u64>,
}

impl Promises {
    fn next_process(&mut self) {
        self.held.clear();
    }

    fn hear(&mut self, line: &str) -> Outcome {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().ok_or("the child said nothing")?;
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        match (verb, &numbers[..]) {
            ("sent", [from, to]) => self.sent.extend(*from..*to),
            ("got", numbers) => numbers.iter().try_for_each(|number| self.got(*number))?,
            ("return", numbers) => self.held.retain(|number| !numbers.contains(number)),
            ("delete", numbers) => self.handled.extend(numbers),
            ("done", numbers) => self.done.extend(numbers),
            _ => return Err(format!("the child said {line:?}").into()),
        }
        Ok(())
    }

    fn got(&mut self, number: u64) -> Outcome {
        if self.done.contains(&number) {
            return Err(format!("message {number} came again after its deletion was acknowledged").into());
        }
        if !self.held.insert(number) {
            return Err(format!("message {number} was given out while it was leased").into());
        }
        self.seen.insert(number);
        Ok(())
    }

    fn check(&self) -> Outcome {
        let lost: Vec<_> = self.sent.difference(&self.handled).collect();
        assert!(lost.is_empty(), "{} acknowledged messages are lost: {lost:?}", lost.len());
        assert!(self.sent.len() as u64 >= rounds() * MESSAGES_A_ROUND);
        let mut sends = HashMap::new();
        for number in &self.seen {
            *sends.entry(number / MESSAGES_A_SEND).or_insert(0) += 1;
        }
        match sends.iter().find(|(_, count)| **count != MESSAGES_A_SEND) {
            None => Ok(()),
            Some((send, count)) => Err(Failed::from(format!("of send {send}, only {count} messages were there"))),
        }
    }
}
