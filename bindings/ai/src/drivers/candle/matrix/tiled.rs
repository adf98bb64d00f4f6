//! Products with quantised weights that are laid out for vector instructions.
//!
//! A type of weights that is known here has blocks of 32 weights in a row, each of which is `scale * number + offset`. A [`Tile`] is a block
//! of each of 16 rows, in the order in which the instructions take them: 4 numbers of each row, then the next 4 of each row. What they
//! are multiplied with is rounded to 8 bits, a block at a time with a scale of its own, so that a block's product is one of whole
//! numbers.
//!
//! The tiles take about the room of the weights they are made of.

mod formats;
mod kernels;

use candle_core::quantized::QTensor;
use candle_core::{Result, bail};
use half::f16;

use self::formats::{Bits, Block, Format};
pub(in super::super) use self::kernels::Instructions;
use self::kernels::Tile;
use super::super::compute::threads::{Places, pieces};
use super::super::compute::vectorised;
use super::super::compute::vectors::ROUNDER;

/// Weights in a block.
const BLOCK: usize = 32;

/// Rows of weights in a tile.
const ROWS: usize = 16;

/// So many rows of activations are multiplied with a tile at once at most.
const MOST: usize = 8;

/// So many rows of activations are one piece of work, so that a tile is used while it is near.
const PIECE: usize = 4 * MOST;

/// A matrix of weights.
pub(in super::super) struct TiledMatrix {
    instructions: Instructions,
    bits: Bits,
    /// For [`ROWS`] rows the tiles from the first columns to the last, then those of the next rows.
    tiles: Vec<u8>,
    rows: usize,
    columns: usize,
}

/// Activations rounded to 8 bits.
pub(in super::super) struct Rounded {
    numbers: Vec<i8>,
    scales: Vec<Scale>,
}

/// What a block of rounded activations is multiplied with, and the sums of its halves.
#[derive(Debug, Clone, Copy, Default)]
struct Scale {
    scale: f32,
    sums: [f32; 2],
}

/// A row of rounded activations.
#[derive(Clone, Copy)]
struct RoundedRow<'a> {
    numbers: &'a [[i8; BLOCK]],
    scales: &'a [Scale],
}

impl TiledMatrix {
    /// The matrix of a tensor, or `None` where its type is not known here.
    pub(in super::super) fn of(tensor: &QTensor, instructions: Instructions) -> Result<Option<Self>> {
        let Some(format) = Format::of(tensor.dtype()) else { return Ok(None) };
        let (rows, columns) = tensor.shape().dims2()?;
        let data = tensor.data()?;
        if columns % format.weights() != 0 {
            return Ok(None);
        }
        if data.len() != rows * columns / format.weights() * format.bytes() {
            bail!("a matrix of {rows} times {columns} weights has {} bytes", data.len());
        }
        let bits = format.bits();
        let across = columns / BLOCK;
        let mut tiles = vec![0; rows.div_ceil(ROWS) * across * bits.tile_bytes()];
        let row_bytes = columns / format.weights() * format.bytes();
        let places = Places::of(&mut tiles);
        pieces(rows.div_ceil(ROWS), |group| {
            let bytes = across * bits.tile_bytes();
            // SAFETY: each piece has its own rows.
            let tiles = unsafe { places.at(group * bytes..(group + 1) * bytes) };
            for (place, row) in (group * ROWS..rows.min((group + 1) * ROWS)).enumerate() {
                let blocks = format.blocks(&data[row * row_bytes..][..row_bytes]);
                for (tile, block) in tiles.chunks_exact_mut(bits.tile_bytes()).zip(blocks) {
                    Tile::write(bits, tile, place, &block);
                }
            }
        });
        Ok(Some(Self { instructions, bits, tiles, rows, columns }))
    }

    /// Outputs of a product.
    pub(in super::super) fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a product.
    pub(in super::super) fn columns(&self) -> usize {
        self.columns
    }

    /// The weights of a row.
    pub(in super::super) fn row(&self, row: usize) -> impl Iterator<Item = f32> {
        let tiles = self.tiles(row / ROWS).chunks_exact(self.bits.tile_bytes());
        tiles.flat_map(move |tile| Tile::read(self.bits, tile, row % ROWS).weights())
    }

