//! Approximate search: a hierarchical graph of near neighbours (HNSW, Malkov and Yashunin 2016).
//!
//! The graph has links only; vectors stay in the [`Space`], in the slots that are its nodes, so it costs about 140 bytes a
//! vector however long those are. A node that is deleted or gets another vector goes on to lead the way, with whatever lies
//! in its slot, until it is linked anew; whoever searches says which slots may be found.
//!
//! Linking is in two steps, so that a search never waits for more than a copy: [`Graph::plan`] reads, on several threads,
//! and [`Graph::apply`] writes. A plan depends on nothing but the vectors and their order, so the same graph comes out
//! whatever the number of threads.

mod file;
mod plan;
mod visited;

use std::collections::{BinaryHeap, HashMap};
use std::sync::{Mutex, PoisonError};

pub use file::{GraphFile, GraphFileError, Stamp};
pub use plan::Plan;

use self::visited::Visited;
use super::{Near, Nearest, PreparedQuery, Space};

/// How many links a new node gets on each level.
const LINKS: usize = 16;
/// How many links a node has at most, on the lowest level and on the others.
const MAX_BOTTOM_LINKS: usize = 2 * LINKS;
const MAX_UPPER_LINKS: usize = LINKS;
/// How many candidates a new node chooses its links from.
const LINK_BREADTH: usize = 128;
/// No level is higher; with sixteen times fewer nodes on each this is never reached.
const MAX_LEVEL: usize = 12;
/// The lowest level is allocated for so many slots at a time.
const BOTTOM_CHUNK: usize = 4096;
/// A node's links on the lowest level: how many, and which.
type BottomLinks = [u32; MAX_BOTTOM_LINKS + 1];

/// The links of the nodes on all levels.
#[derive(Default)]
pub struct Graph {
    bottom: Vec<Box<[BottomLinks]>>,
    /// The links on the levels above the lowest, of the few nodes that are there.
    upper: HashMap<u32, Vec<Vec<u32>>>,
    /// Where every search begins: a node on the highest level.
    entry: Option<u32>,
    /// How many times a node was linked.
    linked: u64,
    /// Sets of visited nodes for searches to use again.
    visited: Mutex<Vec<Visited>>,
}

impl Graph {
    /// Whether nothing was ever linked.
    pub fn is_empty(&self) -> bool {
        self.entry.is_none()
    }

    /// How many times a node was linked, those included whose slot has another vector now.
    pub fn linked(&self) -> u64 {
        self.linked
    }

    /// The nearest `count` of the nodes for which `admit` holds, or nearly so: the greater `breadth`, the nearer to the truth
    /// and the slower. May be fewer than there are.
    pub fn search(
        &self,
        space: &Space,
        query: &PreparedQuery,
        count: usize,
        breadth: usize,
        admit: impl Fn(u32) -> bool,
    ) -> Nearest {
        let mut nearest = Nearest::new(count);
        let Some(entry) = self.entry else { return nearest };
        let mut visited = self.borrow_visited();
        let entry = self.descend(space, query, entry, 0);
        let found = self.search_level(space, query, entry, 0, breadth.max(count), admit, &mut visited);
        self.return_visited(visited);
        nearest.merge(found);
        nearest
    }

