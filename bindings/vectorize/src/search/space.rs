use super::chunk::{Chunk, Pages};
use super::distance::{Instructions, LANE, Lane};
use crate::Metric;

/// How many bytes of vectors are asked of the system at a time, at most.
const CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// The vectors of an index by slot, in float32 as they were written.
///
/// They lie in chunks, each contiguous, so that the space grows without moving what it has. Beside its components, padded
/// to a multiple of sixteen, a vector costs four bytes.
#[derive(Debug)]
pub struct Space {
    metric: Metric,
    dimensions: usize,
    /// How many lanes a vector has.
    lanes: usize,
    /// A chunk has two to the power of this many vectors.
    shift: u32,
    chunks: Vec<Chunk>,
    /// One divided by the length of each vector, or 0 where it has none. Only the cosine needs it.
    inverse_lengths: Vec<f32>,
    instructions: Instructions,
}

/// A vector ready to be compared with those of a [`Space`].
#[derive(Debug)]
pub struct PreparedQuery {
    lanes: Vec<Lane>,
    inverse_length: f32,
}

impl Space {
    /// An empty space for vectors of so many dimensions, at least one.
    pub fn new(metric: Metric, dimensions: usize) -> Self {
        let lanes = dimensions.div_ceil(LANE);
        let shift = (CHUNK_BYTES / (lanes * size_of::<Lane>())).max(1).ilog2();
        let instructions = Instructions::detect();
        Self { metric, dimensions, lanes, shift, chunks: Vec::new(), inverse_lengths: Vec::new(), instructions }
    }

    /// The same space without its vectors, compared with other instructions: for tests.
    #[must_use]
    pub fn with_instructions(mut self, instructions: Instructions) -> Self {
        self.instructions = instructions;
        self
    }

    /// How many components a vector has.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How nearness is measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Every slot that has ever been set is below this.
    pub fn end(&self) -> u32 {
        self.inverse_lengths.len() as u32
    }

    /// Puts a vector of [`Space::dimensions`] components at a slot.
    pub fn set(&mut self, slot: u32, values: &[f32]) {
        assert_eq!(values.len(), self.dimensions, "a vector of another length");
        self.make_room(slot);
        let chunk = slot as usize >> self.shift;
        self.inverse_lengths[slot as usize] = inverse_length(self.metric, values);
        let start = self.place(slot);
        fill(&mut self.chunks[chunk][start..start + self.lanes], values);
    }

    /// Has zeros at a slot that was never set, and at those before it.
    pub fn make_room(&mut self, slot: u32) {
        while self.chunks.len() <= slot as usize >> self.shift {
            // An index that fits in the first chunk is often much smaller than that.
            let pages = if self.chunks.is_empty() { Pages::Small } else { Pages::Huge };
            self.chunks.push(Chunk::zeroed(self.lanes << self.shift, pages));
        }
        if self.inverse_lengths.len() <= slot as usize {
            self.inverse_lengths.resize(slot as usize + 1, 0.0);
        }
    }

    /// The components of the vector at a slot, as they were written.
    pub fn values(&self, slot: u32) -> Vec<f32> {
        let mut values: Vec<f32> = self.row(slot).iter().flat_map(|lane| lane.0).collect();
        values.truncate(self.dimensions);
        values
    }

    /// A query of [`Space::dimensions`] components.
    pub fn prepare(&self, values: &[f32]) -> PreparedQuery {
        assert_eq!(values.len(), self.dimensions, "a vector of another length");
        let mut lanes = vec![Lane([0.0; LANE]); self.lanes];
        fill(&mut lanes, values);
        PreparedQuery { lanes, inverse_length: inverse_length(self.metric, values) }
    }

    /// The vector at a slot as a query.
    pub(super) fn prepare_slot(&self, slot: u32) -> PreparedQuery {
        PreparedQuery { lanes: self.row(slot).to_vec(), inverse_length: self.inverse_lengths[slot as usize] }
    }

    /// How near the query is to the vectors at these slots: the greater, the nearer. May be NaN where sums overflow.
    #[inline]
    pub fn nearness<const N: usize>(&self, query: &PreparedQuery, slots: [u32; N]) -> [f32; N] {
        self.compare(&query.lanes, query.inverse_length, slots)
    }

    /// As [`Space::nearness`], of the vector at a slot.
    #[inline]
    pub(super) fn nearness_of<const N: usize>(&self, slot: u32, slots: [u32; N]) -> [f32; N] {
        self.compare(self.row(slot), self.inverse_lengths[slot as usize], slots)
    }

    /// What a nearness is in the metric's own terms, as the contract has it.
    pub fn score(&self, nearness: f32) -> f32 {
        match self.metric {
            Metric::Cosine => nearness.clamp(-1.0, 1.0),
            Metric::Euclidean => (-nearness).max(0.0).sqrt(),
            Metric::DotProduct => nearness,
        }
    }

