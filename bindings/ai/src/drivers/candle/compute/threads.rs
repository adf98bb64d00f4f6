//! Work shared by the threads that compute.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::crew::Crew;

/// So many rows are one piece of work where rows are worked on one by one.
const ROWS: usize = 8;

/// Does the pieces `0..count` of some work, on all threads.
pub(in super::super) fn pieces(count: usize, work: impl Fn(usize) + Sync) {
    if count < 2 {
        return (0..count).for_each(work);
    }
    let crew = Crew::of_process();
    // Small enough that all threads end at about the same time, and large enough that they seldom meet.
    let size = count.div_ceil(crew.threads() * 8);
    let next = AtomicUsize::new(0);
    crew.share(&|| {
        loop {
            let start = next.fetch_add(size, Ordering::Relaxed);
            if start >= count {
                return;
            }
            (start..count.min(start + size)).for_each(&work);
        }
    });
}

/// Works on `data`, whose rows have `width` numbers, some rows at a time; `work` is told the number of their first row.
pub(in super::super) fn rows(data: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let length = data.len();
    let places = Places::of(data);
    pieces(length.div_ceil(ROWS * width), |piece| {
        let start = piece * ROWS * width;
        // SAFETY: each piece has its own rows.
        let rows = unsafe { places.at(start..length.min(start + ROWS * width)) };
        work(piece * ROWS, rows);
    });
}

/// A slice that several threads write to, each to places of its own.
pub(in super::super) struct Places<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out places as a mutable reference would, and who asks for them sees to it that no two threads have the same.
unsafe impl<T: Send> Sync for Places<'_, T> {}

impl<'a, T> Places<'a, T> {
    pub(in super::super) fn of(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// Some of the places.
    ///
    /// # Safety
    ///
    /// As long as they are used, nobody else may have any of them.
    #[expect(clippy::mut_from_ref, reason = "whoever calls has the places to itself")]
    pub(in super::super) unsafe fn at(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "places outside of the slice");
        // SAFETY: they are inside of the slice, and nobody else has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_worked_on_once_by_its_number() {
        for count in [0, 1, 7, 8, 9, 100] {
            let mut data = vec![0.0; count * 3];
            rows(&mut data, 3, |first, rows| {
                for (row, numbers) in (first..).zip(rows.chunks_exact_mut(3)) {
                    for number in numbers {
                        *number += row as f32 + 1.0;
                    }
                }
            });
            let expected: Vec<f32> = (0..count * 3).map(|at| (at / 3) as f32 + 1.0).collect();
            assert_eq!(data, expected);
        }
    }
}
