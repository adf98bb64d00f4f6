use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aerostack_bindings::Memory;
use aerostack_platform::Breach;
use slab::Slab;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::engine::give_back_memory;
use crate::host::Host;
use crate::isolate::{Exported, HandlerSet, LoadError, MisspelledHandler};
use crate::limits::BufferQuota;
use crate::lost_memory::LostMemory;
use crate::worker::WorkerVersion;

/// Work to be done on an isolate's thread.
pub(crate) type Task = Box<dyn FnOnce(&Rc<Host>) + Send>;

/// One OS thread with one isolate and one current-thread tokio runtime, seen from outside.
pub struct IsolateThread {
    tasks: mpsc::UnboundedSender<Task>,
    load: Arc<ThreadLoad>,
    version: Arc<WorkerVersion>,
    exported: Exported,
}

/// How much an isolate thread has to do, and whether it still does anything.
#[derive(Default)]
pub struct ThreadLoad {
    /// Connections that live on the thread or are on their way to it. [`CLOSED`] once it takes none.
    connections: AtomicUsize,
    /// Handlers that have not answered, and answers and `waitUntil` work that have not ended.
    pub invocations: AtomicUsize,
    /// Its place among the threads of its version, from 0.
    index: usize,
    condition: Mutex<Condition>,
    /// Somebody wants to know what memory the isolate holds, and was not told yet.
    pub(crate) memory_asked: AtomicBool,
    pub(crate) became_idle: Notify,
    /// Why the thread was given up.
    lost: OnceLock<Arc<str>>,
    /// What it keeps while it does not end.
    lost_memory: Mutex<Option<LostMemory>>,
    /// When an isolate of it was stopped last because the machine was nearly out of memory.
    stopped_for_others: Mutex<Option<Instant>>,
    /// The thread has come to its end.
    ended: AtomicBool,
    /// One of the two has happened.
    became_unusable: Notify,
    /// Who hears of it.
    mourners: Mutex<Slab<Arc<dyn Mourner>>>,
    /// What the process holds outside of V8 for the isolates of the thread, those included that were replaced.
    memory: OnceLock<Memory>,
    buffers: OnceLock<Arc<BufferQuota>>,
}

/// Is told when an isolate thread is given up, because what runs on it can neither be stopped nor waited for. What lives on the thread
/// is lost, and must be told from here.
pub trait Mourner: Send + Sync {
    /// Called from the watchdog's thread, from the lost one, or from within [`ThreadLoad::mourn`]. The text names the limit that was
    /// met.
    fn lost(&self, reason: &str);
}

/// Whether the isolate of a thread can serve.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Condition {
    /// It can.
    #[default]
    Serving,
    /// It was stopped for this reason, and another is on its way.
    Replacing(Arc<str>),
    /// There is none, and there will be none, for this reason.
    Gone(Arc<str>),
}

/// The count of connections of a thread that takes none any more.
const CLOSED: usize = usize::MAX;

/// Lets one connection live on a thread, which does not end before this is dropped.
pub struct ConnectionPermit(Arc<ThreadLoad>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
        self.0.became_idle.notify_waiters();
    }
}

impl ThreadLoad {
    /// Counts a connection that is to live on the thread; `None` where the thread takes none any more.
    fn admit(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let one_more = |connections| (connections != CLOSED).then(|| connections + 1);
        let admitted = self.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        admitted.is_ok().then(|| ConnectionPermit(self.clone()))
    }

