//! The products of activations with quantised weights, which is where the time goes.
//!
//! candle has vector kernels for most types of weights and picks them when the program starts; for `Q4_1` it has none, so that type has
//! one here.

#[cfg(target_arch = "x86_64")]
mod q4_1;

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Module, Result, Tensor};

/// A matrix of weights. Cheap to clone.
#[derive(Clone)]
pub(super) enum Matrix {
    /// Left to candle.
    Candle(QMatMul),
    /// `Q4_1`, on processors with AVX2.
    #[cfg(target_arch = "x86_64")]
    Q4_1(Arc<q4_1::Q4_1Matrix>),
}

impl Matrix {
    /// The matrix for products.
    pub(super) fn new(tensor: QTensor) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        if let Some(matrix) = q4_1::Q4_1Matrix::of(&tensor)? {
            return Ok(Self::Q4_1(Arc::new(matrix)));
        }
        Self::table(Arc::new(tensor))
    }

    /// The matrix where its rows are looked up too, as those of a table of embeddings are.
    pub(super) fn table(tensor: Arc<QTensor>) -> Result<Self> {
        QMatMul::from_arc(tensor).map(Self::Candle)
    }

    /// `(..., columns)` in and `(..., rows)` out.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Candle(matrix) => matrix.forward(x),
            #[cfg(target_arch = "x86_64")]
            Self::Q4_1(matrix) => matrix.forward(x),
        }
    }
}
