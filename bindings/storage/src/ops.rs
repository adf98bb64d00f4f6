//! The ops behind `js/bindings/storage.ts`. The only file here that knows V8.
//!
//! A call crosses once. An object crosses as `OBJECT_ELEMENTS` elements of a flat array, of which JavaScript makes an
//! `R2Object`; options cross as one object. A body that is small crosses with it; a larger one is a resource that is read as it
//! is pulled. What is stored is one text or buffer, another resource of which nothing passes through V8 (a request's body), or
//! pieces that JavaScript hands over one after the other. Every error is an `Error` with the text of the contract.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use aerostack_bindings::{CallerOver, Calls, Error, ErrorKind, OpenCall, Result};
use bytes::Bytes;
use deno_core::{
    AsyncRefCell, AsyncResult, BufView, CancelHandle, CancelTryFuture as _, OpState, RcRef, Resource, ResourceId, ToV8,
    op2, v8,
};
use deno_error::JsErrorBox;
use serde::Deserialize;

use crate::checksum::{Algorithm, Checksum, from_hex, to_hex};
use crate::conditional::{Conditional, Etag};
use crate::limits::{Action, Problem, framed};
use crate::range::{ByteRange, RangeRequest};
use crate::{
    Body, CustomMetadata, Found, GetRequest, HttpMetadata, Include, KIND, ListOptions, NamedStorage, NewObject,
    NewPart, NewUpload, Object, ObjectPage, StorageClass, Upload, UploadedPart,
};

deno_core::extension!(
    aerostack_storage,
    ops = [
        op_storage_abort_upload,
        op_storage_complete_upload,
        op_storage_create_upload,
        op_storage_delete,
        op_storage_get,
        op_storage_get_with,
        op_storage_head,
        op_storage_list,
        op_storage_store_begin,
        op_storage_store_bytes,
        op_storage_store_finish,
        op_storage_store_resource,
        op_storage_store_text,
        op_storage_store_write,
    ],
);

/// The buckets of one worker, in the order of its bindings. Put into `OpState` together with [`Calls`] before the first call;
/// ops name a bucket by its place here.
#[derive(Clone)]
pub struct Storages(pub Vec<Arc<NamedStorage>>);

/// A body up to this size crosses together with its object.
const SMALL_BODY_BYTES: u64 = 64 * 1024;
/// How much is asked of another resource at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How many elements [`push_object`] makes of an object.
const OBJECT_ELEMENTS: usize = 9;

/// `options` of `get`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetOptions {
    range: Option<RangeOption>,
    only_if: Option<ConditionOption>,
}

/// Either a `header`, or the other members.
#[derive(Deserialize)]
struct RangeOption {
    header: Option<String>,
    offset: Option<f64>,
    length: Option<f64>,
    suffix: Option<f64>,
}

/// Etags are the values of headers, or single etags without quotes; times are milliseconds since the UNIX epoch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConditionOption {
    are_headers: bool,
    etag_matches: Option<String>,
    etag_does_not_match: Option<String>,
    uploaded_before: Option<f64>,
    uploaded_after: Option<f64>,
    seconds_granularity: bool,
}

/// `options` of `put` and of `createMultipartUpload`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoreOptions {
    http_metadata: Option<HttpMetadata>,
    custom_metadata: Option<Vec<(String, String)>>,
    storage_class: Option<String>,
    checksum: Option<ChecksumOption>,
    only_if: Option<ConditionOption>,
}

#[derive(Deserialize)]
struct ChecksumOption {
    algorithm: String,
    hex: String,
}

/// What is to be stored: an object, or a part where there is an `upload_id`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    storage: u32,
    key: String,
    options: Option<StoreOptions>,
    upload_id: Option<String>,
    number: Option<u32>,
}

/// `options` of `list`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListingOptions {
    prefix: Option<String>,
    delimiter: Option<String>,
    cursor: Option<String>,
    start_after: Option<String>,
    limit: Option<f64>,
    http_metadata: bool,
    custom_metadata: bool,
}

#[derive(Deserialize)]
struct SelectedPart {
    number: u32,
    etag: String,
}

