//! Products with weights of the type `Q4_1` for AVX2.
//!
//! A block is 32 weights: a scale, an offset and 32 numbers of 4 bits, of which the lower half of each byte are the first 16. What they are
//! multiplied with is rounded to 8 bits, a block at a time with a scale of its own, so that a block's product is one of whole
//! numbers.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_and_si128, _mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_movehl_ps, _mm_set1_epi8, _mm_shuffle_ps, _mm_srli_epi16, _mm256_castps256_ps128,
    _mm256_cvtepi32_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_set_m128i, _mm256_set1_epi16, _mm256_set1_ps, _mm256_setzero_ps,
};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;

/// Weights in a block.
const BLOCK: usize = 32;

/// Bytes of a block of weights: scale, offset, numbers.
const BLOCK_BYTES: usize = 20;

/// So many rows of weights are one piece of work.
const ROWS: usize = 32;

/// A matrix of weights, row by row.
pub(in super::super) struct Q4_1Matrix {
    blocks: Vec<u8>,
    rows: usize,
    columns: usize,
}

/// Activations rounded to 8 bits.
struct Rounded {
    numbers: Vec<i8>,
    /// By block: the scale, and the scale times the sum of the block's numbers.
    scales: Vec<(f32, f32)>,
}

impl Q4_1Matrix {
    /// The matrix of a tensor, or `None` where it has another type or this processor has no such instructions.
    pub(super) fn of(tensor: &QTensor) -> Result<Option<Self>> {
        let known =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        if !known || tensor.dtype() != GgmlDType::Q4_1 {
            return Ok(None);
        }
        let (rows, columns) = tensor.shape().dims2()?;
        let blocks = tensor.data()?.into_owned();
        if columns % BLOCK != 0 || blocks.len() != rows * columns / BLOCK * BLOCK_BYTES {
            bail!("a matrix of {rows} times {columns} weights has {} bytes", blocks.len());
        }
        Ok(Some(Self { blocks, rows, columns }))
    }

    /// `(..., columns)` in and `(..., rows)` out.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        if shape.last() != Some(&self.columns) {
            bail!("{shape:?} cannot be multiplied with {} times {} weights", self.rows, self.columns);
        }
        let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let count = values.len() / self.columns;
        let rounded = Rounded::of(&values);
        // By row of weights, so that each piece of work writes in one place and reads its weights once.
        let mut products = vec![0.0; self.rows * count];
        products.par_chunks_mut(ROWS * count).enumerate().for_each(|(piece, products)| {
            for (offset, products) in products.chunks_exact_mut(count).enumerate() {
                let weights = self.row(piece * ROWS + offset);
                for (at, product) in products.iter_mut().enumerate() {
                    let (numbers, scales) = rounded.row(at, self.columns);
                    // SAFETY: `of` made sure of the instructions.
                    *product = unsafe { dot(weights, numbers, scales) };
                }
            }
        });
        if let Some(last) = shape.last_mut() {
            *last = self.rows;
        }
        let products = Tensor::from_vec(products, (self.rows, count), &Device::Cpu)?;
        if count == 1 { products.reshape(shape) } else { products.t()?.contiguous()?.reshape(shape) }
    }

    fn row(&self, row: usize) -> &[u8] {
        let bytes = self.columns / BLOCK * BLOCK_BYTES;
        &self.blocks[row * bytes..][..bytes]
    }
}

impl Rounded {
    /// Rounds whole blocks.
    fn of(values: &[f32]) -> Self {
        let mut numbers = Vec::with_capacity(values.len());
        let mut scales = Vec::with_capacity(values.len() / BLOCK);
        for block in values.chunks_exact(BLOCK) {
            let greatest = block.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
            let scale = greatest / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let mut sum = 0;
            numbers.extend(block.iter().map(|value| {
                let number = (value * inverse).round() as i8;
                sum += i32::from(number);
                number
            }));
            scales.push((scale, scale * sum as f32));
        }
        Self { numbers, scales }
    }

    fn row(&self, row: usize, columns: usize) -> (&[i8], &[(f32, f32)]) {
        let blocks = columns / BLOCK;
        (&self.numbers[row * columns..][..columns], &self.scales[row * blocks..][..blocks])
    }
}

