use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aerostack_bindings::Calls;
use aerostack_platform::{CpuMeter, Event, Failure, InvocationId, Invocations, WorkerLog, describe_thrown};
use aerostack_telemetry::metrics::{CallCounter, IsolateMemory, IsolateMetrics};
use deno_core::error::{CoreError, CoreErrorKind, JsError, JsStackFrame};
use deno_core::futures::task::AtomicWaker;
use deno_core::{JsRuntime, PollEventLoopOptions, RuntimeOptions, v8};

use crate::attribution::Attribution;
use crate::limits::{self, Guard, StopReason};
use crate::loader::GraphLoader;
use crate::sources;
use crate::thread::ThreadLoad;
use crate::worker::{EnvValue, WorkerVersion};

/// Longest a single binding call may take; a handler's own limit is shorter or the client gave up long before.
const BINDING_DEADLINE: Duration = Duration::from_mins(1);

/// What memory an isolate holds is looked at after a turn of its event loop, but not more often than this: V8 counts for some
/// microseconds.
const MEMORY_PERIOD: Duration = Duration::from_secs(1);

/// What an isolate holds outside of its heap is looked at after a turn of its event loop, but not more often than this. The watchdog
/// looks at long turns only, and many short ones can gather as much.
const OUTSIDE_PERIOD: Duration = Duration::from_millis(5);

/// Why a version of a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The main module threw, or exports nothing usable.
    #[error("{}", .0.exception_message)]
    Exception(Box<JsError>),
    /// The main module broke a limit while it was evaluated.
    #[error("the main module {0}")]
    Stopped(String),
    /// The engine refused.
    #[error("cannot load the worker: {0}")]
    Engine(String),
    /// No thread for the isolate.
    #[error("cannot start an isolate thread")]
    Thread(#[source] std::io::Error),
    /// The thread ended before it said anything.
    #[error("the isolate thread ended while it was starting")]
    ThreadDied,
}

/// Which handlers a worker's default export has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HandlerSet {
    /// It answers requests.
    pub fetch: bool,
    /// It runs at the times of cron triggers.
    pub scheduled: bool,
    /// It takes messages of queues.
    pub queue: bool,
}

/// A function of a worker's default export that no event calls, although its name is nearly a handler's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MisspelledHandler {
    /// Its name.
    pub name: String,
    /// The handler that was probably meant.
    pub meant: &'static str,
}

/// More alike than this, and a function is taken for a handler with a typing mistake (Jaro-Winkler, 0 to 1): `ques` for
/// `queue` is, `query` is not.
const ALIKE: f64 = 0.83;

/// What a worker's default export has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exported {
    pub(crate) handlers: HandlerSet,
    pub(crate) misspelled: Vec<MisspelledHandler>,
}

impl Exported {
    /// `names` are those of the default export's functions, a line each.
    fn of(handlers: HandlerSet, names: &str) -> Self {
        let missing: Vec<&'static str> =
            [("fetch", handlers.fetch), ("scheduled", handlers.scheduled), ("queue", handlers.queue)]
                .iter()
                .filter_map(|(name, exported)| (!exported).then_some(*name))
                .collect();
        let misspelled = names
            .lines()
            .filter_map(|name| {
                let is_like = |meant: &&&str| strsim::jaro_winkler(name, meant) >= ALIKE;
                missing.iter().find(is_like).map(|meant| MisspelledHandler { name: name.to_owned(), meant })
            })
            .collect();
        Self { handlers, misspelled }
    }
}

/// Methods of HTTP whose names are kept in V8. Clients may make any number up.
const KNOWN_METHODS: usize = 16;

/// A V8 isolate with a worker loaded into it. Lives and dies on one thread.
pub(crate) struct Isolate {
    handlers: Handlers,
    exported: Exported,
    methods: RefCell<Vec<(Box<str>, v8::Global<v8::String>)>>,
    context: v8::Global<v8::Context>,
    pointer: v8::UnsafeRawIsolatePtr,
    invocations: Rc<Invocations>,
    waker: Arc<AtomicWaker>,
    guard: Arc<Guard>,
    log: Arc<dyn WorkerLog>,
    metrics: Arc<IsolateMetrics>,
    memory_told: Cell<Instant>,
    outside_seen: Cell<Instant>,
    attribution: Rc<Attribution>,
    heap_bytes: usize,
    array_buffer_bytes: usize,
    // Last: the handles above belong to it.
    runtime: RefCell<JsRuntime>,
}

