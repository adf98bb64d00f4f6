//! What every binding is.
//!
//! A binding is a named capability on a worker's `env` (`DB`, `CACHE`, ...). Each kind of binding is one crate beside this
//! one; all of them speak in the types defined here, so that the runtime can show, time, limit and report any binding
//! without knowing which it is.
//!
//! This crate knows neither V8 nor TOML.

mod calls;
mod clock;
mod error;
mod lazy;
mod memory;
mod state_folder;

pub use calls::{CallObserver, CallerId, CallerOver, Calls, OpenCall};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use lazy::Lazy;
pub use memory::{Held, Memory};
pub use state_folder::make_state_folder;

/// A driver of a kind of binding, as the config chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverSpec {
    /// The name, for example `sqlite`.
    pub name: &'static str,
    /// The keys of `options` that it reads.
    pub options: &'static [&'static str],
}

/// What the start table of `aerostack dev` shows of one binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingInfo {
    /// The name on `env`, for example `DB`.
    pub name: String,
    /// The kind, for example `database`.
    pub kind: &'static str,
    /// The driver, for example `sqlite`.
    pub driver: &'static str,
    /// Where the data is, for example `.aerostack/database/local-db.sqlite`. Never holds a secret.
    pub summary: String,
    /// Whether it can serve a call now.
    pub state: BindingState,
}

/// Whether a binding can serve a call now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingState {
    /// Opened and usable.
    Ready,
    /// Opened at its first use.
    Lazy,
    /// Could not be opened; the text says why and what to do.
    Failed(String),
}
