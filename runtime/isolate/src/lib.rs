//! Isolates: the only crate that owns a `JsRuntime`.
//!
//! * [`initialise`] sets V8 up, on the main thread, before any other thread exists.
//! * A [`Worker`] is a program that can be replaced while it runs; each [`WorkerVersion`] of it is loaded into its own
//!   isolate threads.
//! * A [`Host`] is one isolate thread seen from inside: connections live on it and call handlers directly. From outside,
//!   [`Worker::fetch`] and [`Worker::event`] hop there.

mod attribution;
mod engine;
mod hints;
mod host;
mod isolate;
mod limits;
mod loader;
mod lost_memory;
mod pressure;
mod remote;
mod report;
mod sources;
mod thread;
mod turn;
mod worker;

pub use aerostack_platform::{
    Breach, Breaches, CLIENT_ADDRESS, Caller, ConsoleLevel, Costs, Event, EventCall, EventNotes, Failure,
    IncomingRequest, InvocationId, InvocationLimits, Invocations, OutboundPolicy, OutboundRule, PrivateAddresses,
    RequestBody, Response, ResponseBody, WebOptions, WorkerLog,
};
/// A chunk of a response body.
pub use deno_core::BufView as Chunk;
/// The state an isolate's ops look in.
pub use deno_core::OpState;
pub use deno_core::error::{JsError, JsStackFrame};
/// Resolves when a future that was given to [`spawn_local`] is over.
pub use deno_core::unsync::JoinHandle as LocalTask;
/// Runs a future that need not be `Send` on the current thread's runtime.
pub use deno_core::unsync::spawn as spawn_local;
pub use engine::{contain_panics, initialise};
pub use host::{Answer, EventReport, FetchCall, FetchRequest, Fetching, Host};
pub use isolate::{HandlerSet, LoadError, MisspelledHandler};
pub use limits::{Limits, StopReason};
pub use lost_memory::{RestartDue, restart_urgent, too_much_lost};
pub use remote::RemoteAnswer;
pub use report::{ErrorReport, ReportFrame};
pub use thread::{ConnectionPermit, IsolateThread, Mourner, Mourning, ThreadLoad};
pub use turn::AtTurnEnd;
pub use worker::{EnvEntry, EnvValue, InstallBindings, Worker, WorkerParts, WorkerVersion};