/// The functions of `createHandlers` in js/platform/handlers.ts.
struct Handlers {
    fetch: v8::Global<v8::Function>,
    scheduled: v8::Global<v8::Function>,
    queue: v8::Global<v8::Function>,
    abort: v8::Global<v8::Function>,
    finish: v8::Global<v8::Function>,
}

impl Isolate {
    /// Creates an isolate from the snapshot and loads the worker's modules into it.
    pub(crate) async fn load(version: &WorkerVersion, load: &Arc<ThreadLoad>) -> Result<Self, LoadError> {
        let started = Instant::now();
        let (runtime, prepared) = prepare(version, load)?;
        let created = Instant::now();
        let isolate = load_main(version, runtime, prepared).await?;
        // What benches/isolate/start reads.
        let (runtime, modules) = (created - started, created.elapsed());
        tracing::debug!(worker = %version.name, ?runtime, ?modules, "isolate started");
        isolate.tell_memory();
        Ok(isolate)
    }

    /// What the worker's default export has.
    pub(crate) fn exported(&self) -> &Exported {
        &self.exported
    }

    pub(crate) fn invocations(&self) -> &Rc<Invocations> {
        &self.invocations
    }

    /// Why the isolate must be replaced, once it must.
    pub(crate) fn stopped(&self) -> Option<StopReason> {
        self.guard.stopped()
    }

    /// Lets the event loop run once more soon.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Calls the `fetch` handler and runs it to its first real wait. When it needs none, the invocation is settled when this
    /// returns, and the event loop had no part in it (embedding notes, section 4.2).
    pub(crate) fn call_fetch(&self, invocation: InvocationId, method: &str, has_body: bool) {
        let thrown = self.call(&self.handlers.fetch, |scope| {
            [
                v8::Number::new(scope, invocation.number() as f64).into(),
                self.method(scope, method).into(),
                v8::Boolean::new(scope, has_body).into(),
            ]
        });
        self.fail(invocation, thrown);
        self.wake();
    }

    /// The name of an HTTP method. The same few are made once.
    fn method<'s>(&self, scope: &v8::PinScope<'s, '_>, method: &str) -> v8::Local<'s, v8::String> {
        let mut known = self.methods.borrow_mut();
        if let Some((_, name)) = known.iter().find(|(known, _)| &**known == method) {
            return v8::Local::new(scope, name);
        }
        let name = v8::String::new_from_one_byte(scope, method.as_bytes(), v8::NewStringType::Internalized)
            .expect("methods are shorter than V8's string limit");
        if known.len() < KNOWN_METHODS {
            known.push((method.into(), v8::Global::new(scope, name)));
        }
        name
    }

    /// Calls the handler of an event and runs it to its first real wait.
    pub(crate) fn call_event(&self, invocation: InvocationId, event: &Event) {
        let number = invocation.number() as f64;
        let thrown = match event {
            Event::Scheduled { cron, scheduled_time_ms } => self.call(&self.handlers.scheduled, |scope| {
                let cron = v8::String::new(scope, cron).expect("a cron expression is shorter than V8's string limit");
                let time = v8::Number::new(scope, *scheduled_time_ms as f64);
                [v8::Number::new(scope, number).into(), cron.into(), time.into()]
            }),
            Event::Queue(batch) => self.call(&self.handlers.queue, |scope| {
                let queue = v8::String::new(scope, &batch.queue);
                let queue = queue.expect("a queue's name is shorter than V8's string limit");
                [v8::Number::new(scope, number).into(), queue.into()]
            }),
        };
        self.fail(invocation, thrown);
        self.wake();
    }

    /// Fails an invocation with what its handler threw before its first wait, if anything.
    fn fail(&self, invocation: InvocationId, thrown: Option<Box<JsError>>) {
        let Some(error) = thrown.map(|error| Arc::new(*error)) else { return };
        if !self.invocations.fail(invocation, Failure::Exception(error.clone())) {
            self.log.uncaught(self.invocations.caller(invocation).as_ref(), &error);
        }
    }

