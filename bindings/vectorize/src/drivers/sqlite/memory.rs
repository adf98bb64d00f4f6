//! What is kept of the file in memory, to search in.

use std::collections::HashMap;

use aerostack_bindings::{Held, Memory as Bound, Result};
use rusqlite::Connection;
use serde_json::Value;

use super::Progress;
use super::rows::{self, Changed, Header, Outcome};
use crate::limits;
use crate::search::{self, Approximate, Columns, GraphFileError, Near, Slots, Space, Stamp};
use crate::{Metric, Query};

/// The vectors of a file as of a generation, with what is needed to select among them.
pub(super) struct Memory {
    metric: Metric,
    /// The generation of the file that all this agrees with; 0 before anything was read or written.
    generation: i64,
    /// `None` as long as nothing was written.
    space: Option<Space>,
    live: Slots,
    /// How many are live.
    count: usize,
    /// The number that stands for each namespace that there has been.
    namespaces: HashMap<String, u32>,
    /// The number of each slot's namespace. What is beyond the end is in none.
    namespace_of_slot: Vec<u32>,
    columns: Columns,
    /// From how many components on (vectors times dimensions) a graph is kept.
    approximate_from: usize,
    approximate: Approximate,
    /// Where the bytes of all this count.
    bound: Bound,
    held: Held,
    /// What the columns took when the last of them was added: counting is too slow for each write.
    column_bytes: usize,
}

/// About what the graph, and the lists of slots and namespaces, take for a vector.
const BYTES_BESIDE_A_VECTOR: usize = 160;

/// The number that stands for no namespace.
const NO_NAMESPACE: u32 = 0;

/// What a search needs that memory may lack.
pub(super) enum Search {
    Found(Vec<Near>),
    /// Columns of properties that the filter names have to be read first.
    ColumnsMissing,
}

impl Memory {
    pub(super) fn new(metric: Metric, approximate_from: usize, bound: Bound) -> Self {
        Self {
            metric,
            generation: 0,
            space: None,
            live: Slots::default(),
            count: 0,
            namespaces: HashMap::new(),
            namespace_of_slot: Vec::new(),
            columns: Columns::default(),
            approximate_from,
            approximate: Approximate::default(),
            bound,
            held: Held::default(),
            column_bytes: 0,
        }
    }

    /// Counts what it will take once it has caught up with this header; before, so that nothing is read that has no room.
    fn make_room(&mut self, header: &Header) -> Result<()> {
        self.hold(bytes_of(header) + self.column_bytes)
    }

    /// Counts what a write will take that turns the file's generation `before` into `header`. Memory that does not follow
    /// the write must have room for it all the same: what is stored can be searched.
    pub(super) fn make_room_for_write(&mut self, before: i64, header: &Header) -> Result<()> {
        if self.generation == before {
            return self.make_room(header);
        }
        let more = (bytes_of(header) + self.column_bytes).saturating_sub(self.held.bytes());
        self.bound.hold(more).map(drop)
    }

    fn hold(&mut self, bytes: usize) -> Result<()> {
        if self.held.bytes() == 0 {
            self.held = self.bound.hold(bytes)?;
        }
        self.held.grow_to(bytes)
    }

    pub(super) fn generation(&self) -> i64 {
        self.generation
    }

    pub(super) fn space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// How many components a search has to look at, at most; padding counts, for it is looked at too.
    pub(super) fn components(&self) -> usize {
        self.space.as_ref().map_or(0, |space| self.count * space.width())
    }

    /// Whether nothing was read or written yet.
    pub(super) fn is_new(&self) -> bool {
        self.generation == 0
    }

    /// Takes over what was written to the file since the generation of this memory.
    pub(super) fn catch_up(&mut self, connection: &Connection) -> Outcome<()> {
        let header = rows::header(connection)?;
        if header.generation == self.generation {
            return Ok(());
        }
        self.make_room(&header)?;
        rows::changes_since(connection, self.generation, header.dimensions, |changed| {
            self.apply(changed, header.dimensions);
        })?;
        self.columns.tidy(self.count);
        self.generation = header.generation;
        Ok(())
    }

    /// Takes over a write of this process that turned `before` into `after`, unless this memory is not at `before`.
    pub(super) fn take_over(&mut self, before: i64, after: i64, dimensions: usize, changes: Vec<Changed>) {
        if self.generation != before {
            return;
        }
        for changed in changes {
            self.apply(changed, dimensions);
        }
        self.columns.tidy(self.count);
        self.generation = after;
    }

    /// Adds the columns that a query's filter needs.
    pub(super) fn add_columns(&mut self, query: &Query, connection: &Connection) -> Outcome<()> {
        let Some(filter) = &query.filter else { return Ok(()) };
        let missing = self.columns.missing(filter);
        if missing.is_empty() {
            return Ok(());
        }
        let mut added = Columns::new(missing);
        rows::all_metadata(connection, |slot, json| added.set(slot, parsed(Some(json)).as_ref()))?;
        let bytes = self.columns.bytes() + added.bytes();
        self.hold(bytes_of(&rows::header(connection)?) + bytes)?;
        self.columns.adopt(added, filter);
        self.column_bytes = bytes;
        Ok(())
    }

