//! What a user's SQL may touch (contract section 1.7).

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

/// The answer to `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT` and `RELEASE` in a user's text.
pub(super) const TRANSACTION_REFUSED: &str = "To execute a transaction, please use the state.storage.transaction() or \
     state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API \
     is safer because it will automatically roll back on exceptions, and because it interacts correctly with Durable \
     Objects' automatic atomic write coalescing.";

/// The same answer to the project's owner.
pub(super) const OWNER_TRANSACTION_REFUSED: &str =
    "a migration or script is one transaction already: remove BEGIN, COMMIT, ROLLBACK and SAVEPOINT";

/// What to say to one action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may go on.
    Allowed,
    /// Refused with SQLite's own words.
    Refused,
    /// Refused because a transaction cannot be steered from SQL; the caller gets [`TRANSACTION_REFUSED`].
    RefusedTransaction,
}

/// What may follow the name of a pragma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// Nothing.
    Nothing,
    /// Nothing, or a value that reads as true or false.
    Switch,
    /// The name of a table or an index.
    Name,
    /// Nothing, or a name.
    NothingOrName,
    /// Nothing, or a whole number.
    NothingOrNumber,
    /// Nothing, a whole number, or a name.
    NothingOrNumberOrName,
    /// Anything, because the pragma only compares it with names it shows anyway.
    Anything,
}

/// Settings that hold for the one call that set them, and reports.
const PRAGMAS: [(&str, Argument); 18] = [
    ("case_sensitive_like", Argument::Switch),
    ("data_version", Argument::Nothing),
    ("defer_foreign_keys", Argument::Switch),
    ("foreign_key_check", Argument::NothingOrName),
    ("foreign_key_list", Argument::Name),
    ("foreign_keys", Argument::Switch),
    ("ignore_check_constraints", Argument::Switch),
    ("index_info", Argument::Name),
    ("index_list", Argument::Name),
    ("index_xinfo", Argument::Name),
    ("legacy_alter_table", Argument::Switch),
    ("optimize", Argument::NothingOrNumber),
    ("quick_check", Argument::NothingOrNumberOrName),
    ("recursive_triggers", Argument::Switch),
    ("reverse_unordered_selects", Argument::Switch),
    ("table_info", Argument::Name),
    ("table_list", Argument::Anything),
    ("table_xinfo", Argument::Name),
];

/// Functions whose value belongs to the connection that writes.
const FUNCTIONS_OF_THE_WRITER: [&str; 3] = ["changes", "last_insert_rowid", "total_changes"];

/// Functions that tell of the machine or reach outside the database. What is left of the functions linked in: the core
/// scalar, aggregate, window, math, date, JSON and FTS5 functions.
const REFUSED_FUNCTIONS: [&str; 8] = [
    "fts3_tokenizer",
    "load_extension",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_log",
    "sqlite_offset",
    "sqlite_source_id",
    "sqlite_version",
];

/// Virtual tables a user may make. The full text search of workerd, nothing that reads files or pages.
const MODULES: [&str; 2] = ["fts5", "fts5vocab"];

/// Tables that exist without being made and show the machine instead of the data.
const REFUSED_TABLES: [&str; 5] = ["bytecode", "dbstat", "sqlite_dbpage", "sqlite_stmt", "tables_used"];

/// Decides one action of a user's statement while SQLite compiles it.
pub(super) fn judge(context: &AuthContext<'_>) -> Verdict {
    use AuthAction as A;
    if context.database_name == Some("temp") && makes_something(&context.action) {
        return Verdict::Refused;
    }
    let allowed = match &context.action {
        A::Transaction { .. } | A::Savepoint { .. } => return Verdict::RefusedTransaction,
        A::Pragma { pragma_name, pragma_value } => is_allowed_pragma(pragma_name, *pragma_value),
        A::Function { function_name } => !is_one_of(&REFUSED_FUNCTIONS, function_name),
        A::CreateVtable { table_name, module_name } | A::DropVtable { table_name, module_name } => {
            is_allowed_name(table_name) && is_one_of(&MODULES, module_name)
        }
        A::CreateIndex { index_name: name, table_name }
        | A::DropIndex { index_name: name, table_name }
        | A::CreateTrigger { trigger_name: name, table_name }
        | A::DropTrigger { trigger_name: name, table_name } => is_allowed_name(name) && is_allowed_name(table_name),
        A::CreateTable { table_name: name }
        | A::DropTable { table_name: name }
        | A::CreateView { view_name: name }
        | A::DropView { view_name: name }
        | A::Delete { table_name: name }
        | A::Insert { table_name: name }
        | A::Read { table_name: name, .. }
        | A::Update { table_name: name, .. }
        | A::AlterTable { table_name: name, .. }
        | A::Analyze { table_name: name }
        | A::Reindex { index_name: name } => is_allowed_name(name),
        A::Select | A::Recursive => true,
        // Attaching other files, what SQLite may add, and everything temporary: a temporary table would live on one connection
        // and be missing on the next.
        _ => false,
    };
    if allowed { Verdict::Allowed } else { Verdict::Refused }
}

