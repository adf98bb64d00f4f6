//! The answer of a `fetch`: decoded for whoever reads it, and as it came for a response that is encoded the same way.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;

use bytes::Bytes;
use deno_core::{
    AsyncRefCell, AsyncResult, BufView, CancelHandle, CancelTryFuture, OpState, RcRef, Resource, ResourceId, op2,
};
use deno_error::JsErrorBox;
use deno_fetch::{FetchError, FetchRequestResource, FetchResponse, ResBody};
use http::{StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::coding::{Decoder, Format, Members, PIECE_BYTES};

/// deno_fetch closes the body of an answer that has the status of a redirect before it looks for a `Location`. An answer without one
/// is no redirect; with this added to its status it is not taken for one. `js/platform/responses.ts` takes it away again.
const NO_REDIRECT: u16 = 10_000;

/// Stands in for deno_fetch's op of this name, whose client decodes every answer at once.
#[op2]
pub(crate) async fn op_fetch_send(
    state: Rc<RefCell<OpState>>,
    #[smi] request: ResourceId,
) -> Result<FetchResponse, FetchError> {
    let request = state.borrow_mut().resource_table.take::<FetchRequestResource>(request)?;
    let Ok(request) = Rc::try_unwrap(request) else { return Err(FetchError::RequestCanceled) };
    let response = match request.future.await {
        Ok(Ok(response)) => response,
        Ok(Err(FetchError::ClientSend(error))) => {
            // As deno_fetch does: a TypeError whose cause is the first of all causes.
            let text = FetchError::ClientSend(error);
            let cause = first_cause(&text).unwrap_or_else(|| text.to_string());
            return Ok(FetchResponse { error: Some((text.to_string(), cause)), ..FetchResponse::default() });
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(FetchError::RequestCanceled),
    };
    let (head, body) = response.into_parts();
    let is_redirect = matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let is_followed = is_redirect && head.headers.contains_key(header::LOCATION);
    let status = head.status.as_u16() + if is_redirect && !is_followed { NO_REDIRECT } else { 0 };
    let coding = {
        let mut values = head.headers.get_all(header::CONTENT_ENCODING).iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Format::of_header(only.as_bytes()),
            _ => None,
        }
    };
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect();
    let content_length = body.size_hint().exact();
    // Of a part of an encoded whole nothing can be decoded.
    let reads = if head.status == StatusCode::PARTIAL_CONTENT { None } else { coding };
    let body = FetchedBody::new(body, coding, reads);
    Ok(FetchResponse {
        status,
        status_text: head.status.canonical_reason().unwrap_or("").to_owned(),
        headers,
        url: request.url.into(),
        response_rid: state.borrow_mut().resource_table.add(body),
        content_length,
        // It would have the headers changed that say so; they stay as they came.
        body_decoded: false,
        error: None,
    })
}

/// The deepest cause of a failure to send: of hyper's own errors that is the one that says something.
fn first_cause(error: &(dyn Error + 'static)) -> Option<String> {
    let mut deepest = error.source()?;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    Some(deepest.to_string())
}

/// The body of an answer.
pub(crate) struct FetchedBody {
    reader: AsyncRefCell<Reader>,
    /// How the bytes are encoded on the wire.
    coding: Option<Format>,
    decodes: Cell<bool>,
    /// How many bytes there are on the wire.
    length: Option<u64>,
    cancel: CancelHandle,
}

struct Reader {
    body: ResBody,
    arrived: Bytes,
    decoder: Option<Decoder>,
    ended: bool,
}

impl FetchedBody {
    /// `coding` is that of the wire; whoever reads it has `reads` undone.
    fn new(body: ResBody, coding: Option<Format>, reads: Option<Format>) -> Self {
        let length = body.size_hint().exact();
        // An encoded body is never of no length: such a one is none.
        let reads = reads.filter(|_| length != Some(0));
        let decoder = reads.map(|format| Decoder::new(format, Members::Any));
        let decodes = Cell::new(decoder.is_some());
        let reader = AsyncRefCell::new(Reader { body, arrived: Bytes::new(), decoder, ended: false });
        Self { reader, coding, decodes, length, cancel: CancelHandle::default() }
    }

    /// How the bytes on the wire are encoded.
    pub(crate) fn coding(&self) -> Option<Format> {
        self.coding
    }

    /// Has the body read as it comes over the wire. To be called before the first read.
    pub(crate) fn leave_encoded(&self) {
        self.decodes.set(false);
    }

    async fn next(self: Rc<Self>, limit: usize) -> Result<BufView, JsErrorBox> {
        let mut reader = RcRef::map(&self, |this| &this.reader).borrow_mut().await;
        let Reader { body, arrived, decoder, ended } = &mut *reader;
        let mut decoder = decoder.as_mut().filter(|_| self.decodes.get());
        loop {
            if let Some(decoder) = &mut decoder {
                let (mut input, mut output) = (&arrived[..], Vec::new());
                decoder.decode(&mut input, &mut output, limit.min(PIECE_BYTES)).map_err(JsErrorBox::from_err)?;
                let used = arrived.len() - input.len();
                bytes::Buf::advance(arrived, used);
                if !output.is_empty() {
                    return Ok(output.into());
                }
            } else if !arrived.is_empty() {
                return Ok(arrived.split_to(limit.min(arrived.len())).into());
            }
            if *ended {
                return match decoder {
                    Some(decoder) => decoder.check_complete().map(|()| BufView::empty()).map_err(JsErrorBox::from_err),
                    None => Ok(BufView::empty()),
                };
            }
            match body.frame().await {
                None => *ended = true,
                Some(Err(error)) => return Err(JsErrorBox::type_error(error.to_string())),
                Some(Ok(frame)) => *arrived = frame.into_data().unwrap_or_default(),
            }
        }
    }
}

impl Resource for FetchedBody {
    fn name(&self) -> Cow<'_, str> {
        "fetchResponse".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let cancel = RcRef::map(&self, |this| &this.cancel);
        Box::pin(self.next(limit).try_or_cancel(cancel))
    }

    fn size_hint(&self) -> (u64, Option<u64>) {
        match self.length.filter(|_| !self.decodes.get()) {
            Some(length) => (length, Some(length)),
            None => (0, None),
        }
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}