    /// How many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let upper: usize = self
            .upper
            .values()
            .map(|levels| levels.iter().map(|links| 4 * links.capacity() + size_of::<Vec<u32>>()).sum::<usize>() + 48)
            .sum();
        self.bottom.iter().map(|chunk| size_of_val(&**chunk)).sum::<usize>() + upper
    }

    /// From the entry down to the nearest node that is found by always going to the nearest neighbour, on `level` and above.
    fn descend(&self, space: &Space, query: &PreparedQuery, entry: u32, level: usize) -> Near {
        let mut nearest = near(space, query, entry);
        for level in (level + 1..=level_of(entry)).rev() {
            loop {
                let before = nearest.slot;
                for_each_near(space, query, self.links(before, level), |neighbour| {
                    if neighbour > nearest {
                        nearest = neighbour;
                    }
                });
                if nearest.slot == before {
                    break;
                }
            }
        }
        nearest
    }

    /// The nearest `breadth` nodes of a level that are found from `entry` on.
    #[expect(clippy::too_many_arguments, reason = "the inner loop of everything here")]
    fn search_level(
        &self,
        space: &Space,
        query: &PreparedQuery,
        entry: Near,
        level: usize,
        breadth: usize,
        admit: impl Fn(u32) -> bool,
        visited: &mut Visited,
    ) -> Nearest {
        let mut found = Nearest::new(breadth);
        let mut candidates = BinaryHeap::from([entry]);
        let mut fresh = Vec::with_capacity(MAX_BOTTOM_LINKS);
        visited.insert(entry.slot);
        if admit(entry.slot) {
            found.offer(entry.slot, entry.nearness);
        }
        while let Some(candidate) = candidates.pop() {
            if found.full_at().is_some_and(|floor| candidate.nearness < floor) {
                break;
            }
            fresh.clear();
            for neighbour in self.links(candidate.slot, level) {
                if visited.insert(*neighbour) {
                    space.prefetch(*neighbour);
                    fresh.push(*neighbour);
                }
            }
            for_each_near(space, query, &fresh, |neighbour| {
                if found.full_at().is_none_or(|floor| neighbour.nearness >= floor) {
                    candidates.push(neighbour);
                    if admit(neighbour.slot) {
                        found.offer(neighbour.slot, neighbour.nearness);
                    }
                }
            });
        }
        visited.clear();
        found
    }

    fn links(&self, slot: u32, level: usize) -> &[u32] {
        if level > 0 {
            return self.upper.get(&slot).and_then(|levels| levels.get(level - 1)).map_or(&[], Vec::as_slice);
        }
        match self.bottom.get(slot as usize / BOTTOM_CHUNK) {
            None => &[],
            Some(chunk) => {
                let links = &chunk[slot as usize % BOTTOM_CHUNK];
                &links[1..=links[0] as usize]
            }
        }
    }

    fn set_links(&mut self, slot: u32, level: usize, links: &[u32]) {
        if level > 0 {
            let levels = self.upper.entry(slot).or_default();
            if levels.len() < level {
                levels.resize(level, Vec::new());
            }
            levels[level - 1] = links.to_vec();
            return;
        }
        let chunk = slot as usize / BOTTOM_CHUNK;
        while self.bottom.len() <= chunk {
            self.bottom.push(vec![[0; MAX_BOTTOM_LINKS + 1]; BOTTOM_CHUNK].into_boxed_slice());
        }
        let place = &mut self.bottom[chunk][slot as usize % BOTTOM_CHUNK];
        place[0] = links.len() as u32;
        place[1..=links.len()].copy_from_slice(links);
    }

    fn borrow_visited(&self) -> Visited {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn return_visited(&self, visited: Visited) {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).push(visited);
    }
}

/// The highest level of a node: each has a sixteenth of the nodes of the one below. It depends on the slot alone, so a slot
/// that is linked anew stays where it was.
fn level_of(slot: u32) -> usize {
    // The finaliser of SplitMix64: neighbouring slots get unrelated bits.
    let mut bits = u64::from(slot).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits.trailing_zeros() / LINKS.ilog2()).min(MAX_LEVEL as u32) as usize
}

fn near(space: &Space, query: &PreparedQuery, slot: u32) -> Near {
    let [nearness] = space.nearness(query, [slot]);
    Near::new(slot, nearness)
}