/// An object's elements and the offset and length of its range, or `null`.
#[op2]
async fn op_storage_head(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
) -> Result<Row, JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let outcome = calls.call(KIND, &storage.name, "head", storage.head(&key)).await;
    let object = seen_by_javascript(Action::Head, outcome)?;
    Ok(Row(object.map(|object| {
        let range = ByteRange { offset: 0, length: object.size };
        (object, Some((range, BodyElement::None)))
    })))
}

/// As [`op_storage_head`], and then the body: a `Uint8Array`, the id of a resource, or `null` where a condition did not hold.
#[op2]
async fn op_storage_get(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
) -> Result<Row, JsErrorBox> {
    get(state, storage, key, GetRequest::default()).await
}

/// [`op_storage_get`] with a range or a condition.
#[op2]
async fn op_storage_get_with(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
    #[serde] options: GetOptions,
) -> Result<Row, JsErrorBox> {
    let range = options.range.map(range_of).unwrap_or_default();
    let only_if = options.only_if.map(condition_of).transpose()?;
    get(state, storage, key, GetRequest { range, only_if }).await
}

/// Removes keys.
#[op2]
async fn op_storage_delete(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[scoped] keys: Vec<String>,
) -> Result<(), JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let outcome = calls.call(KIND, &storage.name, "delete", storage.delete(&keys)).await;
    seen_by_javascript(Action::Delete, outcome)
}

/// `[cursor, prefixes, object's elements, object's elements, ...]`; the cursor is `null` on the last page.
#[op2]
async fn op_storage_list(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[serde] options: ListingOptions,
) -> Result<Page, JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let options = ListOptions {
        prefix: options.prefix.unwrap_or_default(),
        delimiter: options.delimiter.unwrap_or_default(),
        cursor: options.cursor,
        start_after: options.start_after,
        limit: options.limit.map(|limit| limit as i64),
        include: Include { http_metadata: options.http_metadata, custom_metadata: options.custom_metadata },
    };
    let outcome = calls.call(KIND, &storage.name, "list", storage.list(options)).await;
    Ok(Page(seen_by_javascript(Action::List, outcome)?))
}

/// The id of a new upload.
#[op2]
#[string]
async fn op_storage_create_upload(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
    #[serde] options: Option<StoreOptions>,
) -> Result<String, JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let action = Action::CreateMultipartUpload;
    let options = options.unwrap_or_default();
    let upload = NewUpload {
        key,
        storage_class: seen_by_javascript(action, storage_class_of(options.storage_class.as_deref()))?,
        http_metadata: options.http_metadata.unwrap_or_default(),
        custom_metadata: CustomMetadata(options.custom_metadata.unwrap_or_default()),
    };
    let call = storage.create_multipart_upload(upload);
    seen_by_javascript(action, calls.call(KIND, &storage.name, "create_multipart_upload", call).await)
}

/// The elements of the object that the parts make.
#[op2]
async fn op_storage_complete_upload(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
    #[string] upload_id: String,
    #[serde] parts: Vec<SelectedPart>,
) -> Result<Row, JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let parts: Vec<_> = parts.into_iter().map(|part| UploadedPart { number: part.number, etag: part.etag }).collect();
    let call = storage.complete_multipart_upload(&key, &upload_id, &parts);
    let outcome = calls.call(KIND, &storage.name, "complete_multipart_upload", call).await;
    let object = seen_by_javascript(Action::CompleteMultipartUpload, outcome)?;
    Ok(Row(Some((object, None))))
}

/// Forgets an upload.
#[op2]
async fn op_storage_abort_upload(
    state: Rc<RefCell<OpState>>,
    #[smi] storage: u32,
    #[string] key: String,
    #[string] upload_id: String,
) -> Result<(), JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    let call = storage.abort_multipart_upload(&key, &upload_id);
    let outcome = calls.call(KIND, &storage.name, "abort_multipart_upload", call).await;
    seen_by_javascript(Action::AbortMultipartUpload, outcome)
}

