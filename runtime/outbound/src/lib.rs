//! What a worker's `fetch` may reach.
//!
//! A [`Policy`] is asked twice. [`Policy::check_host`] is asked of every request before anything happens, and has the last word
//! on addresses that the URL spells out. [`Policy::check_addresses`] is asked of what a name resolved to, and gives back the
//! addresses that may be connected to: whoever connects uses those and no others, so that no second look-up can change them.
//!
//! Nothing here resolves a name or opens a connection, and hosts come as the URL standard has normalised them, so that
//! `http://2130706433`, `http://0x7f.1` and `http://127.0.0.1` are one host.

mod address;
mod policy;
mod rule;

pub use address::{AddressKind, address_kind};
pub use policy::{Policy, PrivateAddresses, Refusal, shown_host};
pub use rule::{Rule, RuleError};