    /// The products of rows of activations with the rows of weights.
    pub(in super::super) fn forward(&self, x: &Rounded) -> Vec<f32> {
        let count = x.numbers.len() / self.columns;
        let mut products = vec![0.0; count * self.rows];
        let places = Places::of(&mut products);
        let groups = self.rows.div_ceil(ROWS);
        pieces(count.div_ceil(PIECE) * groups, |piece| {
            let (first, group) = (piece / groups * PIECE, piece % groups);
            let tiles = self.tiles(group);
            let mut sums = [[0.0; ROWS]; MOST];
            let end = count.min(first + PIECE);
            let mut at = first;
            while at < end {
                let done = match end - at {
                    MOST.. => self.multiply::<MOST>(tiles, x, at, &mut sums),
                    4.. => self.multiply::<4>(tiles, x, at, &mut sums),
                    2.. => self.multiply::<2>(tiles, x, at, &mut sums),
                    _ => self.multiply::<1>(tiles, x, at, &mut sums),
                };
                let columns = group * ROWS..self.rows.min((group + 1) * ROWS);
                for (row, sums) in (at..at + done).zip(&sums) {
                    let start = row * self.rows;
                    // SAFETY: no other piece has these rows of this tile.
                    let products = unsafe { places.at(start + columns.start..start + columns.end) };
                    products.copy_from_slice(&sums[..columns.len()]);
                }
                at += done;
            }
        });
        products
    }

    /// The products of `COUNT` rows of activations with the tiles of some rows; returns `COUNT`.
    fn multiply<const COUNT: usize>(&self, tiles: &[u8], x: &Rounded, first: usize, sums: &mut [[f32; ROWS]]) -> usize {
        let rows = std::array::from_fn::<_, COUNT, _>(|at| x.row(first + at, self.columns));
        let products = self.instructions.products(self.bits, tiles, &rows);
        sums[..COUNT].copy_from_slice(&products);
        COUNT
    }

    /// The tiles of a group of rows.
    fn tiles(&self, group: usize) -> &[u8] {
        let bytes = self.columns / BLOCK * self.bits.tile_bytes();
        &self.tiles[group * bytes..][..bytes]
    }
}

impl Rounded {
    /// Rounds whole blocks.
    pub(in super::super) fn of(values: &[f32]) -> Self {
        let mut rounded = Self { numbers: vec![0; values.len()], scales: vec![Scale::default(); values.len() / BLOCK] };
        let (numbers, scales) = (Places::of(&mut rounded.numbers), Places::of(&mut rounded.scales));
        let blocks = values.as_chunks::<BLOCK>().0;
        // A piece is what some rows have.
        let size = 512;
        pieces(blocks.len().div_ceil(size), |piece| {
            let range = piece * size..blocks.len().min((piece + 1) * size);
            // SAFETY: each piece has its own blocks.
            let (numbers, scales) =
                unsafe { (numbers.at(range.start * BLOCK..range.end * BLOCK), scales.at(range.clone())) };
            round(&blocks[range], numbers.as_chunks_mut().0, scales);
        });
        rounded
    }

    fn row(&self, row: usize, columns: usize) -> RoundedRow<'_> {
        let blocks = columns / BLOCK;
        RoundedRow {
            numbers: self.numbers[row * columns..][..columns].as_chunks().0,
            scales: &self.scales[row * blocks..][..blocks],
        }
    }
}

vectorised! {
    /// Rounds blocks.
    fn round(blocks: &[[f32; BLOCK]], numbers: &mut [[i8; BLOCK]], scales: &mut [Scale]) {
        for ((block, numbers), scale) in blocks.iter().zip(numbers).zip(scales) {
            let mut lanes = [0.0_f32; 8];
            for values in block.as_chunks::<8>().0 {
                for (lane, value) in lanes.iter_mut().zip(values) {
                    *lane = if value.abs() > *lane { value.abs() } else { *lane };
                }
            }
            let greatest = lanes.iter().fold(0.0_f32, |greatest, lane| greatest.max(*lane));
            let inverse = if greatest > 0.0 { 127.0 / greatest } else { 0.0 };
            for (number, value) in numbers.iter_mut().zip(block) {
                *number = (value * inverse + ROUNDER).to_bits() as i8;
            }
            scale.scale = greatest / 127.0;
            for (sum, numbers) in scale.sums.iter_mut().zip(numbers.as_chunks::<{ BLOCK / 2 }>().0) {
                *sum = scale.scale * numbers.iter().map(|number| i32::from(*number)).sum::<i32>() as f32;
            }
        }
    }
}

impl Scale {
    /// The sum of the block.
    fn sum(&self) -> f32 {
        self.sums[0] + self.sums[1]
    }
}

impl Block {
    /// The weights that the block stands for.
    fn weights(&self) -> [f32; BLOCK] {
        let (scales, offset) = (self.scales.map(f16::to_f32), self.offset.to_f32());
        std::array::from_fn(|at| scales[at / (BLOCK / 2)] * f32::from(self.numbers[at]) + offset)
    }
}

#[cfg(test)]
mod tests;
