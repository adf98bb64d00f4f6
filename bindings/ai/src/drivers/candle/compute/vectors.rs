//! What is done to the numbers of a row one by one.

use super::vectorised;

/// Sums are made of so many parts side by side.
const LANES: usize = 16;

/// A number so large that it has no room for fractions: adding it rounds, and leaves the whole number in the lowest bits.
pub(in super::super) const ROUNDER: f32 = 12_582_912.0;

vectorised! {
    /// Divides each row by the root of the mean of its squares, times `weight`.
    pub(in super::super) fn rms_norm(rows: &mut [f32], weight: &[f32], epsilon: f32) {
        for row in rows.chunks_exact_mut(weight.len()) {
            let factor = 1.0 / (sum(row, |number| number * number) / row.len() as f32 + epsilon).sqrt();
            for (number, weight) in row.iter_mut().zip(weight) {
                *number = *number * factor * weight;
            }
        }
    }
}

vectorised! {
    /// Moves each row to the mean 0 and the variance 1, times `weight` plus `bias`.
    pub(in super::super) fn layer_norm(rows: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        for row in rows.chunks_exact_mut(weight.len()) {
            let mean = sum(row, |number| number) / row.len() as f32;
            let variance = sum(row, |number| (number - mean) * (number - mean)) / row.len() as f32;
            let factor = 1.0 / (variance + epsilon).sqrt();
            for ((number, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
                *number = (*number - mean) * factor * weight + bias;
            }
        }
    }
}

vectorised! {
    /// Adds one slice to another.
    pub(in super::super) fn add(numbers: &mut [f32], others: &[f32]) {
        for (number, other) in numbers.iter_mut().zip(others) {
            *number += other;
        }
    }
}

vectorised! {
    /// Multiplies one slice by another.
    pub(in super::super) fn multiply(numbers: &mut [f32], others: &[f32]) {
        for (number, other) in numbers.iter_mut().zip(others) {
            *number *= other;
        }
    }
}

vectorised! {
    /// `x / (1 + e^-x)`.
    pub(in super::super) fn silu(numbers: &mut [f32]) {
        for number in numbers {
            *number /= 1.0 + exp(-*number);
        }
    }
}

vectorised! {
    /// The Gaussian error linear unit.
    pub(in super::super) fn gelu(numbers: &mut [f32]) {
        for number in numbers {
            *number = 0.5 * *number * (1.0 + erf(*number * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

vectorised! {
    /// The Gaussian error linear unit as it is approximated by a hyperbolic tangent.
    pub(in super::super) fn gelu_by_tanh(numbers: &mut [f32]) {
        for number in numbers {
            let x = *number;
            // Twice the root of two over pi.
            let doubled = 1.595_769 * (x + 0.044_715 * x * x * x);
            *number = x * (1.0 - 1.0 / (exp(doubled) + 1.0));
        }
    }
}

vectorised! {
    /// The greater of each number and 0.
    pub(in super::super) fn relu(numbers: &mut [f32]) {
        for number in numbers {
            *number = number.max(0.0);
        }
    }
}

vectorised! {
    /// Makes shares of 1 out of scores.
    pub(in super::super) fn softmax(scores: &mut [f32]) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (whole, rest) = scores.as_chunks::<LANES>();
        for numbers in whole {
            for (lane, number) in lanes.iter_mut().zip(numbers) {
                *lane = if *number > *lane { *number } else { *lane };
            }
        }
        let greatest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |greatest, number| greatest.max(*number));
        for score in scores.iter_mut() {
            *score = exp(*score - greatest);
        }
        let factor = 1.0 / sum(scores, |share| share);
        for score in scores {
            *score *= factor;
        }
    }
}

vectorised! {
    /// Turns the pairs of a head that lie half a head apart.
    pub(in super::super) fn turn_halves(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
        let (left, right) = head.split_at_mut(cosines.len());
        for (((left, right), cosine), sine) in left.iter_mut().zip(right).zip(cosines).zip(sines) {
            (*left, *right) = (*left * cosine - *right * sine, *left * sine + *right * cosine);
        }
    }
}

vectorised! {
    /// Turns the pairs of a head that lie side by side.
    pub(in super::super) fn turn_neighbours(head: &mut [f32], cosines: &[f32], sines: &[f32]) {
        for (([left, right], cosine), sine) in head.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
            (*left, *right) = (*left * cosine - *right * sine, *left * sine + *right * cosine);
        }
    }
}

/// The sum of what `of` makes of each number.
#[expect(clippy::inline_always, reason = "only where it is inlined it gets the instructions of its caller")]
#[inline(always)]
fn sum(numbers: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for numbers in whole {
        for (lane, number) in lanes.iter_mut().zip(numbers) {
            *lane += of(*number);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|number| of(*number)).sum::<f32>()
}

/// `e^x` to about the last bit. Below -87 it is as good as 0.
#[expect(clippy::inline_always, reason = "only where it is inlined it gets the instructions of its caller")]
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUNDER;
    let power = rounded - ROUNDER;
    // The logarithm of 2 in two parts, the first of which has bits to spare.
    let rest = x - power * 0.693_359_4 + power * 2.121_944_4e-4;
    let series = 1.987_569_1e-4;
    let series = series * rest + 1.398_2e-3;
    let series = series * rest + 8.333_452e-3;
    let series = series * rest + 4.166_579_6e-2;
    let series = series * rest + 1.666_666_6e-1;
    let series = series * rest + 0.5;
    let value = series * rest * rest + rest + 1.0;
    f32::from_bits(value.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// The error function, to 2e-7: formula 7.1.26 of Abramowitz and Stegun.
#[expect(clippy::inline_always, reason = "only where it is inlined it gets the instructions of its caller")]
#[inline(always)]
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = 1.061_405_4;
    let series = series * t - 1.453_152;
    let series = series * t + 1.421_413_7;
    let series = series * t - 0.284_496_74;
    let series = series * t + 0.254_829_6;
    (1.0 - series * t * exp(-x * x)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From -20 to 20.
    fn numbers() -> Vec<f32> {
        (-2000..2000).map(|number| number as f32 / 100.0).collect()
    }

    /// Compares what a function makes of [`numbers`] with the same in twice the precision.
    fn compare(what: &str, function: fn(&mut [f32]), exact: fn(f64) -> f64) {
        let mut values = numbers();
        function(&mut values);
        for (value, x) in values.iter().zip(numbers()) {
            let expected = exact(f64::from(x));
            let difference = (f64::from(*value) - expected).abs();
            assert!(difference <= 1e-6 * expected.abs().max(1.0), "{what} of {x} is {value} and not {expected}");
        }
    }

    /// The series of the error function, which needs twice the precision.
    fn exact_erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn activations_are_exact() {
        compare("relu", relu, |x| x.max(0.0));
        compare("silu", silu, |x| x / (1.0 + (-x).exp()));
        compare("gelu", gelu, |x| 0.5 * x * (1.0 + exact_erf(x * std::f64::consts::FRAC_1_SQRT_2)));
        compare("gelu by tanh", gelu_by_tanh, |x| {
            0.5 * x
                * (1.0
                    + (std::f64::consts::FRAC_2_SQRT_PI
                        * std::f64::consts::FRAC_1_SQRT_2
                        * (x + 0.044_715 * x.powi(3)))
                    .tanh())
        });
    }

    #[test]
    fn exponents_are_exact_over_their_whole_range() {
        for x in (-8700..=8800).map(|number| number as f32 / 100.0) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 3e-7, "e^{x} is {} and not {expected}", exp(x));
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(-1000.0) < 1e-37);
    }

    #[test]
    fn norms_give_rows_their_length() {
        let weight: Vec<f32> = (0..37).map(|number| number as f32 / 10.0).collect();
        let bias: Vec<f32> = weight.iter().map(|weight| 1.0 - weight).collect();
        let rows: Vec<f32> = numbers()[..37 * 20].to_vec();
        let (mut by_root, mut by_layer) = (rows.clone(), rows.clone());
        rms_norm(&mut by_root, &weight, 1e-5);
        layer_norm(&mut by_layer, &weight, &bias, 1e-5);
        for (at, x) in rows.iter().enumerate() {
            let row: Vec<f64> = rows[at / 37 * 37..][..37].iter().map(|number| f64::from(*number)).collect();
            let mean_of = |of: &dyn Fn(f64) -> f64| row.iter().map(|number| of(*number)).sum::<f64>() / 37.0;
            let (weight, bias, x) = (f64::from(weight[at % 37]), f64::from(bias[at % 37]), f64::from(*x));
            let expected = x / (mean_of(&|number| number * number) + 1e-5).sqrt() * weight;
            assert!((f64::from(by_root[at]) - expected).abs() < 1e-5, "{at}");
            let mean = mean_of(&|number| number);
            let expected = (x - mean) / (mean_of(&|number| (number - mean).powi(2)) + 1e-5).sqrt() * weight + bias;
            assert!((f64::from(by_layer[at]) - expected).abs() < 1e-3, "{at}");
        }
    }

    #[test]
    fn shares_are_those_of_the_exponents() {
        for count in [1, 15, 16, 17, 100] {
            let scores: Vec<f32> = numbers().into_iter().step_by(37).take(count).collect();
            let mut shares = scores.clone();
            softmax(&mut shares);
            let total: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
            for (share, score) in shares.iter().zip(&scores) {
                assert!((f64::from(*share) - f64::from(*score).exp() / total).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn pairs_are_turned_by_their_angle() {
        let (sines, cosines): (Vec<f32>, Vec<f32>) = (0..4).map(|pair| (pair as f32 / 2.0).sin_cos()).unzip();
        let mut neighbours = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        turn_neighbours(&mut neighbours, &cosines, &sines);
        let mut halves = [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0];
        turn_halves(&mut halves, &cosines, &sines);
        for pair in 0..4 {
            let expected = if pair < 2 { [cosines[pair], sines[pair]] } else { [-sines[pair], cosines[pair]] };
            for (at, expected) in expected.into_iter().enumerate() {
                assert!((neighbours[2 * pair + at] - expected).abs() < 1e-6);
                assert!((halves[4 * at + pair] - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn slices_are_added_and_multiplied() {
        let mut values = numbers();
        add(&mut values, &numbers());
        multiply(&mut values, &numbers());
        assert!(values.iter().zip(numbers()).all(|(value, x)| (value - 2.0 * x * x).abs() < 1e-3));
    }
}
