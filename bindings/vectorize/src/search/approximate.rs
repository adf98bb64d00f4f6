use super::{Graph, GraphFile, GraphFileError, Nearest, Plan, PreparedQuery, Slots, Space, Stamp, scan, threads_for};

/// Fewer vectors are compared one by one, whatever the settings.
const LEAST_VECTORS: usize = 256;
/// How many vectors stand for the queries to come when the breadth is measured.
const SAMPLES: usize = 64;
/// How many of the nearest have to be found of each sample, on average, as a share of `SAMPLE_TOP_K`.
pub const WANTED_RECALL: f64 = 0.99;
const SAMPLE_TOP_K: usize = 10;
/// The breadths that are tried, in turn. Beyond the last, comparing everything is the better way.
pub const BREADTHS: [usize; 8] = [64, 96, 128, 192, 256, 384, 512, 768];
/// What following one link costs, in comparisons in the order of memory, times the links of a node that lead anywhere new.
const COST_OF_A_NODE: usize = 32;

/// A graph over a space that changes, and when to use it.
///
/// Vectors that are written after the graph was linked are *unlinked*: compared one by one, until there are so many that they
/// are linked in the background. So a search sees every write, and a write never waits for the graph. How broad a search must
/// be depends on the vectors, so it is measured on some that are not linked yet: the graph is used only where it was seen
/// to find what comparing everything finds.
#[derive(Default)]
pub struct Approximate {
    graph: Graph,
    /// The live slots whose vector the graph does not know.
    unlinked: Slots,
    unlinked_count: usize,
    /// Those of the plan being made, as long as they do not change meanwhile.
    planned: Slots,
    /// How broad a search must be; `None` where that was not measured, or no breadth is enough.
    breadth: Option<usize>,
    /// How many vectors there were when it was measured.
    measured_at: usize,
}

/// Vectors that are kept out of the graph for a while, to measure with.
#[derive(Debug, Default)]
pub struct Samples {
    slots: Slots,
}

impl Approximate {
    /// A slot has another vector, or none.
    pub fn changed(&mut self, slot: u32, is_live: bool) {
        let was_unlinked = self.unlinked.contains(slot);
        self.planned.remove(slot);
        if is_live && !was_unlinked {
            self.unlinked.insert(slot);
            self.unlinked_count += 1;
        } else if !is_live && was_unlinked {
            self.unlinked.remove(slot);
            self.unlinked_count -= 1;
        }
    }

    /// The nearest of the selected slots, or `None` where comparing all of them is the better way. There are `live` vectors
    /// and `count` selected ones; no selection is all of them.
    pub fn search(
        &self,
        space: &Space,
        query: &PreparedQuery,
        top_k: usize,
        selected: Option<&Slots>,
        live: (&Slots, usize),
    ) -> Option<Nearest> {
        let (live, live_count) = live;
        let breadth = self.breadth?.max(3 * top_k);
        let count = selected.map_or(live_count, Slots::count);
        // A search goes on until it has found as many selected nodes as it is broad, and passes all others on the way.
        let is_worth_it = (count as u64).pow(2) > COST_OF_A_NODE as u64 * breadth as u64 * live_count as u64;
        if !is_worth_it || self.unlinked_count * 4 > live_count {
            return None;
        }
        let admitted = selected.unwrap_or(live);
        let admit = |slot| admitted.contains(slot) && !self.unlinked.contains(slot);
        let mut nearest = self.graph.search(space, query, top_k, breadth, admit);
        match selected {
            None => nearest.merge(scan(space, query, &self.unlinked, top_k, threads_for(space, self.unlinked_count))),
            Some(selected) => nearest.merge(scan(space, query, &selected.and(&self.unlinked), top_k, 1)),
        }
        (nearest.len() >= top_k.min(count)).then_some(nearest)
    }

