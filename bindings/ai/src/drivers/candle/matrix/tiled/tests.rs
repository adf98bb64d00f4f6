use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};

use super::*;

const DTYPES: [GgmlDType; 6] =
    [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q4K, GgmlDType::Q5_0, GgmlDType::Q6K, GgmlDType::Q8_0];

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

fn tensor(rows: usize, columns: usize, dtype: GgmlDType) -> QTensor {
    let weights = Tensor::from_vec(numbers(rows * columns, 1), (rows, columns), &Device::Cpu).expect("a tensor");
    QTensor::quantize(&weights, dtype).expect("weights")
}

/// What candle says the weights are.
fn weights(tensor: &QTensor) -> Vec<f32> {
    let weights = tensor.dequantize(&Device::Cpu).and_then(|weights| weights.flatten_all()?.to_vec1());
    weights.expect("weights")
}

fn matrix(tensor: &QTensor, instructions: Instructions) -> TiledMatrix {
    TiledMatrix::of(tensor, instructions).expect("no error").expect("a known type")
}

/// What this processor can do.
fn instructions() -> Vec<Instructions> {
    match Instructions::best() {
        None => vec![],
        Some(Instructions::Avx2) => vec![Instructions::Avx2],
        Some(Instructions::Avx512) => vec![Instructions::Avx2, Instructions::Avx512],
    }
}

/// The activations that rounded ones stand for.
fn values(rounded: &Rounded) -> Vec<f32> {
    let blocks = rounded.numbers.as_chunks::<BLOCK>().0.iter().zip(&rounded.scales);
    blocks.flat_map(|(numbers, scale)| numbers.map(|number| f32::from(number) * scale.scale)).collect()
}

#[test]
fn a_product_is_that_of_the_weights_and_the_rounded_activations() {
    for dtype in DTYPES {
        for (rows, columns, count) in [(7, 256, 1), (64, 512, 3), (33, 256, 15), (100, 1536, 40)] {
            let tensor = tensor(rows, columns, dtype);
            let weights = weights(&tensor);
            let rounded = Rounded::of(&numbers(count * columns, 2));
            let x = values(&rounded);
            for instructions in instructions() {
                let products = matrix(&tensor, instructions).forward(&rounded);
                assert_eq!(products.len(), count * rows);
                for (at, product) in products.iter().enumerate() {
                    let (x, weights) =
                        (&x[at / rows * columns..][..columns], &weights[at % rows * columns..][..columns]);
                    let expected: f64 = x.iter().zip(weights).map(|(x, weight)| f64::from(x * weight)).sum();
                    // Where blocks share a scale, it is rounded to 16 bits after it is multiplied with that of the block.
                    let shared = matches!(dtype, GgmlDType::Q4K | GgmlDType::Q6K);
                    let most = if shared { 5e-2 } else { 2e-4 };
                    let difference = (f64::from(*product) - expected).abs();
                    assert!(difference < most, "{dtype:?} {instructions:?} {rows} {columns} {count}: {difference}");
                }
            }
        }
    }
}

#[test]
fn the_greatest_numbers_do_not_overflow() {
    for (dtype, sign) in DTYPES.into_iter().flat_map(|dtype| [(dtype, 1.0), (dtype, -1.0)]) {
        // All but one of a block are at the end of what the type can say.
        let weights: Vec<f32> = (0..512).map(|at| if at % BLOCK == 5 { -sign } else { sign }).collect();
        let weights = Tensor::from_vec(weights, (2, 256), &Device::Cpu).expect("a tensor");
        let tensor = QTensor::quantize(&weights, dtype).expect("weights");
        let expected: f32 = self::weights(&tensor)[..256].iter().sum();
        assert!(expected * sign > 200.0, "{dtype:?}: {expected}");
        for (instructions, factor) in instructions().into_iter().flat_map(|known| [(known, 1.0), (known, -1.0)]) {
            for product in matrix(&tensor, instructions).forward(&Rounded::of(&[factor; 256])) {
                assert!((product - factor * expected).abs() < 0.2, "{dtype:?} {instructions:?}: {product}");
            }
        }
    }
}

#[test]
fn rows_are_those_of_candle() {
    for dtype in DTYPES {
        let tensor = tensor(19, 256, dtype);
        let weights = weights(&tensor);
        for instructions in instructions() {
            let matrix = matrix(&tensor, instructions);
            assert_eq!((matrix.rows(), matrix.columns()), (19, 256));
            for (row, expected) in weights.chunks_exact(256).enumerate() {
                let row: Vec<f32> = matrix.row(row).collect();
                let most = if matches!(dtype, GgmlDType::Q4K | GgmlDType::Q6K) { 2e-3 } else { 1e-6 };
                assert!(row.len() == 256 && row.iter().zip(expected).all(|(a, b)| (a - b).abs() < most), "{dtype:?}");
            }
        }
    }
}

#[test]
fn activations_are_rounded_to_the_nearest_of_255_steps() {
    let x = numbers(BLOCK * 1000, 3);
    for (x, rounded) in x.chunks_exact(BLOCK).zip(values(&Rounded::of(&x)).chunks_exact(BLOCK)) {
        let step = x.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs())) / 127.0;
        assert!(x.iter().zip(rounded).all(|(x, rounded)| (x - rounded).abs() <= step * 0.501), "{x:?} {rounded:?}");
    }
    assert!(values(&Rounded::of(&[0.0; BLOCK])).iter().all(|value| value.abs() < f32::EPSILON));
}

#[test]
fn other_types_are_left_to_candle() {
    for instructions in instructions() {
        for dtype in [GgmlDType::Q5_1, GgmlDType::Q5K, GgmlDType::F16] {
            assert!(TiledMatrix::of(&tensor(4, 256, dtype), instructions).expect("no error").is_none(), "{dtype:?}");
        }
    }
}
