//! What the calls do to the file, within a transaction that somebody else begins and commits.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::rows::{after, backlog, ms};
use crate::{Backlog, Delivery, Lease, MessageId, Outgoing, Settlement, Verdict};

/// How many messages a purge or a redrive takes at a time, so that a long one lets others through in between.
pub(super) const CHUNK: usize = 1000;

/// How many bytes of a message's id are random.
const RANDOM_BYTES: usize = 10;

const QUEUE_OF_NAME: &str = "SELECT id FROM queues WHERE name = ?1";
const ADD_QUEUE: &str = "INSERT INTO queues (name) VALUES (?1)";
const COUNT: &str = "UPDATE queues SET messages = messages + ?2, bytes = bytes + ?3 WHERE id = ?1";
const BACKLOG: &str =
    "SELECT messages, bytes, (SELECT min(sent_at) FROM messages WHERE queue = ?1) FROM queues WHERE id = ?1";
const ADD: &str =
    "INSERT INTO messages (queue, due_at, sent_at, id, content_type, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DUE: &str = "SELECT number, lease, attempts, sent_at, id, content_type, body
    FROM messages INDEXED BY messages_by_due
    WHERE queue = ?1 AND due_at <= ?2 ORDER BY due_at, number LIMIT ?3";
const TAKE: &str = "UPDATE messages SET due_at = ?2, lease = ?3, attempts = ?4 WHERE number = ?1";
const EXTEND: &str = "UPDATE messages SET due_at = ?4 WHERE number = ?1 AND lease = ?2 AND queue = ?3";
const RETRY: &str =
    "UPDATE messages SET due_at = ?4, lease = lease + 1 WHERE number = ?1 AND lease = ?2 AND queue = ?3";
const RETURN: &str = "UPDATE messages SET due_at = ?4, lease = lease + 1, attempts = attempts - 1
    WHERE number = ?1 AND lease = ?2 AND queue = ?3";
const LEASED_BYTES: &str = "SELECT octet_length(body) FROM messages WHERE number = ?1 AND lease = ?2 AND queue = ?3";
const DELETE: &str = "DELETE FROM messages WHERE number = ?1";
/// Turns the lease even, and an even one into the next even one.
const MOVE: &str =
    "UPDATE messages SET queue = ?2, due_at = ?3, lease = lease + 2 - lease % 2, attempts = 0, dead_lettered_from = ?4
    WHERE number = ?1";
const NAME: &str = "SELECT name FROM queues WHERE id = ?1";
const LAST_NUMBER: &str = "SELECT coalesce(max(number), 0) FROM messages";
const SWEEP: &str = "SELECT number, sent_at, octet_length(body), lease % 2 = 1 AND due_at > ?6, dead_lettered_from
    FROM messages INDEXED BY messages_by_age
    WHERE queue = ?1 AND (sent_at, number) > (?2, ?3) AND number <= ?4 ORDER BY sent_at, number LIMIT ?5";

/// For the test that looks at how SQLite runs them.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[
    QUEUE_OF_NAME,
    ADD_QUEUE,
    COUNT,
    BACKLOG,
    ADD,
    DUE,
    TAKE,
    EXTEND,
    RETRY,
    RETURN,
    LEASED_BYTES,
    DELETE,
    MOVE,
    NAME,
    LAST_NUMBER,
    SWEEP,
];

/// A queue's number.
type QueueId = i64;

/// The numbers of queues, which never change once they are committed.
#[derive(Default)]
pub(super) struct Queues {
    known: HashMap<String, QueueId>,
    /// Those that the running transaction has made.
    uncommitted: Vec<String>,
}

/// How far a purge or a redrive has come. It goes by what never changes, the time of sending and the number, so that a message
/// which moves while it runs is neither missed nor met twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sweep {
    /// The last message there was when it began: those sent meanwhile are left alone.
    last: i64,
    /// Time of sending and number of the last message it has passed.
    after: (i64, i64),
}

/// What one step of a sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// How many messages were deleted or moved.
    pub(super) done: u64,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<Sweep>,
}

/// A message that a sweep came across.
struct SweptMessage {
    number: i64,
    sent_at: i64,
    bytes: i64,
    is_leased: bool,
    dead_lettered_from: Option<QueueId>,
}

/// Messages and the bytes of their bodies.
#[derive(Debug, Default)]
struct Tally {
    messages: i64,
    bytes: i64,
}

/// A transaction that runs. Everything it does may be undone and done again.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) queues: &'a mut Queues,
    /// The queues that may have a message due, or be longer, once it is committed.
    pub(super) changed: &'a mut Vec<String>,
    /// The one moment at which it happens.
    pub(super) now: i64,
}

impl Queues {
    pub(super) fn committed(&mut self) {
        self.uncommitted.clear();
    }

    pub(super) fn rolled_back(&mut self) {
        for name in self.uncommitted.drain(..) {
            self.known.remove(&name);
        }
    }
}

