//! The inner loops: products and distances of one vector with several others at a time.
//!
//! Vectors are padded with zeros to whole [`Lane`]s, so there is no remainder to treat. The widest instructions the processor
//! has are chosen at run time; [`Instructions::Portable`] does the same everywhere and is what the tests compare with.

/// Sixteen components, the width of the widest registers, at an address those like.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Lane(pub [f32; LANE]);

/// How many components a [`Lane`] has.
pub const LANE: usize = 16;

/// Which instructions are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// Plain Rust.
    Portable,
    /// Eight components at a time, with fused multiplication and addition.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Sixteen components at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The best this processor has.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// All this processor has, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "nothing is added there"))]
        let mut available = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                available.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                available.push(Self::Avx512);
            }
        }
        available
    }

    /// The inner products of `query` and each of `rows`. All have the same length.
    #[inline]
    pub fn dot<const N: usize>(self, query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        assert_lengths(query, &rows);
        match self {
            Self::Portable => portable(query, rows, |sum, one, other| sum + one * other),
            // SAFETY: `available` has found the instructions, and the lengths are equal.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::dot(query, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::dot(query, rows) },
        }
    }

    /// The squares of the distances between `query` and each of `rows`. All have the same length.
    #[inline]
    pub fn squared_distance<const N: usize>(self, query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        assert_lengths(query, &rows);
        match self {
            Self::Portable => portable(query, rows, |sum, one, other| sum + (one - other) * (one - other)),
            // SAFETY: `available` has found the instructions, and the lengths are equal.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::squared_distance(query, rows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::squared_distance(query, rows) },
        }
    }
}

#[inline]
fn assert_lengths<const N: usize>(query: &[Lane], rows: &[&[Lane]; N]) {
    assert!(rows.iter().all(|row| row.len() == query.len()), "vectors of different lengths");
}

