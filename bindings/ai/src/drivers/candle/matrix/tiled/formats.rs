//! How the types of weights in GGUF files write their blocks.

use candle_core::quantized::GgmlDType;
use half::f16;

use super::BLOCK;

/// A block of weights in a row, each of which is `scale * number + offset`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// That of the first half of the block, and that of the second.
    pub(super) scales: [f16; 2],
    pub(super) offset: f16,
    pub(super) numbers: [i8; BLOCK],
}

/// The types that are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A scale and 32 numbers of 4 bits, of which 8 is 0.
    Q4_0,
    /// A scale, an offset and 32 numbers of 4 bits.
    Q4_1,
    /// Eight blocks: a scale and an offset of all, 6 bits a block to multiply each of them with, and numbers of 4 bits.
    Q4K,
    /// A scale and 32 numbers of 5 bits, of which 16 is 0.
    Q5_0,
    /// Eight blocks: a scale of all, 8 bits a half to multiply it with, and numbers of 6 bits, of which 32 is 0.
    Q6K,
    /// A scale and 32 numbers of 8 bits.
    Q8_0,
}

/// Bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bits {
    /// From 0 to 15, with one scale and an offset.
    Four,
    /// From -32 to 31, with two scales and no offset.
    Six,
    /// From -128 to 127, with one scale and no offset.
    Eight,
}

impl Format {
    pub(super) fn of(dtype: GgmlDType) -> Option<Self> {
        match dtype {
            GgmlDType::Q4_0 => Some(Self::Q4_0),
            GgmlDType::Q4_1 => Some(Self::Q4_1),
            GgmlDType::Q4K => Some(Self::Q4K),
            GgmlDType::Q5_0 => Some(Self::Q5_0),
            GgmlDType::Q6K => Some(Self::Q6K),
            GgmlDType::Q8_0 => Some(Self::Q8_0),
            _ => None,
        }
    }

    pub(super) fn bits(self) -> Bits {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => Bits::Four,
            Self::Q5_0 | Self::Q6K => Bits::Six,
            Self::Q8_0 => Bits::Eight,
        }
    }

    /// So many weights are written as one.
    pub(super) fn weights(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q8_0 => BLOCK,
            Self::Q4K | Self::Q6K => 8 * BLOCK,
        }
    }

    /// Bytes of so many weights.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
            Self::Q5_0 => 22,
            Self::Q6K => 210,
            Self::Q8_0 => 34,
        }
    }

    /// The blocks of a row of weights.
    pub(super) fn blocks(self, row: &[u8]) -> impl Iterator<Item = Block> {
        row.chunks_exact(self.bytes())
            .flat_map(move |bytes| (0..self.weights() / BLOCK).map(move |number| self.block(bytes, number)))
    }

    fn block(self, bytes: &[u8], number: usize) -> Block {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        match self {
            Self::Q4_0 => {
                // Exact: only the exponent changes.
                let offset = f16::from_f32(half(0).to_f32() * -8.0);
                Block { scales: [half(0); 2], offset, numbers: both_halves(&bytes[2..]) }
            }
            Self::Q4_1 => Block { scales: [half(0); 2], offset: half(2), numbers: both_halves(&bytes[4..]) },
            Self::Q4K => {
                let (scale, offset) = sixes(&bytes[4..16], number);
                // The lower halves of 32 bytes are a block, the upper halves the next one.
                let nibbles = &bytes[16 + number / 2 * BLOCK..][..BLOCK];
                let shift = number % 2 * 4;
                Block {
                    scales: [f16::from_f32(half(0).to_f32() * scale); 2],
                    offset: f16::from_f32(-half(2).to_f32() * offset),
                    numbers: std::array::from_fn(|at| ((nibbles[at] >> shift) & 0x0f) as i8),
                }
            }
            Self::Q5_0 => {
                let fifths = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
                let numbers = both_halves(&bytes[6..]);
                let number = |at: usize| (numbers[at] | (((fifths >> at) & 1) << 4) as i8) - 16;
                Block { scales: [half(0); 2], offset: f16::ZERO, numbers: std::array::from_fn(number) }
            }
            Self::Q6K => {
                let (low, high, scales) = (&bytes[..128], &bytes[128..192], &bytes[192..208]);
                // Four blocks share 64 bytes of lower halves and 32 bytes of upper pairs of bits.
                let (quad, place) = (number / 4, number % 4);
                let low = &low[quad * 64 + place % 2 * BLOCK..][..BLOCK];
                let high = &high[quad * BLOCK..][..BLOCK];
                let scale = |half_block: usize| {
                    f16::from_f32(half(208).to_f32() * f32::from(scales[2 * number + half_block] as i8))
                };
                let number = |at: usize| {
                    let low = (low[at] >> (place / 2 * 4)) & 0x0f;
                    (low | ((high[at] >> (2 * place)) & 3) << 4) as i8 - 32
                };
                Block { scales: [scale(0), scale(1)], offset: f16::ZERO, numbers: std::array::from_fn(number) }
            }
            Self::Q8_0 => Block {
                scales: [half(0); 2],
                offset: f16::ZERO,
                numbers: std::array::from_fn(|at| bytes[2 + at] as i8),
            },
        }
    }
}

/// The lower halves of 16 bytes, then their upper halves.
fn both_halves(bytes: &[u8]) -> [i8; BLOCK] {
    std::array::from_fn(|at| if at < 16 { (bytes[at] & 0x0f) as i8 } else { (bytes[at - 16] >> 4) as i8 })
}

/// The scale and the offset of a block, 6 bits each, out of the 12 bytes for eight blocks.
fn sixes(bytes: &[u8], number: usize) -> (f32, f32) {
    let (scale, offset) = if number < 4 {
        (bytes[number] & 63, bytes[number + 4] & 63)
    } else {
        let (low, high) = (bytes[number + 4], [bytes[number - 4] >> 6, bytes[number] >> 6]);
        ((low & 0x0f) | (high[0] << 4), (low >> 4) | (high[1] << 4))
    };
    (f32::from(scale), f32::from(offset))
}