    /// One turn of the event loop. Ready when the isolate was stopped and must be replaced.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<StopReason> {
        if let Some(reason) = self.guard.stopped() {
            return Poll::Ready(reason);
        }
        let turn = {
            let _entered = self.guard.enter();
            self.runtime.borrow_mut().poll_event_loop(context, PollEventLoopOptions::default())
        };
        if let Some(reason) = self.guard.stopped() {
            return Poll::Ready(reason);
        }
        match turn {
            Poll::Ready(Ok(())) => {
                // Nothing is left that could settle a pending promise.
                self.invocations.fail_hung();
            }
            Poll::Ready(Err(error)) => {
                if let CoreErrorKind::Js(error) = error.as_kind() {
                    self.log.uncaught(None, error);
                } else {
                    tracing::error!(%error, "the event loop failed");
                }
                context.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        let now = Instant::now();
        if now - self.outside_seen.get() >= OUTSIDE_PERIOD {
            self.outside_seen.set(now);
            if self.attribution.bytes_outside_heap(self.array_buffer_bytes) > self.array_buffer_bytes {
                self.guard.stop(StopReason::ArrayBuffers);
                return Poll::Ready(StopReason::ArrayBuffers);
            }
            // V8 lets one large object past the limit, and looks again when the next one is made.
            if now - self.memory_told.get() >= MEMORY_PERIOD && self.tell_memory() > 2 * self.heap_bytes {
                self.guard.stop(StopReason::Heap);
                return Poll::Ready(StopReason::Heap);
            }
        }
        for id in self.invocations.take_aborted() {
            self.call(&self.handlers.abort, |scope| [v8::Number::new(scope, id.number() as f64).into()]);
            self.wake();
        }
        for id in self.invocations.take_forgotten() {
            self.call(&self.handlers.finish, |scope| [v8::Number::new(scope, id.number() as f64).into()]);
        }
        Poll::Pending
    }

    /// Writes down what memory the isolate holds now.
    pub(crate) fn tell_memory(&self) -> usize {
        // SAFETY: the pointer is that of `self.runtime`'s isolate, which lives as long as `self` and on this thread.
        let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.pointer) };
        let held = isolate.get_heap_statistics();
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.metrics.looked_at(IsolateMemory {
            heap_used: bytes(held.used_heap_size()),
            heap_committed: bytes(held.total_heap_size()),
            external: bytes(held.external_memory()),
        });
        self.memory_told.set(Instant::now());
        held.used_heap_size()
    }

    /// Calls one of the platform's own functions, then runs the microtasks it queued. Returns what it threw.
    fn call<const N: usize>(
        &self,
        function: &v8::Global<v8::Function>,
        arguments: impl for<'s> FnOnce(&mut v8::PinScope<'s, '_>) -> [v8::Local<'s, v8::Value>; N],
    ) -> Option<Box<JsError>> {
        let _entered = self.guard.enter();
        // SAFETY: the pointer is that of `self.runtime`'s isolate, which lives as long as `self` and on this thread.
        let mut isolate = unsafe { v8::Isolate::from_raw_isolate_ptr(self.pointer) };
        v8::scope!(let handle_scope, &mut isolate);
        let context = v8::Local::new(handle_scope, &self.context);
        let scope = &mut v8::ContextScope::new(handle_scope, context);
        let scope: &mut v8::PinScope = scope;
        let thrown = {
            v8::tc_scope!(let scope, scope);
            let function = v8::Local::new(scope, function);
            let receiver = v8::undefined(scope).into();
            let arguments = arguments(scope);
            let thrown = match function.call(scope, receiver, &arguments) {
                None if !scope.has_terminated() => thrown_error(scope),
                _ => None,
            };
            // After a termination the next call would crash without it.
            scope.reset();
            thrown
        };
        scope.perform_microtask_checkpoint();
        thrown
    }
}

/// An isolate before it knows its worker.
struct Prepared {
    handlers: v8::Global<v8::Object>,
    invocations: Rc<Invocations>,
    guard: Arc<Guard>,
    waker: Arc<AtomicWaker>,
}

