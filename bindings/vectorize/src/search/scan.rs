//! Exact search: a comparison with every selected vector.

use std::thread;

use super::{Nearest, PreparedQuery, Slots, Space};

/// A thread of its own is worth starting for so many components.
const COMPONENTS_A_THREAD: usize = 2 * 1024 * 1024;
const MAX_THREADS: usize = 8;

/// The nearest `count` of the selected slots, found by `threads` threads, this one among them.
pub fn nearest(space: &Space, query: &PreparedQuery, selected: &Slots, count: usize, threads: usize) -> Nearest {
    let words = selected.words();
    if threads <= 1 || words < threads {
        return part(space, query, selected, count, 0..words);
    }
    let share = words.div_ceil(threads);
    let range = |thread: usize| (thread * share).min(words)..((thread + 1) * share).min(words);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|thread| scope.spawn(move || part(space, query, selected, count, range(thread))))
            .collect();
        let mut nearest = part(space, query, selected, count, range(0));
        for other in others {
            match other.join() {
                Ok(found) => nearest.merge(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        nearest
    })
}

/// How many threads a scan of so many vectors is worth on this machine.
pub fn threads_for(space: &Space, vectors: usize) -> usize {
    let wanted = vectors.saturating_mul(space.width()) / COMPONENTS_A_THREAD;
    match wanted {
        0 | 1 => 1,
        wanted => wanted.min(MAX_THREADS).min(thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn part(
    space: &Space,
    query: &PreparedQuery,
    selected: &Slots,
    count: usize,
    words: std::ops::Range<usize>,
) -> Nearest {
    let mut nearest = Nearest::new(count);
    // One after the other: memory is read in one stream, which the processor sees coming. Four at a time, in four streams, take
    // more than twice as long.
    for slot in selected.within(words) {
        let [found] = space.nearness(query, [slot]);
        nearest.offer(slot, found);
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::search::distance::Instructions;

    fn component(slot: u32, place: u32) -> f32 {
        ((slot * 31 + place * 17) % 101) as f32 / 50.0 - 1.0
    }

    #[test]
    fn every_metric_thread_count_and_instruction_finds_the_same() {
        let selected: Slots = (0..3000).filter(|slot| slot % 3 != 0).collect();
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::DotProduct] {
            let mut found = Vec::new();
            for instructions in Instructions::available() {
                let mut space = Space::new(metric, 37).with_instructions(instructions);
                for slot in 0..3000 {
                    space.set(slot, &(0..37).map(|place| component(slot, place * place)).collect::<Vec<_>>());
                }
                let query = space.prepare(&(0..37).map(|place| component(5000, place)).collect::<Vec<_>>());
                for threads in [1, 3, 8] {
                    let nearest = nearest(&space, &query, &selected, 20, threads).into_sorted();
                    let mut all: Vec<_> =
                        selected.iter().map(|slot| (space.nearness(&query, [slot])[0], slot)).collect();
                    all.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
                    let slots: Vec<_> = nearest.iter().map(|near| near.slot).collect();
                    assert_eq!(slots, all[..20].iter().map(|(_, slot)| *slot).collect::<Vec<_>>());
                    found.push(nearest.iter().map(|near| near.nearness).collect::<Vec<_>>());
                }
            }
            for other in &found {
                assert!(other.iter().zip(&found[0]).all(|(one, other)| (one - other).abs() < 1e-4));
            }
        }
    }

    #[test]
    fn fewer_than_asked_for_are_all_there_is() {
        let mut space = Space::new(Metric::Cosine, 2);
        space.set(5, &[1.0, 0.0]);
        let selected: Slots = [5].into_iter().collect();
        let query = space.prepare(&[1.0, 1.0]);
        assert_eq!(nearest(&space, &query, &selected, 10, 4).into_sorted().len(), 1);
        assert!(nearest(&space, &query, &Slots::default(), 10, 1).is_empty());
    }
}