    /// Whether so many vectors have come since that they should be linked; there are `live`.
    pub fn is_due(&self, live: usize) -> bool {
        live >= LEAST_VECTORS && self.unlinked_count >= LEAST_VECTORS.max(live / 64)
    }

    /// Begins to link what is unlinked. Where the graph has to be measured, returns what to do it with.
    pub fn begin(&mut self, live: &Slots, live_count: usize) -> Samples {
        // Of a node that is linked again, links remain that others had to what it was.
        if self.graph.linked() + self.unlinked_count as u64 > 2 * live_count as u64 {
            *self = Self { unlinked: live.clone(), unlinked_count: live_count, ..Self::default() };
        }
        if self.measured_at != 0 && live_count < 2 * self.measured_at {
            return Samples::default();
        }
        let apart = (self.unlinked_count / SAMPLES).max(1);
        Samples { slots: self.unlinked.iter().step_by(apart).take(SAMPLES).collect() }
    }

    /// The next slots to be linked, or none where only the samples are left. A plan for them can be made now.
    pub fn next_batch(&mut self, samples: &Samples) -> Vec<u32> {
        let batch = self.graph.batch();
        let next: Vec<u32> = self.unlinked.iter().filter(|slot| !samples.slots.contains(*slot)).take(batch).collect();
        self.planned = next.iter().copied().collect();
        next
    }

    /// As [`Graph::plan`].
    pub fn plan(&self, space: &Space, batch: &[u32], threads: usize) -> Plan {
        self.graph.plan(space, batch, threads)
    }

    /// Puts a plan into effect. What has changed meanwhile stays unlinked.
    pub fn apply(&mut self, plan: Plan) {
        self.graph.apply(plan);
        for slot in std::mem::take(&mut self.planned).iter() {
            self.unlinked.remove(slot);
            self.unlinked_count -= 1;
        }
    }

    /// The slots that are truly nearest to a sample, of those the graph knows.
    pub fn truth(&self, space: &Space, sample: u32, live: &Slots, threads: usize) -> Vec<u32> {
        let known = live.without(&self.unlinked);
        slots_of(scan(space, &space.prepare_slot(sample), &known, SAMPLE_TOP_K, threads))
    }

    /// The share of the truth about a sample that a search of this breadth finds.
    pub fn recall(&self, space: &Space, sample: u32, truth: &[u32], live: &Slots, breadth: usize) -> f64 {
        let admit = |slot| live.contains(slot) && !self.unlinked.contains(slot);
        let found = slots_of(self.graph.search(space, &space.prepare_slot(sample), SAMPLE_TOP_K, breadth, admit));
        let hits = truth.iter().filter(|slot| found.contains(slot)).count();
        hits as f64 / truth.len().max(1) as f64
    }

    /// This breadth was enough for the samples, or none was, and then the graph is not used.
    pub fn measured(&mut self, enough: Option<usize>, live_count: usize) {
        // Queries may lie farther from the vectors than the samples do.
        self.breadth = enough.map(|breadth| breadth + breadth / 2);
        self.measured_at = live_count;
    }

    /// How broad a search is, where the graph is used.
    pub fn breadth(&self) -> Option<usize> {
        self.breadth
    }

    /// How many live vectors the graph does not know.
    pub fn unlinked(&self) -> usize {
        self.unlinked_count
    }

    /// The bytes of a file.
    pub fn to_bytes(&self, stamp: &Stamp, live: &Slots) -> Vec<u8> {
        let breadth = self.breadth.map_or(0, |breadth| breadth as u32);
        self.graph.to_bytes(stamp, &live.without(&self.unlinked), breadth, self.measured_at as u64)
    }

