//! The graph as bytes. It can always be built again, so a file that is not whole, or belongs to something else, is refused
//! and not repaired.

use super::{BOTTOM_CHUNK, Graph, MAX_BOTTOM_LINKS, level_of};
use crate::Metric;
use crate::search::Slots;

/// The first bytes of a file. The last is the layout.
const MAGIC: &[u8; 8] = b"AEROVEC\x01";

/// What a graph is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Tells the database from any other.
    pub identity: Vec<u8>,
    /// The generation of the database whose vectors are linked.
    pub generation: i64,
    /// How nearness is measured.
    pub metric: Metric,
    /// How many components a vector has.
    pub dimensions: usize,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFileError {
    /// It is not whole, was changed, or is none.
    Damaged,
    /// It belongs to another database, a later state of it, or other settings.
    Foreign,
}

/// What a file holds.
pub struct GraphFile {
    /// The links.
    pub graph: Graph,
    /// The slots that were linked with the vectors of the stamp's generation.
    pub linked: Slots,
    /// The generation of the stamp.
    pub generation: i64,
    /// The breadth that searches need, or 0 where none was found to be enough.
    pub breadth: u32,
    /// How many vectors there were when that was found.
    pub measured_at: u64,
}

impl Graph {
    /// The bytes of a file.
    pub fn to_bytes(&self, stamp: &Stamp, linked: &Slots, breadth: u32, measured_at: u64) -> Vec<u8> {
        let slots = self.bottom.len() * BOTTOM_CHUNK;
        let mut bytes = Vec::with_capacity(slots * (MAX_BOTTOM_LINKS + 2) * 4 + 1024);
        bytes.extend_from_slice(MAGIC);
        put(&mut bytes, stamp.identity.len() as u64);
        bytes.extend_from_slice(&stamp.identity);
        put(&mut bytes, stamp.generation as u64);
        put(&mut bytes, stamp.metric as u64);
        put(&mut bytes, stamp.dimensions as u64);
        put(&mut bytes, u64::from(breadth));
        put(&mut bytes, measured_at);
        put(&mut bytes, self.linked);
        put(&mut bytes, self.entry.map_or(u64::MAX, u64::from));
        let linked: Vec<u32> = linked.iter().collect();
        put_slots(&mut bytes, &linked);
        put(&mut bytes, slots as u64);
        for slot in 0..slots as u32 {
            put_slots(&mut bytes, self.links(slot, 0));
        }
        let mut upper: Vec<_> = self.upper.iter().collect();
        upper.sort_unstable_by_key(|(slot, _)| **slot);
        put(&mut bytes, upper.len() as u64);
        for (slot, levels) in upper {
            put(&mut bytes, u64::from(*slot));
            put(&mut bytes, levels.len() as u64);
            for links in levels {
                put_slots(&mut bytes, links);
            }
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a file that belongs to `stamp`, whose generation may be a later one. It must name no slot from `end` on.
    pub fn from_bytes(bytes: &[u8], stamp: &Stamp, end: u32) -> Result<GraphFile, GraphFileError> {
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(GraphFileError::Damaged)?;
        if !content.starts_with(MAGIC) || crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(GraphFileError::Damaged);
        }
        Reader { rest: &content[MAGIC.len()..] }.read(stamp, end)
    }
}

fn put(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_slots(bytes: &mut Vec<u8>, slots: &[u32]) {
    bytes.extend_from_slice(&(slots.len() as u32).to_le_bytes());
    for slot in slots {
        bytes.extend_from_slice(&slot.to_le_bytes());
    }
}

/// Even a file with the right checksum is not trusted with where it makes us look.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn read(mut self, stamp: &Stamp, end: u32) -> Result<GraphFile, GraphFileError> {
        let identity_length = self.number()? as usize;
        let identity = self.take(identity_length)?;
        let is_ours = identity == stamp.identity;
        let generation = self.number()? as i64;
        let is_same = self.number()? == stamp.metric as u64 && self.number()? == stamp.dimensions as u64;
        if !is_ours || !is_same || generation > stamp.generation {
            return Err(GraphFileError::Foreign);
        }
        let breadth = self.number()? as u32;
        let measured_at = self.number()?;
        let mut graph = Graph { linked: self.number()?, ..Graph::default() };
        let entry = self.number()?;
        let linked = self.slots(end)?;
        // Links are allocated for whole chunks, so the last slots may be beyond the end, and without links.
        let slots = u32::try_from(self.number()?).map_err(|_| GraphFileError::Damaged)?;
        for slot in 0..slots {
            let links = self.slots(end)?;
            if links.len() > MAX_BOTTOM_LINKS || (slot >= end && !links.is_empty()) {
                return Err(GraphFileError::Damaged);
            }
            if slot < end {
                graph.set_links(slot, 0, &links);
            }
        }
        for _ in 0..self.number()? {
            let slot = self.slot(end)?;
            for level in 1..=self.number()? as usize {
                if level > level_of(slot) {
                    return Err(GraphFileError::Damaged);
                }
                let links = self.slots(end)?;
                graph.set_links(slot, level, &links);
            }
        }
        if entry != u64::MAX {
            graph.entry = Some(u32::try_from(entry).ok().filter(|slot| *slot < end).ok_or(GraphFileError::Damaged)?);
        }
        if !self.rest.is_empty() {
            return Err(GraphFileError::Damaged);
        }
        let linked = linked.into_iter().collect();
        Ok(GraphFile { graph, linked, generation, breadth, measured_at })
    }