/// Decides one action of a statement of the project's owner: anything goes but steering the transaction around it.
pub(super) fn judge_owner(context: &AuthContext<'_>) -> Verdict {
    match &context.action {
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Verdict::RefusedTransaction,
        _ => Verdict::Allowed,
    }
}

/// Sets the limits of contract section 1.7 on a connection that runs users' SQL.
pub(super) fn set_limits(connection: &Connection) -> rusqlite::Result<()> {
    for (limit, value) in [
        // A row, too.
        (Limit::SQLITE_LIMIT_LENGTH, 2_200_000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (Limit::SQLITE_LIMIT_COLUMN, 100),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 127),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 10),
    ] {
        connection.set_limit(limit, value)?;
    }
    Ok(())
}

impl Verdict {
    /// The verdict in SQLite's terms.
    pub(super) fn into_authorization(self) -> Authorization {
        match self {
            Self::Allowed => Authorization::Allow,
            Self::Refused | Self::RefusedTransaction => Authorization::Deny,
        }
    }
}

/// Whether an action asks for a value that only the connection that writes knows.
pub(super) fn asks_for_the_writer(context: &AuthContext<'_>) -> bool {
    matches!(&context.action, AuthAction::Function { function_name } if is_one_of(&FUNCTIONS_OF_THE_WRITER, function_name))
}

/// Whether an action asks how many rows the statement before changed.
pub(super) fn asks_for_changes(context: &AuthContext<'_>) -> bool {
    matches!(&context.action, AuthAction::Function { function_name } if is_one_of(&["changes"], function_name))
}

/// Whether an action adds to the schema of the file, which each connection keeps in memory.
pub(super) fn adds_to_schema(context: &AuthContext<'_>) -> bool {
    use AuthAction as A;
    makes_something(&context.action) || matches!(context.action, A::CreateIndex { .. } | A::AlterTable { .. })
}

/// Whether an action is that of a pragma.
pub(super) fn is_pragma(context: &AuthContext<'_>) -> bool {
    matches!(context.action, AuthAction::Pragma { .. })
}

/// Whether an action adds to a schema. `CREATE TABLE temp.t` is reported as the creation of a table in the database `temp`, not as
/// that of a temporary table.
fn makes_something(action: &AuthAction<'_>) -> bool {
    use AuthAction as A;
    matches!(action, A::CreateTable { .. } | A::CreateView { .. } | A::CreateVtable { .. } | A::CreateTrigger { .. })
}

fn is_allowed_pragma(name: &str, value: Option<&str>) -> bool {
    let Some((_, argument)) = PRAGMAS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else { return false };
    match (argument, value) {
        (Argument::Name, None) | (Argument::Nothing, Some(_)) => false,
        (Argument::Anything, _) | (_, None) => true,
        (Argument::Switch, Some(value)) => is_switch(value),
        (Argument::Name | Argument::NothingOrName, Some(value)) => is_allowed_name(value),
        (Argument::NothingOrNumber, Some(value)) => is_whole_number(value),
        (Argument::NothingOrNumberOrName, Some(value)) => is_whole_number(value) || is_allowed_name(value),
    }
}

/// SQLite reads a number by its first digits.
fn is_switch(value: &str) -> bool {
    value.starts_with(['0', '1']) || is_one_of(&["true", "false", "yes", "no", "on", "off"], value)
}

fn is_whole_number(value: &str) -> bool {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => i64::from_str_radix(digits, 16).is_ok(),
        None => value.parse::<i64>().is_ok(),
    }
}

fn is_allowed_name(name: &str) -> bool {
    !name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_cf_")) && !is_one_of(&REFUSED_TABLES, name)
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}
