//! The `DB` binding: SQL with the surface of Cloudflare D1.
//!
//! * [`driver`]: what a database must do, and the values that cross.
//! * [`drivers`]: the databases there are.
//! * [`migrations`]: `migrations/*.sql`, recorded in `d1_migrations`.
//! * [`script`]: a whole file of SQL against a database file, for `aerostack db execute`.
//! * `conformance` (feature `conformance`): the behaviour that every driver must show.
//! * `ops` (feature `ops`): the ops behind `js/bindings/database.ts`.

#[cfg(any(feature = "ops", test))]
mod blank;
mod cells;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod driver;
pub mod drivers;
pub mod migrations;
#[cfg(feature = "ops")]
pub mod ops;
pub mod script;

use aerostack_bindings::{BindingInfo, BindingState};

pub use cells::{Cell, CellRef, Cells};
pub use driver::{Capabilities, DatabaseDriver, DatabaseInfo, Meta, Rows, Statement, StatementResult, Value};
pub use drivers::sqlite::{Durability, Sqlite, SqliteOptions};

/// The kind of this binding, as spans, metrics and the start table name it.
pub const KIND: &str = "database";

/// The binding's line in the start table.
pub fn describe(name: &str, driver: &dyn DatabaseDriver) -> BindingInfo {
    let info = driver.info();
    BindingInfo {
        name: name.to_owned(),
        kind: KIND,
        driver: info.driver,
        summary: info.location,
        state: BindingState::Ready,
    }
}