fn prepare(version: &WorkerVersion, load: &Arc<ThreadLoad>) -> Result<(JsRuntime, Prepared), LoadError> {
    let limits = &version.limits;
    let memory = load.memory(version);
    let buffers = load.buffers(version).clone();
    let starting = buffers.clone().starting();
    let params = v8::CreateParams::default()
        .heap_limits(0, limits.heap_bytes)
        .array_buffer_allocator(buffers.clone().allocator())
        .allow_atomics_wait(false);
    let loader = GraphLoader { graph: version.graph.clone(), code_cache: version.code_cache.clone() };
    let mut runtime = JsRuntime::try_new(RuntimeOptions {
        startup_snapshot: Some(aerostack_snapshot::SNAPSHOT),
        // The ops are in the snapshot, all of them.
        skip_op_registration: true,
        residual_lazy_js_sources: aerostack_snapshot::RESIDUAL_SCRIPTS,
        extensions: aerostack_platform::extensions(),
        module_loader: Some(Rc::new(loader)),
        create_params: Some(params),
        // Without one, `structuredClone` and `postMessage` copy what they should transfer.
        shared_array_buffer_store: Some(deno_core::SharedArrayBufferStore::default()),
        ..RuntimeOptions::default()
    })
    .map_err(|error| engine_error(&error))?;
    runtime
        .lazy_init_extensions(aerostack_platform::arguments(&version.web, memory.clone()))
        .map_err(|error| LoadError::Engine(error.to_string()))?;
    drop(starting);
    sources::install(runtime.v8_isolate(), version.graph.clone());

    let waker = runtime.op_state().borrow().waker.clone();
    let watchdog_waker = waker.clone();
    let guard = Guard::watch(
        limits.clone(),
        runtime.v8_isolate().thread_safe_handle(),
        Arc::new(move || watchdog_waker.wake()),
        version.breaches.clone(),
        load.clone(),
    );
    let heap_guard = guard.clone();
    runtime.add_near_heap_limit_callback(move |current, _| heap_guard.near_heap_limit(current, &buffers));
    runtime.v8_isolate().set_oom_error_handler(limits::out_of_memory);

    let invocations = Invocations::new(limits.invocation.clone(), version.breaches.clone()).driven_by(waker.clone());
    let invocations = Rc::new(invocations);
    {
        let context = runtime.main_context();
        let counted = CallCounter::new(version.calls.clone());
        // SAFETY: used on this thread while the runtime lives: by its ops, its interrupts and its outbound requests.
        let attribution = unsafe {
            let pointer = runtime.v8_isolate().as_raw_isolate_ptr();
            Attribution::new(pointer, context, invocations.clone(), memory.clone(), counted, version.tracer.clone())
        };
        runtime.v8_isolate().set_slot(attribution.clone());
        let outbound = attribution.clone();
        aerostack_platform::check_outbound_requests(Rc::new(move || outbound.begin_fetch()));
        let state = runtime.op_state();
        let mut state = state.borrow_mut();
        state.put(invocations.clone());
        let charged = (invocations.clone(), guard.clone());
        state.put(CpuMeter::new(move |id, cpu| charged.1.check_cpu(charged.0.charge_cpu(id, cpu))));
        state.put::<Arc<dyn WorkerLog>>(version.log.clone());
        state.put(Calls::new(attribution, BINDING_DEADLINE).with_memory(memory.clone()));
        version.web.install(&mut state);
        aerostack_platform::install_tracer(&mut state, version.tracer.clone());
        (version.install)(&mut state);
    }
    let handlers = start(&mut runtime)?;
    Ok((runtime, Prepared { handlers, invocations, guard, waker }))
}

/// Runs `start` of js/platform/bootstrap.ts, which takes everything of the engine away from user code.
fn start(runtime: &mut JsRuntime) -> Result<v8::Global<v8::Object>, LoadError> {
    let context = runtime.main_context();
    deno_core::scope!(scope, runtime);
    let local = v8::Local::new(scope, context);
    // No `eval`, no `new Function`, but for a while in `evaluate`.
    local.set_allow_generation_from_strings(false);
    let global = local.global(scope);
    let name = v8::String::new(scope, "bootstrap").expect("a short string");
    let start = global.get(scope, name.into()).and_then(|value| v8::Local::<v8::Function>::try_from(value).ok());
    let start = start.ok_or_else(|| LoadError::Engine("the snapshot has no `bootstrap`".to_owned()))?;
    v8::tc_scope!(let scope, scope);
    let receiver = v8::undefined(scope).into();
    let handlers = start.call(scope, receiver, &[]).and_then(|value| v8::Local::<v8::Object>::try_from(value).ok());
    match handlers {
        Some(handlers) => Ok(v8::Global::new(scope, handlers)),
        None => Err(caught(scope)),
    }
}