    fn number(&mut self) -> Result<u64, GraphFileError> {
        let (number, rest) = self.rest.split_first_chunk::<8>().ok_or(GraphFileError::Damaged)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn slot(&mut self, end: u32) -> Result<u32, GraphFileError> {
        u32::try_from(self.number()?).ok().filter(|slot| *slot < end).ok_or(GraphFileError::Damaged)
    }

    fn slots(&mut self, end: u32) -> Result<Vec<u32>, GraphFileError> {
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or(GraphFileError::Damaged)?;
        self.rest = rest;
        let (slots, _) = self.take((u32::from_le_bytes(*length) as usize).saturating_mul(4))?.as_chunks::<4>();
        let slots: Vec<u32> = slots.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        if slots.iter().any(|slot| *slot >= end) {
            return Err(GraphFileError::Damaged);
        }
        Ok(slots)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], GraphFileError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(GraphFileError::Damaged)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Space;

    fn stamp(generation: i64) -> Stamp {
        Stamp { identity: vec![1, 2, 3], generation, metric: Metric::Euclidean, dimensions: 2 }
    }

    fn graph() -> (Space, Graph) {
        let mut space = Space::new(Metric::Euclidean, 2);
        let mut graph = Graph::default();
        for slot in 0..300 {
            space.set(slot, &[slot as f32, (slot * 7 % 50) as f32]);
        }
        for slot in 0..300 {
            let plan = graph.plan(&space, &[slot], 1);
            graph.apply(plan);
        }
        (space, graph)
    }

    #[test]
    fn a_graph_comes_back_as_it_was() {
        let (space, graph) = graph();
        let linked: Slots = (0..299).collect();
        let bytes = graph.to_bytes(&stamp(5), &linked, 77, 300);
        let read = Graph::from_bytes(&bytes, &stamp(6), 300).expect("whole and ours");
        assert_eq!((read.generation, read.breadth, read.measured_at), (5, 77, 300));
        assert_eq!(read.linked.count(), 299);
        assert!(read.graph.to_bytes(&stamp(5), &linked, 77, 300) == bytes);
        let query = space.prepare(&[100.5, 20.0]);
        let slots = |graph: &Graph| {
            graph
                .search(&space, &query, 10, 50, |_| true)
                .into_sorted()
                .iter()
                .map(|near| near.slot)
                .collect::<Vec<_>>()
        };
        assert_eq!(slots(&read.graph), slots(&graph));
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused() {
        let bytes = graph().1.to_bytes(&stamp(5), &Slots::default(), 1, 1);
        for length in [0, 3, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(
                Graph::from_bytes(&bytes[..length], &stamp(5), 300).err(),
                Some(GraphFileError::Damaged),
                "{length}"
            );
        }
        for place in [0, 7, 40, 500, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(Graph::from_bytes(&changed, &stamp(5), 300).err(), Some(GraphFileError::Damaged), "{place}");
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let bytes = graph().1.to_bytes(&stamp(5), &Slots::default(), 1, 1);
        for other in [
            stamp(4),
            Stamp { identity: vec![1, 2, 4], ..stamp(5) },
            Stamp { metric: Metric::Cosine, ..stamp(5) },
            Stamp { dimensions: 3, ..stamp(5) },
        ] {
            assert_eq!(Graph::from_bytes(&bytes, &other, 300).err(), Some(GraphFileError::Foreign), "{other:?}");
        }
    }
}
