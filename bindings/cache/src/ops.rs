//! The ops behind `js/bindings/cache.ts`. The only file here that knows V8.
//!
//! A call crosses once. Text crosses as a string and anything else as a buffer; what has several parts crosses as one flat
//! array, of which JavaScript makes the objects. Every error is an `Error` with the text of the contract.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use aerostack_bindings::{Calls, Error, Memory, Result};
use bytes::Bytes;
use deno_core::{OpState, ToV8, op2, v8};
use deno_error::JsErrorBox;

use crate::limits::{self, Expiry, Operation};
use crate::{Entry, KIND, KeyPage, NamedCache};

deno_core::extension!(
    aerostack_cache,
    ops = [
        op_cache_check_cache_ttl,
        op_cache_check_value_length,
        op_cache_delete,
        op_cache_get,
        op_cache_get_bytes,
        op_cache_get_entry,
        op_cache_get_many,
        op_cache_list,
        op_cache_put_bytes,
        op_cache_put_text,
    ],
);

/// The caches of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first call;
/// ops name a cache by its place here.
#[derive(Clone)]
pub struct Caches(pub Vec<Arc<NamedCache>>);

/// The value under a key as text, or `null`.
#[op2]
async fn op_cache_get(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
) -> Result<Text, JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let entry = calls.call(KIND, &cache.name, "get", cache.get(&key)).await;
    Ok(Text(seen_by_javascript(Operation::Get, entry)?.map(|entry| entry.value)))
}

/// The value under a key as an `ArrayBuffer`, or `null`.
#[op2]
async fn op_cache_get_bytes(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
) -> Result<Buffer, JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let entry = calls.call(KIND, &cache.name, "get", cache.get(&key)).await;
    Ok(Buffer(seen_by_javascript(Operation::Get, entry)?.map(|entry| entry.value)))
}

/// `[value, metadata]`, or `null` where there is no entry. The value is text or an `ArrayBuffer`; the metadata is JSON text or
/// `null`.
#[op2]
async fn op_cache_get_entry(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
    as_text: bool,
) -> Result<ValueAndMetadata, JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let entry = calls.call(KIND, &cache.name, "get", cache.get(&key)).await;
    Ok(ValueAndMetadata { entry: seen_by_javascript(Operation::Get, entry)?, as_text })
}

/// `[value, metadata, value, metadata, ...]` in the order of the keys, each text or `null`.
#[op2]
async fn op_cache_get_many(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[scoped] keys: Vec<String>,
    #[string] form: String,
) -> Result<ValuesAndMetadata, JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let entries = calls.call(KIND, &cache.name, "get_many", cache.get_many(&keys, &form)).await;
    Ok(ValuesAndMetadata(seen_by_javascript(Operation::GetBulk, entries)?))
}

/// Stores text. See [`put`] for the last three arguments.
#[op2]
async fn op_cache_put_text(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
    #[string] value: String,
    #[smi] expiry_kind: u32,
    #[smi] expiry: i32,
    #[string] metadata: String,
) -> Result<(), JsErrorBox> {
    put(&state, cache, key, value.into(), expiry_of(expiry_kind, expiry), metadata).await
}

/// Stores a copy of a `Uint8Array`. See [`put`] for the last three arguments.
#[op2]
async fn op_cache_put_bytes(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
    #[buffer(copy)] value: Vec<u8>,
    #[smi] expiry_kind: u32,
    #[smi] expiry: i32,
    #[string] metadata: String,
) -> Result<(), JsErrorBox> {
    put(&state, cache, key, value.into(), expiry_of(expiry_kind, expiry), metadata).await
}

/// Removes a key.
#[op2]
async fn op_cache_delete(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] key: String,
) -> Result<(), JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let outcome = calls.call(KIND, &cache.name, "delete", cache.delete(&key)).await;
    seen_by_javascript(Operation::Delete, outcome)
}

/// `[cursor, name, expiration, metadata, name, expiration, metadata, ...]`; whatever there is not, is `null`.
#[op2]
async fn op_cache_list(
    state: Rc<RefCell<OpState>>,
    #[smi] cache: u32,
    #[string] prefix: String,
    #[smi] limit: i32,
    #[string] cursor: String,
) -> Result<Page, JsErrorBox> {
    let (cache, calls) = handles(&state, cache)?;
    let page = calls.call(KIND, &cache.name, "list", cache.list(&prefix, limit, &cursor)).await;
    Ok(Page(seen_by_javascript(Operation::Get, page)?))
}

/// Throws where a `cacheTtl` is too short.
#[op2(fast)]
fn op_cache_check_cache_ttl(is_bulk: bool, #[smi] seconds: i32) -> Result<(), JsErrorBox> {
    let operation = if is_bulk { Operation::GetBulk } else { Operation::Get };
    seen_by_javascript(operation, limits::check_cache_ttl(operation, seconds))
}