/// Stores a text. An object's elements, `null` where a condition did not hold, or the etag of a part.
#[op2]
async fn op_storage_store_text(
    state: Rc<RefCell<OpState>>,
    #[serde] target: Target,
    #[string] text: String,
) -> Result<Stored, JsErrorBox> {
    store(state, target, text.into()).await
}

/// Stores a copy of a `Uint8Array`. Returns what [`op_storage_store_text`] does.
#[op2]
async fn op_storage_store_bytes(
    state: Rc<RefCell<OpState>>,
    #[serde] target: Target,
    #[buffer(copy)] bytes: Vec<u8>,
) -> Result<Stored, JsErrorBox> {
    store(state, target, bytes.into()).await
}

/// Stores what a resource of a known length gives, to its end. Returns what [`op_storage_store_text`] does.
#[op2]
async fn op_storage_store_resource(
    state: Rc<RefCell<OpState>>,
    #[serde] target: Target,
    #[smi] rid: ResourceId,
) -> Result<Stored, JsErrorBox> {
    let (storage, calls) = handles(&state, target.storage)?;
    let source = state.borrow_mut().resource_table.take_any(rid).map_err(JsErrorBox::from_err)?;
    let Some(size) = exact_size(&*source) else {
        return Err(JsErrorBox::type_error(UNKNOWN_LENGTH));
    };
    let action = target.action();
    let beginning = target.begin(&storage, size)?;
    let call = seen_by_javascript(action, calls.open(KIND, storage.name.as_str(), action.as_str()))?;
    let stored = transfer(&source, call, action, beginning).await;
    source.close();
    stored
}

/// Begins to store pieces, `size` bytes together. Returns the resource that takes them.
#[op2]
#[smi]
async fn op_storage_store_begin(
    state: Rc<RefCell<OpState>>,
    #[serde] target: Target,
    #[number] size: u64,
) -> Result<ResourceId, JsErrorBox> {
    let (storage, calls) = handles(&state, target.storage)?;
    let action = target.action();
    let beginning = target.begin(&storage, size)?;
    let mut call = seen_by_javascript(action, calls.open(KIND, storage.name.clone(), action.as_str()))?;
    let upload = step(&mut call, action, beginning).await?;
    let resource = UploadResource { action, storing: Cell::new(Some(Storing { upload, call })) };
    Ok(state.borrow_mut().resource_table.add(resource))
}

/// Hands over a copy of the next piece. Waiting for it is the back-pressure.
#[op2]
async fn op_storage_store_write(
    state: Rc<RefCell<OpState>>,
    #[smi] rid: ResourceId,
    #[buffer(copy)] piece: Vec<u8>,
) -> Result<(), JsErrorBox> {
    let resource = state.borrow().resource_table.get::<UploadResource>(rid).map_err(JsErrorBox::from_err)?;
    let mut storing = resource.take()?;
    let Storing { upload, call } = &mut storing;
    step(call, resource.action, upload.write(piece.into())).await?;
    resource.storing.set(Some(storing));
    Ok(())
}

/// Stores what was handed over. Returns what [`op_storage_store_text`] does.
#[op2]
async fn op_storage_store_finish(state: Rc<RefCell<OpState>>, #[smi] rid: ResourceId) -> Result<Stored, JsErrorBox> {
    let resource = state.borrow_mut().resource_table.take::<UploadResource>(rid).map_err(JsErrorBox::from_err)?;
    let Storing { upload, call } = resource.take()?;
    last_step(call, resource.action, upload.finish()).await
}

const UNKNOWN_LENGTH: &str =
    "Provided readable stream must have a known length (request/response body or readable half of FixedLengthStream)";