/// One sum for each place in a lane, which compilers turn into what vector instructions the target has.
fn portable<const N: usize>(query: &[Lane], rows: [&[Lane]; N], add: impl Fn(f32, f32, f32) -> f32) -> [f32; N] {
    rows.map(|row| {
        let mut sums = [0.0; LANE];
        for (one, other) in query.iter().zip(row) {
            for (sum, (one, other)) in sums.iter_mut().zip(one.0.into_iter().zip(other.0)) {
                *sum = add(*sum, one, other);
            }
        }
        sums.iter().sum()
    })
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_load_ps, _mm512_reduce_add_ps, _mm512_setzero_ps, _mm512_sub_ps};

    use super::Lane;

    /// # Safety
    /// The processor has AVX-512F, and every row is as long as `query`.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn dot<const N: usize>(query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        let mut sums = [_mm512_setzero_ps(); N];
        for (place, lane) in query.iter().enumerate() {
            // SAFETY: a lane is as large and as aligned as a register, and `place` is within every row.
            let query = unsafe { _mm512_load_ps(lane.0.as_ptr()) };
            for row in 0..N {
                // SAFETY: as above.
                let other = unsafe { _mm512_load_ps(rows[row].get_unchecked(place).0.as_ptr()) };
                sums[row] = _mm512_fmadd_ps(query, other, sums[row]);
            }
        }
        sums.map(|sum| _mm512_reduce_add_ps(sum))
    }

    /// # Safety
    /// As [`dot`].
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn squared_distance<const N: usize>(query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        let mut sums = [_mm512_setzero_ps(); N];
        for (place, lane) in query.iter().enumerate() {
            // SAFETY: a lane is as large and as aligned as a register, and `place` is within every row.
            let query = unsafe { _mm512_load_ps(lane.0.as_ptr()) };
            for row in 0..N {
                // SAFETY: as above.
                let other = unsafe { _mm512_load_ps(rows[row].get_unchecked(place).0.as_ptr()) };
                let difference = _mm512_sub_ps(query, other);
                sums[row] = _mm512_fmadd_ps(difference, difference, sums[row]);
            }
        }
        sums.map(|sum| _mm512_reduce_add_ps(sum))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps, _mm256_add_ps,
        _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_load_ps, _mm256_setzero_ps,
        _mm256_sub_ps,
    };

    use super::Lane;

    /// # Safety
    /// The processor has AVX2 and FMA, and every row is as long as `query`.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn dot<const N: usize>(query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        let mut low = [_mm256_setzero_ps(); N];
        let mut high = [_mm256_setzero_ps(); N];
        for (place, lane) in query.iter().enumerate() {
            // SAFETY: a lane has two registers, is aligned for them, and `place` is within every row.
            let (first, second) = unsafe { halves(lane) };
            for row in 0..N {
                // SAFETY: as above.
                let (other_first, other_second) = unsafe { halves(rows[row].get_unchecked(place)) };
                low[row] = _mm256_fmadd_ps(first, other_first, low[row]);
                high[row] = _mm256_fmadd_ps(second, other_second, high[row]);
            }
        }
        std::array::from_fn(|row| sum(_mm256_add_ps(low[row], high[row])))
    }

    /// # Safety
    /// As [`dot`].
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn squared_distance<const N: usize>(query: &[Lane], rows: [&[Lane]; N]) -> [f32; N] {
        let mut low = [_mm256_setzero_ps(); N];
        let mut high = [_mm256_setzero_ps(); N];
        for (place, lane) in query.iter().enumerate() {
            // SAFETY: a lane has two registers, is aligned for them, and `place` is within every row.
            let (first, second) = unsafe { halves(lane) };
            for row in 0..N {
                // SAFETY: as above.
                let (other_first, other_second) = unsafe { halves(rows[row].get_unchecked(place)) };
                let difference = _mm256_sub_ps(first, other_first);
                low[row] = _mm256_fmadd_ps(difference, difference, low[row]);
                let difference = _mm256_sub_ps(second, other_second);
                high[row] = _mm256_fmadd_ps(difference, difference, high[row]);
            }
        }
        std::array::from_fn(|row| sum(_mm256_add_ps(low[row], high[row])))
    }

    /// # Safety
    /// The processor has AVX.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn halves(lane: &Lane) -> (__m256, __m256) {
        let start = lane.0.as_ptr();
        // SAFETY: a lane has sixteen components at an address divisible by 64.
        unsafe { (_mm256_load_ps(start), _mm256_load_ps(start.add(8))) }
    }

    #[target_feature(enable = "avx2,fma")]
    fn sum(register: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, the same each time.
    fn lanes(count: usize, seed: u64) -> Vec<Lane> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| Lane(std::array::from_fn(|_| next()))).collect()
    }

    fn in_double_precision(query: &[Lane], row: &[Lane], add: impl Fn(f64, f64) -> f64) -> f64 {
        let pairs = query.iter().zip(row).flat_map(|(one, other)| one.0.into_iter().zip(other.0));
        pairs.map(|(one, other)| add(f64::from(one), f64::from(other))).sum()
    }

    #[test]
    fn all_instructions_agree_with_double_precision() {
        for length in [0, 1, 2, 3, 24, 96] {
            let query = lanes(length, 1);
            let rows: Vec<Vec<Lane>> = (0..4).map(|row| lanes(length, 100 + row)).collect();
            let rows: [&[Lane]; 4] = std::array::from_fn(|row| rows[row].as_slice());
            for instructions in Instructions::available() {
                let dots = instructions.dot(&query, rows);
                let distances = instructions.squared_distance(&query, rows);
                for row in 0..4 {
                    let dot = in_double_precision(&query, rows[row], |one, other| one * other);
                    let distance = in_double_precision(&query, rows[row], |one, other| (one - other) * (one - other));
                    let tolerance = 1e-6 * (length * LANE) as f64 + f64::EPSILON;
                    assert!((f64::from(dots[row]) - dot).abs() <= tolerance, "{instructions:?} {length}");
                    assert!((f64::from(distances[row]) - distance).abs() <= tolerance, "{instructions:?} {length}");
                    // The same row gives the same result, however many are compared at once.
                    assert!(instructions.dot(&query, [rows[row]])[0].to_bits() == dots[row].to_bits());
                    assert!(
                        instructions.squared_distance(&query, [rows[row]])[0].to_bits() == distances[row].to_bits()
                    );
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "vectors of different lengths")]
    fn lengths_must_agree() {
        Instructions::detect().dot(&lanes(2, 1), [&lanes(1, 2)]);
    }
}
