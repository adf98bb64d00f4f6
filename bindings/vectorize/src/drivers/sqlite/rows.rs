//! The statements, and what a row means. Everything here runs on a connection that the caller has locked.

use aerostack_bindings::{Error, ErrorKind};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

use crate::Vector;

/// Why a statement did not do what it should.
pub(super) enum Failure {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// The call must be refused, or the file does not hold what it should.
    Refused(Error),
}

pub(super) type Outcome<T> = Result<T, Failure>;

/// The one row of `vector_index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Vec<u8>,
    pub(super) dimensions: usize,
    pub(super) vectors: i64,
    pub(super) generation: i64,
    pub(super) changed_at: Option<i64>,
    pub(super) mutation: Option<String>,
}

/// What is stored with a vector.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) namespace: Option<String>,
    pub(super) metadata: Option<String>,
}

/// A slot that changed.
pub(super) struct Changed {
    pub(super) slot: u32,
    /// `None` where the slot is free now.
    pub(super) content: Option<Content>,
}

/// What memory needs of a vector.
pub(super) struct Content {
    pub(super) values: Vec<f32>,
    pub(super) namespace: Option<String>,
    pub(super) metadata: Option<String>,
}

pub(super) fn generation(connection: &Connection) -> Outcome<i64> {
    Ok(connection.prepare_cached("SELECT generation FROM vector_index")?.query_row([], |row| row.get(0))?)
}

pub(super) fn header(connection: &Connection) -> Outcome<Header> {
    const READ: &str = "SELECT identity, dimensions, vectors, generation, changed_at, mutation FROM vector_index";
    Ok(connection.prepare_cached(READ)?.query_row([], |row| {
        Ok(Header {
            identity: row.get(0)?,
            dimensions: row.get::<_, i64>(1)?.max(0) as usize,
            vectors: row.get(2)?,
            generation: row.get(3)?,
            changed_at: row.get(4)?,
            mutation: row.get(5)?,
        })
    })?)
}

pub(super) fn write_header(connection: &Connection, header: &Header) -> Outcome<()> {
    const WRITE: &str =
        "UPDATE vector_index SET dimensions = :dimensions, vectors = :vectors, generation = :generation,
        changed_at = :changed_at, mutation = :mutation";
    connection.prepare_cached(WRITE)?.execute(named_params! {
        ":dimensions": header.dimensions as i64,
        ":vectors": header.vectors,
        ":generation": header.generation,
        ":changed_at": header.changed_at,
        ":mutation": header.mutation,
    })?;
    Ok(())
}

pub(super) fn slot_of(connection: &Connection, id: &str) -> Outcome<Option<i64>> {
    const FIND: &str = "SELECT slot FROM vector_entries WHERE id = :id";
    Ok(connection.prepare_cached(FIND)?.query_row(named_params! { ":id": id }, |row| row.get(0)).optional()?)
}

/// The lowest slot that a deleted vector left, or else the one after the last.
pub(super) fn free_slot(connection: &Connection) -> Outcome<i64> {
    const FREE: &str = "SELECT min(slot) FROM vector_entries WHERE id IS NULL";
    const NEXT: &str = "SELECT coalesce(max(slot) + 1, 0) FROM vector_entries";
    let free: Option<i64> = connection.prepare_cached(FREE)?.query_row([], |row| row.get(0))?;
    match free {
        Some(slot) => Ok(slot),
        None => Ok(connection.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?),
    }
}

pub(super) fn put(connection: &Connection, slot: i64, generation: i64, vector: &Vector) -> Outcome<()> {
    const PUT_ENTRY: &str = "INSERT INTO vector_entries (slot, generation, id, namespace, metadata)
        VALUES (:slot, :generation, :id, :namespace, :metadata)
        ON CONFLICT (slot) DO UPDATE SET generation = excluded.generation, id = excluded.id,
            namespace = excluded.namespace, metadata = excluded.metadata";
    const PUT_VALUES: &str = "INSERT OR REPLACE INTO vector_values (slot, vector) VALUES (:slot, :vector)";
    connection.prepare_cached(PUT_ENTRY)?.execute(named_params! {
        ":slot": slot,
        ":generation": generation,
        ":id": vector.id,
        ":namespace": vector.namespace,
        ":metadata": vector.metadata,
    })?;
    let bytes: Vec<u8> = vector.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    connection.prepare_cached(PUT_VALUES)?.execute(named_params! { ":slot": slot, ":vector": bytes })?;
    Ok(())
}

pub(super) fn free(connection: &Connection, slot: i64, generation: i64) -> Outcome<()> {
    const FREE: &str =
        "UPDATE vector_entries SET generation = :generation, id = NULL, namespace = NULL, metadata = NULL
        WHERE slot = :slot";
    const DROP: &str = "DELETE FROM vector_values WHERE slot = :slot";
    connection.prepare_cached(FREE)?.execute(named_params! { ":slot": slot, ":generation": generation })?;
    connection.prepare_cached(DROP)?.execute(named_params! { ":slot": slot })?;
    Ok(())
}