async fn get(state: Rc<RefCell<OpState>>, storage: u32, key: String, request: GetRequest) -> Result<Row, JsErrorBox> {
    let (storage, calls) = handles(&state, storage)?;
    // Asked for while the JavaScript that calls is on the stack.
    let over = calls.caller_over();
    let call = async {
        let Some(Found { object, range, body }) = storage.get(&key, &request).await? else { return Ok(None) };
        let body = match body {
            Some(body) if body.remaining() <= SMALL_BODY_BYTES => FoundBody::Read(read_all(body).await?),
            Some(body) => FoundBody::Unread(body),
            None => FoundBody::None,
        };
        Ok(Some((object, range, body)))
    };
    let outcome = calls.call(KIND, &storage.name, "get", call).await;
    let Some((object, range, body)) = seen_by_javascript(Action::Get, outcome)? else { return Ok(Row(None)) };
    let body = match body {
        FoundBody::None => BodyElement::None,
        FoundBody::Read(bytes) => BodyElement::Bytes(bytes),
        FoundBody::Unread(body) => {
            let reading = calls.after_call(KIND, storage.name.clone(), "get");
            let body = Rc::new(BodyResource::new(body, reading));
            deno_core::unsync::spawn(end_when_over(Rc::downgrade(&body), over));
            BodyElement::Resource(state.borrow_mut().resource_table.add_rc(body))
        }
    };
    Ok(Row(Some((object, Some((range, body))))))
}

/// The body of an object that was found.
enum FoundBody {
    /// A condition did not hold.
    None,
    Read(Bytes),
    Unread(Box<dyn Body>),
}

/// A step of a call that others follow. The call is over where it fails.
async fn step<T>(
    call: &mut OpenCall<'_>,
    action: Action,
    step: impl Future<Output = Result<T>>,
) -> Result<T, JsErrorBox> {
    let outcome = call.step(step).await;
    if outcome.is_err() {
        call.finish(&outcome);
    }
    seen_by_javascript(action, outcome)
}

/// The step that ends a call.
async fn last_step<T>(
    mut call: OpenCall<'_>,
    action: Action,
    step: impl Future<Output = Result<T>>,
) -> Result<T, JsErrorBox> {
    let outcome = call.step(step).await;
    call.finish(&outcome);
    seen_by_javascript(action, outcome)
}

async fn store(state: Rc<RefCell<OpState>>, target: Target, bytes: Bytes) -> Result<Stored, JsErrorBox> {
    let (storage, calls) = handles(&state, target.storage)?;
    let action = target.action();
    let beginning = target.begin(&storage, bytes.len() as u64)?;
    let call = async {
        let mut upload = beginning.await?;
        upload.write(bytes).await?;
        upload.finish().await
    };
    seen_by_javascript(action, calls.call(KIND, &storage.name, action.as_str(), call).await)
}

async fn read_all(mut body: Box<dyn Body>) -> Result<Bytes> {
    let first = body.read().await?;
    if body.remaining() == 0 {
        return Ok(first);
    }
    let mut all = first.to_vec();
    while body.remaining() > 0 {
        all.extend_from_slice(&body.read().await?);
    }
    Ok(all.into())
}

/// From one resource to the store, no piece of it through V8. Where the resource fails, the call is given up.
async fn transfer(
    source: &Rc<dyn Resource>,
    mut call: OpenCall<'_>,
    action: Action,
    beginning: impl Future<Output = Result<AnyUpload>>,
) -> Result<Stored, JsErrorBox> {
    let mut upload = step(&mut call, action, beginning).await?;
    loop {
        let piece = Rc::clone(source).read(PIECE_BYTES).await?;
        if piece.is_empty() {
            return last_step(call, action, upload.finish()).await;
        }
        step(&mut call, action, upload.write(Bytes::copy_from_slice(&piece))).await?;
    }
}

fn exact_size(resource: &dyn Resource) -> Option<u64> {
    match resource.size_hint() {
        (lower, Some(upper)) if lower == upper => Some(upper),
        _ => None,
    }
}

/// The bytes of an object that JavaScript, or the connection, pulls.
struct BodyResource {
    source: AsyncRefCell<BodySource>,
    reading: OpenCall<'static>,
    remaining: Cell<u64>,
    cancel: CancelHandle,
}

struct BodySource {
    /// None once the handler that asked for it is over.
    body: Option<Box<dyn Body>>,
    /// What was read and not yet taken.
    ahead: Bytes,
}

impl BodyResource {
    fn new(body: Box<dyn Body>, reading: OpenCall<'static>) -> Self {
        let remaining = Cell::new(body.remaining());
        let source = AsyncRefCell::new(BodySource { body: Some(body), ahead: Bytes::new() });
        Self { source, reading, remaining, cancel: CancelHandle::default() }
    }

