//! One connection with its compiled statements.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aerostack_bindings::{Error, ErrorKind};
use aerostack_sqlite::{Stamp, VFS, WalIndex, WorkingMemory, prepare_sqlite};
use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, ffi};

use super::Durability;
use super::authorizer::{OWNER_TRANSACTION_REFUSED, TRANSACTION_REFUSED, judge_owner, set_limits};
use super::counts::{Profile, Run};
use super::errors::{Failure, failure};
use super::functions::add_functions;
use super::guard::{Guard, Patience, Seen};
use super::setup::{Control, OPEN_TIMEOUT, SETTINGS, prepare_file};
use super::statement::{Demand, Effect, Output, Prepared};
use super::text::{after_blanks, is_setting_pragma};
use crate::driver::{Meta, Statement, StatementResult, Value};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs users' queries; refuses to write.
    Reader,
    /// Runs users' statements of any kind.
    Writer,
    /// Runs what the project's owner asks for (migrations, `aerostack db execute`): no limits, nothing refused.
    Owner,
}

/// What the schema of a file may take in the memory of each connection before nothing more is added to it. That of a table
/// with ten columns takes about 2 KB.
const MOST_SCHEMA_BYTES: usize = 16 * 1024 * 1024;

/// How statements hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Together {
    /// Each commits on its own.
    Apart,
    /// All or none, on the state of one moment.
    InTransaction,
}

/// A connection, used by one thread at a time.
pub(super) struct Connection {
    // Statements must go before their connection: fields are dropped in this order.
    kept: HashMap<Box<str>, Prepared>,
    control: Option<Control>,
    wal: Option<WalIndex>,
    inner: rusqlite::Connection,
    guard: Arc<Guard>,
    role: Role,
    page_size: u64,
    /// Size of the database in bytes after the last write of this connection.
    size: u64,
    uses: u64,
    /// A setting of the connection was changed and must be put back before the next call.
    settings_changed: bool,
    /// The state of the file, or an earlier one, that a transaction reads which is kept open between calls.
    snapshot: Option<Stamp>,
}

const PARAMETERS_TOO_EARLY: &str =
    "When executing multiple SQL statements in a single call, only the last statement can have parameters.";

/// For how long unrelated statements may be run in one transaction: others wait for the lock meanwhile.
const LOCKED_TOGETHER: Duration = Duration::from_millis(2);

/// How many statements a connection keeps compiled. A compiled statement is a few kilobytes.
const KEPT_STATEMENTS: usize = 200;

