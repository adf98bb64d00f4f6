//! A queue driver in memory that can be told to fail, and to hang.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aerostack_bindings::{BindingInfo, BindingState, Clock, Error, ErrorKind, Result};
use aerostack_queue::{
    Backlog, ContentType, Delivery, Due, Lease, MessageId, Outgoing, PeekedMessage, QueueDriver, QueueSummary,
    Settlement, Verdict,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub(crate) struct MemoryQueue {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// False while settling hangs.
    settles: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    last_number: u64,
    changes: HashMap<String, watch::Sender<u64>>,
    failures: HashMap<&'static str, usize>,
    calls: HashMap<&'static str, usize>,
    empty_leases: usize,
}

struct Message {
    number: u64,
    queue: String,
    sent_at_ms: u64,
    attempts: u32,
    body: Bytes,
    due_at_ms: u64,
    /// Among messages due at the same time.
    order: u64,
    lease: Option<u64>,
    dead_lettered_from: Option<String>,
}

impl MemoryQueue {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default(), settles: watch::Sender::new(true) }
    }

    /// Lets the next `times` calls of an operation fail.
    pub(crate) fn fail(&self, operation: &'static str, times: usize) {
        self.state().failures.insert(operation, times);
    }

    /// Lets every call go through again.
    pub(crate) fn mend(&self) {
        self.state().failures.clear();
    }

    /// Lets the next `times` leases be empty, as if another process had been quicker.
    pub(crate) fn let_leases_be_empty(&self, times: usize) {
        self.state().empty_leases = times;
    }

    /// How often an operation was called.
    pub(crate) fn calls(&self, operation: &'static str) -> usize {
        self.state().calls.get(operation).copied().unwrap_or_default()
    }

    pub(crate) fn let_settles_hang(&self) {
        self.settles.send_replace(false);
    }

    pub(crate) fn let_settles_go_on(&self) {
        self.settles.send_replace(true);
    }

    /// The bodies of a queue in the order in which they are due, leased ones too.
    pub(crate) fn bodies(&self, queue: &str) -> Vec<String> {
        let mut state = self.state();
        state.messages.sort_by_key(|message| (message.due_at_ms, message.order));
        let of_queue = state.messages.iter().filter(|message| message.queue == queue);
        of_queue.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }

    /// How many messages of a queue are hidden by leases.
    pub(crate) fn leased(&self, queue: &str) -> usize {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        let of_queue = state.messages.iter().filter(|message| message.queue == queue);
        of_queue.filter(|message| message.lease.is_some() && message.due_at_ms > now_ms).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    fn called(&self, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        *state.calls.entry(operation).or_default() += 1;
        if let Some(left) = state.failures.get_mut(operation).filter(|left| **left > 0) {
            *left -= 1;
            return Err(Error::new(ErrorKind::Unavailable, "the disk is full"));
        }
        Ok(state)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn changed(&mut self, queue: &str) {
        self.changes.entry(queue.to_owned()).or_default().send_modify(|version| *version += 1);
    }

    fn backlog(&self, queue: &str) -> Backlog {
        let of_queue = || self.messages.iter().filter(|message| message.queue == queue);
        Backlog {
            messages: of_queue().count() as u64,
            bytes: of_queue().map(|message| message.body.len() as u64).sum(),
            oldest_ms: of_queue().map(|message| message.sent_at_ms).min(),
        }
    }

    /// The message whose lease still holds.
    fn leased(&mut self, queue: &str, lease: Lease, now_ms: u64) -> Option<usize> {
        self.messages.iter().position(|message| {
            message.queue == queue
                && message.number == lease.message
                && message.lease == Some(lease.token)
                && message.due_at_ms > now_ms
        })
    }
}

#[async_trait]
impl QueueDriver for MemoryQueue {
    fn info(&self) -> BindingInfo {
        BindingInfo {
            name: "QUEUE".to_owned(),
            kind: aerostack_queue::KIND,
            driver: "memory",
            summary: "in memory".to_owned(),
            state: BindingState::Ready,
        }
    }

    async fn send(&self, queue: &str, messages: Vec<Outgoing>) -> Result<Backlog> {
        let now_ms = self.clock.now_ms();
        let mut state = self.called("send")?;
        for Outgoing { body, delay, .. } in messages {
            let number = state.number();
            state.messages.push(Message {
                number,
                queue: queue.to_owned(),
                sent_at_ms: now_ms,
                attempts: 0,
                body,
                due_at_ms: now_ms + milliseconds(delay),
                order: number,
                lease: None,
                dead_lettered_from: None,
            });
        }
        state.changed(queue);
        Ok(state.backlog(queue))
    }

    async fn due(&self, queue: &str, limit: usize) -> Result<Due> {
        let now_ms = self.clock.now_ms();
        let state = self.called("due")?;
        let of_queue = || state.messages.iter().filter(|message| message.queue == queue);
        Ok(Due {
            ready: of_queue().filter(|message| message.due_at_ms <= now_ms).count().min(limit),
            earliest_ms: of_queue().map(|message| message.due_at_ms).min(),
        })
    }

    async fn lease(&self, queue: &str, limit: usize, visibility: Duration) -> Result<Vec<Delivery>> {
        let now_ms = self.clock.now_ms();
        let mut state = self.called("lease")?;
        if state.empty_leases > 0 {
            state.empty_leases -= 1;
            return Ok(Vec::new());
        }
        state.messages.sort_by_key(|message| (message.due_at_ms, message.order));
        let mut token = state.last_number;
        let due = state.messages.iter_mut().filter(|message| message.queue == queue && message.due_at_ms <= now_ms);
        let mut deliveries = Vec::new();
        for message in due.take(limit) {
            token += 1;
            message.attempts += 1;
            message.lease = Some(token);
            message.due_at_ms = now_ms + milliseconds(visibility);
            deliveries.push(Delivery {
                lease: Lease { message: message.number, token },
                id: MessageId(u128::from(message.number).to_be_bytes()),
                sent_at_ms: message.sent_at_ms,
                attempts: message.attempts,
                content_type: ContentType::Text,
                body: message.body.clone(),
            });
        }
        state.last_number = token;
        Ok(deliveries)
    }

    async fn extend(&self, queue: &str, leases: &[Lease], visibility: Duration) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let mut state = self.called("extend")?;
        for lease in leases {
            if let Some(index) = state.leased(queue, *lease, now_ms) {
                state.messages[index].due_at_ms = now_ms + milliseconds(visibility);
            }
        }
        Ok(())
    }

    async fn settle(&self, queue: &str, settlements: Vec<Settlement>) -> Result<usize> {
        self.settles.subscribe().wait_for(|go_on| *go_on).await.expect("the sender is borrowed");
        let now_ms = self.clock.now_ms();
        let mut state = self.called("settle")?;
        let mut passed_over = 0;
        let mut changed: BTreeSet<String> = BTreeSet::from([queue.to_owned()]);
        for Settlement { lease, verdict } in settlements {
            let Some(index) = state.leased(queue, lease, now_ms) else {
                passed_over += 1;
                continue;
            };
            let order = state.number();
            let message = &mut state.messages[index];
            message.lease = None;
            message.order = order;
            match verdict {
                Verdict::Delete => drop(state.messages.remove(index)),
                Verdict::Retry(delay) => message.due_at_ms = now_ms + milliseconds(delay),
                Verdict::DeadLetter(target) => {
                    message.dead_lettered_from = Some(std::mem::replace(&mut message.queue, target.clone()));
                    message.attempts = 0;
                    message.due_at_ms = now_ms;
                    changed.insert(target);
                }
            }
        }
        for queue in &changed {
            state.changed(queue);
        }
        Ok(passed_over)
    }

    fn changes(&self, queue: &str) -> watch::Receiver<u64> {
        self.state().changes.entry(queue.to_owned()).or_default().subscribe()
    }

    async fn backlog(&self, queue: &str) -> Result<Backlog> {
        Ok(self.called("backlog")?.backlog(queue))
    }

    async fn queues(&self) -> Result<Vec<QueueSummary>> {
        let state = self.called("queues")?;
        let names: BTreeSet<&String> = state.messages.iter().map(|message| &message.queue).collect();
        let summary =
            |name: &String| QueueSummary { name: name.clone(), backlog: state.backlog(name), delayed: 0, leased: 0 };
        Ok(names.into_iter().map(summary).collect())
    }

    async fn peek(&self, queue: &str, limit: usize) -> Result<Vec<PeekedMessage>> {
        let mut state = self.called("peek")?;
        state.messages.sort_by_key(|message| (message.due_at_ms, message.order));
        let of_queue = state.messages.iter().filter(|message| message.queue == queue);
        Ok(of_queue
            .take(limit)
            .map(|message| PeekedMessage {
                id: MessageId(u128::from(message.number).to_be_bytes()),
                sent_at_ms: message.sent_at_ms,
                attempts: message.attempts,
                due_at_ms: message.due_at_ms,
                leased: message.lease.is_some(),
                dead_lettered_from: message.dead_lettered_from.clone(),
                content_type: ContentType::Text,
                body: message.body.clone(),
            })
            .collect())
    }

    async fn purge(&self, queue: &str) -> Result<u64> {
        let mut state = self.called("purge")?;
        let before = state.messages.len();
        state.messages.retain(|message| message.queue != queue);
        Ok((before - state.messages.len()) as u64)
    }

    async fn redrive(&self, _: &str, _: Option<&str>) -> Result<u64> {
        Err(Error::new(ErrorKind::Unsupported, "not needed here"))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("tests wait for less than half a billion years")
}