    async fn next_piece(self: Rc<Self>, limit: usize) -> Result<BufView, JsErrorBox> {
        let mut source = RcRef::map(&self, |this| &this.source).borrow_mut().await;
        if source.ahead.is_empty() {
            let Some(body) = &mut source.body else { return Err(JsErrorBox::type_error(OVER)) };
            source.ahead = seen_by_javascript(Action::Get, self.reading.step(body.read()).await)?;
        }
        let length = limit.min(source.ahead.len());
        self.remaining.set(self.remaining.get() - length as u64);
        Ok(BufView::from(source.ahead.split_to(length)))
    }
}

/// Gives the file back once nobody may read the body any more, whether or not somebody still has it.
async fn end_when_over(body: Weak<BodyResource>, over: CallerOver) {
    over.await;
    let Some(body) = body.upgrade() else { return };
    let mut source = RcRef::map(&body, |this| &this.source).borrow_mut().await;
    *source = BodySource { body: None, ahead: Bytes::new() };
}

const OVER: &str = "Can't read the body of an object after the request that asked for it has ended.";

impl Resource for BodyResource {
    fn name(&self) -> Cow<'_, str> {
        "storageBody".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let cancel = RcRef::map(&self, |this| &this.cancel);
        Box::pin(self.next_piece(limit).try_or_cancel(cancel))
    }

    fn size_hint(&self) -> (u64, Option<u64>) {
        (self.remaining.get(), Some(self.remaining.get()))
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}

/// What JavaScript hands pieces to. It is empty while one is taken, and after one was refused. When it is closed before the end, the
/// call is given up.
struct UploadResource {
    action: Action,
    storing: Cell<Option<Storing>>,
}

struct Storing {
    upload: AnyUpload,
    call: OpenCall<'static>,
}

impl UploadResource {
    fn take(&self) -> Result<Storing, JsErrorBox> {
        self.storing.take().ok_or_else(|| {
            let error = Error::new(ErrorKind::Unexpected, "an earlier piece was refused");
            JsErrorBox::generic(framed(self.action, &error))
        })
    }
}

impl Resource for UploadResource {
    fn name(&self) -> Cow<'_, str> {
        "storageUpload".into()
    }
}

enum AnyUpload {
    Object(Box<dyn Upload<Stored = Option<Object>>>),
    Part(Box<dyn Upload<Stored = UploadedPart>>),
}

impl AnyUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Object(upload) => upload.write(bytes).await,
            Self::Part(upload) => upload.write(bytes).await,
        }
    }

    async fn finish(self) -> Result<Stored> {
        match self {
            Self::Object(upload) => upload.finish().await.map(|object| Stored::Object(object.map(Box::new))),
            Self::Part(upload) => upload.finish().await.map(|part| Stored::Part(part.etag)),
        }
    }
}

enum New {
    Object(Box<NewObject>),
    Part(NewPart),
}

impl Target {
    fn action(&self) -> Action {
        if self.upload_id.is_some() { Action::UploadPart } else { Action::Put }
    }

    /// The call that begins the upload, once its arguments are understood.
    fn begin(
        self,
        storage: &Arc<NamedStorage>,
        size: u64,
    ) -> Result<impl Future<Output = Result<AnyUpload>> + use<>, JsErrorBox> {
        let storage = Arc::clone(storage);
        let new = self.understood(size)?;
        Ok(async move {
            match new {
                New::Object(object) => storage.put(*object).await.map(AnyUpload::Object),
                New::Part(part) => storage.upload_part(part).await.map(AnyUpload::Part),
            }
        })
    }

    fn understood(self, size: u64) -> Result<New, JsErrorBox> {
        let Self { key, options, upload_id, number, .. } = self;
        if let Some(upload_id) = upload_id {
            return Ok(New::Part(NewPart { key, upload_id, number: number.unwrap_or_default(), size }));
        }
        let options = options.unwrap_or_default();
        Ok(New::Object(Box::new(NewObject {
            key,
            size,
            storage_class: seen_by_javascript(Action::Put, storage_class_of(options.storage_class.as_deref()))?,
            http_metadata: options.http_metadata.unwrap_or_default(),
            custom_metadata: CustomMetadata(options.custom_metadata.unwrap_or_default()),
            checksum: options.checksum.as_ref().map(checksum_of).transpose()?,
            only_if: options.only_if.map(condition_of).transpose()?,
        })))
    }
}

