//! The ops behind `js/bindings/vectorize.ts`. The only file here that knows V8.
//!
//! A call crosses once. Components cross as `Float32Array`s, everything else as strings and numbers in one flat array, of
//! which JavaScript makes the objects. Every error is an `Error` with the text of the contract, frame included.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use aerostack_bindings::{Calls, Error, Result};
use deno_core::{FromV8, OpState, ToV8, op2, v8};
use deno_error::JsErrorBox;

use crate::limits::{self, Operation};
use crate::{Description, KIND, Match, Mutation, NamedVectorIndex, QueryOptions, ReturnMetadata, Vector, Writing};

deno_core::extension!(
    aerostack_vectorize,
    ops = [
        op_vectorize_delete,
        op_vectorize_describe,
        op_vectorize_get,
        op_vectorize_insert,
        op_vectorize_query,
        op_vectorize_query_by_id,
        op_vectorize_upsert,
    ],
);

/// The vector indexes of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first
/// call; ops name an index by its place here.
#[derive(Clone)]
pub struct VectorIndexes(pub Vec<Arc<NamedVectorIndex>>);

/// `[count, dimensions, ms, mutation]`; the last two are `null` before the first write.
#[op2]
async fn op_vectorize_describe(state: Rc<RefCell<OpState>>, #[smi] index: u32) -> Result<State, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let described = calls.call(KIND, &index.name, "describe", index.describe()).await;
    seen_by_javascript(Operation::Describe, described).map(State)
}

/// Writes vectors whose ids are free. Returns the id of the mutation.
#[op2]
#[string]
async fn op_vectorize_insert(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[scoped] vectors: Written,
) -> Result<String, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let written = calls.call(KIND, &index.name, "insert", index.write(vectors.0, Writing::Insert)).await;
    Ok(seen_by_javascript(Operation::Insert, written)?.id)
}

/// Writes vectors in place of those with their ids. Returns the id of the mutation.
#[op2]
#[string]
async fn op_vectorize_upsert(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[scoped] vectors: Written,
) -> Result<String, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let written = calls.call(KIND, &index.name, "upsert", index.write(vectors.0, Writing::Upsert)).await;
    Ok(seen_by_javascript(Operation::Upsert, written)?.id)
}

/// Removes vectors. Returns the id of the mutation.
#[op2]
#[string]
async fn op_vectorize_delete(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[scoped] ids: Vec<String>,
) -> Result<String, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let deleted: Result<Mutation> = calls.call(KIND, &index.name, "delete", index.delete(ids)).await;
    Ok(seen_by_javascript(Operation::Delete, deleted)?.id)
}

/// `[components, id, namespace, metadata, id, namespace, metadata, ...]`, with the components of all vectors one after the
/// other; whatever there is not, is `null`.
#[op2]
async fn op_vectorize_get(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[scoped] ids: Vec<String>,
) -> Result<Vectors, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let vectors = calls.call(KIND, &index.name, "get", index.get(ids)).await;
    seen_by_javascript(Operation::Get, vectors).map(Vectors)
}

/// `[components, id, score, namespace, metadata, id, score, ...]`, with the components of all matches one after the other where
/// they were asked for; whatever there is not, is `null`. See [`options`] for the last four arguments.
#[op2]
async fn op_vectorize_query(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[scoped] values: Components,
    #[smi] flags: u32,
    top_k: f64,
    #[string] namespace: String,
    #[string] filter: String,
) -> Result<Matches, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let options = options(flags, top_k, namespace, filter);
    let found = calls.call(KIND, &index.name, "query", index.query(values.0, options)).await;
    seen_by_javascript(Operation::Query, found).map(Matches)
}

/// As [`op_vectorize_query`], with the vector that is stored under an id.
#[op2]
async fn op_vectorize_query_by_id(
    state: Rc<RefCell<OpState>>,
    #[smi] index: u32,
    #[string] id: String,
    #[smi] flags: u32,
    top_k: f64,
    #[string] namespace: String,
    #[string] filter: String,
) -> Result<Matches, JsErrorBox> {
    let (index, calls) = handles(&state, index)?;
    let options = options(flags, top_k, namespace, filter);
    let found = calls.call(KIND, &index.name, "query_by_id", index.query_by_id(&id, options)).await;
    seen_by_javascript(Operation::Query, found).map(Matches)
}

/// The flags as `js/bindings/vectorize.ts` has them. The filter is JSON text, and empty where there is none: no JSON text is
/// empty.
fn options(flags: u32, top_k: f64, namespace: String, filter: String) -> QueryOptions {
    let has = |flag: u32| flags & flag != 0;
    QueryOptions {
        return_values: has(1),
        return_metadata: if has(4) {
            ReturnMetadata::All
        } else if has(2) {
            ReturnMetadata::Indexed
        } else {
            ReturnMetadata::None
        },
        top_k: has(8).then_some(top_k),
        namespace: has(16).then_some(namespace),
        filter: (!filter.is_empty()).then_some(filter),
    }
}

/// The state is not borrowed any more when this returns, so that a call can wait.
fn handles(state: &RefCell<OpState>, index: u32) -> Result<(Arc<NamedVectorIndex>, Calls), JsErrorBox> {
    let state = state.borrow();
    let VectorIndexes(indexes) = state.borrow::<VectorIndexes>();
    let Some(index) = indexes.get(index as usize) else {
        return Err(JsErrorBox::generic(format!("this worker has no vector index number {index}")));
    };
    Ok((Arc::clone(index), state.borrow::<Calls>().clone()))
}