    /// Asks the processor to fetch a vector, which soon will be compared.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = slot;
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // The first lines are enough for the hardware to see where this is going.
            for lane in self.row(slot).iter().take(4) {
                // SAFETY: a prefetch of a valid address has no effect but on time.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(lane).cast()) };
            }
        }
    }

    /// How many bytes of memory its vectors take; what lies beyond the last slot is not touched.
    pub fn bytes(&self) -> usize {
        self.inverse_lengths.len() * self.lanes * size_of::<Lane>() + self.inverse_lengths.capacity() * size_of::<f32>()
    }

    /// How many bytes a vector takes, padding included.
    pub fn bytes_of_a_vector(dimensions: usize) -> usize {
        dimensions.div_ceil(LANE) * size_of::<Lane>() + size_of::<f32>()
    }

    /// How many components, padding included, a comparison with one vector reads.
    pub fn width(&self) -> usize {
        self.lanes * LANE
    }

    #[inline]
    fn compare<const N: usize>(&self, lanes: &[Lane], inverse_length: f32, slots: [u32; N]) -> [f32; N] {
        let rows = slots.map(|slot| self.row(slot));
        match self.metric {
            Metric::DotProduct => self.instructions.dot(lanes, rows),
            Metric::Euclidean => self.instructions.squared_distance(lanes, rows).map(|squared| -squared),
            Metric::Cosine => {
                let dots = self.instructions.dot(lanes, rows);
                std::array::from_fn(|row| dots[row] * (inverse_length * self.inverse_lengths[slots[row] as usize]))
            }
        }
    }

    #[inline]
    fn row(&self, slot: u32) -> &[Lane] {
        let start = self.place(slot);
        &self.chunks[slot as usize >> self.shift][start..start + self.lanes]
    }

    /// The first lane of a slot within its chunk.
    #[inline]
    fn place(&self, slot: u32) -> usize {
        (slot as usize & ((1 << self.shift) - 1)) * self.lanes
    }
}

fn fill(lanes: &mut [Lane], values: &[f32]) {
    for (lane, part) in lanes.iter_mut().zip(values.chunks(LANE)) {
        *lane = Lane([0.0; LANE]);
        lane.0[..part.len()].copy_from_slice(part);
    }
}

fn inverse_length(metric: Metric, values: &[f32]) -> f32 {
    if metric != Metric::Cosine {
        return 1.0;
    }
    // In double precision: the square of a component may be too large or too small for float32.
    let length = values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    if length > 0.0 { (1.0 / length) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(metric: Metric, one: &[f32], other: &[f32]) -> f32 {
        let mut space = Space::new(metric, one.len());
        space.set(3, other);
        let [nearness] = space.nearness(&space.prepare(one), [3]);
        space.score(nearness)
    }

    #[test]
    fn scores_are_those_of_the_contract() {
        assert!((score(Metric::Cosine, &[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) - 1.0).abs() < 1e-6);
        assert!((score(Metric::Cosine, &[1.0, 0.0], &[-3.0, 0.0]) + 1.0).abs() < 1e-6);
        assert_eq!(score(Metric::Cosine, &[1.0, 0.0], &[0.0, 0.0]).to_bits(), 0.0_f32.to_bits());
        assert_eq!(score(Metric::Euclidean, &[1.0, 2.0], &[1.0, 2.0]).to_bits(), 0.0_f32.to_bits());
        assert!((score(Metric::Euclidean, &[0.0, 0.0], &[3.0, 4.0]) - 5.0).abs() < 1e-6);
        assert!((score(Metric::DotProduct, &[1.0, 2.0], &[3.0, 4.0]) - 11.0).abs() < 1e-6);
    }

    #[test]
    fn vectors_come_back_as_they_were_written_across_chunks() {
        let mut space = Space::new(Metric::Cosine, 1000);
        let of = |slot: u32| (0..1000).map(|place| (slot * 7 + place) as f32 * 0.1).collect::<Vec<_>>();
        let slots = [0, 1, 700, 4095, 4096, 8191, 8192, 8999];
        for slot in slots {
            space.set(slot, &of(slot));
        }
        space.set(700, &of(9));
        assert!(space.chunks.len() > 2);
        for slot in slots.into_iter().filter(|slot| *slot != 700) {
            assert_eq!(space.values(slot), of(slot));
        }
        assert_eq!(space.values(700), of(9));
        assert_eq!(space.values(5000), vec![0.0; 1000]);
        assert_eq!(space.end(), 9000);
    }

    #[test]
    fn the_length_of_large_and_small_vectors_is_right() {
        assert!((score(Metric::Cosine, &[1.0, 1.0], &[1e30, 1e30]) - 1.0).abs() < 1e-6);
        assert!((score(Metric::Cosine, &[1.0, 1.0], &[1e-30, 1e-30]) - 1.0).abs() < 1e-6);
    }
}