async fn load_main(version: &WorkerVersion, mut runtime: JsRuntime, prepared: Prepared) -> Result<Isolate, LoadError> {
    let Prepared { handlers, invocations, guard, waker } = prepared;
    bind_env(&mut runtime, &handlers, version)?;
    let loaded = {
        let mut evaluation = pin!(evaluate(version, &mut runtime, &handlers));
        std::future::poll_fn(|context| {
            let turn = {
                let _entered = guard.enter();
                evaluation.as_mut().poll(context)
            };
            match guard.stopped() {
                Some(reason) => Poll::Ready(Err(LoadError::Stopped(version.limits.describe(reason)))),
                None => turn,
            }
        })
        .await
    };
    loaded?;
    let (handlers, exported) = {
        deno_core::scope!(scope, &mut runtime);
        let object = v8::Local::new(scope, &handlers);
        let exported = HandlerSet {
            fetch: exports(scope, object, "fetch")?,
            scheduled: exports(scope, object, "scheduled")?,
            queue: exports(scope, object, "queue")?,
        };
        let names = call_method(scope, object, "names", &[])?.to_rust_string_lossy(scope);
        let exported = Exported::of(exported, &names);
        let handlers = Handlers {
            fetch: method(scope, object, "fetch"),
            scheduled: method(scope, object, "scheduled"),
            queue: method(scope, object, "queue"),
            abort: method(scope, object, "abort"),
            finish: method(scope, object, "finish"),
        };
        (handlers, exported)
    };
    let attribution = runtime.v8_isolate().get_slot::<Rc<Attribution>>().cloned().expect("set in `prepare`");
    let context = runtime.main_context();
    // SAFETY: kept beside the runtime it belongs to, on the same thread.
    let pointer = unsafe { runtime.v8_isolate().as_raw_isolate_ptr() };
    Ok(Isolate {
        handlers,
        exported,
        methods: RefCell::default(),
        context,
        pointer,
        invocations,
        waker,
        guard,
        log: version.log.clone(),
        metrics: version.metrics.isolate_started(),
        memory_told: Cell::new(Instant::now()),
        outside_seen: Cell::new(Instant::now()),
        attribution,
        heap_bytes: version.limits.heap_bytes,
        array_buffer_bytes: version.limits.array_buffer_bytes,
        runtime: RefCell::new(runtime),
    })
}

/// Evaluates the main module, top-level await included, and registers its default export. Meanwhile code may be made of texts, as on
/// Workers since 2025-06-01: libraries compile templates and validators then. Handlers may not.
async fn evaluate(
    version: &WorkerVersion,
    runtime: &mut JsRuntime,
    handlers: &v8::Global<v8::Object>,
) -> Result<(), LoadError> {
    let context = runtime.main_context();
    {
        deno_core::scope!(scope, runtime);
        v8::Local::new(scope, &context).set_allow_generation_from_strings(true);
    }
    let main = runtime.load_main_es_module(&version.graph.main).await.map_err(|error| engine_error(&error))?;
    let evaluation = runtime.mod_evaluate(main);
    runtime
        .with_event_loop_promise(evaluation, PollEventLoopOptions::default())
        .await
        .map_err(|error| engine_error(&error))?;
    let namespace = runtime.get_module_namespace(main).map_err(|error| engine_error(&error))?;
    deno_core::scope!(scope, runtime);
    let namespace = v8::Local::new(scope, namespace).into();
    let object = v8::Local::new(scope, handlers);
    call_method(scope, object, "register", &[namespace])?;
    v8::Local::new(scope, &context).set_allow_generation_from_strings(false);
    Ok(())
}

