//! How many rows a statement read and wrote (contract section 1.5).
//!
//! workerd counts inside a patched SQLite: one read for every seek, rewind and step of a cursor, one write for every row and
//! every index entry. An unpatched SQLite does not count all of these, so the numbers here are put together from
//!
//! * the steps of cursors, which SQLite counts for each statement (`sqlite3_stmt_status`), exact;
//! * the seeks and rewinds, read off the compiled program (`EXPLAIN`, once a cached statement). Outside a loop each counts
//!   one; inside a loop it counts once for each step of that loop. This is exact for statements with one loop or none, and
//!   an estimate for joins;
//! * the rows returned or changed, for what SQLite counts no steps of: virtual tables, and rows that a coroutine hands over;
//! * the changed rows (`sqlite3_total_changes64`), each with one more write for every index that the program inserts into.
//!   Rows changed by triggers and foreign keys count one each.

use std::ffi::CStr;

use rusqlite::ffi;

use super::statement::{Prepared, Step};

/// What the compiled program of one statement says about its reads and writes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Profile {
    /// Seeks and rewinds outside loops.
    reads_once: u64,
    /// Those of them that look for one value of an index: D1 counts them only where it is there.
    equal_seeks_once: u64,
    /// Seeks and rewinds inside loops, by the counter that the steps of their loop go to.
    reads_per_step: [u64; COUNTERS.len()],
    /// Loops by the counter that their steps go to.
    loops: [u64; COUNTERS.len()],
    /// Looks for the row that an insert may meet, of inserts that get their rows from a coroutine (several `VALUES`, a `SELECT`).
    reads_per_change: u64,
    /// Reads for each row of a virtual table, whose steps SQLite does not count.
    reads_per_virtual_row: u64,
    /// Indexes that get an entry for each changed row.
    indexes_written: u64,
    /// Rows written that are not counted as changes: those of the schema and of `sqlite_sequence`.
    uncounted_writes: u64,
    /// It makes an index of the rows that a table has.
    fills_index: bool,
    /// The number of rows of a table is read without visiting the rows (`SELECT COUNT(*)`).
    counts_table: bool,
    /// A conflict ends it and keeps the rows before (`INSERT OR FAIL`, `RAISE(FAIL)`).
    may_fail_halfway: bool,
    /// It writes to a virtual table, which may put off some of its own writes to the end of a transaction.
    writes_virtual_table: bool,
    /// Writes to virtual tables by triggers.
    virtual_writes_of_triggers: u64,
}

/// The steps of one run, by the counter they went to.
pub(super) type Steps = [u64; COUNTERS.len()];

/// Counters of `sqlite3_stmt_status` that steps of a cursor go to. Zero has no name in SQLite's header: it is where the steps
/// of loops go that are neither a full scan nor over an automatic index.
const COUNTERS: [i32; 3] = [0, ffi::SQLITE_STMTSTATUS_FULLSCAN_STEP, ffi::SQLITE_STMTSTATUS_AUTOINDEX];

/// The bit of an opened cursor that is only used to look for equal values (`OPFLAG_SEEKEQ`).
const SEEKS_EQUAL: i64 = 2;

/// `OE_Fail` of SQLite: what an instruction does about a conflict.
const FAILS: i64 = 3;

/// The bit of an insert or delete that makes it count as a changed row.
const COUNTS_AS_CHANGE: i64 = 1;

/// What a run did, as far as SQLite tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) steps: Steps,
    /// The first value of the result when it is an integer.
    pub(super) counted: Option<i64>,
    /// The rows it returned.
    pub(super) rows: u64,
    /// The rows it changed itself, and with those of triggers and foreign keys.
    pub(super) direct: u64,
    pub(super) changes: u64,
}

