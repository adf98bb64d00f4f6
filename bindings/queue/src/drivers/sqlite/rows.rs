//! How times and types of content stand in the file.

use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::{Backlog, ContentType, MessageId};

/// A moment as SQLite stores it. Times beyond its range are as far away as its last.
pub(super) fn moment(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The moment `delay` after `now`.
pub(super) fn after(now: i64, delay: Duration) -> i64 {
    now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

/// A stored moment. One before 1970 is as long past as 1970.
pub(super) fn ms(moment: i64) -> u64 {
    u64::try_from(moment).unwrap_or(0)
}

/// The backlog in the columns `messages`, `bytes` and the time of the oldest, from column `first` on.
pub(super) fn backlog(row: &Row<'_>, first: usize) -> rusqlite::Result<Backlog> {
    Ok(Backlog {
        messages: ms(row.get(first)?),
        bytes: ms(row.get(first + 1)?),
        oldest_ms: row.get::<_, Option<i64>>(first + 2)?.map(ms),
    })
}

impl ToSql for ContentType {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for ContentType {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        Self::from_name(name).ok_or_else(|| FromSqlError::Other(format!("\"{name}\" is no type of content").into()))
    }
}

impl ToSql for MessageId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

impl FromSql for MessageId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(Self)
    }
}