/// Puts variables and bindings on `env`, before any user code runs.
fn bind_env(
    runtime: &mut JsRuntime,
    handlers: &v8::Global<v8::Object>,
    version: &WorkerVersion,
) -> Result<(), LoadError> {
    deno_core::scope!(scope, runtime);
    let object = v8::Local::new(scope, handlers);
    let mut triples: Vec<v8::Local<v8::Value>> = Vec::with_capacity(version.env.len() * 3);
    for entry in &version.env {
        let too_long = || LoadError::Engine(format!("the value of {} is too long for V8", entry.name));
        let (kind, value): (&str, v8::Local<v8::Value>) = match &entry.value {
            EnvValue::Binding { kind, index } => (kind, v8::Integer::new_from_unsigned(scope, *index).into()),
            EnvValue::Json(json) => {
                let text = v8::String::new(scope, &json.to_string()).ok_or_else(too_long)?;
                ("value", v8::json::parse(scope, text).ok_or_else(too_long)?)
            }
        };
        triples.push(v8::String::new(scope, &entry.name).ok_or_else(too_long)?.into());
        triples.push(v8::String::new(scope, kind).ok_or_else(too_long)?.into());
        triples.push(value);
    }
    call_method(scope, object, "bind", &triples)?;
    Ok(())
}

/// Whether the default export has a handler of that name.
fn exports<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    handlers: v8::Local<'s, v8::Object>,
    name: &str,
) -> Result<bool, LoadError> {
    let name = v8::String::new(scope, name).expect("a short string").into();
    Ok(call_method(scope, handlers, "has", &[name])?.is_true())
}

fn call_method<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    name: &str,
    arguments: &[v8::Local<'s, v8::Value>],
) -> Result<v8::Local<'s, v8::Value>, LoadError> {
    let function = method(scope, object, name);
    v8::tc_scope!(let scope, scope);
    let function = v8::Local::new(scope, function);
    match function.call(scope, object.into(), arguments) {
        Some(value) => Ok(value),
        None => Err(caught(scope)),
    }
}

fn method<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    object: v8::Local<'s, v8::Object>,
    name: &str,
) -> v8::Global<v8::Function> {
    let key = v8::String::new(scope, name).expect("a short string");
    let value = object.get(scope, key.into()).and_then(|value| v8::Local::<v8::Function>::try_from(value).ok());
    v8::Global::new(scope, value.expect("createHandlers returns every function this crate names"))
}

/// What was thrown, with the line that threw it also where it is no Error.
fn thrown_error(scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>) -> Option<Box<JsError>> {
    let exception = scope.exception()?;
    let message = scope.message();
    let mut error = describe_thrown(scope, exception);
    if error.frames.is_empty()
        && let Some(message) = message
    {
        error.frames.extend(JsStackFrame::from_v8_message(scope, message));
    }
    Some(error)
}

fn caught(scope: &mut v8::PinnedRef<'_, v8::TryCatch<'_, '_, v8::HandleScope<'_>>>) -> LoadError {
    match scope.exception() {
        Some(exception) => LoadError::Exception(describe_thrown(scope, exception)),
        None => LoadError::Engine("the script was stopped".to_owned()),
    }
}

fn engine_error(error: &CoreError) -> LoadError {
    match error.as_kind() {
        CoreErrorKind::Js(error) => LoadError::Exception(error.clone()),
        _ => LoadError::Engine(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Exported, HandlerSet};

    #[test]
    fn a_name_that_is_nearly_a_missing_handler_is_recognised() {
        let fetch = HandlerSet { fetch: true, ..HandlerSet::default() };
        let meant = |handlers: HandlerSet, name: &str| {
            let exported = Exported::of(handlers, &format!("constructor\n{name}\n"));
            exported.misspelled.first().map(|misspelled| misspelled.meant)
        };
        for (name, handler) in
            [("ques", "queue"), ("queues", "queue"), ("schedule", "scheduled"), ("sheduled", "scheduled")]
        {
            assert_eq!(meant(fetch, name), Some(handler), "{name}");
        }
        for name in ["use", "route", "request", "email", "fetchUser", "query", "batch"] {
            assert_eq!(meant(fetch, name), None, "{name}");
        }
        assert_eq!(meant(HandlerSet::default(), "fecth"), Some("fetch"));
    }
}