/// JavaScript has refused what is negative or no whole number.
fn range_of(option: RangeOption) -> RangeRequest {
    match option {
        RangeOption { header: Some(header), .. } => RangeRequest::Header(header),
        RangeOption { suffix: Some(suffix), .. } => RangeRequest::Suffix(suffix as u64),
        RangeOption { offset, length, .. } => RangeRequest::Span {
            offset: offset.map(|offset| offset as u64),
            length: length.map(|length| length as u64),
        },
    }
}

fn condition_of(option: ConditionOption) -> Result<Conditional, JsErrorBox> {
    let etags = |text: Option<String>| match text {
        None => Ok(None),
        Some(header) if option.are_headers => Etag::parse_header(&header).map(Some).map_err(JsErrorBox::generic),
        Some(etag) => Ok(Some(vec![Etag::unquoted(&etag)])),
    };
    Ok(Conditional {
        etag_matches: etags(option.etag_matches)?,
        etag_does_not_match: etags(option.etag_does_not_match)?,
        uploaded_before: option.uploaded_before.map(|ms| ms as i64),
        uploaded_after: option.uploaded_after.map(|ms| ms as i64),
        seconds_granularity: option.seconds_granularity,
    })
}

/// JavaScript has checked the algorithm and the number of digits.
fn checksum_of(option: &ChecksumOption) -> Result<Checksum, JsErrorBox> {
    let Some(algorithm) = Algorithm::parse(&option.algorithm) else {
        return Err(JsErrorBox::type_error(format!("there is no algorithm {}", option.algorithm)));
    };
    match from_hex(&option.hex) {
        Some(digest) => Ok(Checksum { algorithm, digest }),
        None => Err(JsErrorBox::type_error(format!("Provided {} wasn't a valid hex string", algorithm.title()))),
    }
}

fn storage_class_of(name: Option<&str>) -> Result<StorageClass> {
    let Some(name) = name else { return Ok(StorageClass::default()) };
    StorageClass::parse(name).ok_or_else(|| {
        let text = format!("the storage class must be Standard or InfrequentAccess, not {name:?}");
        Problem::InvalidArgument(text).into()
    })
}

/// The state is not borrowed any more when this returns, so that a call can wait.
fn handles(state: &RefCell<OpState>, storage: u32) -> Result<(Arc<NamedStorage>, Calls), JsErrorBox> {
    let state = state.borrow();
    let Storages(storages) = state.borrow::<Storages>();
    let Some(storage) = storages.get(storage as usize) else {
        return Err(JsErrorBox::generic(format!("this worker has no bucket number {storage}")));
    };
    Ok((Arc::clone(storage), state.borrow::<Calls>().clone()))
}

fn seen_by_javascript<T>(action: Action, outcome: Result<T, Error>) -> Result<T, JsErrorBox> {
    outcome.map_err(|error| JsErrorBox::generic(framed(action, &error)))
}

/// An object, with its range and body where it was asked for by name.
struct Row(Option<(Object, Option<(ByteRange, BodyElement)>)>);

enum BodyElement {
    None,
    Bytes(Bytes),
    Resource(ResourceId),
}

enum Stored {
    Object(Option<Box<Object>>),
    Part(String),
}

struct Page(ObjectPage);

impl<'a> ToV8<'a> for Row {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let Some((object, range)) = self.0 else { return Ok(v8::null(scope).into()) };
        let mut elements = Vec::with_capacity(OBJECT_ELEMENTS + 3);
        push_object(scope, &mut elements, &object)?;
        if let Some((range, body)) = range {
            elements.push(number(scope, range.offset));
            elements.push(number(scope, range.length));
            elements.push(match body {
                BodyElement::None => v8::null(scope).into(),
                BodyElement::Bytes(bytes) => uint8_array(scope, bytes)?,
                BodyElement::Resource(rid) => v8::Integer::new_from_unsigned(scope, rid).into(),
            });
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

impl<'a> ToV8<'a> for Stored {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        match self {
            Self::Object(object) => Row(object.map(|object| (*object, None))).to_v8(scope),
            Self::Part(etag) => string(scope, &etag),
        }
    }
}

impl<'a> ToV8<'a> for Page {
    type Error = JsErrorBox;