/// Throws where a stream was longer than a value may be.
#[op2(fast)]
fn op_cache_check_value_length(#[number] length: u64) -> Result<(), JsErrorBox> {
    seen_by_javascript(Operation::Put, limits::check_value_length(length))
}

/// The metadata is JSON text, and empty where there is none: no JSON text is empty.
async fn put(
    state: &RefCell<OpState>,
    cache: u32,
    key: String,
    value: Bytes,
    expiry: Expiry,
    metadata: String,
) -> Result<(), JsErrorBox> {
    let (cache, calls) = handles(state, cache)?;
    let held = (value.len() > Memory::FREE).then(|| calls.memory().hold(value.len())).transpose();
    let _held = seen_by_javascript(Operation::Put, held)?;
    let metadata = (!metadata.is_empty()).then(|| Arc::from(metadata));
    let outcome = calls.call(KIND, &cache.name, "put", cache.put(&key, value, expiry, metadata)).await;
    seen_by_javascript(Operation::Put, outcome)
}

/// The kinds as `js/bindings/cache.ts` numbers them.
fn expiry_of(kind: u32, seconds: i32) -> Expiry {
    match kind {
        1 => Expiry::After(seconds),
        2 => Expiry::At(seconds),
        _ => Expiry::Never,
    }
}

/// The state is not borrowed any more when this returns, so that a call can wait.
fn handles(state: &RefCell<OpState>, cache: u32) -> Result<(Arc<NamedCache>, Calls), JsErrorBox> {
    let state = state.borrow();
    let Caches(caches) = state.borrow::<Caches>();
    let Some(cache) = caches.get(cache as usize) else {
        return Err(JsErrorBox::generic(format!("this worker has no cache number {cache}")));
    };
    Ok((Arc::clone(cache), state.borrow::<Calls>().clone()))
}

fn seen_by_javascript<T>(operation: Operation, outcome: Result<T, Error>) -> Result<T, JsErrorBox> {
    outcome.map_err(|error| JsErrorBox::generic(limits::framed(operation, &error)))
}

struct Text(Option<Bytes>);

struct Buffer(Option<Bytes>);

struct ValueAndMetadata {
    entry: Option<Entry>,
    as_text: bool,
}

struct ValuesAndMetadata(Vec<Option<Entry>>);

struct Page(KeyPage);

impl<'a> ToV8<'a> for Text {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        match self.0 {
            None => Ok(v8::null(scope).into()),
            Some(value) => string(scope, &value),
        }
    }
}

impl<'a> ToV8<'a> for Buffer {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        match self.0 {
            None => Ok(v8::null(scope).into()),
            Some(value) if value.is_empty() => Ok(v8::ArrayBuffer::new(scope, 0).into()),
            Some(value) => {
                // Copies unless nobody else holds the bytes, as is so with values too large to be kept in memory.
                let store = v8::ArrayBuffer::new_backing_store_from_vec(Vec::from(value)).make_shared();
                Ok(v8::ArrayBuffer::with_backing_store(scope, &store).into())
            }
        }
    }
}

impl<'a> ToV8<'a> for ValueAndMetadata {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let Some(entry) = self.entry else { return Ok(v8::null(scope).into()) };
        let value = if self.as_text {
            Text(Some(entry.value)).to_v8(scope)?
        } else {
            Buffer(Some(entry.value)).to_v8(scope)?
        };
        let metadata = string_or_null(scope, entry.metadata.as_deref())?;
        Ok(v8::Array::new_with_elements(scope, &[value, metadata]).into())
    }
}

impl<'a> ToV8<'a> for ValuesAndMetadata {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let mut elements = Vec::with_capacity(2 * self.0.len());
        for entry in self.0 {
            let (value, metadata) = entry.map_or((None, None), |entry| (Some(entry.value), entry.metadata));
            elements.push(Text(value).to_v8(scope)?);
            elements.push(string_or_null(scope, metadata.as_deref())?);
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

impl<'a> ToV8<'a> for Page {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let KeyPage { keys, cursor } = self.0;
        let mut elements = Vec::with_capacity(1 + 3 * keys.len());
        elements.push(string_or_null(scope, cursor.as_deref())?);
        for key in keys {
            elements.push(string(scope, key.name.as_bytes())?);
            elements.push(match key.expires_at {
                None => v8::null(scope).into(),
                Some(second) => v8::Number::new(scope, second as f64).into(),
            });
            elements.push(string_or_null(scope, key.metadata.as_deref())?);
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

/// Bytes that are not UTF-8 become U+FFFD, as `TextDecoder` does it.
fn string<'a>(scope: &mut v8::PinScope<'a, '_>, utf8: &[u8]) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match v8::String::new_from_utf8(scope, utf8, v8::NewStringType::Normal) {
        Some(text) => Ok(text.into()),
        None => Err(JsErrorBox::range_error("the value is too long for a string")),
    }
}

fn string_or_null<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    text: Option<&str>,
) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match text {
        None => Ok(v8::null(scope).into()),
        Some(text) => string(scope, text.as_bytes()),
    }
}