    /// Takes no connection from now on, unless one lives on the thread or is on its way to it; then false.
    pub(crate) fn close(&self) -> bool {
        match self.connections.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(CLOSED) => true,
            Err(_) => false,
        }
    }

    /// Tells `mourner` if the thread is given up, or was already, until the returned value is dropped.
    pub fn mourn(self: &Arc<Self>, mourner: &Arc<dyn Mourner>) -> Mourning {
        let place = self.mourners.lock().unwrap_or_else(PoisonError::into_inner).insert(mourner.clone());
        if let Some(reason) = self.lost() {
            mourner.lost(reason);
        }
        Mourning { load: self.clone(), place }
    }

    /// Gives the thread up, which keeps `memory` until it ends; the first reason stands.
    pub(crate) fn give_up(&self, reason: &str, memory: LostMemory) {
        *self.lost_memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        if self.lost.set(reason.into()).is_err() {
            return;
        }
        for (_, mourner) in self.mourners.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            mourner.lost(reason);
        }
        self.became_unusable.notify_waiters();
    }

    /// Notes that an isolate of the thread is stopped because the machine is nearly out of memory.
    pub(crate) fn note_stopped_for_others(&self) {
        *self.stopped_for_others.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether that was within the last minute.
    pub(crate) fn was_stopped_for_others(&self) -> bool {
        let stopped = *self.stopped_for_others.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.is_some_and(|at| at.elapsed() < Duration::from_mins(1))
    }

    /// Why the thread was given up, if it was.
    pub fn lost(&self) -> Option<&Arc<str>> {
        self.lost.get()
    }

    /// Waits until the thread is given up, and for the reason; `None` when it ends by itself before.
    pub(crate) async fn until_lost(&self) -> Option<Arc<str>> {
        loop {
            let became_unusable = self.became_unusable.notified();
            if let Some(reason) = self.lost() {
                return Some(reason.clone());
            }
            if self.ended.load(Ordering::Acquire) {
                return None;
            }
            became_unusable.await;
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        *self.lost_memory.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.became_unusable.notify_waiters();
    }

    fn of_thread(index: usize) -> Arc<Self> {
        Arc::new(Self { index, ..Self::default() })
    }

    /// Where what the process holds for the thread's isolates counts.
    pub(crate) fn memory(&self, version: &WorkerVersion) -> &Memory {
        self.memory.get_or_init(|| {
            let breaches = version.breaches.clone();
            Memory::limited(version.limits.array_buffer_bytes, move || breaches.note(Breach::ArrayBuffers))
        })
    }

    /// Hands out the buffers of the thread's isolates.
    pub(crate) fn buffers(&self, version: &WorkerVersion) -> &Arc<BufferQuota> {
        self.buffers.get_or_init(|| BufferQuota::new(version.limits.array_buffer_bytes, self.memory(version).clone()))
    }

    /// Its place among the threads of its version, from 0.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_condition(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
    }

    /// Connections and invocations together; the largest number where the thread takes no connection.
    pub fn total(&self) -> usize {
        self.connections.load(Ordering::Relaxed).saturating_add(self.invocations.load(Ordering::Relaxed))
    }
}

/// See [`ThreadLoad::mourn`].
pub struct Mourning {
    load: Arc<ThreadLoad>,
    place: usize,
}

impl Drop for Mourning {
    fn drop(&mut self) {
        self.load.mourners.lock().unwrap_or_else(PoisonError::into_inner).remove(self.place);
    }
}

/// V8 uses up to 3 MiB (see `engine.rs`); native recursion in JSON, regular expressions and wasm needs room beyond.
const STACK_BYTES: usize = 8 * 1024 * 1024;

