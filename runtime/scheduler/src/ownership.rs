//! One process does the background work of a state folder.
//!
//! Processes share databases, queues and buckets, but two that both turned the same cron triggers would fire each of them twice.
//! So whoever has such work holds a lock in the folder, `background.lock`, with its process id in it; others wait for it in line
//! and take over when it is given back, which the system does however its holder ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::log::{SchedulerLog, Trouble};
use crate::timer::Timer;

/// Whether this process does the background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There was no work so far.
    Idle,
    /// Another process does the work, or the lock cannot be had.
    Waiting,
    /// This process does it, until it ends.
    Owner,
}

/// The right to do the background work of a state folder.
pub(crate) struct Ownership {
    path: PathBuf,
    log: Arc<dyn SchedulerLog>,
    standing: watch::Sender<Standing>,
    /// Held from when it is won until this is dropped.
    lock: Mutex<Option<File>>,
    /// Why the lock could not be had at the last try, so that a lasting failure is told once.
    told: Mutex<Option<String>>,
}

/// How one try went.
enum Claim {
    Won(File),
    HeldBy(Option<u32>),
}

/// How long until a lock that cannot be had for a failure of the file system is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

impl Ownership {
    pub(crate) fn new(state_folder: &Path, log: Arc<dyn SchedulerLog>) -> Arc<Self> {
        Arc::new(Self {
            path: state_folder.join("background.lock"),
            log,
            standing: watch::Sender::new(Standing::Idle),
            lock: Mutex::new(None),
            told: Mutex::new(None),
        })
    }

    pub(crate) fn is_owner(&self) -> bool {
        *self.standing.borrow() == Standing::Owner
    }

    /// Resolves once this process does the work.
    pub(crate) async fn won(&self) {
        // The sender is borrowed, so the channel stays open and this cannot fail.
        let _ = self.standing.subscribe().wait_for(|standing| *standing == Standing::Owner).await;
    }

    /// Called when there is work for the first time: takes the lock, or begins to wait for it and says so. `won` is called
    /// once, ahead of everybody who waits for [`Ownership::won`].
    ///
    /// What comes back is the waiting, which is to be polled until it ends.
    pub(crate) fn claim<W: Fn() + Send + Sync + 'static>(
        self: &Arc<Self>,
        timer: &Arc<dyn Timer>,
        won: W,
    ) -> Option<impl Future<Output = ()> + Send + use<W>> {
        let is_first = self.standing.send_if_modified(|standing| {
            let is_first = *standing == Standing::Idle;
            *standing = if is_first { Standing::Waiting } else { *standing };
            is_first
        });
        if !is_first {
            return None;
        }
        match try_lock(&self.path) {
            Ok(Claim::Won(lock)) => {
                self.begin(lock, &won);
                return None;
            }
            Ok(Claim::HeldBy(process)) => self.log.waits_for_process(process),
            Err(error) => self.tell(&error),
        }
        let (ownership, timer) = (Arc::clone(self), Arc::clone(timer));
        Some(async move {
            loop {
                let path = ownership.path.clone();
                // Blocks for as long as another process holds the lock: a thread that sleeps, and nothing polls.
                match wait_for_lock(path).await {
                    Ok(lock) => {
                        ownership.begin(lock, &won);
                        ownership.log.took_over();
                        return;
                    }
                    Err(error) => ownership.tell(&error),
                }
                let wait = u64::try_from(AFTER_FAILURE.as_millis()).unwrap_or(u64::MAX);
                timer.sleep_until(timer.now_ms().saturating_add(wait)).await;
            }
        })
    }

    /// Gives the lock back, so that another process takes over at once.
    pub(crate) fn give_back(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn begin(&self, lock: File, won: &impl Fn()) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        won();
        self.standing.send_replace(Standing::Owner);
    }

    fn tell(&self, error: &io::Error) {
        let reason = error.to_string();
        let before = self.told.lock().unwrap_or_else(PoisonError::into_inner).replace(reason.clone());
        if before.as_ref() != Some(&reason) {
            self.log.trouble(&Trouble::Ownership { path: self.path.clone(), reason });
        }
    }
}

async fn wait_for_lock(path: PathBuf) -> io::Result<File> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // Not one of tokio's threads, which the end of the runtime waits for.
    std::thread::Builder::new().name("background-lock".to_owned()).spawn(move || {
        let outcome = open(&path).and_then(|lock| {
            lock.lock()?;
            sign(lock)
        });
        // Where nobody waits any more, the lock falls with the file.
        let _ = sender.send(outcome);
    })?;
    receiver.await.map_err(io::Error::other)?
}

fn try_lock(path: &Path) -> io::Result<Claim> {
    let mut lock = open(path)?;
    match lock.try_lock() {
        Ok(()) => sign(lock).map(Claim::Won),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lock.read_to_string(&mut text)?;
            Ok(Claim::HeldBy(text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Writes down who holds the lock. That the disk is full is no reason not to work: the id only helps people.
fn sign(mut lock: File) -> io::Result<File> {
    lock.set_len(0)?;
    lock.rewind()?;
    match writeln!(lock, "{}", std::process::id()) {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
        _ => Ok(lock),
    }
}