impl Connection {
    /// Opens a database file. Only [`Role::Writer`] and [`Role::Owner`] create it.
    pub(super) fn open(path: &Path, role: Role) -> rusqlite::Result<Self> {
        prepare_sqlite();
        let create = match role {
            Role::Reader => OpenFlags::empty(),
            Role::Writer | Role::Owner => OpenFlags::SQLITE_OPEN_CREATE,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let inner = rusqlite::Connection::open_with_flags_and_vfs(path, flags, VFS)?;
        // A second process that starts at the same moment switches the file to its log too: wait for it.
        inner.busy_timeout(OPEN_TIMEOUT)?;
        let page_size: u32 = match role {
            Role::Reader => {
                inner.execute_batch("PRAGMA temp_store = FILE; PRAGMA cache_size = -8000;")?;
                inner.query_row("PRAGMA page_size", [], |row| row.get(0))?
            }
            Role::Writer | Role::Owner => prepare_file(&inner)?,
        };
        let mut connection = Self {
            kept: HashMap::new(),
            control: None,
            wal: None,
            inner,
            guard: Guard::new(),
            role,
            page_size: u64::from(page_size),
            size: 0,
            uses: 0,
            settings_changed: false,
            snapshot: None,
        };
        connection.control = Some(Control::compile(connection.db(), role)?);
        match role {
            Role::Reader | Role::Writer => connection.harden()?,
            Role::Owner => connection.guard.authorize_with(&connection.inner, judge_owner)?,
        }
        connection.guard.distrust();
        connection.refresh_size();
        // SAFETY: the size was read from the file just now, and the connection lives as long as the index beside it.
        connection.wal = unsafe { WalIndex::of(&connection.inner) };
        Ok(connection)
    }

    /// Decides what commits of this connection wait for.
    pub(super) fn set_durability(&mut self, durability: Durability) -> rusqlite::Result<()> {
        let setting = match durability {
            Durability::Normal => "PRAGMA synchronous = NORMAL",
            Durability::Full => "PRAGMA synchronous = FULL",
        };
        self.guard.trusting(|| self.inner.execute_batch(setting))
    }

    /// Whether commits of this connection wait for the disk.
    #[cfg(test)]
    pub(super) fn waits_for_disk(&self) -> bool {
        const FULL: i64 = 2;
        let setting =
            self.guard.trusting(|| self.inner.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0)));
        setting.is_ok_and(|setting| setting == FULL)
    }

    /// Runs statements for one call. What is not committed when this returns has been rolled back.
    ///
    /// The metas of a reader lack `last_row_id` and `size_after`, which only the writer knows; all lack `version`.
    pub(super) fn run(
        &mut self,
        statements: &[Statement],
        together: Together,
        patience: &Patience,
    ) -> Result<Vec<StatementResult>, Failure> {
        self.guard.arm(patience);
        let outcome = match together {
            Together::InTransaction if self.snapshot.is_none() => self.in_transaction(|connection| {
                statements.iter().map(|statement| connection.run_text(statement)).collect()
            }),
            Together::Apart | Together::InTransaction => {
                statements.iter().map(|statement| self.run_text(statement)).collect()
            }
        };
        self.guard.disarm();
        if outcome.is_err() {
            self.end_snapshot();
        }
        self.settle();
        outcome
    }

    /// Has the queries that follow read the newest state of the file in one transaction, until that state is not the newest any more:
    /// a look at the WAL index tells. SQLite alone takes a lock and gives it back for each, at two system calls.
    ///
    /// While the transaction is open the log cannot start over: [`Connection::end_snapshot`] must follow soon.
    pub(super) fn keep_snapshot(&mut self) -> Result<(), Failure> {
        let Some(wal) = &self.wal else { return Ok(()) };
        let newest = wal.stamp();
        if self.snapshot == Some(newest) && !self.inner.is_autocommit() {
            return Ok(());
        }
        self.end_snapshot();
        // The transaction sees the state at its first query, which is this one, or a later one that the next look notices.
        self.begin()?;
        self.snapshot = Some(newest);
        Ok(())
    }

    /// Has the queries that follow read the state of the file at their time.
    pub(super) fn end_snapshot(&mut self) {
        if self.snapshot.take().is_some() {
            self.roll_back();
        }
    }

    /// Runs single statements of unrelated calls in one transaction, each as if it were alone: what is wrong with one is undone and
    /// told to its caller only. As many as there are outcomes were run, at least one; the others take too long to be waited for.
    ///
    /// `None` when they could not be kept apart, and nothing has happened: then each must be run by itself.
    pub(super) fn run_together(
        &mut self,
        statements: &[&Statement],
        patience: &Patience,
    ) -> Option<Vec<Result<StatementResult, Error>>> {
        let last_row_id = self.last_row_id();
        self.guard.arm(patience);
        let outcomes = self.begin().ok().and_then(|()| self.run_each(statements, patience));
        self.guard.disarm();
        self.settle();
        if outcomes.is_none() {
            // A rollback leaves the rowid of an insert that it undid.
            // SAFETY: the connection is open and used by this thread only.
            unsafe { ffi::sqlite3_set_last_insert_rowid(self.db(), last_row_id) };
            self.refresh_size();
        }
        outcomes
    }

    fn run_each(
        &mut self,
        statements: &[&Statement],
        patience: &Patience,
    ) -> Option<Vec<Result<StatementResult, Error>>> {
        let started = Instant::now();
        let mut outcomes = Vec::with_capacity(statements.len());
        for statement in statements {
            self.guard.arm(patience);
            match self.run_text(statement) {
                Ok(result) => outcomes.push(Ok(result)),
                // Some conflicts roll the transaction back, and a file that fails one may fail all.
                Err(Failure::Refused(error))
                    if !self.inner.is_autocommit() && error.kind() != ErrorKind::Unavailable =>
                {
                    outcomes.push(Err(error));
                }
                Err(_) => return None,
            }
            if started.elapsed() >= LOCKED_TOGETHER {
                break;
            }
        }
        self.guard.disarm();
        self.commit().ok()?;
        Some(outcomes)
    }

    /// Runs `work` between `BEGIN` and `COMMIT`; an error rolls back.
    fn in_transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.begin()?;
        let outcome = work(self).and_then(|value| self.commit().map(|()| value));
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// Rolls back what is open, but for a snapshot, and puts settings back, so that the next call finds the connection as new.
    pub(super) fn settle(&mut self) {
        self.guard.disarm();
        if self.snapshot.is_none() {
            self.roll_back();
        }
        if std::mem::take(&mut self.settings_changed) {
            // Only fails when memory ran out; the next call then sees the setting that the last one made.
            if let Err(error) = self.guard.trusting(|| self.inner.execute_batch(SETTINGS)) {
                tracing::warn!(%error, "settings of a database connection could not be put back");
            }
        }
    }

    /// Begins a transaction; on a connection that writes it holds the write lock from here on.
    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.run_control(|control| &mut control.begin).map(|_| ())
    }

    /// Commits the transaction. After an error it is still open.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        self.run_control(|control| &mut control.commit).map(|_| ())
    }

    /// Runs the first statement of a longer text and says how many bytes of the text it took; no result when only blanks and
    /// comments were left.
    pub(super) fn run_first(
        &mut self,
        sql: &str,
        params: &[Value],
    ) -> Result<(Option<StatementResult>, usize), Failure> {
        let before = self.before();
        let (prepared, consumed) = self.compile(sql)?;
        let Some(mut prepared) = prepared else { return Ok((None, consumed)) };
        let result = self.run_and_finish(&before, &mut prepared, Demand { params, ..Demand::OWN })?;
        Ok((Some(result), consumed))
    }

    /// The rowid of the newest row this connection inserted.
    pub(super) fn last_row_id(&self) -> i64 {
        self.inner.last_insert_rowid()
    }

    /// Size of the database in bytes after the last write of this connection.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Pages in the write-ahead log after the last commit of this connection.
    pub(super) fn log_pages(&self) -> u32 {
        self.guard.log_pages()
    }

    /// The byte of the last statement's text that its error is about, where SQLite knows it.
    pub(super) fn error_offset(&self) -> Option<usize> {
        // SAFETY: the connection is open and used by this thread only.
        usize::try_from(unsafe { ffi::sqlite3_error_offset(self.db()) }).ok()
    }

    /// The whole database as the bytes of one file.
    pub(super) fn serialize(&self) -> Result<Vec<u8>, Error> {
        let mut size = 0;
        // SAFETY: the connection is open; the returned memory is `size` bytes long and ours to free.
        unsafe {
            let db = self.db();
            // SQLite asks for the number of pages with a statement of its own, which users may not run.
            let bytes = self.guard.trusting(|| ffi::sqlite3_serialize(db, c"main".as_ptr(), &raw mut size, 0));
            if bytes.is_null() {
                return Err(Error::new(ErrorKind::Unexpected, "the database could not be copied: SQLITE_NOMEM"));
            }
            let copy = std::slice::from_raw_parts(bytes, usize::try_from(size).unwrap_or(0)).to_vec();
            ffi::sqlite3_free(bytes.cast());
            Ok(copy)
        }
    }

    /// Moves what it can from the write-ahead log into the database file without making anyone wait.
    pub(super) fn checkpoint(&self) {
        // SAFETY: the connection is open. The outcome does not matter: what could not be moved now is moved next time.
        unsafe {
            ffi::sqlite3_wal_checkpoint_v2(
                self.db(),
                c"main".as_ptr(),
                ffi::SQLITE_CHECKPOINT_PASSIVE,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
        }
    }

    /// From here on the connection runs users' SQL: limits, refusals and callbacks hold.
    fn harden(&self) -> rusqlite::Result<()> {
        self.inner.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        set_limits(&self.inner)?;
        add_functions(&self.inner)?;
        self.guard.install(&self.inner)
    }

    fn run_control(&mut self, pick: impl FnOnce(&mut Control) -> &mut Prepared) -> Result<Output, Failure> {
        let db = self.db();
        let Some(control) = &mut self.control else {
            return Err(Error::new(ErrorKind::Unexpected, "database connection is not set up").into());
        };
        // SAFETY: the statement belongs to this connection, which `&mut self` keeps to this thread.
        self.guard.trusting(|| unsafe { pick(control).run(db, Demand::OWN) })
    }

    fn roll_back(&mut self) {
        if self.inner.is_autocommit() {
            return;
        }
        // Must not be stopped by the time limit of the statement that it undoes.
        self.guard.disarm();
        if let Err(failure) = self.run_control(|control| &mut control.rollback) {
            tracing::warn!(?failure, "a database transaction could not be rolled back");
        }
    }

    fn run_text(&mut self, statement: &Statement) -> Result<StatementResult, Failure> {
        let _counted = WorkingMemory::count_in(&statement.memory);
        let before = self.before();
        let db = self.db();
        self.uses += 1;
        if let Some(prepared) = self.kept.get_mut(statement.sql.as_str())
            && !prepared.profile.needs_transaction()
        {
            prepared.last_used = self.uses;
            self.settings_changed |= prepared.sets_pragma;
            // SAFETY: the statement belongs to this connection, which `&mut self` keeps to this thread.
            let output = unsafe { prepared.run(db, statement.into()) };
            let output = output.map_err(|failure| explain_refusal(self.role, &self.guard, failure))?;
            return Ok(self.finish(&before, output));
        }
        let (prepared, consumed) = match self.kept.remove(statement.sql.as_str()) {
            Some(prepared) => (Some(prepared), statement.sql.len()),
            None => self.compile(&statement.sql)?,
        };
        let Some(mut prepared) = prepared else { return Err(no_statement().into()) };
        if !after_blanks(&statement.sql[consumed..]).is_empty() {
            return self.run_several(statement);
        }
        let result = if prepared.profile.needs_transaction() {
            self.apart(|connection| connection.run_and_finish(&before, &mut prepared, statement.into()))?
        } else {
            self.run_and_finish(&before, &mut prepared, statement.into())?
        };
        if !prepared.is_for_once {
            self.keep(&statement.sql, prepared);
        }
        Ok(result)
    }

    /// Runs a text of several statements in one transaction and returns the result of the last one.
    fn run_several(&mut self, text: &Statement) -> Result<StatementResult, Failure> {
        if self.role == Role::Reader {
            return Err(Failure::NeedsWriter);
        }
        if self.inner.is_autocommit() {
            return self.in_transaction(|connection| connection.run_several(text));
        }
        let changes_before = self.inner.total_changes();
        let mut rest = text.sql.as_str();
        loop {
            let before = self.before();
            let (prepared, consumed) = self.compile(rest)?;
            let Some(mut prepared) = prepared else { return Err(no_statement().into()) };
            rest = after_blanks(&rest[consumed..]);
            if rest.is_empty() {
                let mut result = self.run_and_finish(&before, &mut prepared, text.into())?;
                // The rows are those of the last statement, the changes those of all.
                result.meta.changes = self.inner.total_changes() - changes_before;
                result.meta.changed_db |= result.meta.changes != 0;
                return Ok(result);
            }
            if prepared.parameter_count() != 0 {
                return Err(Error::new(ErrorKind::InvalidInput, PARAMETERS_TOO_EARLY).into());
            }
            self.run_prepared(&mut prepared, Demand::from(text).without_params())?;
        }
    }

    /// Compiles the first statement of a text.
    fn compile(&mut self, sql: &str) -> Result<(Option<Prepared>, usize), Failure> {
        if self.role == Role::Reader {
            // Others change the schema. What is read off the program would otherwise be of a program that SQLite soon replaces.
            self.read_schema()?;
        }
        let (prepared, consumed, seen) = self.compile_now(sql)?;
        let Some(mut prepared) = prepared else { return Ok((None, consumed)) };
        if self.role == Role::Reader && (prepared.effect() == Effect::Writes || seen.asks_for_the_writer) {
            return Err(Failure::NeedsWriter);
        }
        if seen.adds_to_schema && self.role != Role::Owner && self.schema_bytes() > MOST_SCHEMA_BYTES {
            let text = format!(
                "the schema of the database takes more than {} MB: drop what is not needed: SQLITE_TOOBIG",
                MOST_SCHEMA_BYTES / (1024 * 1024)
            );
            return Err(Failure::Refused(Error::new(ErrorKind::InvalidInput, text)));
        }
        let tells_of_schema = seen.is_pragma || prepared.is_explain();
        if tells_of_schema && self.role != Role::Reader {
            // SQLite answers it from the schema that it knows while it compiles, which another process may have changed.
            self.read_schema()?;
            let (Some(anew), ..) = self.compile_now(sql)? else { return Ok((None, consumed)) };
            prepared = anew;
        }
        prepared.is_for_once = tells_of_schema || seen.adds_to_schema;
        prepared.sets_pragma = is_setting_pragma(sql);
        // `EXPLAIN` of a write sets `changes()` to 0, which a statement that asks for it must not find.
        let reads_changes =
            prepared.effect() == Effect::Writes && (seen.asks_for_changes || self.schema_mentions_changes()?);
        if !prepared.is_explain() && !prepared.sets_pragma && !reads_changes && self.role != Role::Owner {
            prepared.profile = Profile::of(self.db(), &sql[..consumed]);
        }
        Ok((Some(prepared), consumed))
    }

    /// Whether a default of a column, of which SQLite does not tell, may ask for `changes()`.
    fn schema_mentions_changes(&self) -> Result<bool, Failure> {
        const FIND: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%changes%')";
        self.guard.trusting(|| self.inner.query_row(FIND, [], |row| row.get(0))).map_err(|error| {
            let code = error.sqlite_error().map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
            // SAFETY: the connection is open, and `&self` keeps it to this thread.
            unsafe { failure(self.db(), code) }
        })
    }

    /// Compiles the first statement of a text for the schema that this connection knows.
    fn compile_now(&mut self, sql: &str) -> Result<(Option<Prepared>, usize, Seen), Failure> {
        self.guard.take_seen();
        // SAFETY: the connection outlives its statements, see the order of the fields.
        let compiled = unsafe { Prepared::new(self.db(), sql) };
        let (prepared, consumed) = compiled.map_err(|failure| explain_refusal(self.role, &self.guard, failure))?;
        Ok((prepared, consumed, self.guard.take_seen()))
    }

    /// What the schema that this connection knows takes in memory. Every connection has one.
    fn schema_bytes(&self) -> usize {
        let (mut used, mut highest) = (0, 0);
        // SAFETY: the handle is open, and the pointers are to locals.
        unsafe {
            ffi::sqlite3_db_status(self.db(), ffi::SQLITE_DBSTATUS_SCHEMA_USED, &raw mut used, &raw mut highest, 0);
        }
        usize::try_from(used).unwrap_or(0)
    }

    /// Has this connection know the schema of the file as it is now.
    fn read_schema(&mut self) -> Result<(), Failure> {
        self.run_once("SELECT 1 FROM sqlite_schema LIMIT 1")
    }

    /// Runs `work` as a transaction of its own, or as a part of the open one that can be undone alone.
    fn apart<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if self.inner.is_autocommit() {
            return self.in_transaction(work);
        }
        self.run_once("SAVEPOINT apart")?;
        match work(self) {
            Ok(value) => self.run_once("RELEASE apart").map(|()| value),
            // Some conflicts have undone the whole transaction.
            Err(failure) if self.inner.is_autocommit() => Err(failure),
            Err(failure) => {
                self.run_once("ROLLBACK TO apart")?;
                self.run_once("RELEASE apart")?;
                Err(failure)
            }
        }
    }

    /// Runs a statement of ours that is too rare to be kept.
    fn run_once(&mut self, sql: &str) -> Result<(), Failure> {
        let db = self.db();
        self.guard.trusting(|| {
            // SAFETY: the statement is gone before the connection, which `&mut self` keeps to this thread.
            unsafe {
                let (statement, _) = Prepared::new(db, sql)?;
                statement.map_or(Ok(()), |mut statement| statement.run(db, Demand::OWN).map(|_| ()))
            }
        })
    }

    fn run_and_finish(
        &mut self,
        before: &Before,
        prepared: &mut Prepared,
        demand: Demand<'_>,
    ) -> Result<StatementResult, Failure> {
        let output = self.run_prepared(prepared, demand)?;
        Ok(self.finish(before, output))
    }

    fn run_prepared(&mut self, prepared: &mut Prepared, demand: Demand<'_>) -> Result<Output, Failure> {
        self.settings_changed |= prepared.sets_pragma;
        // SAFETY: the statement was compiled by this connection, which `&mut self` keeps to this thread.
        let output = unsafe { prepared.run(self.db(), demand) };
        output.map_err(|failure| explain_refusal(self.role, &self.guard, failure))
    }

    fn keep(&mut self, sql: &str, mut prepared: Prepared) {
        if self.kept.len() >= KEPT_STATEMENTS {
            // Forgetting the older half at once keeps the price of each statement constant.
            let mut ages: Vec<u64> = self.kept.values().map(|kept| kept.last_used).collect();
            let (_, middle, _) = ages.select_nth_unstable(KEPT_STATEMENTS / 2);
            let middle = *middle;
            self.kept.retain(|_, kept| kept.last_used > middle);
        }
        prepared.last_used = self.uses;
        self.kept.insert(sql.into(), prepared);
    }

    fn before(&self) -> Before {
        Before {
            started: Instant::now(),
            all_changes: self.inner.total_changes(),
            last_row_id: self.inner.last_insert_rowid(),
        }
    }

    fn finish(&mut self, before: &Before, output: Output) -> StatementResult {
        let size_before = self.size;
        if output.effect == Effect::Writes {
            self.refresh_size();
        }
        let changes = self.inner.total_changes() - before.all_changes;
        let direct = if changes == 0 { 0 } else { self.inner.changes().min(changes) };
        let run = Run {
            steps: output.steps,
            counted: output.cells.only_integer(),
            rows: output.cells.len().checked_div(output.columns.len()).unwrap_or(0) as u64,
            direct,
            changes,
        };
        let last_row_id = self.inner.last_insert_rowid();
        let meta = Meta {
            duration_ms: before.started.elapsed().as_secs_f64() * 1000.0,
            changes,
            last_row_id,
            changed_db: changes != 0 || last_row_id != before.last_row_id || self.size != size_before,
            size_after: self.size,
            rows_read: output.profile.rows_read(&run),
            rows_written: output.profile.rows_written(&run),
            version: 0,
        };
        StatementResult { columns: output.columns, cells: output.cells, meta }
    }

    /// Asks for the size of the database: the pages that are used, as in D1. When that fails (it reads nothing but the log's header
    /// and the first page) the old size stays.
    fn refresh_size(&mut self) {
        // After a commit the WAL index knows, and needs no lock.
        let committed = self.wal.as_ref().filter(|_| self.inner.is_autocommit()).map(WalIndex::database_pages);
        let pages = match committed {
            Some(pages @ 1..) => Some(i64::from(pages)),
            _ => self.ask(|control| &mut control.page_count),
        };
        if let Some((pages, free)) = pages.zip(self.ask(|control| &mut control.freelist_count)) {
            self.size = u64::try_from(pages - free).unwrap_or(0) * self.page_size;
        }
    }

    fn ask(&mut self, pick: impl FnOnce(&mut Control) -> &mut Prepared) -> Option<i64> {
        self.run_control(pick).ok()?.cells.only_integer()
    }

    fn db(&self) -> *mut ffi::sqlite3 {
        // SAFETY: the handle is used only through `&self` methods of this type, so never by two threads, and never after
        // the connection is closed.
        unsafe { self.inner.handle() }
    }
}

/// The state of a connection before a statement, to tell what the statement did.
struct Before {
    started: Instant,
    all_changes: u64,
    last_row_id: i64,
}

/// Puts the contract's words in place of SQLite's "not authorized" when a text steers a transaction.
fn explain_refusal(role: Role, guard: &Guard, failure: Failure) -> Failure {
    if !guard.take_refused_transaction() || !matches!(failure, Failure::Refused(_)) {
        return failure;
    }
    let text = match role {
        Role::Reader | Role::Writer => TRANSACTION_REFUSED,
        Role::Owner => OWNER_TRANSACTION_REFUSED,
    };
    Error::new(ErrorKind::Unsupported, text).into()
}

fn no_statement() -> Error {
    Error::new(ErrorKind::InvalidInput, "SQL code did not contain a statement.")
}