impl Profile {
    /// Reads the program of a statement. The statement is compiled a second time for it, so this is for statements that are
    /// kept. A program that cannot be had counts nothing of its own.
    pub(super) fn of(db: *mut ffi::sqlite3, sql: &str) -> Self {
        let mut explained = String::with_capacity(sql.len() + 8);
        explained.push_str("EXPLAIN ");
        explained.push_str(sql);
        let Ok(Program { main, all }) = read_program(db, &explained) else { return Self::default() };
        let virtual_writes =
            |program: &[Instruction]| program.iter().filter(|instruction| instruction.name == "VUpdate").count() as u64;
        Self {
            may_fail_halfway: all.iter().any(Instruction::fails_halfway),
            writes_virtual_table: virtual_writes(&all) > 0,
            virtual_writes_of_triggers: virtual_writes(&all[main..]),
            ..Self::from_program(&all[..main])
        }
    }

    /// Whether what the statement does must be one transaction, which others are not part of: to undo all of it when it fails, and
    /// to tell what it did from what SQLite does at the end of a transaction.
    pub(super) fn needs_transaction(&self) -> bool {
        self.may_fail_halfway || self.writes_virtual_table
    }

    fn from_program(program: &[Instruction]) -> Self {
        let mut profile = Self::default();
        let mut loops = Vec::new();
        let mut virtual_loops = Vec::new();
        let mut skipped = Vec::new();
        for (address, instruction) in program.iter().enumerate() {
            let is_step = matches!(instruction.name.as_str(), "Next" | "Prev" | "SorterNext");
            let target = usize::try_from(instruction.p2).unwrap_or(usize::MAX);
            match instruction.name.as_str() {
                "VNext" => virtual_loops.push(target..=address),
                // Nearly always, no foreign key is violated that a new row may mend.
                "FkIfZero" => skipped.push(address..target),
                _ => {}
            }
            let Some(counter) = COUNTERS.iter().position(|counter| i64::from(*counter) == instruction.p5) else {
                continue;
            };
            if is_step && target <= address {
                profile.loops[counter] += 1;
                loops.push((target, address, counter));
            }
        }
        profile.reads_per_virtual_row = virtual_loops.len() as u64;
        let names = |name: &str| program.iter().any(|instruction| instruction.name == name);
        let (is_fed, destroys) = (names("InitCoroutine"), names("Destroy"));
        profile.fills_index = names("CreateBtree") && names("SorterInsert");
        let persistent: Vec<i64> =
            program.iter().filter(|i| i.name == "OpenWrite").map(|instruction| instruction.p1).collect();
        let seeks_equal = |cursor: i64| {
            let mut opened =
                program.iter().filter(|i| matches!(i.name.as_str(), "OpenRead" | "OpenWrite") && i.p1 == cursor);
            opened.any(|instruction| instruction.p5 & SEEKS_EQUAL != 0)
        };
        let mut indexes = Vec::new();
        for (address, instruction) in program.iter().enumerate() {
            match instruction.name.as_str() {
                "Rewind" | "Sort" | "SorterSort" | "Last" | "SeekGE" | "SeekGT" | "SeekLE" | "SeekLT" | "SeekRowid"
                | "NotExists" => {
                    if skipped.iter().any(|range| range.contains(&address)) {
                        continue;
                    }
                    let innermost = loops
                        .iter()
                        .filter(|(start, end, _)| (*start..=*end).contains(&address))
                        .min_by_key(|(start, end, _)| end - start);
                    match innermost {
                        Some((_, _, counter)) => profile.reads_per_step[*counter] += 1,
                        None if virtual_loops.iter().any(|range| range.contains(&address)) => {
                            profile.reads_per_virtual_row += 1;
                        }
                        None if is_fed && instruction.name == "NotExists" => profile.reads_per_change += 1,
                        None => {
                            profile.reads_once += 1;
                            let is_seek = matches!(instruction.name.as_str(), "SeekGE" | "SeekLE");
                            profile.equal_seeks_once += u64::from(is_seek && seeks_equal(instruction.p1));
                        }
                    }
                }
                "Count" => profile.counts_table = true,
                "Insert"
                    if persistent.contains(&instruction.p1) && instruction.p5 & COUNTS_AS_CHANGE == 0 && !destroys =>
                {
                    profile.uncounted_writes += 1;
                }
                "IdxInsert"
                    if persistent.contains(&instruction.p1)
                        && instruction.p5 & COUNTS_AS_CHANGE == 0
                        && !indexes.contains(&instruction.p1) =>
                {
                    indexes.push(instruction.p1);
                }
                _ => {}
            }
        }
        profile.indexes_written = indexes.len() as u64;
        profile
    }

