//! What takes long and runs on threads that no watchdog looks at: generations of RSA keys, derivations from passwords.
//!
//! A worker has few of them going at once, on all its isolates together, and the others wait in line. Each is charged to the invocation
//! that asked for it, waits no longer than that lives, and is called off with it where it can be.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deno_core::OpState;
use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CryptoError;
use crate::{InvocationId, Invocations};

/// Bytes that one isolate's waiting jobs may hold together: their inputs are outside of V8's heap.
const MOST_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// What a waiting job holds beside its inputs, at least.
const BYTES_OF_A_JOB: usize = 1024;

/// Charges an invocation with time on the CPU that was spent for it on another thread.
pub struct CpuMeter(Box<dyn Fn(InvocationId, Duration)>);

impl CpuMeter {
    /// `charge` is called on the isolate's thread.
    pub fn new(charge: impl Fn(InvocationId, Duration) + 'static) -> Self {
        Self(Box::new(charge))
    }
}

/// Limits how many heavy jobs a worker has going at once.
#[derive(Clone)]
pub(crate) struct Workbench(Arc<Semaphore>);

impl Default for Workbench {
    /// Half of the machine, at least one core: the other half is for the neighbours.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
    }
}

/// Bytes that the jobs of an isolate hold while they wait.
#[derive(Default, Clone)]
pub(crate) struct WaitingBytes(Rc<Cell<usize>>);

/// Keeps a waiting job counted.
struct Waiting(WaitingBytes, usize);

impl WaitingBytes {
    fn enter(&self, inputs: usize) -> Result<Waiting, CryptoError> {
        let bytes = inputs.saturating_add(BYTES_OF_A_JOB);
        let total = self.0.get().saturating_add(bytes);
        if total > MOST_WAITING_BYTES {
            return Err(CryptoError::TooManyWait);
        }
        self.0.set(total);
        Ok(Waiting(self.clone(), bytes))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - self.1);
    }
}

/// True once nobody waits for a job any more.
struct CalledOff(Arc<AtomicBool>);

impl Drop for CalledOff {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The places at the workbench that work has which is not ours to measure. They are charged with the time they are held.
#[derive(Default)]
pub(crate) struct Turns(Slab<Turn>);

struct Turn {
    _permit: OwnedSemaphorePermit,
    began: Instant,
    invocation: Option<InvocationId>,
}

/// Runs `job` on a thread of its own once there is a place for it. `inputs` is how many bytes it holds until then; `job` is given what
/// becomes true when it is called off.
pub(crate) async fn run<T: Send + 'static>(
    state: Rc<RefCell<OpState>>,
    invocation: u64,
    inputs: usize,
    job: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<T, CryptoError> {
    let invocation = InvocationId::from_number(invocation);
    let permit = place(&state, invocation, inputs).await?;
    let flag = Arc::new(AtomicBool::new(false));
    let _called_off = CalledOff(flag.clone());
    let job = tokio::task::spawn_blocking(move || {
        // Held by the thread, not by who waits for it: a job that cannot be called off keeps its place.
        let _permit = permit;
        let before = thread_cpu();
        let done = job(&flag);
        (done, thread_cpu().saturating_sub(before))
    });
    let (done, cpu) = tokio::select! {
        biased;
        done = job => done.map_err(|_| CryptoError::Failed)?,
        () = over(&state, invocation) => return Err(CryptoError::Over),
    };
    charge(&state.borrow(), invocation, cpu);
    Ok(done)
}

/// Waits for a place at the workbench, to be given back with [`end_turn`].
pub(crate) async fn begin_turn(state: Rc<RefCell<OpState>>, invocation: u64) -> Result<u32, CryptoError> {
    let invocation = InvocationId::from_number(invocation);
    let permit = place(&state, invocation, 0).await?;
    let turn = Turn { _permit: permit, began: Instant::now(), invocation };
    let number = state.borrow_mut().borrow_mut::<Turns>().0.insert(turn);
    Ok(number as u32)
}

/// Gives a place back.
pub(crate) fn end_turn(state: &mut OpState, number: u32) {
    let Some(turn) = state.borrow_mut::<Turns>().0.try_remove(number as usize) else { return };
    charge(state, turn.invocation, turn.began.elapsed());
}

/// Waits in line for a place, no longer than the invocation lives. `inputs` is how many bytes are held meanwhile.
async fn place(
    state: &RefCell<OpState>,
    invocation: Option<InvocationId>,
    inputs: usize,
) -> Result<OwnedSemaphorePermit, CryptoError> {
    let _waiting = state.borrow().borrow::<WaitingBytes>().enter(inputs)?;
    let bench = state.borrow().borrow::<Workbench>().0.clone();
    tokio::select! {
        biased;
        () = over(state, invocation) => Err(CryptoError::Over),
        permit = bench.acquire_owned() => Ok(permit.expect("the workbench is never closed")),
    }
}

async fn over(state: &RefCell<OpState>, invocation: Option<InvocationId>) {
    let Some(id) = invocation else { return pending().await };
    let over = state.borrow().borrow::<Rc<Invocations>>().over(id);
    over.await;
}

fn charge(state: &OpState, invocation: Option<InvocationId>, cpu: Duration) {
    if let Some(id) = invocation {
        (state.borrow::<CpuMeter>().0)(id, cpu);
    }
}

/// Time that this thread has spent on the CPU.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local.
    let found = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(found, 0, "a thread has a CPU clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
