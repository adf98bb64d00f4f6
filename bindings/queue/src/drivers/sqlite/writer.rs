//! The one thread that writes.
//!
//! It takes every call that waits, runs them in one transaction, commits once and answers them all: while one commit is on its
//! way to the disk, the next calls gather.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aerostack_bindings::{Clock, Error, ErrorKind, Result};
use aerostack_sqlite::OpenedFile;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::changes::Changes;
use super::file;
use super::rows::moment;
use super::transaction::{Queues, Transaction};

/// How often commits of other processes are looked for.
const POLL: Duration = Duration::from_millis(250);
/// The most calls of one transaction.
const MAX_GROUP: usize = 512;
/// How many pages the log may gain before they are moved to the file.
const CHECKPOINT_PAGES: i32 = 2000;
/// The clock may be set back by so many milliseconds before anything is done about it, and is written down as seldom.
const CLOCK_SLACK_MS: i64 = 1000;

thread_local! {
    /// How many pages the log held after the last commit of this thread. SQLite's WAL hook takes no context.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Whether a call is over before the disk has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// The operating system has it: the end of the process loses nothing. After the end of the power, leases and the deletion
    /// of messages may be undone: messages are delivered again, which "at least once" allows.
    Written,
    /// The disk has it: neither the end of the process nor of the power loses it.
    Flushed,
}

/// The thread that writes. Dropping this waits until it has done what it was given.
pub(super) struct Writer {
    jobs: Jobs,
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

/// Where jobs for the writer are left.
#[derive(Clone)]
pub(super) struct Jobs(mpsc::Sender<Message>);

enum Message {
    Job(Box<dyn Job>),
    Close,
}

/// A call as the writer sees it.
trait Job: Send {
    fn durability(&self) -> Durability;

    /// Does the work. After a rollback it is called again.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()>;