fn seen_by_javascript<T>(operation: Operation, outcome: Result<T, Error>) -> Result<T, JsErrorBox> {
    outcome.map_err(|error| JsErrorBox::generic(limits::framed(operation, &error)))
}

/// A `Float32Array`.
struct Components(Vec<f32>);

/// `[id, components, namespace, metadata, id, ...]`; the last two may be `null`.
struct Written(Vec<Vector>);

struct State(Description);

struct Vectors(Vec<Vector>);

struct Matches(Vec<Match>);

impl<'a> FromV8<'a> for Components {
    type Error = JsErrorBox;

    fn from_v8(_scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Result<Self, JsErrorBox> {
        let array = v8::Local::<v8::Float32Array>::try_from(value).map_err(|_| bad_argument())?;
        let mut components = vec![0.0_f32; array.byte_length() / size_of::<f32>()];
        // SAFETY: the bytes are those of the vector above, and any bytes are a float32.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(components.as_mut_ptr().cast::<u8>(), size_of_val(components.as_slice()))
        };
        array.copy_contents(bytes);
        Ok(Self(components))
    }
}

impl<'a> FromV8<'a> for Written {
    type Error = JsErrorBox;

    fn from_v8(scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Result<Self, JsErrorBox> {
        let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| bad_argument())?;
        let mut vectors = Vec::with_capacity(array.length() as usize / 4);
        for place in (0..array.length()).step_by(4) {
            let part = |offset| array.get_index(scope, place + offset).ok_or_else(bad_argument);
            let (id, values, namespace, metadata) = (part(0)?, part(1)?, part(2)?, part(3)?);
            let Components(values) = Components::from_v8(scope, values)?;
            vectors.push(Vector {
                id: id.to_rust_string_lossy(scope),
                values,
                namespace: text_or_null(scope, namespace),
                metadata: text_or_null(scope, metadata),
            });
        }
        Ok(Self(vectors))
    }
}

impl<'a> ToV8<'a> for State {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let Description { vector_count, dimensions, processed_up_to_ms, processed_up_to_mutation } = self.0;
        let elements = [
            v8::Number::new(scope, vector_count as f64).into(),
            v8::Number::new(scope, f64::from(dimensions)).into(),
            match processed_up_to_ms {
                None => v8::null(scope).into(),
                Some(ms) => v8::Number::new(scope, ms as f64).into(),
            },
            string_or_null(scope, processed_up_to_mutation.as_deref())?,
        ];
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

impl<'a> ToV8<'a> for Vectors {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let mut elements = Vec::with_capacity(1 + 3 * self.0.len());
        elements.push(components(scope, self.0.iter().map(|vector| vector.values.as_slice()))?);
        for vector in &self.0 {
            elements.push(string(scope, &vector.id)?);
            elements.push(string_or_null(scope, vector.namespace.as_deref())?);
            elements.push(string_or_null(scope, vector.metadata.as_deref())?);
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

impl<'a> ToV8<'a> for Matches {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let mut elements = Vec::with_capacity(1 + 4 * self.0.len());
        elements.push(match self.0.first() {
            Some(Match { values: Some(_), .. }) => {
                components(scope, self.0.iter().filter_map(|found| found.values.as_deref()))?
            }
            _ => v8::null(scope).into(),
        });
        for found in &self.0 {
            elements.push(string(scope, &found.id)?);
            elements.push(v8::Number::new(scope, f64::from(found.score)).into());
            elements.push(string_or_null(scope, found.namespace.as_deref())?);
            elements.push(string_or_null(scope, found.metadata.as_deref())?);
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

/// One `Float32Array` of several vectors.
fn components<'a, 'v>(
    scope: &mut v8::PinScope<'a, '_>,
    vectors: impl Iterator<Item = &'v [f32]>,
) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    let bytes: Vec<u8> = vectors.flatten().flat_map(|value| value.to_ne_bytes()).collect();
    let length = bytes.len() / size_of::<f32>();
    let buffer = if bytes.is_empty() {
        v8::ArrayBuffer::new(scope, 0)
    } else {
        let store = v8::ArrayBuffer::new_backing_store_from_vec(bytes).make_shared();
        v8::ArrayBuffer::with_backing_store(scope, &store)
    };
    match v8::Float32Array::new(scope, buffer, 0, length) {
        Some(array) => Ok(array.into()),
        None => Err(JsErrorBox::range_error("the vectors are too long for an array")),
    }
}

fn text_or_null<'a>(scope: &mut v8::PinScope<'a, '_>, value: v8::Local<'a, v8::Value>) -> Option<String> {
    (!value.is_null()).then(|| value.to_rust_string_lossy(scope))
}

fn string<'a>(scope: &mut v8::PinScope<'a, '_>, text: &str) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match v8::String::new_from_utf8(scope, text.as_bytes(), v8::NewStringType::Normal) {
        Some(text) => Ok(text.into()),
        None => Err(JsErrorBox::range_error("the metadata is too long for a string")),
    }
}

fn string_or_null<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    text: Option<&str>,
) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match text {
        None => Ok(v8::null(scope).into()),
        Some(text) => string(scope, text),
    }
}

fn bad_argument() -> JsErrorBox {
    JsErrorBox::type_error("vectors cross as flat arrays with Float32Arrays")
}