/// The product of a row of weights with a row of activations of as many blocks.
#[target_feature(enable = "avx2,fma,f16c")]
fn dot(weights: &[u8], numbers: &[i8], scales: &[(f32, f32)]) -> f32 {
    let low = _mm_set1_epi8(0x0f);
    let ones = _mm256_set1_epi16(1);
    let mut sums = _mm256_setzero_ps();
    let mut offsets = 0.0;
    for ((block, numbers), (scale, scaled_sum)) in
        weights.as_chunks::<BLOCK_BYTES>().0.iter().zip(numbers.as_chunks::<BLOCK>().0).zip(scales)
    {
        let halves = i32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        let floats = _mm_cvtph_ps(_mm_cvtsi32_si128(halves));
        let (weight_scale, weight_offset) = (_mm_cvtss_f32(floats), _mm_cvtss_f32(_mm_shuffle_ps::<1>(floats, floats)));
        // SAFETY: a block has 16 bytes behind its first 4, and there are 32 numbers.
        let (packed, numbers): (__m128i, __m256i) =
            unsafe { (_mm_loadu_si128(block[4..].as_ptr().cast()), _mm256_loadu_si256(numbers.as_ptr().cast())) };
        let nibbles = _mm256_set_m128i(_mm_and_si128(_mm_srli_epi16::<4>(packed), low), _mm_and_si128(packed, low));
        // Pairs of products, at most 2 * 15 * 127, fit 16 bits.
        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(nibbles, numbers), ones);
        sums = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(weight_scale * scale), sums);
        offsets += weight_offset * scaled_sum;
    }
    sum(sums) + offsets
}

#[target_feature(enable = "avx2")]
fn sum(values: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[cfg(test)]
mod tests {
    use candle_core::Module;
    use candle_core::quantized::QMatMul;

    use super::*;

    /// Numbers between -1 and 1 that look like chance.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    fn tensor(shape: (usize, usize), seed: u32) -> Tensor {
        Tensor::from_vec(numbers(shape.0 * shape.1, seed), shape, &Device::Cpu).expect("a tensor")
    }

    #[test]
    fn a_product_is_that_of_candle() {
        for (rows, columns, count) in [(7, 64, 1), (64, 576, 1), (33, 128, 5), (100, 1536, 40)] {
            let weights = QTensor::quantize(&tensor((rows, columns), 1), GgmlDType::Q4_1).expect("weights");
            let Some(matrix) = Q4_1Matrix::of(&weights).expect("a matrix") else { return };
            let x = tensor((count, columns), 2).unsqueeze(0).expect("a batch");
            let ours = matrix.forward(&x).expect("a product");
            let theirs = QMatMul::from_qtensor(weights).expect("a matrix").forward(&x).expect("a product");
            assert_eq!(ours.dims(), [1, count, rows]);
            let difference = (ours - theirs)
                .and_then(|difference| difference.abs()?.max_all()?.to_scalar::<f32>())
                .expect("a number");
            assert!(difference < 0.02, "{rows} times {columns}: {difference}");
        }
    }

    #[test]
    fn other_types_are_left_to_candle() {
        let weights = QTensor::quantize(&tensor((4, 64), 1), GgmlDType::Q8_0).expect("weights");
        assert!(Q4_1Matrix::of(&weights).expect("no error").is_none());
    }

    #[test]
    fn nothing_times_anything_is_nothing() {
        let weights = QTensor::quantize(&tensor((4, 64), 1), GgmlDType::Q4_1).expect("weights");
        let Some(matrix) = Q4_1Matrix::of(&weights).expect("a matrix") else { return };
        let zeros = Tensor::zeros((2, 64), DType::F32, &Device::Cpu).expect("zeros");
        let product =
            matrix.forward(&zeros).and_then(|product| product.flatten_all()?.to_vec1::<f32>()).expect("numbers");
        assert!(product.iter().all(|number| number.abs() < f32::EPSILON), "{product:?}");
        assert!(matrix.forward(&tensor((2, 32), 1)).is_err());
    }
}
