//! Attention: each row of queries looks at a range of positions.

use std::ops::Range;

use super::dense::{COLUMNS, Factors, ROWS, products};
use super::vectors::softmax;

/// So many positions get room at a time where there is none.
const STEP: usize = 512;

/// The keys and the values of one head.
pub(in super::super) struct KeysAndValues {
    /// Numbers of a key, and of a value.
    size: usize,
    length: usize,
    /// [`COLUMNS`] positions at a time: for each number of a key that of all these positions.
    keys: Vec<f32>,
    /// A row a position, filled up to a multiple of [`COLUMNS`].
    values: Vec<f32>,
}

impl KeysAndValues {
    /// Those of no position, with keys and values of `size` numbers and room for `room` of them.
    pub(in super::super) fn new(size: usize, room: usize) -> Self {
        let room = room.next_multiple_of(COLUMNS);
        let keys = Vec::with_capacity(room * size);
        let values = Vec::with_capacity(room * size.next_multiple_of(COLUMNS));
        Self { size, length: 0, keys, values }
    }

    /// How many positions there are.
    pub(in super::super) fn length(&self) -> usize {
        self.length
    }

    /// Adds the key and the value of the next position.
    pub(in super::super) fn append(&mut self, key: &[f32], value: &[f32]) {
        let column = self.length % COLUMNS;
        if column == 0 {
            extend(&mut self.keys, self.size * COLUMNS, self.size * STEP);
        }
        let tile = self.length / COLUMNS * COLUMNS * self.size;
        for (place, number) in self.keys[tile + column..].iter_mut().step_by(COLUMNS).zip(key) {
            *place = *number;
        }
        let stride = self.stride();
        extend(&mut self.values, stride, stride * STEP);
        self.values[self.length * stride..][..self.size].copy_from_slice(value);
        self.length += 1;
    }

    /// What up to [`ROWS`] queries get: the values of the positions that each of them sees, which are one at least, in the shares that the
    /// products with their keys say. The results take the places of the queries.
    pub(in super::super) fn attend(&self, queries: &mut [f32], seen: &[Range<usize>]) {
        let count = seen.len();
        let first = seen.iter().map(|seen| seen.start).min().unwrap_or(0) / COLUMNS * COLUMNS;
        let end = seen.iter().map(|seen| seen.end).max().unwrap_or(0);
        assert!(count <= ROWS && queries.len() == count * self.size && end <= self.length, "queries that do not fit");
        let width = (end - first).next_multiple_of(COLUMNS);
        let mut shares = vec![0.0; count * width];
        let mut block = [[0.0; COLUMNS]; ROWS];
        let block = &mut block[..count];
        for column in (0..width).step_by(COLUMNS) {
            let keys = &self.keys[(first + column) * self.size..];
            let factors =
                Factors { left: queries, left_stride: self.size, right: keys, right_stride: COLUMNS, depth: self.size };
            products(factors, block);
            for (shares, block) in shares.chunks_exact_mut(width).zip(&*block) {
                shares[column..column + COLUMNS].copy_from_slice(block);
            }
        }
        for (shares, seen) in shares.chunks_exact_mut(width).zip(seen) {
            let seen = seen.start - first..seen.end - first;
            softmax(&mut shares[seen.clone()]);
            shares[..seen.start].fill(0.0);
            shares[seen.end..].fill(0.0);
        }
        let stride = self.stride();
        for column in (0..self.size).step_by(COLUMNS) {
            let factors = Factors {
                left: &shares,
                left_stride: width,
                right: &self.values[first * stride + column..],
                right_stride: stride,
                depth: end - first,
            };
            products(factors, block);
            let numbers = COLUMNS.min(self.size - column);
            for (query, block) in queries.chunks_exact_mut(self.size).zip(&*block) {
                query[column..column + numbers].copy_from_slice(&block[..numbers]);
            }
        }
    }

    fn stride(&self) -> usize {
        self.size.next_multiple_of(COLUMNS)
    }
}

/// Makes `numbers` longer by `more` zeros, with room for `step` where there is none.
fn extend(numbers: &mut Vec<f32>, more: usize, step: usize) {
    if numbers.capacity() < numbers.len() + more {
        numbers.reserve_exact(step);
    }
    numbers.resize(numbers.len() + more, 0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(at: usize) -> f32 {
        (at * 7919 % 2003) as f32 / 1000.0 - 1.0
    }

    #[test]
    fn each_query_gets_the_shares_of_what_it_sees() {
        for size in [4, 32, 80] {
            let mut known = KeysAndValues::new(size, 0);
            let (key, value) =
                (|position, at| number(position * size + at), |position, at| number(position * 31 + at * 3));
            for position in 0..STEP + 70 {
                let key: Vec<f32> = (0..size).map(|at| key(position, at)).collect();
                let value: Vec<f32> = (0..size).map(|at| value(position, at)).collect();
                known.append(&key, &value);
            }
            assert_eq!(known.length(), STEP + 70);
            for seen in [
                vec![0..1, 0..2],
                vec![0..70, 3..40, 33..34],
                vec![100..STEP + 70; 8],
                vec![0..32, 32..64, 63..65, 0..STEP],
            ] {
                let queries: Vec<f32> = (0..seen.len() * size).map(|at| number(at + 5)).collect();
                let mut results = queries.clone();
                known.attend(&mut results, &seen);
                for (row, seen) in seen.into_iter().enumerate() {
                    let query = &queries[row * size..][..size];
                    let share = |position: usize| -> f64 {
                        query
                            .iter()
                            .enumerate()
                            .map(|(at, number)| f64::from(number * key(position, at)))
                            .sum::<f64>()
                            .exp()
                    };
                    let total: f64 = seen.clone().map(share).sum();
                    for at in 0..size {
                        let expected: f64 =
                            seen.clone().map(|position| share(position) / total * f64::from(value(position, at))).sum();
                        let result = f64::from(results[row * size + at]);
                        assert!((result - expected).abs() < 1e-4, "{result} and not {expected} of {seen:?}");
                    }
                }
            }
        }
    }
}
