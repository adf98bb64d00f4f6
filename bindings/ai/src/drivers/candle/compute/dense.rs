//! Products of matrices of 32 bits.

use super::threads::{Places, pieces};

/// So many columns of a product are computed side by side.
pub(in super::super) const COLUMNS: usize = 32;

/// So many rows of a product are computed side by side at most.
pub(in super::super) const ROWS: usize = 8;

/// So many rows are one piece of work: enough to use weights that are near for a while.
const PIECE: usize = 6 * ROWS;

/// The weights and the bias of a layer, laid out for [`products`].
pub(in super::super) struct Dense {
    /// [`COLUMNS`] outputs at a time: for each input the weights of these outputs.
    tiles: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

/// The two factors of a product.
#[derive(Clone, Copy)]
pub(in super::super) struct Factors<'a> {
    /// Rows of `depth` numbers.
    pub(in super::super) left: &'a [f32],
    /// From one row of `left` to the next.
    pub(in super::super) left_stride: usize,
    /// `depth` rows of [`COLUMNS`] numbers.
    pub(in super::super) right: &'a [f32],
    /// From one row of `right` to the next.
    pub(in super::super) right_stride: usize,
    pub(in super::super) depth: usize,
}

impl Dense {
    /// `weights` has a row for each output.
    pub(in super::super) fn new(weights: &[f32], bias: Vec<f32>) -> Self {
        let (outputs, inputs) = (bias.len(), weights.len() / bias.len());
        let mut tiles = vec![0.0; outputs.next_multiple_of(COLUMNS) * inputs];
        for (output, row) in weights.chunks_exact(inputs).enumerate() {
            let tile = &mut tiles[output / COLUMNS * COLUMNS * inputs..][..COLUMNS * inputs];
            for (place, weight) in tile[output % COLUMNS..].iter_mut().step_by(COLUMNS).zip(row) {
                *place = *weight;
            }
        }
        Self { tiles, bias, inputs }
    }

    /// How many outputs there are.
    pub(in super::super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The outputs of each row of `x`.
    pub(in super::super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (count, outputs) = (x.len() / self.inputs, self.bias.len());
        let mut results = vec![0.0; count * outputs];
        let places = Places::of(&mut results);
        let tiles = outputs.div_ceil(COLUMNS);
        pieces(count.div_ceil(PIECE) * tiles, |piece| {
            let (first, tile) = (piece / tiles * PIECE, piece % tiles);
            let bias = &self.bias[tile * COLUMNS..outputs.min((tile + 1) * COLUMNS)];
            let right = &self.tiles[tile * COLUMNS * self.inputs..][..COLUMNS * self.inputs];
            for first in (first..count.min(first + PIECE)).step_by(ROWS) {
                let mut sums = [[0.0; COLUMNS]; ROWS];
                let sums = &mut sums[..ROWS.min(count - first)];
                let left = &x[first * self.inputs..];
                products(
                    Factors { left, left_stride: self.inputs, right, right_stride: COLUMNS, depth: self.inputs },
                    sums,
                );
                for (row, sums) in (first..).zip(sums) {
                    let start = row * outputs + tile * COLUMNS;
                    // SAFETY: no other piece has these rows of this tile.
                    let results = unsafe { places.at(start..start + bias.len()) };
                    for ((result, sum), bias) in results.iter_mut().zip(sums).zip(bias) {
                        *result = *sum + bias;
                    }
                }
            }
        });
        results
    }
}

/// The product of as many rows as `sums` has, which are [`ROWS`] at most.
pub(in super::super) fn products(factors: Factors<'_>, sums: &mut [[f32; COLUMNS]]) {
    let Factors { left, left_stride, right, right_stride, depth } = factors;
    if sums.is_empty() || depth == 0 {
        return sums.fill([0.0; COLUMNS]);
    }
    assert!(left.len() >= (sums.len() - 1) * left_stride + depth, "the rows on the left are too few");
    assert!(right.len() >= (depth - 1) * right_stride + COLUMNS, "the rows on the right are too few");
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,fma")]
        fn avx512(factors: Factors<'_>, sums: &mut [[f32; COLUMNS]]) {
            // SAFETY: the caller has looked at the lengths.
            unsafe { by_blocks::<8, 32, true>(factors, sums) };
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(factors: Factors<'_>, sums: &mut [[f32; COLUMNS]]) {
            // SAFETY: the caller has looked at the lengths.
            unsafe { by_blocks::<4, 16, true>(factors, sums) };
        }
        // SAFETY: the processor has the instructions.
        unsafe {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                return avx512(factors, sums);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return avx2(factors, sums);
            }
        }
    }
    // Only where it is one instruction a product and a sum at once are faster than one after the other.
    // SAFETY: the lengths are as they should be.
    unsafe { by_blocks::<4, 16, { cfg!(target_arch = "aarch64") }>(factors, sums) };
}