/// Compares with several slots, four at a time.
#[inline]
fn for_each_near(space: &Space, query: &PreparedQuery, slots: &[u32], mut visit: impl FnMut(Near)) {
    let (fours, rest) = slots.as_chunks::<4>();
    for four in fours {
        for (slot, nearness) in four.iter().zip(space.nearness(query, *four)) {
            visit(Near::new(*slot, nearness));
        }
    }
    for slot in rest {
        visit(near(space, query, *slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::search::{Slots, scan};

    /// Vectors around a few centres, the same each time.
    fn space(metric: Metric, count: u32) -> Space {
        let mut space = Space::new(metric, 24);
        for slot in 0..count {
            space.set(slot, &values(slot));
        }
        space
    }

    fn values(slot: u32) -> Vec<f32> {
        let centre = u64::from(slot % 40);
        (0..24).map(|place| noise(centre * 1000 + place) * 2.0 + noise(u64::from(slot) * 77_777 + place)).collect()
    }

    fn noise(seed: u64) -> f32 {
        let bits = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((bits >> 40) as f32 / (1 << 24) as f32) - 0.5
    }

    fn link(graph: &mut Graph, space: &Space, slots: &[u32], threads: usize) {
        let mut left = slots;
        while !left.is_empty() {
            let (batch, rest) = left.split_at(graph.batch().min(left.len()));
            let plan = graph.plan(space, batch, threads);
            graph.apply(plan);
            left = rest;
        }
    }

    fn recall(graph: &Graph, space: &Space, selected: &Slots, breadth: usize) -> f64 {
        let mut hits = 0;
        let queries = 100;
        for query in 0..queries {
            let query = space.prepare(&values(1_000_000 + query));
            let truth = scan(space, &query, selected, 10, 1).into_sorted();
            let found = graph.search(space, &query, 10, breadth, |slot| selected.contains(slot)).into_sorted();
            hits += found.iter().filter(|found| truth.iter().any(|near| near.slot == found.slot)).count();
        }
        hits as f64 / (f64::from(queries) * 10.0)
    }

    #[test]
    fn nearly_all_of_the_nearest_are_found_by_every_metric() {
        let all: Vec<u32> = (0..5000).collect();
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::DotProduct] {
            let space = space(metric, 5000);
            let mut graph = Graph::default();
            link(&mut graph, &space, &all, 2);
            let recall = recall(&graph, &space, &all.iter().copied().collect(), 128);
            assert!(recall > 0.97, "{metric:?}: {recall}");
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let space = space(Metric::Cosine, 3000);
        let all: Vec<u32> = (0..3000).collect();
        let of = |threads| {
            let mut graph = Graph::default();
            link(&mut graph, &space, &all, threads);
            let stamp = Stamp { identity: Vec::new(), generation: 1, metric: Metric::Cosine, dimensions: 24 };
            graph.to_bytes(&stamp, &Slots::default(), 1, 1)
        };
        assert!(of(1) == of(3));
    }

    #[test]
    fn only_what_is_admitted_is_found() {
        let space = space(Metric::Euclidean, 4000);
        let mut graph = Graph::default();
        link(&mut graph, &space, &(0..4000).collect::<Vec<_>>(), 1);
        let some: Slots = (0..4000).filter(|slot| slot % 7 == 3).collect();
        assert!(recall(&graph, &space, &some, 128) > 0.97);
        let query = space.prepare(&values(5));
        let found = graph.search(&space, &query, 50, 64, |slot| some.contains(slot)).into_sorted();
        assert!(found.len() == 50 && found.iter().all(|near| some.contains(near.slot)));
    }

    #[test]
    fn nodes_whose_vector_changed_are_found_once_they_are_linked_anew() {
        let mut space = space(Metric::Cosine, 4000);
        let mut graph = Graph::default();
        link(&mut graph, &space, &(0..4000).collect::<Vec<_>>(), 1);
        let changed: Vec<u32> = (0..4000).filter(|slot| slot % 5 == 0).collect();
        for slot in &changed {
            space.set(*slot, &values(slot + 50_000));
        }
        link(&mut graph, &space, &changed, 2);
        assert!(recall(&graph, &space, &(0..4000).collect(), 128) > 0.96);
        assert_eq!(graph.linked(), 4800);
    }

    #[test]
    fn few_nodes_and_equal_vectors_are_no_trouble() {
        let mut space = Space::new(Metric::Cosine, 3);
        let mut graph = Graph::default();
        let query = [1.0, 0.0, 0.0];
        assert!(graph.search(&space, &space.prepare(&query), 5, 10, |_| true).is_empty());
        for slot in 0..500 {
            space.set(slot, &[1.0, 2.0, 3.0]);
        }
        link(&mut graph, &space, &[7], 1);
        assert_eq!(graph.search(&space, &space.prepare(&query), 5, 10, |_| true).len(), 1);
        link(&mut graph, &space, &(0..500).filter(|slot| *slot != 7).collect::<Vec<_>>(), 2);
        assert_eq!(graph.search(&space, &space.prepare(&query), 5, 10, |_| true).len(), 5);
    }
}
