//! Linking new nodes.

use std::collections::BTreeMap;
use std::thread;

use super::{Graph, LINK_BREADTH, LINKS, MAX_BOTTOM_LINKS, MAX_UPPER_LINKS, Near, Space, level_of, near};

/// How many nodes are linked at a time, at most: their search does not see one another.
const MAX_BATCH: usize = 64;

/// What linking some nodes changes.
pub struct Plan {
    /// The links of a node on a level.
    links: Vec<(u32, usize, Vec<u32>)>,
    nodes: Vec<u32>,
}

impl Graph {
    /// How many nodes should be linked at a time: few as long as the graph is small.
    pub fn batch(&self) -> usize {
        (self.linked as usize / 16).clamp(1, MAX_BATCH)
    }

    /// Finds the links of nodes that are not linked, or whose vector changed since, with so many threads.
    pub fn plan(&self, space: &Space, nodes: &[u32], threads: usize) -> Plan {
        let own = in_parallel(nodes, threads, |node| self.links_of_new(space, *node));
        // Each of the chosen gets a link back, and so may have too many. Sorted, so that the outcome is always the same.
        let mut back: BTreeMap<(u32, usize), Vec<u32>> = BTreeMap::new();
        for (node, level, links) in own.iter().flatten() {
            for link in links {
                back.entry((*link, *level)).or_default().push(*node);
            }
        }
        let back: Vec<_> = back.into_iter().collect();
        let changed = in_parallel(&back, threads, |((node, level), new)| {
            (*node, *level, self.links_with_new(space, *node, *level, new))
        });
        let links = own.into_iter().flatten().chain(changed).collect();
        Plan { links, nodes: nodes.to_vec() }
    }

    /// Puts the links of a plan in place. Nothing was applied since it was made.
    pub fn apply(&mut self, plan: Plan) {
        for (node, level, links) in plan.links {
            self.set_links(node, level, &links);
        }
        for node in plan.nodes {
            self.linked += 1;
            if self.entry.is_none_or(|entry| level_of(node) > level_of(entry)) {
                self.entry = Some(node);
            }
        }
    }

    /// The links of a new node on each of its levels.
    fn links_of_new(&self, space: &Space, node: u32) -> Vec<(u32, usize, Vec<u32>)> {
        let Some(entry) = self.entry else { return Vec::new() };
        let query = space.prepare_slot(node);
        let mut visited = self.borrow_visited();
        let mut nearest = self.descend(space, &query, entry, level_of(node));
        let mut links = Vec::new();
        for level in (0..=level_of(node).min(level_of(entry))).rev() {
            // A node that is linked anew is not its own neighbour, but leads the way as any other.
            let found =
                self.search_level(space, &query, nearest, level, LINK_BREADTH, |slot| slot != node, &mut visited);
            let found = found.into_sorted();
            nearest = found.first().copied().unwrap_or(nearest);
            links.push((node, level, choose(space, &found, LINKS)));
        }
        self.return_visited(visited);
        links
    }

    /// The links of a node that others have linked to.
    fn links_with_new(&self, space: &Space, node: u32, level: usize, new: &[u32]) -> Vec<u32> {
        let max = if level == 0 { MAX_BOTTOM_LINKS } else { MAX_UPPER_LINKS };
        let mut links = self.links(node, level).to_vec();
        links.extend(new.iter().filter(|link| !self.links(node, level).contains(link)));
        if links.len() <= max {
            return links;
        }
        let query = space.prepare_slot(node);
        let mut candidates: Vec<Near> = links.iter().map(|link| near(space, &query, *link)).collect();
        candidates.sort_unstable_by(|one, other| other.cmp(one));
        choose(space, &candidates, max)
    }
}

/// Chooses links among candidates, of which the nearest comes first: those that are nearer to the node than to any chosen
/// before, so that links lead in different directions.
fn choose(space: &Space, candidates: &[Near], count: usize) -> Vec<u32> {
    let mut chosen: Vec<u32> = Vec::with_capacity(count);
    for candidate in candidates {
        if chosen.len() == count {
            break;
        }
        let (fours, rest) = chosen.as_chunks::<4>();
        let is_nearer_to = |nearness: f32| nearness > candidate.nearness;
        let is_covered =
            fours.iter().any(|four| space.nearness_of(candidate.slot, *four).into_iter().any(is_nearer_to))
                || rest.iter().any(|one| space.nearness_of(candidate.slot, [*one]).into_iter().any(is_nearer_to));
        if !is_covered {
            chosen.push(candidate.slot);
        }
    }
    chosen
}

/// `work` of every item, in order, on several threads.
fn in_parallel<T: Sync, U: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    if threads <= 1 || items.len() < 2 * threads {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let parts: Vec<_> = items
            .chunks(items.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let mut all = Vec::with_capacity(items.len());
        for part in parts {
            match part.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