    fn to_v8<'i>(self, scope: &mut v8::PinScope<'a, 'i>) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
        let ObjectPage { objects, delimited_prefixes, cursor } = self.0;
        let mut elements = Vec::with_capacity(2 + OBJECT_ELEMENTS * objects.len());
        elements.push(match cursor {
            None => v8::null(scope).into(),
            Some(cursor) => string(scope, &cursor)?,
        });
        let mut prefixes = Vec::with_capacity(delimited_prefixes.len());
        for prefix in delimited_prefixes {
            prefixes.push(string(scope, &prefix)?);
        }
        elements.push(v8::Array::new_with_elements(scope, &prefixes).into());
        for object in &objects {
            push_object(scope, &mut elements, object)?;
        }
        Ok(v8::Array::new_with_elements(scope, &elements).into())
    }
}

/// Key, version, size, etag, time, storage class, checksums as `algorithm` and hex digits in turn, HTTP metadata and custom
/// metadata as JSON text, each of both `null` where it is not told.
fn push_object<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    elements: &mut Vec<v8::Local<'a, v8::Value>>,
    object: &Object,
) -> Result<(), JsErrorBox> {
    elements.push(string(scope, &object.key)?);
    elements.push(string(scope, &object.version)?);
    elements.push(number(scope, object.size));
    elements.push(string(scope, &object.etag)?);
    elements.push(number(scope, object.uploaded_ms));
    elements.push(string(scope, object.storage_class.as_str())?);
    let mut checksums = Vec::with_capacity(2 * object.checksums.0.len());
    for Checksum { algorithm, digest } in &object.checksums.0 {
        checksums.push(string(scope, algorithm.as_str())?);
        checksums.push(string(scope, &to_hex(digest))?);
    }
    elements.push(v8::Array::new_with_elements(scope, &checksums).into());
    elements.push(match &object.http_metadata {
        None => v8::null(scope).into(),
        Some(metadata) => json(scope, metadata)?,
    });
    elements.push(match &object.custom_metadata {
        None => v8::null(scope).into(),
        Some(CustomMetadata(entries)) => {
            let entries = entries.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            json(scope, &entries.collect::<serde_json::Map<_, serde_json::Value>>())?
        }
    });
    Ok(())
}

fn json<'a>(
    scope: &mut v8::PinScope<'a, '_>,
    value: &impl serde::Serialize,
) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    let text = serde_json::to_string(value).map_err(|error| JsErrorBox::generic(error.to_string()))?;
    string(scope, &text)
}

fn number<'a>(scope: &mut v8::PinScope<'a, '_>, value: u64) -> v8::Local<'a, v8::Value> {
    v8::Number::new(scope, value as f64).into()
}

fn string<'a>(scope: &mut v8::PinScope<'a, '_>, text: &str) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    match v8::String::new(scope, text) {
        Some(text) => Ok(text.into()),
        None => Err(JsErrorBox::range_error("the value is too long for a string")),
    }
}

fn uint8_array<'a>(scope: &mut v8::PinScope<'a, '_>, bytes: Bytes) -> Result<v8::Local<'a, v8::Value>, JsErrorBox> {
    let length = bytes.len();
    let buffer = if length == 0 {
        v8::ArrayBuffer::new(scope, 0)
    } else {
        let store = v8::ArrayBuffer::new_backing_store_from_vec(Vec::from(bytes)).make_shared();
        v8::ArrayBuffer::with_backing_store(scope, &store)
    };
    match v8::Uint8Array::new(scope, buffer, 0, length) {
        Some(view) => Ok(view.into()),
        None => Err(JsErrorBox::range_error("the value is too long for an array")),
    }
}
