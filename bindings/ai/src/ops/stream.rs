//! A streamed answer as server-sent events, in the form of contract section 6.3.

use std::borrow::Cow;
use std::convert::Infallible;
use std::rc::{Rc, Weak};

use aerostack_bindings::{CallerOver, Result};
use deno_core::futures::channel::oneshot;
use deno_core::{AsyncRefCell, AsyncResult, BufView, CancelFuture as _, CancelHandle, RcRef, Resource, unsync};
use deno_error::JsErrorBox;
use futures_util::StreamExt;
use serde_json::json;

use super::{aborted, cancelled};
use crate::{GenerationEvent, GenerationStream};

/// The bytes of a streamed answer. Reading is the back-pressure: an event is asked for when it is read.
pub(super) struct StreamResource {
    source: AsyncRefCell<Source>,
    cancel: Rc<CancelHandle>,
    /// Dropped with the resource, which tells its guard to go.
    _alive: oneshot::Sender<Infallible>,
}

struct Source {
    /// `None` once the answer is over or nobody wants it any more. Dropping it ends the inference.
    events: Option<GenerationStream>,
    /// Bytes that were made and not yet taken.
    ahead: Vec<u8>,
    taken: usize,
    was_dropped: bool,
}

impl StreamResource {
    /// A stream that ends early when `cancel` is, or when `over` resolves.
    pub(super) fn start(events: GenerationStream, cancel: Rc<CancelHandle>, over: CallerOver) -> Rc<Self> {
        let (alive, dropped) = oneshot::channel();
        let source = Source { events: Some(events), ahead: Vec::new(), taken: 0, was_dropped: false };
        let resource = Rc::new(Self { source: AsyncRefCell::new(source), cancel, _alive: alive });
        unsync::spawn(guard(Rc::downgrade(&resource), resource.cancel.clone(), over, dropped));
        resource
    }

    async fn next_bytes(self: Rc<Self>, limit: usize) -> Result<BufView, JsErrorBox> {
        let mut source = RcRef::map(&self, |this| &this.source).borrow_mut().await;
        if source.taken == source.ahead.len() {
            source.make_bytes().await?;
        }
        let end = source.ahead.len().min(source.taken.saturating_add(limit));
        let bytes = source.ahead[source.taken..end].to_vec();
        source.taken = end;
        Ok(BufView::from(bytes))
    }
}

impl Source {
    /// Makes the bytes of the next event; none at the end.
    async fn make_bytes(&mut self) -> Result<(), JsErrorBox> {
        self.ahead.clear();
        self.taken = 0;
        let Some(events) = &mut self.events else {
            return if self.was_dropped { Err(JsErrorBox::generic(aborted().to_string())) } else { Ok(()) };
        };
        match events.next().await {
            Some(Ok(event)) => self.ahead = bytes_of(event),
            Some(Err(error)) => {
                self.events = None;
                return Err(JsErrorBox::generic(error.to_string()));
            }
            None => self.events = None,
        }
        Ok(())
    }
}

impl Resource for StreamResource {
    fn name(&self) -> Cow<'_, str> {
        "aiStream".into()
    }

    fn read(self: Rc<Self>, limit: usize) -> AsyncResult<BufView> {
        let cancel = self.cancel.clone();
        Box::pin(async move {
            let read = self.next_bytes(limit).or_cancel(cancel).await;
            read.unwrap_or_else(|_| Err(JsErrorBox::generic(aborted().to_string())))
        })
    }

    fn close(self: Rc<Self>) {
        self.cancel.cancel();
    }
}

/// Drops the inference as soon as nobody wants it, whether or not somebody is reading or ever will.
async fn guard(
    resource: Weak<StreamResource>,
    cancel: Rc<CancelHandle>,
    over: CallerOver,
    dropped: oneshot::Receiver<Infallible>,
) {
    tokio::select! {
        _ = dropped => return,
        () = over => {}
        () = cancelled(cancel) => {}
    }
    let Some(resource) = resource.upgrade() else { return };
    // Ends a read that is under way, so that the source is free.
    resource.cancel.cancel();
    let mut source = RcRef::map(&resource, |resource| &resource.source).borrow_mut().await;
    source.was_dropped = source.events.take().is_some();
}

fn bytes_of(event: GenerationEvent) -> Vec<u8> {
    let (data, is_last) = match event {
        GenerationEvent::Text(text) => (json!({ "response": text }), false),
        GenerationEvent::ToolCall(call) => (json!({ "response": "", "tool_calls": [call] }), false),
        GenerationEvent::Finished { usage, .. } => (json!({ "response": "", "usage": usage }), true),
    };
    let end = if is_last { "data: [DONE]\n\n" } else { "" };
    format!("data: {data}\n\n{end}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FinishReason, ToolCall, Usage};

    #[test]
    fn events_have_the_form_of_the_contract() {
        let text = |event| String::from_utf8(bytes_of(event)).expect("JSON is UTF-8");
        assert_eq!(text(GenerationEvent::Text("a\n\"b\"".into())), "data: {\"response\":\"a\\n\\\"b\\\"\"}\n\n");
        let call = ToolCall { name: "add".into(), arguments: json!({ "a": 1 }) };
        assert_eq!(
            text(GenerationEvent::ToolCall(call)),
            "data: {\"response\":\"\",\"tool_calls\":[{\"name\":\"add\",\"arguments\":{\"a\":1}}]}\n\n",
        );
        assert_eq!(
            text(GenerationEvent::Finished { reason: FinishReason::Stop, usage: Usage::new(3, 2) }),
            "data: {\"response\":\"\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n\
             data: [DONE]\n\n",
        );
    }
}