    /// Takes over a file that belongs to `stamp`. The live slots of it are linked, but not those that `changed` since its
    /// generation shows. There is room for every slot below `end`.
    pub fn restore<E>(
        &mut self,
        bytes: &[u8],
        stamp: &Stamp,
        end: u32,
        changed: impl FnOnce(i64, &mut dyn FnMut(u32)) -> Result<(), E>,
    ) -> Result<Result<(), GraphFileError>, E> {
        let GraphFile { graph, mut linked, generation, breadth, measured_at } =
            match Graph::from_bytes(bytes, stamp, end) {
                Ok(file) => file,
                Err(error) => return Ok(Err(error)),
            };
        changed(generation, &mut |slot| linked.remove(slot))?;
        self.graph = graph;
        self.breadth = (breadth > 0).then_some(breadth as usize);
        self.measured_at = measured_at as usize;
        self.unlinked = self.unlinked.without(&linked);
        self.unlinked_count = self.unlinked.count();
        Ok(Ok(()))
    }

    /// How many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.graph.bytes() + self.unlinked.bytes() + self.planned.bytes()
    }
}

impl Samples {
    /// Their slots.
    pub fn slots(&self) -> Vec<u32> {
        self.slots.iter().collect()
    }
}

fn slots_of(nearest: Nearest) -> Vec<u32> {
    nearest.into_sorted().into_iter().map(|near| near.slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;

    const DIMENSIONS: usize = 12;

    struct Fixture {
        space: Space,
        live: Slots,
        approximate: Approximate,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                space: Space::new(Metric::Cosine, DIMENSIONS),
                live: Slots::default(),
                approximate: Approximate::default(),
            }
        }

        fn write(&mut self, slot: u32, seed: u32) {
            self.space.set(slot, &values(seed));
            self.live.insert(slot);
            self.approximate.changed(slot, true);
        }

        fn delete(&mut self, slot: u32) {
            self.live.remove(slot);
            self.approximate.changed(slot, false);
        }

        fn link(&mut self) {
            let samples = self.approximate.begin(&self.live, self.live.count());
            self.link_all_but(&samples);
            if !samples.slots().is_empty() {
                self.approximate.measured(Some(64), self.live.count());
            }
            self.link_all_but(&Samples::default());
            assert_eq!(self.approximate.unlinked(), 0);
        }

        fn link_all_but(&mut self, samples: &Samples) {
            loop {
                let batch = self.approximate.next_batch(samples);
                if batch.is_empty() {
                    return;
                }
                let plan = self.approximate.plan(&self.space, &batch, 2);
                self.approximate.apply(plan);
            }
        }

        fn search(&self, seed: u32, top_k: usize, selected: Option<&Slots>) -> Option<Vec<u32>> {
            let query = self.space.prepare(&values(seed));
            let live = (&self.live, self.live.count());
            self.approximate.search(&self.space, &query, top_k, selected, live).map(slots_of)
        }

        fn truth(&self, seed: u32, top_k: usize, selected: &Slots) -> Vec<u32> {
            slots_of(scan(&self.space, &self.space.prepare(&values(seed)), selected, top_k, 1))
        }
    }

    fn values(seed: u32) -> Vec<f32> {
        let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        (0..DIMENSIONS)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn nothing_is_approximated_before_it_was_measured() {
        let mut fixture = Fixture::new();
        (0..5_000).for_each(|slot| fixture.write(slot, slot));
        assert_eq!(fixture.search(1, 5, None), None);
        assert!(fixture.approximate.is_due(5_000));
        fixture.link();
        assert!(!fixture.approximate.is_due(5_000));
        assert!(fixture.search(1, 5, None).is_some());
    }

    #[test]
    fn a_write_is_seen_before_it_is_linked_and_a_delete_too() {
        let mut fixture = Fixture::new();
        (0..5_000).for_each(|slot| fixture.write(slot, slot));
        fixture.link();
        assert_eq!(fixture.search(7, 1, None), Some(vec![7]));
        fixture.delete(7);
        assert_ne!(fixture.search(7, 1, None), Some(vec![7]));
        fixture.write(7, 70_000);
        assert_eq!(fixture.search(70_000, 1, None), Some(vec![7]));
        fixture.write(5_000, 70_001);
        assert_eq!(fixture.search(70_001, 1, None), Some(vec![5_000]));
        fixture.link();
        assert_eq!(fixture.search(70_000, 1, None), Some(vec![7]));
        assert_eq!(fixture.search(70_001, 1, None), Some(vec![5_000]));
    }

    #[test]
    fn a_vector_that_changes_while_it_is_planned_stays_unlinked() {
        let mut fixture = Fixture::new();
        (0..2000).for_each(|slot| fixture.write(slot, slot));
        fixture.link();
        fixture.write(5, 50_000);
        fixture.write(6, 60_000);
        let batch = fixture.approximate.next_batch(&Samples::default());
        assert_eq!(batch, [5, 6]);
        let plan = fixture.approximate.plan(&fixture.space, &batch, 1);
        fixture.write(5, 50_001);
        fixture.delete(6);
        fixture.approximate.apply(plan);
        assert_eq!(fixture.approximate.unlinked.iter().collect::<Vec<_>>(), [5]);
        assert_eq!(fixture.approximate.unlinked(), 1);
    }

    #[test]
    fn a_narrow_selection_is_left_to_comparing_and_a_wide_one_is_found() {
        let mut fixture = Fixture::new();
        (0..10_000).for_each(|slot| fixture.write(slot, slot));
        fixture.link();
        let narrow: Slots = (0..10_000).filter(|slot| slot % 100 == 0).collect();
        assert_eq!(fixture.search(1, 5, Some(&narrow)), None);
        let wide: Slots = (0..10_000).filter(|slot| slot % 3 != 0).collect();
        let mut hits = 0;
        for query in 100_000..100_050 {
            let found = fixture.search(query, 10, Some(&wide)).expect("approximated");
            assert!(found.len() == 10 && found.iter().all(|slot| wide.contains(*slot)));
            let truth = fixture.truth(query, 10, &wide);
            hits += truth.iter().filter(|slot| found.contains(slot)).count();
        }
        assert!(hits >= 480, "{hits} of 500");
    }

    #[test]
    fn much_that_is_linked_again_starts_the_graph_anew() {
        let mut fixture = Fixture::new();
        for round in 0..3 {
            (0..1000).for_each(|slot| fixture.write(slot, slot + round * 1000));
            fixture.link();
        }
        assert!(fixture.approximate.graph.linked() <= 2000);
        (500..1000).for_each(|slot| fixture.delete(slot));
        fixture.write(0, 90_000);
        fixture.link();
        assert_eq!(fixture.approximate.graph.linked(), 500);
    }

    #[test]
    fn a_file_knows_what_it_does_not_know() {
        let mut fixture = Fixture::new();
        (0..3000).for_each(|slot| fixture.write(slot, slot));
        fixture.link();
        let stamp = Stamp { identity: vec![1], generation: 5, metric: Metric::Cosine, dimensions: DIMENSIONS };
        let bytes = fixture.approximate.to_bytes(&stamp, &fixture.live);
        let mut later = Fixture::new();
        (0..3010).for_each(|slot| later.write(slot, slot));
        later.delete(9);
        let restored = later.approximate.restore(&bytes, &stamp, later.space.end(), |generation, changed| {
            assert_eq!(generation, 5);
            [8, 9].into_iter().for_each(changed);
            Ok::<_, ()>(())
        });
        assert_eq!(restored, Ok(Ok(())));
        let unlinked: Vec<u32> = later.approximate.unlinked.iter().collect();
        assert_eq!(unlinked, [8].into_iter().chain(3000..3010).collect::<Vec<_>>());
        assert_eq!((later.approximate.breadth(), later.approximate.measured_at), (Some(96), 3000));
        let refused = Approximate::default().restore(&bytes, &stamp, 2999, |_, _| Ok::<_, ()>(()));
        assert_eq!(refused, Ok(Err(GraphFileError::Damaged)), "it names a slot for which there is no room");
    }
}