pub(super) fn entry(connection: &Connection, slot: u32) -> Outcome<Entry> {
    const READ: &str = "SELECT id, namespace, metadata FROM vector_entries WHERE slot = :slot AND id IS NOT NULL";
    let entry = connection
        .prepare_cached(READ)?
        .query_row(named_params! { ":slot": slot }, |row| {
            Ok(Entry { id: row.get(0)?, namespace: row.get(1)?, metadata: row.get(2)? })
        })
        .optional()?;
    entry.ok_or_else(|| damaged(format!("slot {slot} has lost its entry")))
}

pub(super) fn vector(connection: &Connection, id: &str, dimensions: usize) -> Outcome<Option<Vector>> {
    const READ: &str = "SELECT slot, vector, namespace, metadata FROM vector_entries JOIN vector_values USING (slot)
        WHERE id = :id";
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query(named_params! { ":id": id })?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Vector {
        id: id.to_owned(),
        values: values_of(row, 1, dimensions)?,
        namespace: row.get(2)?,
        metadata: row.get(3)?,
    }))
}

/// Shows every slot that changed after a generation.
pub(super) fn changes_since(
    connection: &Connection,
    generation: i64,
    dimensions: usize,
    mut visit: impl FnMut(Changed),
) -> Outcome<()> {
    // Everything is read faster in the order of the slots than in that of the generations.
    const ALL: &str = "SELECT slot, vector, namespace, metadata, id IS NULL FROM vector_entries LEFT JOIN vector_values
        USING (slot) WHERE :after <= 0 ORDER BY slot";
    const SINCE: &str =
        "SELECT slot, vector, namespace, metadata, id IS NULL FROM vector_entries LEFT JOIN vector_values
        USING (slot) WHERE generation > :after";
    let mut statement = connection.prepare_cached(if generation <= 0 { ALL } else { SINCE })?;
    let mut rows = statement.query(named_params! { ":after": generation })?;
    while let Some(row) = rows.next()? {
        let slot = slot_of_row(row)?;
        let content = if row.get(4)? {
            None
        } else {
            let values = values_of(row, 1, dimensions)?;
            Some(Content { values, namespace: row.get(2)?, metadata: row.get(3)? })
        };
        visit(Changed { slot, content });
    }
    Ok(())
}

/// Shows every slot that was written or freed after a generation.
pub(super) fn slots_since(connection: &Connection, generation: i64, visit: &mut dyn FnMut(u32)) -> Outcome<()> {
    const SINCE: &str = "SELECT slot FROM vector_entries WHERE generation > :after";
    let mut statement = connection.prepare_cached(SINCE)?;
    let mut rows = statement.query(named_params! { ":after": generation })?;
    while let Some(row) = rows.next()? {
        visit(slot_of_row(row)?);
    }
    Ok(())
}

/// Shows the metadata of every vector that has any.
pub(super) fn all_metadata(connection: &Connection, mut visit: impl FnMut(u32, &str)) -> Outcome<()> {
    const READ: &str = "SELECT slot, metadata FROM vector_entries WHERE metadata IS NOT NULL ORDER BY slot";
    let mut statement = connection.prepare_cached(READ)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let slot = slot_of_row(row)?;
        visit(slot, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?);
    }
    Ok(())
}

/// A new random name for a write, in the form of a UUID of version 4.
pub(super) fn new_mutation(connection: &Connection) -> Outcome<String> {
    let random: String =
        connection.prepare_cached("SELECT lower(hex(randomblob(16)))")?.query_row([], |row| row.get(0))?;
    let variant = ["8", "9", "a", "b"][usize::from(random.as_bytes()[16] % 4)];
    Ok(format!(
        "{}-{}-4{}-{variant}{}-{}",
        &random[..8],
        &random[8..12],
        &random[13..16],
        &random[17..20],
        &random[20..]
    ))
}

fn slot_of_row(row: &Row<'_>) -> Outcome<u32> {
    let slot: i64 = row.get(0)?;
    u32::try_from(slot).map_err(|_| damaged(format!("there is a slot {slot}")))
}

fn values_of(row: &Row<'_>, column: usize, dimensions: usize) -> Outcome<Vec<f32>> {
    let bytes = row.get_ref(column)?.as_blob_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default();
    let (values, rest) = bytes.as_chunks::<4>();
    if values.len() != dimensions || !rest.is_empty() {
        let slot: i64 = row.get(0)?;
        let length = bytes.len();
        return Err(damaged(format!("the vector of slot {slot} has {length} bytes, not {dimensions} float32")));
    }
    Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn damaged(what: String) -> Failure {
    Failure::Refused(
        Error::new(ErrorKind::Unexpected, "the file of the vector index does not hold what it should")
            .with_context("problem", what),
    )
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