impl Transaction<'_> {
    pub(super) fn send(&mut self, queue: &str, messages: &[Outgoing]) -> rusqlite::Result<Backlog> {
        let id = self.queue_or_new(queue)?;
        let mut random = vec![0; messages.len() * RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let mut bytes = 0;
        let mut add = self.connection.prepare_cached(ADD)?;
        for (message, random) in messages.iter().zip(random.chunks_exact(RANDOM_BYTES)) {
            add.execute(params![
                id,
                after(self.now, message.delay),
                self.now,
                message_id(ms(self.now), random),
                message.content_type,
                &message.body[..],
            ])?;
            bytes += message.body.len() as i64;
        }
        drop(add);
        self.count(id, messages.len() as i64, bytes)?;
        self.changed.push(queue.to_owned());
        self.connection.prepare_cached(BACKLOG)?.query_row([id], |row| backlog(row, 0))
    }

    pub(super) fn lease(&mut self, queue: &str, limit: usize, visibility: Duration) -> rusqlite::Result<Vec<Delivery>> {
        let Some(id) = self.queue(queue)? else { return Ok(Vec::new()) };
        let mut due = self.connection.prepare_cached(DUE)?;
        let deliveries = due
            .query_map(params![id, self.now, limit as i64], |row| {
                // Odd, and beyond all that came before.
                let token = (row.get::<_, i64>(1)? + 1) | 1;
                Ok(Delivery {
                    lease: Lease { message: row.get::<_, i64>(0)? as u64, token: token as u64 },
                    attempts: row.get::<_, u32>(2)?.saturating_add(1),
                    sent_at_ms: ms(row.get(3)?),
                    id: row.get(4)?,
                    content_type: row.get(5)?,
                    body: Bytes::copy_from_slice(row.get_ref(6)?.as_blob()?),
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let until = after(self.now, visibility);
        let mut take = self.connection.prepare_cached(TAKE)?;
        for Delivery { lease, attempts, .. } in &deliveries {
            take.execute(params![lease.message as i64, until, lease.token as i64, attempts])?;
        }
        Ok(deliveries)
    }

    /// Gives leases back that nobody has seen: they do not count as attempts.
    pub(super) fn unlease(&mut self, queue: &str, leases: &[Lease]) -> rusqlite::Result<()> {
        let Some(id) = self.queue(queue)? else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(RETURN)?;
        for lease in leases {
            statement.execute(params![lease.message as i64, lease.token as i64, id, self.now])?;
        }
        self.changed.push(queue.to_owned());
        Ok(())
    }

    pub(super) fn extend(&mut self, queue: &str, leases: &[Lease], visibility: Duration) -> rusqlite::Result<()> {
        let Some(id) = self.queue(queue)? else { return Ok(()) };
        let until = after(self.now, visibility);
        let mut statement = self.connection.prepare_cached(EXTEND)?;
        for lease in leases {
            statement.execute(params![lease.message as i64, lease.token as i64, id, until])?;
        }
        Ok(())
    }

    /// How many leases no longer held.
    pub(super) fn settle(&mut self, queue: &str, settlements: &[Settlement]) -> rusqlite::Result<usize> {
        let Some(id) = self.queue(queue)? else { return Ok(settlements.len()) };
        let mut passed_over = 0;
        let mut retried = false;
        let mut gone = Tally::default();
        for Settlement { lease, verdict } in settlements {
            let holds = match verdict {
                Verdict::Delete => self.delete(id, *lease, &mut gone)?,
                Verdict::Retry(delay) => {
                    let holds = self.retry(id, *lease, *delay)?;
                    retried |= holds;
                    holds
                }
                Verdict::DeadLetter(target) => self.dead_letter(id, *lease, target, &mut gone)?,
            };
            passed_over += usize::from(!holds);
        }
        self.count(id, -gone.messages, -gone.bytes)?;
        if retried {
            self.changed.push(queue.to_owned());
        }
        Ok(passed_over)
    }

    /// Deletes the next [`CHUNK`] messages of a sweep.
    pub(super) fn purge_some(&mut self, queue: &str, sweep: Option<Sweep>) -> rusqlite::Result<Swept> {
        let Some(id) = self.queue(queue)? else { return Ok(Swept::default()) };
        let (next, found) = self.sweep(id, sweep)?;
        let mut gone = Tally::default();
        let mut delete = self.connection.prepare_cached(DELETE)?;
        for message in &found {
            delete.execute([message.number])?;
            gone.add(message.bytes);
        }
        drop(delete);
        self.count(id, -gone.messages, -gone.bytes)?;
        Ok(Swept { done: gone.messages as u64, next })
    }

    /// Moves those of the next [`CHUNK`] messages of a sweep that are not leased and have a place to go to.
    pub(super) fn redrive_some(
        &mut self,
        queue: &str,
        target: Option<&str>,
        sweep: Option<Sweep>,
    ) -> rusqlite::Result<Swept> {
        let Some(id) = self.queue(queue)? else { return Ok(Swept::default()) };
        let (next, found) = self.sweep(id, sweep)?;
        let mut moved = HashMap::<QueueId, Tally>::new();
        for message in found.iter().filter(|message| !message.is_leased) {
            let target = match (target, message.dead_lettered_from) {
                (Some(name), _) => self.queue_or_new(name)?,
                (None, Some(origin)) => origin,
                (None, None) => continue,
            };
            self.relocate(message.number, target, None)?;
            moved.entry(target).or_default().add(message.bytes);
        }
        let mut done = 0;
        for (target, Tally { messages, bytes }) in moved {
            self.count(id, -messages, -bytes)?;
            self.count(target, messages, bytes)?;
            let name = self.connection.prepare_cached(NAME)?.query_row([target], |row| row.get(0))?;
            self.changed.push(name);
            done += messages as u64;
        }
        Ok(Swept { done, next })
    }

    fn sweep(&mut self, queue: QueueId, sweep: Option<Sweep>) -> rusqlite::Result<(Option<Sweep>, Vec<SweptMessage>)> {
        let mut sweep = match sweep {
            Some(sweep) => sweep,
            None => Sweep {
                last: self.connection.prepare_cached(LAST_NUMBER)?.query_row([], |row| row.get(0))?,
                after: (i64::MIN, i64::MIN),
            },
        };
        let found = self
            .connection
            .prepare_cached(SWEEP)?
            .query_map(params![queue, sweep.after.0, sweep.after.1, sweep.last, CHUNK as i64, self.now], |row| {
                Ok(SweptMessage {
                    number: row.get(0)?,
                    sent_at: row.get(1)?,
                    bytes: row.get(2)?,
                    is_leased: row.get(3)?,
                    dead_lettered_from: row.get(4)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        match found.last() {
            Some(message) if found.len() == CHUNK => sweep.after = (message.sent_at, message.number),
            _ => return Ok((None, found)),
        }
        Ok((Some(sweep), found))
    }

    fn delete(&mut self, queue: QueueId, lease: Lease, gone: &mut Tally) -> rusqlite::Result<bool> {
        let Some(bytes) = self.leased_bytes(queue, lease)? else { return Ok(false) };
        self.connection.prepare_cached(DELETE)?.execute([lease.message as i64])?;
        gone.add(bytes);
        Ok(true)
    }

    fn retry(&mut self, queue: QueueId, lease: Lease, delay: Duration) -> rusqlite::Result<bool> {
        let due_at = after(self.now, delay);
        let mut retry = self.connection.prepare_cached(RETRY)?;
        Ok(retry.execute(params![lease.message as i64, lease.token as i64, queue, due_at])? > 0)
    }

    fn dead_letter(&mut self, queue: QueueId, lease: Lease, target: &str, gone: &mut Tally) -> rusqlite::Result<bool> {
        let Some(bytes) = self.leased_bytes(queue, lease)? else { return Ok(false) };
        let target_id = self.queue_or_new(target)?;
        self.relocate(lease.message as i64, target_id, Some(queue))?;
        gone.add(bytes);
        self.count(target_id, 1, bytes)?;
        self.changed.push(target.to_owned());
        Ok(true)
    }

    /// The length of the body of a message whose lease holds.
    fn leased_bytes(&mut self, queue: QueueId, lease: Lease) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached(LEASED_BYTES)?
            .query_row(params![lease.message as i64, lease.token as i64, queue], |row| row.get(0))
            .optional()
    }

    /// Puts a message into another queue, where it is due at once and has not been tried.
    fn relocate(&mut self, number: i64, target: QueueId, dead_lettered_from: Option<QueueId>) -> rusqlite::Result<()> {
        self.connection.prepare_cached(MOVE)?.execute(params![number, target, self.now, dead_lettered_from])?;
        Ok(())
    }

    fn count(&mut self, queue: QueueId, messages: i64, bytes: i64) -> rusqlite::Result<()> {
        if messages != 0 {
            self.connection.prepare_cached(COUNT)?.execute([queue, messages, bytes])?;
        }
        Ok(())
    }

    fn queue(&mut self, name: &str) -> rusqlite::Result<Option<QueueId>> {
        if let Some(id) = self.queues.known.get(name) {
            return Ok(Some(*id));
        }
        let found = self.connection.prepare_cached(QUEUE_OF_NAME)?.query_row([name], |row| row.get(0)).optional()?;
        if let Some(id) = found {
            self.queues.known.insert(name.to_owned(), id);
        }
        Ok(found)
    }

    fn queue_or_new(&mut self, name: &str) -> rusqlite::Result<QueueId> {
        if let Some(id) = self.queue(name)? {
            return Ok(id);
        }
        self.connection.prepare_cached(ADD_QUEUE)?.execute([name])?;
        let id = self.connection.last_insert_rowid();
        self.queues.known.insert(name.to_owned(), id);
        self.queues.uncommitted.push(name.to_owned());
        Ok(id)
    }
}

impl Tally {
    fn add(&mut self, bytes: i64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// 48 bits of time ahead of 80 random ones: ids sort by when they were made, and nobody guesses one.
fn message_id(now_ms: u64, random: &[u8]) -> MessageId {
    let mut id = [0; 16];
    id[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    id[6..].copy_from_slice(random);
    MessageId(id)
}
