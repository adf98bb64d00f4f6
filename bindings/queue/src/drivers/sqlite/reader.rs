//! Reading without waiting for the writer.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aerostack_bindings::Result;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::file;
use super::rows::{backlog, moment, ms};
use crate::{Backlog, Due, PeekedMessage, QueueSummary};

const DUE: &str = "SELECT
    (SELECT count(*) FROM (SELECT 1 FROM messages WHERE queue = queues.id AND due_at <= ?2 LIMIT ?3)),
    (SELECT min(due_at) FROM messages WHERE queue = queues.id)
    FROM queues WHERE name = ?1";
const BACKLOG: &str = "SELECT messages, bytes, (SELECT min(sent_at) FROM messages WHERE queue = queues.id)
    FROM queues WHERE name = ?1";
const QUEUES: &str = "SELECT name, messages, bytes, (SELECT min(sent_at) FROM messages WHERE queue = queues.id),
        (SELECT count(*) FROM messages WHERE queue = queues.id AND due_at > ?1 AND lease % 2 = 0),
        (SELECT count(*) FROM messages WHERE queue = queues.id AND due_at > ?1 AND lease % 2 = 1)
    FROM queues ORDER BY name";
const PEEK: &str = "SELECT m.id, m.sent_at, m.attempts, m.due_at, m.lease % 2 = 1 AND m.due_at > ?2, origin.name,
        m.content_type, m.body
    FROM queues JOIN messages AS m INDEXED BY messages_by_due ON m.queue = queues.id
    LEFT JOIN queues AS origin ON origin.id = m.dead_lettered_from
    WHERE queues.name = ?1 ORDER BY m.due_at, m.number LIMIT ?3";

/// For the test that looks at how SQLite runs them.
#[cfg(test)]
pub(super) const STATEMENTS: &[&str] = &[DUE, BACKLOG, QUEUES, PEEK];

/// A connection that only reads.
pub(super) struct Reader(Mutex<Connection>);

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let connection = file::open(path)?;
        connection
            .execute_batch("PRAGMA query_only = ON")
            .map_err(|error| file::failed(path, "read", &Arc::new(error)))?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Takes microseconds, however long the queue.
    pub(super) fn due(&self, queue: &str, limit: usize, now_ms: u64) -> rusqlite::Result<Due> {
        let due = self
            .connection()
            .prepare_cached(DUE)?
            .query_row(params![queue, moment(now_ms), limit as i64], |row| {
                Ok(Due { ready: row.get::<_, u32>(0)? as usize, earliest_ms: row.get::<_, Option<i64>>(1)?.map(ms) })
            })
            .optional()?;
        Ok(due.unwrap_or_default())
    }

    /// Takes microseconds, however long the queue.
    pub(super) fn backlog(&self, queue: &str) -> rusqlite::Result<Backlog> {
        let found = self.connection().prepare_cached(BACKLOG)?.query_row([queue], |row| backlog(row, 0)).optional()?;
        Ok(found.unwrap_or_default())
    }

    /// Counts the messages that are not due.
    pub(super) fn queues(&self, now_ms: u64) -> rusqlite::Result<Vec<QueueSummary>> {
        self.connection()
            .prepare_cached(QUEUES)?
            .query_map([moment(now_ms)], |row| {
                Ok(QueueSummary {
                    name: row.get(0)?,
                    backlog: backlog(row, 1)?,
                    delayed: ms(row.get(4)?),
                    leased: ms(row.get(5)?),
                })
            })?
            .collect()
    }

    /// Reads as many bodies as are asked for.
    pub(super) fn peek(&self, queue: &str, limit: usize, now_ms: u64) -> rusqlite::Result<Vec<PeekedMessage>> {
        self.connection()
            .prepare_cached(PEEK)?
            .query_map(params![queue, moment(now_ms), limit as i64], |row| {
                Ok(PeekedMessage {
                    id: row.get(0)?,
                    sent_at_ms: ms(row.get(1)?),
                    attempts: row.get(2)?,
                    due_at_ms: ms(row.get(3)?),
                    leased: row.get(4)?,
                    dead_lettered_from: row.get(5)?,
                    content_type: row.get(6)?,
                    body: Bytes::copy_from_slice(row.get_ref(7)?.as_blob()?),
                })
            })?
            .collect()
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held leaves the connection as usable as an error would.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
