//! The products of tiles with rounded rows, for AVX2 and for AVX-512 with its instructions for products of 8 bits.

use std::arch::x86_64::{
    __m256i, __m512i, _mm_loadu_si128, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256,
    _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi16, _mm256_srli_epi16, _mm256_storeu_ps,
    _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_slli_epi16, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_xor_si512,
};
use std::ops::Range;

use half::f16;

use super::formats::{Bits, Block};
use super::{BLOCK, ROWS, RoundedRow};

/// Bytes of a scale, or an offset, of each row.
const FACTORS: usize = 2 * ROWS;

/// Where the numbers begin, or their lower 4 bits, behind two factors.
const NIBBLES: usize = 2 * FACTORS;

/// Where the upper 2 bits of numbers with 6 begin.
const PAIRS: usize = NIBBLES + ROWS * BLOCK / 2;

/// Numbers of a row that lie side by side: so many products go into one sum.
const GROUP: usize = 4;

/// Groups in a block.
const GROUPS: usize = BLOCK / GROUP;

/// Bytes of a group of each row.
const STEP: usize = GROUP * ROWS;

/// What a processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super::super) enum Instructions {
    /// AVX2, with floats of 16 bits and with a product and a sum at once.
    Avx2,
    /// AVX-512 with VNNI.
    Avx512,
}

/// A block of each of 16 rows. First come the scales, or the scales of the first halves and those of the second; then the offsets,
/// where the numbers have 4 bits; then the numbers, 4 of each row at a time. Of numbers with 4 bits two such groups share their bytes,
/// and so do the lower 4 bits of numbers with 6, behind which four groups share the bytes with the upper 2 bits.
pub(super) struct Tile;

impl Instructions {
    /// The best that this processor can do, or `None` where that is too little.
    pub(in super::super::super) fn best() -> Option<Self> {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
        {
            return Some(Self::Avx512);
        }
        let enough =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        enough.then_some(Self::Avx2)
    }

    /// The products of rows of activations with the rows of some tiles, which have as many blocks.
    pub(super) fn products<const COUNT: usize>(
        self,
        bits: Bits,
        tiles: &[u8],
        rows: &[RoundedRow<'_>; COUNT],
    ) -> [[f32; ROWS]; COUNT] {
        let blocks = tiles.len() / bits.tile_bytes();
        assert!(
            rows.iter().all(|row| row.numbers.len() == blocks && row.scales.len() == blocks),
            "rows that do not fit"
        );
        // SAFETY: only a processor that has the instructions gets such a value, and there are as many blocks of each.
        unsafe {
            match (self, bits) {
                (Self::Avx2, Bits::Four) => avx2::<COUNT, 4>(tiles, rows),
                (Self::Avx2, Bits::Six) => avx2::<COUNT, 6>(tiles, rows),
                (Self::Avx2, Bits::Eight) => avx2::<COUNT, 8>(tiles, rows),
                (Self::Avx512, Bits::Four) => avx512::<COUNT, 4>(tiles, rows),
                (Self::Avx512, Bits::Six) => avx512::<COUNT, 6>(tiles, rows),
                (Self::Avx512, Bits::Eight) => avx512::<COUNT, 8>(tiles, rows),
            }
        }
    }
}

impl Bits {
    /// Bytes of a tile.
    pub(super) const fn tile_bytes(self) -> usize {
        match self {
            Self::Four => FACTORS + FACTORS + ROWS * BLOCK / 2,
            Self::Six => FACTORS + FACTORS + ROWS * BLOCK / 2 + ROWS * BLOCK / 4,
            Self::Eight => FACTORS + ROWS * BLOCK,
        }
    }
}

impl Tile {
    /// Writes the block of one of the rows into a tile in which that is 0.
    pub(super) fn write(bits: Bits, tile: &mut [u8], row: usize, block: &Block) {
        let [first, second] = block.scales;
        tile[2 * row..][..2].copy_from_slice(&first.to_le_bytes());
        match bits {
            Bits::Four => tile[FACTORS + 2 * row..][..2].copy_from_slice(&block.offset.to_le_bytes()),
            Bits::Six => tile[FACTORS + 2 * row..][..2].copy_from_slice(&second.to_le_bytes()),
            Bits::Eight => {}
        }
        for (at, number) in block.numbers.iter().enumerate() {
            let (group, place) = (at / GROUP, row * GROUP + at % GROUP);
            match bits {
                Bits::Four => tile[NIBBLES + group / 2 * STEP + place] |= (*number as u8) << (group % 2 * 4),
                Bits::Six => {
                    let number = (*number + 32) as u8;
                    tile[NIBBLES + group / 2 * STEP + place] |= (number & 0x0f) << (group % 2 * 4);
                    tile[PAIRS + group / 4 * STEP + place] |= (number >> 4) << (group % 4 * 2);
                }
                Bits::Eight => tile[FACTORS + group * STEP + place] = *number as u8,
            }
        }
    }