    /// Rows read by a run.
    pub(super) fn rows_read(&self, run: &Run) -> u64 {
        let stepped = run.steps.iter().sum::<u64>();
        let mut reads = self.reads_once + stepped;
        if stepped == 0 && run.rows == 0 && run.changes == 0 {
            reads -= self.equal_seeks_once;
        }
        reads += self.reads_per_change * run.direct.max(1) + self.reads_per_virtual_row * run.rows.max(run.direct);
        for ((steps, loops), per_step) in run.steps.iter().zip(self.loops).zip(self.reads_per_step) {
            // The body of a loop runs once more than its cursor steps.
            reads += steps.checked_div(loops).map_or(0, |steps_of_one| per_step * (steps_of_one + 1));
        }
        if self.counts_table {
            reads += run.counted.and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0);
        }
        reads
    }

    /// Rows written by a run.
    pub(super) fn rows_written(&self, run: &Run) -> u64 {
        // Those of a virtual table itself are among the changes, and D1 does not count them.
        let rows =
            if self.writes_virtual_table { run.direct * (1 + self.virtual_writes_of_triggers) } else { run.changes };
        // An entry for each row, which is stepped to in the table and again when the entries are in order.
        let stepped = run.steps.iter().sum::<u64>();
        let entries = if self.fills_index && stepped > 0 { stepped / 2 + 1 } else { 0 };
        run.direct * self.indexes_written + rows + self.uncounted_writes + entries
    }
}

/// Takes the step counters of a statement and sets them back to zero.
///
/// # Safety
/// `statement` must be a live statement.
pub(super) unsafe fn take_steps(statement: *mut ffi::sqlite3_stmt) -> Steps {
    // SAFETY: the caller vouches for the statement.
    COUNTERS.map(|counter| u64::from(unsafe { ffi::sqlite3_stmt_status(statement, counter, 1) }.cast_unsigned()))
}

#[derive(Debug)]
struct Instruction {
    name: String,
    p1: i64,
    p2: i64,
    p5: i64,
}

impl Instruction {
    fn fails_halfway(&self) -> bool {
        match self.name.as_str() {
            "Halt" | "HaltIfNull" => self.p1 != 0 && self.p2 == FAILS,
            "VUpdate" => self.p5 == FAILS,
            _ => false,
        }
    }
}

/// The instructions of a statement.
struct Program {
    /// How many of them are the main program's.
    main: usize,
    /// The main program, and then those of its triggers.
    all: Vec<Instruction>,
}

fn read_program(db: *mut ffi::sqlite3, explained: &str) -> Result<Program, super::errors::Failure> {
    let mut program = Program { main: 0, all: Vec::new() };
    // SAFETY: `db` is the connection of the statement that is being prepared, used by this thread only.
    let (statement, _) = unsafe { Prepared::new(db, explained)? };
    let Some(statement) = statement else { return Ok(program) };
    // SAFETY: the statement is alive, and the columns are those that EXPLAIN documents.
    unsafe {
        let raw = statement.raw();
        while let Step::Row = statement.step(db)? {
            // The addresses begin anew with each program.
            if ffi::sqlite3_column_int64(raw, 0) == program.main as i64 && program.main == program.all.len() {
                program.main += 1;
            }
            let name = CStr::from_ptr(ffi::sqlite3_column_text(raw, 1).cast()).to_string_lossy().into_owned();
            program.all.push(Instruction {
                name,
                p1: ffi::sqlite3_column_int64(raw, 2),
                p2: ffi::sqlite3_column_int64(raw, 3),
                p5: ffi::sqlite3_column_int64(raw, 6),
            });
        }
    }
    Ok(program)
}