    fn answer(self: Box<Self>, outcome: Result<()>);
}

/// A call whose work has the result `R`, of which its caller gets the `T` that `claim` makes of it.
struct Call<R, T, W, C> {
    durability: Durability,
    work: W,
    claim: C,
    result: Option<R>,
    reply: oneshot::Sender<Result<T>>,
}

/// What lives on the thread.
struct Thread {
    connection: Connection,
    path: PathBuf,
    file: OpenedFile,
    clock: Arc<dyn Clock>,
    changes: Arc<Changes>,
    queues: Queues,
    /// What the connection is set to.
    durability: Durability,
    /// Whether the disk has the file itself, and not only its log.
    is_rooted: bool,
    /// How many pages the log held when it was last moved to the file.
    moved_pages: i32,
    polled_at: Instant,
    data_version: i64,
    /// Whether the last look for other processes' commits failed, so that a lasting failure is told once.
    poll_failed: bool,
}

/// Why a group was rolled back.
enum Failure {
    /// Nothing can be written now, whoever tries.
    NotBegun(rusqlite::Error),
    /// One of the calls, or their commit, failed.
    Undone(rusqlite::Error),
}

impl Writer {
    /// Opens the file and starts the thread.
    pub(super) fn start(path: PathBuf, clock: Arc<dyn Clock>, changes: Arc<Changes>) -> Result<Self> {
        let connection = file::open(&path)?;
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages);
            Ok(())
        }));
        let mut thread = Thread {
            connection,
            file: OpenedFile::at(&path)?,
            path: path.clone(),
            clock,
            changes,
            queues: Queues::default(),
            durability: Durability::Flushed,
            is_rooted: false,
            moved_pages: 0,
            polled_at: Instant::now(),
            data_version: 0,
            poll_failed: false,
        };
        // Ahead of anybody who could miss a change.
        thread.data_version =
            thread.read_data_version().map_err(|error| file::failed(&path, "read", &Arc::new(error)))?;
        let (jobs, incoming) = mpsc::channel();
        let jobs = Jobs(jobs);
        let thread = std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || thread.run(&incoming))
            .map_err(|error| {
            Error::new(ErrorKind::Unexpected, "cannot start the thread that writes queues").with_source(error)
        })?;
        Ok(Self { jobs, path, thread: Some(thread) })
    }

    pub(super) fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// Has the writer do `work`, and waits until that is committed.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call_and_claim(durability, work, |result| result).await
    }

    /// The same; what the caller gets is made of the result once it is committed, also where nobody waits for it any more.
    pub(super) async fn call_and_claim<R: Send + 'static, T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<R> + Send + 'static,
        claim: impl FnOnce(R) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.jobs.leave(Call { durability, work, claim, result: None, reply });
        answer.await.unwrap_or_else(|_| {
            let path = self.path.display();
            Err(Error::new(ErrorKind::Unexpected, format!("the thread that writes the queue file {path} has stopped")))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended already, by a panic that was reported where it happened.
        let _ = self.jobs.0.send(Message::Close);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Jobs {
    /// Has the writer do `work` without anybody waiting for it.
    pub(super) fn post(
        &self,
        durability: Durability,
        work: impl FnMut(&mut Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    ) {
        let (reply, _) = oneshot::channel();
        self.leave(Call { durability, work, claim: |()| (), result: None, reply });
    }

    fn leave(&self, job: impl Job + 'static) {
        // Where the writer is gone, the job falls, and with it the sender of its answer: its caller is told.
        let _ = self.0.send(Message::Job(Box::new(job)));
    }
}

impl<R, T, W, C> Job for Call<R, T, W, C>
where
    R: Send,
    T: Send,
    W: FnMut(&mut Transaction<'_>) -> rusqlite::Result<R> + Send,
    C: FnOnce(R) -> T + Send,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()> {
        self.result = Some((self.work)(transaction)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        let Self { claim, result, reply, .. } = *self;
        let answer = outcome.map(|()| claim(result.expect("a call that is committed has run")));
        if let Err(Err(error)) = reply.send(answer) {
            tracing::warn!(%error, "a call of a queue that nobody waited for failed");
        }
    }
}

impl Thread {
    fn run(mut self, incoming: &mpsc::Receiver<Message>) {
        let mut group = Vec::new();
        let mut is_closing = false;
        if let Err(error) = self.root() {
            // The first call that needs it tries again, and fails when this still does.
            tracing::warn!(path = %self.path.display(), %error, "a new queue file could not be flushed");
        }
        while !is_closing {
            match incoming.recv_timeout(POLL.saturating_sub(self.polled_at.elapsed())) {
                Ok(Message::Job(job)) => group.push(job),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while group.len() < MAX_GROUP && !is_closing {
                match incoming.try_recv() {
                    Ok(Message::Job(job)) => group.push(job),
                    Ok(Message::Close) => is_closing = true,
                    Err(_) => break,
                }
            }
            self.process(&mut group);
            if self.polled_at.elapsed() >= POLL {
                self.poll();
            }
        }
        // Leases whose callers went away while the last calls were answered.
        while let Ok(Message::Job(job)) = incoming.try_recv() {
            group.push(job);
        }
        self.process(&mut group);
        self.move_log();
    }

    fn process(&mut self, group: &mut Vec<Box<dyn Job>>) {
        if group.is_empty() {
            return;
        }
        if !self.file.is_in_place() {
            group.drain(..).for_each(|job| job.answer(Err(self.file.gone())));
            return;
        }
        match self.commit(group) {
            Ok(()) => group.drain(..).for_each(|job| job.answer(Ok(()))),
            Err(Failure::Undone(_)) if group.len() > 1 => {
                // Each for itself, so that only those fail that must.
                for mut job in group.drain(..) {
                    let outcome = self.commit(std::slice::from_mut(&mut job));
                    job.answer(outcome.map_err(|failure| self.error(failure)));
                }
            }
            Err(Failure::Undone(error) | Failure::NotBegun(error)) => {
                let error = Arc::new(error);
                for job in group.drain(..) {
                    job.answer(Err(file::failed(&self.path, "write", &error)));
                }
            }
        }
        let pages = LOG_PAGES.get();
        // The log starts again from nothing once all of it has been moved.
        self.moved_pages = if pages < self.moved_pages { 0 } else { self.moved_pages };
        if pages - self.moved_pages >= CHECKPOINT_PAGES {
            self.move_log();
        }
    }

    /// Runs the jobs in one transaction, then tells of what they changed.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        let durability = group.iter().map(|job| job.durability()).max().unwrap_or(Durability::Written);
        let mut changed = Vec::new();
        match self.run_group(group, durability, &mut changed) {
            Ok(()) => self.queues.committed(),
            Err(failure) => {
                self.queues.rolled_back();
                return Err(failure);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for queue in changed {
            self.changes.tell(&queue);
        }
        Ok(())
    }

    fn run_group(
        &mut self,
        group: &mut [Box<dyn Job>],
        durability: Durability,
        changed: &mut Vec<String>,
    ) -> Result<(), Failure> {
        // One that could not be rolled back when it failed would stand in the way of all others.
        self.roll_back().map_err(Failure::NotBegun)?;
        self.set_durability(durability).map_err(Failure::NotBegun)?;
        if durability == Durability::Flushed {
            self.root().map_err(Failure::NotBegun)?;
        }
        self.execute("BEGIN IMMEDIATE").map_err(Failure::NotBegun)?;
        let outcome = self.read_clock().map_err(Failure::NotBegun).and_then(|(now, shifted)| {
            let Self { connection, queues, .. } = &mut *self;
            let mut transaction = Transaction { connection, queues, changed, now };
            group.iter_mut().try_for_each(|job| job.run(&mut transaction)).map_err(Failure::Undone)?;
            self.execute("COMMIT").map_err(Failure::Undone)?;
            Ok(shifted)
        });
        match outcome {
            Ok(Shifted::No) => Ok(()),
            Ok(Shifted::Yes) => {
                self.changes.tell_all();
                Ok(())
            }
            Err(failure) => {
                self.roll_back().map_err(Failure::NotBegun)?;
                Err(failure)
            }
        }
    }

    /// Ends the transaction that runs. Some errors have ended it by themselves.
    fn roll_back(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() { Ok(()) } else { self.execute("ROLLBACK") }
    }

    /// The time of the running transaction.
    ///
    /// A clock that was set back would let what is due wait until it has caught up: a day for one day. So delays and leases go on
    /// as if it had not been: all times of the file are set back with it.
    fn read_clock(&self) -> rusqlite::Result<(i64, Shifted)> {
        let now = moment(self.clock.now_ms());
        let latest = self.read_latest()?;
        if now >= latest + CLOCK_SLACK_MS {
            self.connection.prepare_cached("UPDATE clock SET latest = ?1")?.execute([now])?;
        }
        if !is_set_back(now, latest) {
            return Ok((now, Shifted::No));
        }
        tracing::warn!(path = %self.path.display(), by_ms = latest - now, "the clock was set back; queues go with it");
        self.connection.execute("UPDATE messages SET due_at = due_at - ?1", params![latest - now])?;
        self.connection.execute("UPDATE clock SET latest = ?1", [now])?;
        Ok((now, Shifted::Yes))
    }

    fn read_latest(&self) -> rusqlite::Result<i64> {
        self.connection.prepare_cached("SELECT latest FROM clock")?.query_row([], |row| row.get(0))
    }

    fn set_durability(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if durability != self.durability {
            self.connection.execute_batch(match durability {
                Durability::Written => "PRAGMA synchronous = NORMAL",
                Durability::Flushed => "PRAGMA synchronous = FULL",
            })?;
            self.durability = durability;
        }
        Ok(())
    }

    /// Tells of commits that other processes have made.
    fn poll(&mut self) {
        self.polled_at = Instant::now();
        match self.look_around() {
            Ok(()) => self.poll_failed = false,
            Err(error) => {
                if !self.poll_failed {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the queue file could not be read for other processes' messages");
                }
                self.poll_failed = true;
            }
        }
    }

    fn look_around(&mut self) -> rusqlite::Result<()> {
        let version = self.read_data_version()?;
        if version != self.data_version {
            self.data_version = version;
            self.changes.tell_all();
        }
        if is_set_back(moment(self.clock.now_ms()), self.read_latest()?) {
            // An empty group sees to it.
            match self.commit(&mut []) {
                Ok(()) => {}
                Err(Failure::NotBegun(error) | Failure::Undone(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// A number that changes when another connection has committed.
    fn read_data_version(&self) -> rusqlite::Result<i64> {
        self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    /// Moves the log to the file. Reads go on meanwhile.
    fn move_log(&mut self) {
        if let Err(error) = self.checkpoint() {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the log of the queues could not be moved to their file");
        }
        self.moved_pages = LOG_PAGES.get();
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        // Where another process is at it, that one does it.
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// Has the disk take in a file that may be new: without its first page, SQLite would not look at a log, however well that was
    /// flushed.
    fn root(&mut self) -> rusqlite::Result<()> {
        if !self.is_rooted {
            self.set_durability(Durability::Flushed)?;
            self.checkpoint()?;
            file::flush_folders(&self.path);
            self.is_rooted = true;
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::NotBegun(error) | Failure::Undone(error) => file::failed(&self.path, "write", &Arc::new(error)),
        }
    }
}

/// Whether all times of the file were set back.
enum Shifted {
    No,
    Yes,
}

fn is_set_back(now: i64, latest: i64) -> bool {
    now + CLOCK_SLACK_MS < latest
}
