use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A slot and how near it is; the greater, the nearer. Of two that are equally near, the one with the lower slot is greater.
#[derive(Debug, Clone, Copy)]
pub struct Near {
    /// As [`super::Space::nearness`] measures it. Never NaN.
    pub nearness: f32,
    /// The slot.
    pub slot: u32,
}

impl Near {
    /// A slot and a nearness, which may be NaN: infinities of opposite signs have no sum. Such a one is as far as can be.
    pub(super) fn new(slot: u32, nearness: f32) -> Self {
        Self { nearness: if nearness.is_nan() { f32::NEG_INFINITY } else { nearness }, slot }
    }
}

/// The nearest few of many.
#[derive(Debug)]
pub struct Nearest {
    /// The farthest on top.
    heap: BinaryHeap<std::cmp::Reverse<Near>>,
    capacity: usize,
    /// What is not nearer than this has no place; below everything until the heap is full.
    floor: f32,
}

impl Nearest {
    /// Room for the nearest `capacity`, at least one.
    pub fn new(capacity: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(capacity + 1), capacity, floor: f32::NEG_INFINITY }
    }

    /// Takes a slot into account.
    #[inline]
    pub fn offer(&mut self, slot: u32, nearness: f32) {
        let near = Near::new(slot, nearness);
        if near.nearness < self.floor {
            return;
        }
        self.heap.push(std::cmp::Reverse(near));
        if self.heap.len() > self.capacity {
            self.heap.pop();
        }
        if self.heap.len() == self.capacity
            && let Some(farthest) = self.heap.peek()
        {
            self.floor = farthest.0.nearness;
        }
    }

    /// Takes all that another has found into account.
    pub fn merge(&mut self, other: Self) {
        for near in other.heap {
            self.offer(near.0.slot, near.0.nearness);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// What is farther than this has no place, once there are as many as can be held.
    pub(super) fn full_at(&self) -> Option<f32> {
        (self.heap.len() == self.capacity).then_some(self.floor)
    }

    /// The nearest first.
    pub fn into_sorted(self) -> Vec<Near> {
        self.heap.into_sorted_vec().into_iter().map(|near| near.0).collect()
    }
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        // Zeros of both signs are equally near; total_cmp keeps the rest of the order.
        (self.nearness + 0.0).total_cmp(&(other.nearness + 0.0)).then_with(|| other.slot.cmp(&self.slot))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Near {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Near {}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(capacity: usize, offers: &[(u32, f32)]) -> Vec<u32> {
        let mut nearest = Nearest::new(capacity);
        for (slot, nearness) in offers {
            nearest.offer(*slot, *nearness);
        }
        nearest.into_sorted().into_iter().map(|near| near.slot).collect()
    }

    #[test]
    fn the_nearest_come_first_and_the_lower_slot_of_equals() {
        let offers = [(4, 0.5), (1, 0.1), (3, 0.9), (2, 0.5), (0, 0.5), (5, f32::NAN), (6, -0.0), (7, 0.0)];
        assert_eq!(found(3, &offers), [3, 0, 2]);
        assert_eq!(found(8, &offers), [3, 0, 2, 4, 1, 6, 7, 5]);
        let reversed: Vec<_> = offers.iter().copied().rev().collect();
        assert_eq!(found(3, &reversed), [3, 0, 2]);
    }

    #[test]
    fn merging_is_the_same_as_offering_everything() {
        let (mut one, mut two) = (Nearest::new(2), Nearest::new(2));
        one.offer(1, 0.1);
        one.offer(2, 0.7);
        two.offer(0, 0.7);
        two.offer(3, 0.2);
        one.merge(two);
        assert_eq!(one.into_sorted().iter().map(|near| near.slot).collect::<Vec<_>>(), [0, 2]);
    }
}