impl IsolateThread {
    /// Starts a thread, creates an isolate and loads the version into it.
    pub async fn start(version: Arc<WorkerVersion>, index: usize) -> Result<Self, LoadError> {
        let (tasks, inbox) = mpsc::unbounded_channel();
        let (loaded, outcome) = oneshot::channel();
        let load = ThreadLoad::of_thread(index);
        let host_load = load.clone();
        let ending = load.clone();
        let loading = version.clone();
        std::thread::Builder::new()
            .name(format!("{}-{index}", version.name))
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .event_interval(61)
                    .global_queue_interval(31)
                    .max_blocking_threads(32)
                    .on_thread_start(let_isolates_go_first)
                    .build()
                    .expect("a current-thread runtime can be built");
                runtime.block_on(run(loading, host_load, inbox, loaded));
                drop(runtime);
                ending.end();
                // See the embedding notes, section 5.3.
                give_back_memory();
            })
            .map_err(LoadError::Thread)?;
        let exported = tokio::select! {
            biased;
            outcome = outcome => outcome.unwrap_or(Err(LoadError::ThreadDied))?,
            Some(reason) = load.until_lost() => return Err(LoadError::Stopped(reason.to_string())),
        };
        Ok(Self { tasks, load, version, exported })
    }

    /// The version loaded here.
    pub fn version(&self) -> &Arc<WorkerVersion> {
        &self.version
    }

    /// Which handlers the worker has.
    pub fn handlers(&self) -> HandlerSet {
        self.exported.handlers
    }

    /// Functions of the worker that were probably meant as handlers.
    pub fn misspelled_handlers(&self) -> &[MisspelledHandler] {
        &self.exported.misspelled
    }

    /// How much the thread has to do.
    pub fn load(&self) -> &Arc<ThreadLoad> {
        &self.load
    }

    /// Lets a connection live on the thread; `None` where the thread has ended or is about to.
    pub fn admit(&self) -> Option<ConnectionPermit> {
        self.load.admit()
    }

    /// Whether the isolate can serve.
    pub(crate) fn condition(&self) -> Condition {
        if self.tasks.is_closed() {
            return Condition::Gone("its isolate thread has ended".into());
        }
        self.load.condition()
    }

    /// Lets the isolate tell what memory it holds as soon as it gets to it. Does not wait, and asks a busy one once only.
    pub(crate) fn ask_for_memory(&self) {
        if !self.load.memory_asked.swap(true, Ordering::Relaxed) {
            self.run(|host| host.tell_memory());
        }
    }

    /// Runs `task` on the thread. False when the thread has ended.
    pub fn run(&self, task: impl FnOnce(&Rc<Host>) + Send + 'static) -> bool {
        self.tasks.send(Box::new(task)).is_ok()
    }

    /// Lets the thread end once nothing is left to do on it. Connections on it stay usable: their requests go to the
    /// worker's current version.
    pub fn retire(&self) {
        self.run(|host| host.retire());
    }

    /// Waits until no invocation is left on the thread.
    pub async fn idle(&self) {
        loop {
            let became_idle = self.load.became_idle.notified();
            if self.load.invocations.load(Ordering::Acquire) == 0 || self.tasks.is_closed() {
                return;
            }
            tokio::select! {
                () = became_idle => {}
                () = self.tasks.closed() => {}
                _ = self.load.until_lost() => return,
            }
        }
    }
}

/// How much less important than an isolate's own thread one of its pool is: a third of the time where they compete for a core.
const POOL_NICENESS: libc::c_int = 5;

/// Makes the calling thread, one of the pool, less important than those that requests wait for: it may derive keys for seconds.
fn let_isolates_go_first() {
    // SAFETY: no preconditions; 0 is the calling thread. Where it is refused, the thread stays as important as the others.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, POOL_NICENESS) };
}

async fn run(
    version: Arc<WorkerVersion>,
    load: Arc<ThreadLoad>,
    mut inbox: mpsc::UnboundedReceiver<Task>,
    loaded: oneshot::Sender<Result<Exported, LoadError>>,
) {
    let host = match Host::load(version, load).await {
        Ok(host) => host,
        Err(error) => {
            let _ = loaded.send(Err(error));
            return;
        }
    };
    if loaded.send(Ok(host.exported())).is_err() {
        return;
    }
    let driver = host.clone();
    deno_core::unsync::spawn(async move { driver.drive().await });
    deno_core::unsync::spawn(host.end_turns());
    let mut finished = pin!(host.finished());
    loop {
        tokio::select! {
            task = inbox.recv() => match task {
                Some(task) => task(&host),
                None => break,
            },
            // What is left in the inbox goes back to who sent it, and no connection is among it: each holds a permit.
            () = &mut finished => return,
        }
    }
    // Nobody can send any more: the worker was replaced, or the process ends.
    host.retire();
    finished.await;
}