    /// The nearest of the selected vectors, the nearest first.
    pub(super) fn search(&self, query: &Query) -> Result<Search> {
        let Some(space) = &self.space else { return Ok(Search::Found(Vec::new())) };
        limits::check_query_dimensions(space.dimensions(), query.values.len())?;
        if query.filter.as_ref().is_some_and(|filter| !self.columns.missing(filter).is_empty()) {
            return Ok(Search::ColumnsMissing);
        }
        let narrowed = self.select(query);
        let selected = narrowed.as_ref().unwrap_or(&self.live);
        let count = narrowed.as_ref().map_or(self.count, Slots::count);
        let prepared = space.prepare(&query.values);
        let live = (&self.live, self.count);
        if let Some(nearest) = self.approximate.search(space, &prepared, query.top_k, narrowed.as_ref(), live) {
            return Ok(Search::Found(nearest.into_sorted()));
        }
        let threads = search::threads_for(space, count);
        Ok(Search::Found(search::scan(space, &prepared, selected, query.top_k, threads).into_sorted()))
    }

    /// Whether there are so many vectors that a graph is worth its memory.
    pub(super) fn keeps_a_graph(&self) -> bool {
        self.components() >= self.approximate_from
    }

    /// Whether vectors should be linked in the background.
    pub(super) fn is_link_due(&self) -> bool {
        self.keeps_a_graph() && self.approximate.is_due(self.count)
    }

    pub(super) fn progress(&self) -> Progress {
        let namespaces = self.namespaces.keys().map(|name| name.capacity() + 48).sum::<usize>();
        Progress {
            vectors: self.count,
            unlinked: self.approximate.unlinked(),
            breadth: self.approximate.breadth(),
            is_linking: self.is_link_due(),
            vector_bytes: self.space.as_ref().map_or(0, Space::bytes),
            graph_bytes: self.approximate.bytes(),
            other_bytes: self.live.bytes()
                + namespaces
                + self.namespace_of_slot.capacity() * size_of::<u32>()
                + self.columns.bytes(),
        }
    }

    /// What the background works on, with the space and the live slots.
    pub(super) fn approximate(&self) -> Option<(&Approximate, &Space, &Slots)> {
        self.space.as_ref().map(|space| (&self.approximate, space, &self.live))
    }

    /// As [`Memory::approximate`], to be changed; with the live slots and how many they are.
    pub(super) fn approximate_mut(&mut self) -> (&mut Approximate, &Slots, usize) {
        (&mut self.approximate, &self.live, self.count)
    }

    /// Takes over the file of a graph, where it belongs to the vectors in memory.
    pub(super) fn restore(&mut self, bytes: &[u8], connection: &Connection) -> Outcome<Result<(), GraphFileError>> {
        let Some(space) = &self.space else { return Ok(Err(GraphFileError::Foreign)) };
        let stamp = self.stamp(rows::header(connection)?.identity, space);
        self.approximate
            .restore(bytes, &stamp, space.end(), |generation, visit| rows::slots_since(connection, generation, visit))
    }

    /// What a file of the graph would be of.
    pub(super) fn stamp(&self, identity: Vec<u8>, space: &Space) -> Stamp {
        Stamp { identity, generation: self.generation, metric: self.metric, dimensions: space.dimensions() }
    }

    /// The slots that namespace and filter leave; `None` for all that are live.
    fn select(&self, query: &Query) -> Option<Slots> {
        if query.namespace.is_none() && query.filter.is_none() {
            return None;
        }
        let mut selected = self.live.clone();
        if let Some(namespace) = &query.namespace {
            match self.namespaces.get(namespace) {
                None => return Some(Slots::default()),
                Some(wanted) => selected.retain(|slot| self.namespace_of(slot) == *wanted),
            }
        }
        if let Some(filter) = &query.filter {
            self.columns.retain(filter, &mut selected);
        }
        Some(selected)
    }

    fn namespace_of(&self, slot: u32) -> u32 {
        self.namespace_of_slot.get(slot as usize).copied().unwrap_or(NO_NAMESPACE)
    }

    fn apply(&mut self, changed: Changed, dimensions: usize) {
        let Changed { slot, content } = changed;
        let was_live = self.live.contains(slot);
        self.approximate.changed(slot, content.is_some());
        let Some(content) = content else {
            self.live.remove(slot);
            self.count -= usize::from(was_live);
            // The slot may still be a node of the graph, which has to lead somewhere.
            if let Some(space) = &mut self.space {
                space.make_room(slot);
            }
            return;
        };
        let space = self.space.get_or_insert_with(|| Space::new(self.metric, dimensions));
        space.set(slot, &content.values);
        self.live.insert(slot);
        self.count += usize::from(!was_live);
        self.set_namespace(slot, content.namespace);
        if !self.columns.is_empty() {
            self.columns.set(slot, parsed(content.metadata.as_deref()).as_ref());
        }
    }

    fn set_namespace(&mut self, slot: u32, namespace: Option<String>) {
        let number = match namespace {
            None => NO_NAMESPACE,
            Some(namespace) => {
                let next = self.namespaces.len() as u32 + 1;
                *self.namespaces.entry(namespace).or_insert(next)
            }
        };
        let slot = slot as usize;
        if slot >= self.namespace_of_slot.len() {
            if number == NO_NAMESPACE {
                return;
            }
            self.namespace_of_slot.resize(slot + 1, NO_NAMESPACE);
        }
        self.namespace_of_slot[slot] = number;
    }
}

/// How many bytes of memory the vectors of a file take.
fn bytes_of(header: &Header) -> usize {
    header.vectors.max(0) as usize * (Space::bytes_of_a_vector(header.dimensions) + BYTES_BESIDE_A_VECTOR)
}

/// Metadata that another tool has written may be no JSON, and then has no properties.
fn parsed(json: Option<&str>) -> Option<Value> {
    json.and_then(|json| serde_json::from_str(json).ok())
}
