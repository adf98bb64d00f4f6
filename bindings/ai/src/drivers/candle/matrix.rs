//! The products of activations with quantised weights, which is where the time goes.
//!
//! candle multiplies one row of activations after the other, has no vector instructions for some types of weights, and keeps those that
//! it lays out anew twice. The most used types are multiplied here on processors with AVX2; all others are left to candle.

#[cfg(target_arch = "x86_64")]
mod tiled;

#[cfg(target_arch = "x86_64")]
use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor, bail};

/// A matrix of weights.
pub(super) enum Matrix {
    /// Left to candle.
    Candle { matrix: QMatMul, rows: usize, columns: usize },
    /// A type that is known here.
    #[cfg(target_arch = "x86_64")]
    Tiled(tiled::TiledMatrix),
}

/// Rows of activations that are multiplied with one or several matrices.
pub(super) struct Input<'a> {
    values: &'a [f32],
    /// Made when it is first needed.
    #[cfg(target_arch = "x86_64")]
    rounded: OnceCell<tiled::Rounded>,
}

impl<'a> Input<'a> {
    pub(super) fn new(values: &'a [f32]) -> Self {
        Self {
            values,
            #[cfg(target_arch = "x86_64")]
            rounded: OnceCell::new(),
        }
    }
}

impl Matrix {
    /// The matrix of a tensor, which must have two dimensions.
    pub(super) fn new(tensor: QTensor) -> Result<Self> {
        let (rows, columns) = tensor.shape().dims2()?;
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = tiled::Instructions::best()
            && let Some(matrix) = tiled::TiledMatrix::of(&tensor, instructions)?
        {
            return Ok(Self::Tiled(matrix));
        }
        Ok(Self::Candle { matrix: QMatMul::from_arc(Arc::new(tensor))?, rows, columns })
    }

    /// How many numbers a row of activations becomes.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Candle { rows, .. } => *rows,
            #[cfg(target_arch = "x86_64")]
            Self::Tiled(matrix) => matrix.rows(),
        }
    }

    /// How many numbers a row of activations has.
    pub(super) fn columns(&self) -> usize {
        match self {
            Self::Candle { columns, .. } => *columns,
            #[cfg(target_arch = "x86_64")]
            Self::Tiled(matrix) => matrix.columns(),
        }
    }

    /// Rows of the matrix, one after the other, as those of a table of embeddings are looked up.
    pub(super) fn lookup(&self, rows: &[u32]) -> Result<Vec<f32>> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.rows()) {
            bail!("there is no row {row} in a table of {}", self.rows());
        }
        match self {
            Self::Candle { matrix, .. } => {
                matrix.embedding(&Tensor::new(rows, &Device::Cpu)?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Tiled(matrix) => Ok(rows.iter().flat_map(|row| matrix.row(*row as usize)).collect()),
        }
    }

    /// What each row of activations becomes.
    pub(super) fn forward(&self, input: &Input<'_>) -> Result<Vec<f32>> {
        if !input.values.len().is_multiple_of(self.columns()) {
            bail!("{} numbers are no rows of {}", input.values.len(), self.columns());
        }
        match self {
            Self::Candle { matrix, columns, .. } => {
                let values = Tensor::from_slice(input.values, (input.values.len() / columns, *columns), &Device::Cpu)?;
                matrix.forward(&values)?.flatten_all()?.to_vec1()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Tiled(matrix) => Ok(matrix.forward(input.rounded.get_or_init(|| tiled::Rounded::of(input.values)))),
        }
    }
}
