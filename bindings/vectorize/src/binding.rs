use std::sync::Arc;

use aerostack_bindings::{Lazy, Result};

use crate::filter::Filter;
use crate::limits;
use crate::{Description, Match, Mutation, Query, Vector, VectorDriver, Writing};

/// A vector index under its name on `env`: the rules of Vectorize V2 over a driver.
///
/// Errors of kind `InvalidInput` hold a text without its frame, which [`limits::framed`] puts around it.
pub struct NamedVectorIndex {
    /// The name on `env`, for example `VECTORIZE`.
    pub name: String,
    /// Where the vectors are.
    pub driver: Arc<Lazy<dyn VectorDriver>>,
}

/// What a query says beside the vector.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QueryOptions {
    /// `topK`, as it was given.
    pub top_k: Option<f64>,
    /// `namespace`.
    pub namespace: Option<String>,
    /// `returnValues`.
    pub return_values: bool,
    /// `returnMetadata`.
    pub return_metadata: ReturnMetadata,
    /// `filter`, as JSON text.
    pub filter: Option<String>,
}

/// Which metadata a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReturnMetadata {
    /// None.
    #[default]
    None,
    /// What filters look at: strings up to their first 64 bytes, numbers and booleans. Here that is so of every property.
    Indexed,
    /// All.
    All,
}

impl NamedVectorIndex {
    /// The state of the index.
    pub async fn describe(&self) -> Result<Description> {
        self.driver.get()?.describe().await
    }

    /// Writes 1 to 1000 vectors.
    pub async fn write(&self, vectors: Vec<Vector>, writing: Writing) -> Result<Mutation> {
        limits::check_write_count(vectors.len())?;
        for vector in &vectors {
            limits::check_id(&vector.id)?;
            if let Some(namespace) = &vector.namespace {
                limits::check_namespace(namespace)?;
            }
            if let Some(json) = &vector.metadata {
                limits::check_metadata(&vector.id, json)?;
            }
            limits::check_finite(|| format!("vector for id={:?}", vector.id), &vector.values)?;
        }
        self.driver.get()?.write(vectors, writing).await
    }

    /// The vectors under 1 to 20 ids; those that are not there are left out.
    pub async fn get(&self, ids: Vec<String>) -> Result<Vec<Vector>> {
        limits::check_id_count(ids.len(), limits::MAX_GET_IDS)?;
        self.driver.get()?.get(ids).await
    }

    /// Removes the vectors under 1 to 100 ids.
    pub async fn delete(&self, ids: Vec<String>) -> Result<Mutation> {
        limits::check_id_count(ids.len(), limits::MAX_DELETE_IDS)?;
        self.driver.get()?.delete(ids).await
    }

    /// The vectors nearest to `values`.
    pub async fn query(&self, values: Vec<f32>, options: QueryOptions) -> Result<Vec<Match>> {
        limits::check_finite(|| "query vector".to_owned(), &values)?;
        let wants = options.return_metadata;
        let top_k = limits::top_k(options.top_k, options.return_values, wants == ReturnMetadata::All)?;
        if let Some(namespace) = &options.namespace {
            limits::check_namespace(namespace)?;
        }
        let filter = options.filter.as_deref().map(Filter::parse).transpose()?;
        let query = Query {
            values,
            top_k,
            namespace: options.namespace,
            filter,
            with_values: options.return_values,
            with_metadata: wants != ReturnMetadata::None,
        };
        let mut matches = self.driver.get()?.query(query).await?;
        if wants == ReturnMetadata::Indexed {
            for found in &mut matches {
                found.metadata = found.metadata.as_deref().and_then(indexed_part_of_metadata);
            }
        }
        Ok(matches)
    }

    /// The vectors nearest to the stored one with this id, itself included.
    pub async fn query_by_id(&self, id: &str, options: QueryOptions) -> Result<Vec<Match>> {
        limits::check_id(id)?;
        match self.driver.get()?.get(vec![id.to_owned()]).await?.pop() {
            Some(vector) => self.query(vector.values, options).await,
            None => limits::refuse(format!("no vector with id={id:?}")),
        }
    }
}

/// The JSON text of what filters look at; `None` where nothing is left.
fn indexed_part_of_metadata(json: &str) -> Option<String> {
    let serde_json::Value::Object(object) = serde_json::from_str(json).ok()? else { return None };
    let object = indexed_part_of_object(object);
    (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())
}

fn indexed_part_of_object(
    object: serde_json::Map<String, serde_json::Value>,
) -> serde_json::Map<String, serde_json::Value> {
    use serde_json::Value;
    object
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) => Some((key, Value::from(limits::indexed_part(&text)))),
            Value::Number(_) | Value::Bool(_) => Some((key, value)),
            Value::Object(nested) => {
                let nested = indexed_part_of_object(nested);
                (!nested.is_empty()).then_some((key, Value::Object(nested)))
            }
            Value::Null | Value::Array(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexed_part_of_metadata_is_what_filters_look_at() {
        let json =
            format!("{{\"t\":\"{}\",\"n\":1,\"l\":[1],\"o\":{{\"b\":true,\"z\":null}},\"e\":{{}}}}", "x".repeat(70));
        let expected = format!("{{\"t\":\"{}\",\"n\":1,\"o\":{{\"b\":true}}}}", "x".repeat(64));
        assert_eq!(indexed_part_of_metadata(&json), Some(expected));
        assert_eq!(indexed_part_of_metadata("{\"l\":[]}"), None);
    }
}
