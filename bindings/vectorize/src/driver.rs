use aerostack_bindings::{BindingInfo, Result};
use async_trait::async_trait;

use crate::filter::Filter;

/// A store of vectors that finds the nearest to a given one.
///
/// All vectors of an index have the same number of dimensions, which is that of the first one written where the
/// configuration does not say it. What a driver has to refuse (a vector of another length) it refuses with the text of the
/// contract, see [`crate::limits`]; everything else [`crate::NamedVectorIndex`] has checked.
///
/// A call that starts after a write finished sees it. Futures are polled on an isolate's own thread, so whatever can finish
/// within microseconds should finish in the first poll, and whatever cannot must not block.
#[async_trait]
pub trait VectorDriver: Send + Sync {
    /// What the start table shows of this driver.
    fn info(&self) -> BindingInfo;

    /// What there is.
    async fn describe(&self) -> Result<Description>;

    /// Writes vectors, all of them or none. Of several with one id, [`Writing::Insert`] takes the first and
    /// [`Writing::Upsert`] the last.
    async fn write(&self, vectors: Vec<Vector>, writing: Writing) -> Result<Mutation>;

    /// Removes the vectors with these ids. That one was not there is no error.
    async fn delete(&self, ids: Vec<String>) -> Result<Mutation>;

    /// The vectors with these ids, in the order of `ids` and each once; those that are not there are left out.
    async fn get(&self, ids: Vec<String>) -> Result<Vec<Vector>>;

    /// The `top_k` nearest vectors among those that the namespace and the filter leave, the best first. Vectors that are
    /// equally near come in an order that does not change between calls. Never fewer than there are, up to `top_k`.
    async fn query(&self, query: Query) -> Result<Vec<Match>>;
}

/// One vector and what is stored with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    /// Unique in the index, whatever the namespace.
    pub id: String,
    /// The components.
    pub values: Vec<f32>,
    /// The namespace, or `None` where it is in none.
    pub namespace: Option<String>,
    /// JSON text of an object, or `None` where none was given.
    pub metadata: Option<String>,
}

/// What becomes of a vector whose id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// The stored one stays as it is.
    Insert,
    /// The new one replaces it whole.
    Upsert,
}

/// Names a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// A UUID, which [`Description::processed_up_to_mutation`] tells once the write can be read.
    pub id: String,
}

/// The state of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// How many vectors there are.
    pub vector_count: u64,
    /// The length of each; 0 as long as neither the configuration nor a write has said it.
    pub dimensions: u32,
    /// When the last write was made, in milliseconds since the UNIX epoch; `None` before the first.
    pub processed_up_to_ms: Option<u64>,
    /// The id of the last write; `None` before the first.
    pub processed_up_to_mutation: Option<String>,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The vector to be near to.
    pub values: Vec<f32>,
    /// How many to find, at least one.
    pub top_k: usize,
    /// Only vectors of this namespace; `None` for those of every one, and those in none.
    pub namespace: Option<String>,
    /// Only vectors whose metadata it admits.
    pub filter: Option<Filter>,
    /// Whether the matches are to have their values.
    pub with_values: bool,
    /// Whether the matches are to have their metadata.
    pub with_metadata: bool,
}

/// A vector that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// Its id.
    pub id: String,
    /// As the index's [`Metric`] says.
    pub score: f32,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its components, where they were asked for.
    pub values: Option<Vec<f32>>,
    /// Its metadata, where it has any and it was asked for.
    pub metadata: Option<String>,
}

/// How nearness is measured, and so what a score means (contract section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Metric {
    /// The cosine of the angle: 1 is the same direction, larger is better. A vector of length zero scores 0.
    #[default]
    Cosine,
    /// The distance: 0 is the same point, smaller is better.
    Euclidean,
    /// The inner product: larger is better.
    DotProduct,
}

impl Metric {
    /// The name that the configuration knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
            Self::DotProduct => "dot-product",
        }
    }
}
