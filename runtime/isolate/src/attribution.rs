use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aerostack_bindings::{CallObserver, CallerId, CallerOver, Error, ErrorKind, Memory, Result};
use aerostack_platform::{InvocationId, Invocations};
use aerostack_telemetry::metrics::CallCounter;
use aerostack_trace::{Span, SpanKind, Tracer};
use deno_core::v8;

/// Adds what an isolate does to the invocation it does it for.
pub(crate) struct Attribution {
    isolate: v8::UnsafeRawIsolatePtr,
    context: v8::Global<v8::Context>,
    invocations: Rc<Invocations>,
    /// What is held outside of V8.
    memory: Memory,
    /// What V8 was told of it.
    told: Cell<usize>,
    counter: RefCell<CallCounter>,
    tracer: Tracer,
}

/// How outbound requests are named beside the kinds of bindings.
const FETCH: &str = "fetch";

impl Attribution {
    /// # Safety
    ///
    /// What is returned must not be used once the isolate is gone, nor on another thread.
    pub(crate) unsafe fn new(
        isolate: v8::UnsafeRawIsolatePtr,
        context: v8::Global<v8::Context>,
        invocations: Rc<Invocations>,
        memory: Memory,
        counter: CallCounter,
        tracer: Tracer,
    ) -> Rc<Self> {
        let (told, counter) = (Cell::new(0), RefCell::new(counter));
        Rc::new(Self { isolate, context, invocations, memory, told, counter, tracer })
    }

    /// Bytes that the isolate keeps outside of its heap: buffers (resizable ones and those that Rust made, which no allocator of ours
    /// sees), WebAssembly memories, and what the process holds for it. What is garbage counts until V8 has collected it; past `limit` it is asked to.
    pub(crate) fn bytes_outside_heap(&self, limit: usize) -> usize {
        // SAFETY: promised to `new`.
        let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.isolate) };
        let held = self.memory.held();
        let change = held as i64 - self.told.replace(held) as i64;
        let bytes = isolate.adjust_amount_of_external_allocated_memory(change);
        if usize::try_from(bytes).unwrap_or(0) <= limit {
            return usize::try_from(bytes).unwrap_or(0);
        }
        isolate.low_memory_notification();
        usize::try_from(isolate.adjust_amount_of_external_allocated_memory(0)).unwrap_or(0)
    }

    /// The invocation whose JavaScript is on the stack.
    fn running(&self) -> Option<InvocationId> {
        // SAFETY: promised to `new`.
        let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.isolate) };
        v8::scope!(let handle_scope, &mut isolate);
        let context = v8::Local::new(handle_scope, &self.context);
        let scope = &mut v8::ContextScope::new(handle_scope, context);
        InvocationId::running(scope)
    }

    /// Charges the running invocation with time on the CPU; what it has used by now.
    pub(crate) fn charge_cpu(&self, cpu: Duration) -> Option<Duration> {
        self.running().map(|id| self.invocations.charge_cpu(id, cpu))
    }

    /// A call that outlives the handler it was made for, because nobody awaited it, is in no trace.
    fn record_span(
        &self,
        id: InvocationId,
        kind: &'static str,
        binding: &str,
        op: &'static str,
        took: Duration,
        error: Option<ErrorKind>,
    ) {
        let Some((parent, context)) = self.invocations.child_span(id, &self.tracer) else { return };
        let mut attributes = vec![
            ("aerostack.binding.kind", kind.into()),
            ("aerostack.binding.name", binding.into()),
            ("aerostack.binding.operation", op.into()),
        ];
        if error.is_some() {
            attributes.push(("error.type", outcome_label(error).into()));
        }
        self.tracer.record(Span {
            context,
            parent: Some(parent.span),
            name: format!("{kind} {op}"),
            kind: SpanKind::Client,
            started: SystemTime::now() - took,
            took,
            attributes,
            failure: error.map(|_| outcome_label(error).to_owned()),
        });
    }

    /// Counts an outbound request; the error is the text for JavaScript.
    pub(crate) fn begin_fetch(&self) -> Result<(), String> {
        self.running().map_or(Ok(()), |id| self.invocations.begin_subrequest(id, FETCH))
    }
}

impl CallObserver for Attribution {
    fn started(&self, kind: &'static str) -> Result<CallerId> {
        let Some(id) = self.running() else { return Ok(CallerId(0)) };
        let begun = self.invocations.begin_subrequest(id, kind);
        begun.map(|()| CallerId(id.number())).map_err(|text| Error::new(ErrorKind::RateLimited, text))
    }

    fn caller_over(&self) -> CallerOver {
        match self.running() {
            Some(id) => Box::pin(self.invocations.over(id)),
            None => Box::pin(pending()),
        }
    }

    fn finished(
        &self,
        caller: CallerId,
        kind: &'static str,
        binding: &str,
        op: &'static str,
        took: Duration,
        error: Option<ErrorKind>,
    ) {
        tracing::trace!(kind, binding, op, ?took, ?error, "binding call");
        self.counter.borrow_mut().finished(kind, op, outcome_label(error), took);
        if self.tracer.begins()
            && let Some(id) = InvocationId::from_number(caller.0)
        {
            self.record_span(id, kind, binding, op, took, error);
        }
    }
}

/// The value of the label `outcome` in the metrics of binding calls.
fn outcome_label(error: Option<ErrorKind>) -> &'static str {
    match error {
        None => "ok",
        Some(ErrorKind::NotFound) => "not_found",
        Some(ErrorKind::AlreadyExists) => "already_exists",
        Some(ErrorKind::ConditionFailed) => "condition_failed",
        Some(ErrorKind::InvalidInput) => "invalid_input",
        Some(ErrorKind::Unsupported) => "unsupported",
        Some(ErrorKind::RateLimited) => "rate_limited",
        Some(ErrorKind::Timeout) => "timeout",
        Some(ErrorKind::Cancelled) => "cancelled",
        Some(ErrorKind::Unavailable) => "unavailable",
        Some(ErrorKind::ConfigInvalid) => "config_invalid",
        // `Unexpected`, and kinds that bindings/api may get.
        Some(_) => "unexpected",
    }
}