/// Computes blocks of as many sums as there are registers for.
///
/// # Safety
///
/// The factors must have as many numbers as the sums need.
#[expect(clippy::inline_always, reason = "only where it is inlined it gets the instructions of its caller")]
#[inline(always)]
unsafe fn by_blocks<const HEIGHT: usize, const WIDTH: usize, const FUSED: bool>(
    factors: Factors<'_>,
    sums: &mut [[f32; COLUMNS]],
) {
    let mut row = 0;
    while row < sums.len() {
        // SAFETY: as the caller promised, and the block is inside of the sums.
        row += unsafe {
            match sums.len() - row {
                left if left >= HEIGHT => block::<HEIGHT, WIDTH, FUSED>(factors, row, sums),
                4.. => block::<4, WIDTH, FUSED>(factors, row, sums),
                2.. => block::<2, WIDTH, FUSED>(factors, row, sums),
                _ => block::<1, WIDTH, FUSED>(factors, row, sums),
            }
        };
    }
}

/// Computes `HEIGHT` rows of sums, `WIDTH` columns at a time, and returns `HEIGHT`.
///
/// # Safety
///
/// The factors must have as many numbers as the sums need, and there must be so many sums from `row` on.
#[expect(clippy::inline_always, reason = "only where it is inlined it gets the instructions of its caller")]
#[inline(always)]
unsafe fn block<const HEIGHT: usize, const WIDTH: usize, const FUSED: bool>(
    factors: Factors<'_>,
    row: usize,
    sums: &mut [[f32; COLUMNS]],
) -> usize {
    let Factors { left, left_stride, right, right_stride, depth } = factors;
    for column in (0..COLUMNS).step_by(WIDTH) {
        let mut block = [[0.0; WIDTH]; HEIGHT];
        for at in 0..depth {
            // SAFETY: the caller has made sure of both lengths.
            let right = unsafe { &*right.as_ptr().add(at * right_stride + column).cast::<[f32; WIDTH]>() };
            for (height, sums) in block.iter_mut().enumerate() {
                // SAFETY: as above.
                let left = unsafe { *left.get_unchecked((row + height) * left_stride + at) };
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = if FUSED { left.mul_add(*right, *sum) } else { *sum + left * right };
                }
            }
        }
        for (sums, block) in sums[row..].iter_mut().zip(&block) {
            sums[column..column + WIDTH].copy_from_slice(block);
        }
    }
    HEIGHT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
    }

    fn dot(one: impl Iterator<Item = f32>, other: impl Iterator<Item = f32>) -> f64 {
        one.zip(other).map(|(one, other)| f64::from(one) * f64::from(other)).sum()
    }

    #[test]
    fn a_layer_is_its_products_and_its_bias() {
        for (count, inputs, outputs) in [(1, 1, 1), (3, 5, 33), (8, 64, 32), (50, 100, 70), (99, 17, 96)] {
            let (x, weights, bias) = (numbers(count * inputs, 1), numbers(outputs * inputs, 2), numbers(outputs, 3));
            let results = Dense::new(&weights, bias.clone()).forward(&x);
            assert_eq!(results.len(), count * outputs);
            for (at, result) in results.iter().enumerate() {
                let (row, output) = (at / outputs, at % outputs);
                let (x, weights) = (&x[row * inputs..][..inputs], &weights[output * inputs..][..inputs]);
                let expected = dot(x.iter().copied(), weights.iter().copied()) + f64::from(bias[output]);
                assert!((f64::from(*result) - expected).abs() < 1e-4, "{count} {inputs} {outputs} at {at}");
            }
        }
    }

    #[test]
    fn every_width_of_instructions_gives_the_same() {
        let (left, right) = (numbers(8 * 50, 1), numbers(40 * 70, 2));
        for rows in 1..=ROWS {
            let factors = Factors { left: &left, left_stride: 50, right: &right, right_stride: 70, depth: 40 };
            let mut sums = [[[0.0; COLUMNS]; ROWS]; 4];
            products(factors, &mut sums[0][..rows]);
            // SAFETY: the factors are large enough for all rows.
            unsafe {
                by_blocks::<4, 16, false>(factors, &mut sums[1][..rows]);
                by_blocks::<4, 16, true>(factors, &mut sums[2][..rows]);
                by_blocks::<8, 32, false>(factors, &mut sums[3][..rows]);
            }
            for (row, column) in (0..rows).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
                let expected = dot(left[row * 50..][..40].iter().copied(), right[column..].iter().step_by(70).copied());
                for sums in &sums {
                    assert!((f64::from(sums[row][column]) - expected).abs() < 1e-4, "{rows} rows: {row} {column}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "too few")]
    fn factors_that_are_too_short_are_refused() {
        let factors = Factors { left: &[1.0; 7], left_stride: 4, right: &[1.0; 128], right_stride: 32, depth: 4 };
        products(factors, &mut [[0.0; COLUMNS]; 2]);
    }
}