    /// The block of one of the rows.
    pub(super) fn read(bits: Bits, tile: &[u8], row: usize) -> Block {
        let factor = |start: usize| f16::from_le_bytes([tile[start + 2 * row], tile[start + 2 * row + 1]]);
        let (scale, other) = (factor(0), factor(FACTORS));
        let number = |at: usize| {
            let (group, place) = (at / GROUP, row * GROUP + at % GROUP);
            let nibble = || (tile[NIBBLES + group / 2 * STEP + place] >> (group % 2 * 4)) & 0x0f;
            match bits {
                Bits::Four => nibble() as i8,
                Bits::Six => {
                    let pair = (tile[PAIRS + group / 4 * STEP + place] >> (group % 4 * 2)) & 3;
                    (nibble() | pair << 4) as i8 - 32
                }
                Bits::Eight => tile[FACTORS + group * STEP + place] as i8,
            }
        };
        let (scales, offset) = match bits {
            Bits::Four => ([scale; 2], other),
            Bits::Six => ([scale, other], f16::ZERO),
            Bits::Eight => ([scale; 2], f16::ZERO),
        };
        Block { scales, offset, numbers: std::array::from_fn(number) }
    }
}

/// # Safety
///
/// Each row must have as many blocks as there are tiles, whose numbers have `BITS` bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn avx512<const COUNT: usize, const BITS: usize>(
    tiles: &[u8],
    rows: &[RoundedRow<'_>; COUNT],
) -> [[f32; ROWS]; COUNT] {
    let mut totals = [_mm512_setzero_ps(); COUNT];
    for (at, tile) in tiles.chunks_exact(tile_bytes::<BITS>()).enumerate() {
        // SAFETY: a tile has so many bytes.
        let (scales, offsets, numbers) = unsafe {
            let load = |start: usize| _mm512_loadu_si512(tile.as_ptr().add(start).cast());
            let factors = |start: usize| _mm512_cvtph_ps(_mm256_loadu_si256(tile.as_ptr().add(start).cast()));
            let nibble = |group: usize| {
                let both = load(NIBBLES + group / 2 * STEP);
                let shifted = if group.is_multiple_of(2) { both } else { _mm512_srli_epi16::<4>(both) };
                _mm512_and_si512(shifted, _mm512_set1_epi8(0x0f))
            };
            match BITS {
                4 => ([factors(0); 2], [factors(FACTORS); 2], std::array::from_fn(nibble)),
                6 => {
                    let pair = |group: usize| {
                        let four = load(PAIRS + group / 4 * STEP);
                        let shifted = match group % 4 {
                            0 => _mm512_slli_epi16::<4>(four),
                            1 => _mm512_slli_epi16::<2>(four),
                            2 => four,
                            _ => _mm512_srli_epi16::<2>(four),
                        };
                        _mm512_and_si512(shifted, _mm512_set1_epi8(0x30))
                    };
                    let scales = [factors(0), factors(FACTORS)];
                    // The numbers are counted from 0 here, so each is 32 too great, which the offset takes back.
                    let offsets = scales.map(|scales| _mm512_mul_ps(scales, _mm512_set1_ps(-32.0)));
                    (scales, offsets, std::array::from_fn(|group| _mm512_or_si512(nibble(group), pair(group))))
                }
                _ => {
                    let offsets = _mm512_mul_ps(factors(0), _mm512_set1_ps(-128.0));
                    // The instruction wants numbers without a sign, so each is made 128 too great.
                    let number = |group| _mm512_xor_si512(load(FACTORS + group * STEP), _mm512_set1_epi8(-128));
                    ([factors(0); 2], [offsets; 2], std::array::from_fn(number))
                }
            }
        };
        let numbers: [__m512i; GROUPS] = numbers;
        for (row, total) in rows.iter().zip(&mut totals) {
            // SAFETY: a row has a block for each tile.
            let (factors, rounded) = unsafe { (row.numbers.get_unchecked(at), row.scales.get_unchecked(at)) };
            let factors = factors.as_chunks::<GROUP>().0;
            let sum = |groups: Range<usize>| {
                let mut sums = _mm512_setzero_si512();
                for (numbers, factors) in numbers[groups.clone()].iter().zip(&factors[groups]) {
                    sums = _mm512_dpbusd_epi32(sums, *numbers, _mm512_set1_epi32(four(*factors)));
                }
                _mm512_cvtepi32_ps(sums)
            };
            let scale = _mm512_set1_ps(rounded.scale);
            if BITS == 6 {
                for (half, groups) in [0..GROUPS / 2, GROUPS / 2..GROUPS].into_iter().enumerate() {
                    *total = _mm512_fmadd_ps(sum(groups), _mm512_mul_ps(scales[half], scale), *total);
                    *total = _mm512_fmadd_ps(offsets[half], _mm512_set1_ps(rounded.sums[half]), *total);
                }
            } else {
                *total = _mm512_fmadd_ps(sum(0..GROUPS), _mm512_mul_ps(scales[0], scale), *total);
                *total = _mm512_fmadd_ps(offsets[0], _mm512_set1_ps(rounded.sum()), *total);
            }
        }
    }
    totals.map(|total| {
        let mut sums = [0.0; ROWS];
        // SAFETY: there is room for 16.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), total) };
        sums
    })
}

/// # Safety
///
/// Each row must have as many blocks as there are tiles, whose numbers have `BITS` bits.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<const COUNT: usize, const BITS: usize>(
    tiles: &[u8],
    rows: &[RoundedRow<'_>; COUNT],
) -> [[f32; ROWS]; COUNT] {
    let mut products = [[0.0; ROWS]; COUNT];
    // The registers have room for eight of the sixteen rows.
    for side in 0..2 {
        let mut totals = [_mm256_setzero_ps(); COUNT];
        for (at, tile) in tiles.chunks_exact(tile_bytes::<BITS>()).enumerate() {
            // SAFETY: a tile has so many bytes.
            let (scales, offsets, numbers) = unsafe {
                let load = |start: usize| _mm256_loadu_si256(tile.as_ptr().add(start + STEP / 2 * side).cast());
                let factors = |start: usize| {
                    _mm256_cvtph_ps(_mm_loadu_si128(tile.as_ptr().add(start + FACTORS / 2 * side).cast()))
                };
                let nibble = |group: usize| {
                    let both = load(NIBBLES + group / 2 * STEP);
                    let shifted = if group.is_multiple_of(2) { both } else { _mm256_srli_epi16::<4>(both) };
                    _mm256_and_si256(shifted, _mm256_set1_epi8(0x0f))
                };
                let numbers: [__m256i; GROUPS] = match BITS {
                    4 => std::array::from_fn(nibble),
                    6 => std::array::from_fn(|group| {
                        let four = load(PAIRS + group / 4 * STEP);
                        let shifted = match group % 4 {
                            0 => _mm256_slli_epi16::<4>(four),
                            1 => _mm256_slli_epi16::<2>(four),
                            2 => four,
                            _ => _mm256_srli_epi16::<2>(four),
                        };
                        _mm256_or_si256(nibble(group), _mm256_and_si256(shifted, _mm256_set1_epi8(0x30)))
                    }),
                    _ => std::array::from_fn(|group| load(FACTORS + group * STEP)),
                };
                match BITS {
                    4 => ([factors(0); 2], [factors(FACTORS); 2], numbers),
                    6 => {
                        let scales = [factors(0), factors(FACTORS)];
                        // The numbers are counted from 0 here, so each is 32 too great, which the offset takes back.
                        (scales, scales.map(|scales| _mm256_mul_ps(scales, _mm256_set1_ps(-32.0))), numbers)
                    }
                    _ => ([factors(0); 2], [_mm256_setzero_ps(); 2], numbers),
                }
            };
            for (row, total) in rows.iter().zip(&mut totals) {
                // SAFETY: a row has a block for each tile.
                let (factors, rounded) = unsafe { (row.numbers.get_unchecked(at), row.scales.get_unchecked(at)) };
                let factors = factors.as_chunks::<GROUP>().0;
                let sum = |groups: Range<usize>| {
                    let ones = _mm256_set1_epi16(1);
                    let mut sums = _mm256_setzero_si256();
                    for first in groups.step_by(2) {
                        // The instruction wants the first numbers without a sign. Sums of two products fit 16 bits: they are
                        // 2 * 128 * 127 at most, and without a sign 2 * 63 * 127, of which two fit.
                        let pairs = [first, first + 1].map(|group| {
                            let (numbers, factors) = (numbers[group], _mm256_set1_epi32(four(factors[group])));
                            if BITS == 8 {
                                _mm256_maddubs_epi16(_mm256_abs_epi8(numbers), _mm256_sign_epi8(factors, numbers))
                            } else {
                                _mm256_maddubs_epi16(numbers, factors)
                            }
                        });
                        sums = if BITS == 8 {
                            let [one, other] = pairs.map(|pairs| _mm256_madd_epi16(pairs, ones));
                            _mm256_add_epi32(sums, _mm256_add_epi32(one, other))
                        } else {
                            let [one, other] = pairs;
                            _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_add_epi16(one, other), ones))
                        };
                    }
                    _mm256_cvtepi32_ps(sums)
                };
                let scale = _mm256_set1_ps(rounded.scale);
                if BITS == 6 {
                    for (half, groups) in [0..GROUPS / 2, GROUPS / 2..GROUPS].into_iter().enumerate() {
                        *total = _mm256_fmadd_ps(sum(groups), _mm256_mul_ps(scales[half], scale), *total);
                        *total = _mm256_fmadd_ps(offsets[half], _mm256_set1_ps(rounded.sums[half]), *total);
                    }
                } else {
                    *total = _mm256_fmadd_ps(sum(0..GROUPS), _mm256_mul_ps(scales[0], scale), *total);
                    *total = _mm256_fmadd_ps(offsets[0], _mm256_set1_ps(rounded.sum()), *total);
                }
            }
        }
        for (products, total) in products.iter_mut().zip(totals) {
            // SAFETY: there is room for 8 on each side.
            unsafe { _mm256_storeu_ps(products[8 * side..].as_mut_ptr(), total) };
        }
    }
    products
}

/// The bytes of a tile whose numbers have so many bits.
const fn tile_bytes<const BITS: usize>() -> usize {
    match BITS {
        4 => Bits::Four.tile_bytes(),
        6 => Bits::Six.tile_bytes(),
        _ => Bits::Eight.tile_bytes(),
    }
}

fn four(numbers: [i8; GROUP]) -> i32 {
    i32::from_le_bytes(numbers.map(|number| number as u8))
}
