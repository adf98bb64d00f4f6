//! What every driver must do, as tests that any driver's test binary can run.
//!
//! A suite gets a function that opens a *place* (a name, new for each test) with a clock. Opening the same place twice gives
//! two drivers over the same queues, as two processes or a restart would.

mod basics;
mod binding;
mod concurrency;
pub mod crash;
mod dead_letters;
mod leases;
mod model;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aerostack_bindings::{Clock, ManualClock};
use bytes::Bytes;
use libtest_mimic::{Failed, Trial};

use crate::{ContentType, Delivery, Lease, NamedQueue, Outgoing, QueueDriver, Settlement, Verdict};

/// Milliseconds since the UNIX epoch at which every test begins.
const START_MS: u64 = 1_700_000_000_250;
/// How long leases hold where a test does not care.
const VISIBILITY: Duration = Duration::from_secs(30);
/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a place.
pub type Open = Arc<dyn Fn(&str, Arc<dyn Clock>) -> Arc<dyn QueueDriver> + Send + Sync>;

type Outcome = Result<(), Failed>;

/// A test: its name and what it does in a place of its own.
type Case = (&'static str, fn(&Place) -> Outcome);

/// Every test of the suite, named `<driver>::<sentence>`.
pub fn trials(driver: &'static str, open: &Open) -> Vec<Trial> {
    [basics::CASES, leases::CASES, dead_letters::CASES, binding::CASES, concurrency::CASES, model::CASES]
        .into_iter()
        .flatten()
        .map(|(name, test)| {
            let open = Arc::clone(open);
            Trial::test(format!("{driver}::{name}"), move || test(&Place::new(name, open)))
        })
        .collect()
}

/// Where one test has its queues.
struct Place {
    name: String,
    clock: Arc<ManualClock>,
    open: Open,
}

impl Place {
    fn new(name: &str, open: Open) -> Self {
        Self { name: name.to_owned(), clock: Arc::new(ManualClock::new(START_MS)), open }
    }

    /// Another place, for one of several runs of the same test.
    fn beside(&self, number: usize) -> Self {
        Self::new(&format!("{}-{number}", self.name), Arc::clone(&self.open))
    }

    fn driver(&self) -> Arc<dyn QueueDriver> {
        self.driver_with(self.clock.clone())
    }

    fn driver_with(&self, clock: Arc<dyn Clock>) -> Arc<dyn QueueDriver> {
        (self.open)(&self.name, clock)
    }

    fn binding(&self, delivery_delay: Duration) -> NamedQueue {
        NamedQueue {
            name: "QUEUE".to_owned(),
            queue: "jobs".to_owned(),
            driver: Arc::new(self.driver().into()),
            delivery_delay,
            backlog: crate::BacklogLimit::none(),
        }
    }
}

/// Runs a test on a current-thread runtime, as an isolate would.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

fn text(body: &str) -> Outgoing {
    delayed(body, 0)
}

fn delayed(body: &str, delay_ms: u64) -> Outgoing {
    Outgoing {
        content_type: ContentType::Text,
        body: Bytes::copy_from_slice(body.as_bytes()),
        delay: Duration::from_millis(delay_ms),
    }
}

async fn send(driver: &dyn QueueDriver, queue: &str, bodies: &[&str]) -> Outcome {
    driver.send(queue, bodies.iter().map(|body| text(body)).collect()).await?;
    Ok(())
}

async fn lease(driver: &dyn QueueDriver, queue: &str) -> Result<Vec<Delivery>, Failed> {
    Ok(driver.lease(queue, 1000, VISIBILITY).await?)
}

/// The only message that is due.
async fn lease_one(driver: &dyn QueueDriver, queue: &str) -> Result<Delivery, Failed> {
    let mut deliveries = lease(driver, queue).await?;
    assert_eq!(deliveries.len(), 1, "one message is due");
    Ok(deliveries.remove(0))
}

async fn settle(driver: &dyn QueueDriver, queue: &str, lease: Lease, verdict: Verdict) -> Result<usize, Failed> {
    Ok(driver.settle(queue, vec![Settlement { lease, verdict }]).await?)
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| std::str::from_utf8(&delivery.body).expect("a text")).collect()
}
