//! Connections that are lent out, one thread at a time.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Connection;

/// Idle connections. The one used last is lent first: its caches are warm.
pub(super) struct Pool {
    idle: Mutex<Idle>,
    freed: Condvar,
}

struct Idle {
    #[expect(clippy::vec_box, reason = "a connection is a kilobyte, and changes hands several times a call")]
    connections: Vec<Box<Connection>>,
    /// Threads that wait for one. To wake nobody is a system call, too.
    waiting: usize,
    /// Those of them that have waited so long that nobody may overtake them any more.
    starving: usize,
}

/// A connection on loan. Goes back, without an open transaction, when dropped.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Box<Connection>>,
}

/// Idle connections kept; more are closed when they come back.
const KEPT_IDLE: usize = 32;

/// How long a thread that has other work tries for a connection. Going to another thread and back costs about as much.
const BRIEFLY: Duration = Duration::from_micros(50);

/// After this time, waiting threads are served before those that come along.
const STARVING: Duration = Duration::from_millis(5);

/// How often a waiting thread looks whether anyone still wants its result.
const LOOK: Duration = Duration::from_millis(50);

impl Pool {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let connections = connections.into_iter().map(Box::new).collect();
        Self { idle: Mutex::new(Idle { connections, waiting: 0, starving: 0 }), freed: Condvar::new() }
    }

    /// An idle connection, if there is one.
    pub(super) fn take(&self) -> Option<Lease<'_>> {
        self.lock().connections.pop().map(|connection| self.lend(connection))
    }

    /// An idle connection, or none after a few dozen microseconds, or at once when others have waited for long.
    pub(super) fn take_briefly(&self) -> Option<Lease<'_>> {
        let started = Instant::now();
        loop {
            let mut idle = self.lock();
            if idle.starving > 0 {
                return None;
            }
            if let Some(connection) = idle.connections.pop() {
                return Some(self.lend(connection));
            }
            drop(idle);
            if started.elapsed() >= BRIEFLY {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Waits for a connection until `until` or until `cancelled`.
    pub(super) fn take_waiting(&self, until: Instant, cancelled: &AtomicBool) -> Option<Lease<'_>> {
        let started = Instant::now();
        let mut is_starving = false;
        let mut idle = self.lock();
        let connection = loop {
            if let Some(connection) = idle.connections.pop() {
                break Some(connection);
            }
            let now = Instant::now();
            if now >= until || cancelled.load(Relaxed) {
                break None;
            }
            if !is_starving && now.duration_since(started) >= STARVING {
                is_starving = true;
                idle.starving += 1;
            }
            let pause = if is_starving { LOOK } else { STARVING };
            idle.waiting += 1;
            idle = self.freed.wait_timeout(idle, pause).unwrap_or_else(PoisonError::into_inner).0;
            idle.waiting -= 1;
        };
        if is_starving {
            idle.starving -= 1;
        }
        connection.map(|connection| self.lend(connection))
    }

    /// Does something to all that are idle.
    pub(super) fn for_each_idle(&self, mut work: impl FnMut(&mut Connection)) {
        for connection in &mut self.lock().connections {
            work(connection);
        }
    }

    /// Lends a connection that was opened just now and joins the pool when it comes back.
    pub(super) fn lend(&self, connection: Box<Connection>) -> Lease<'_> {
        Lease { pool: self, connection: Some(connection) }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // Nothing between lock and unlock leaves the list half changed, so a panic elsewhere does not matter.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a lease holds its connection until it is dropped")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease holds its connection until it is dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        connection.settle();
        let mut idle = self.pool.lock();
        if idle.connections.len() < KEPT_IDLE {
            idle.connections.push(connection);
            let is_awaited = idle.waiting > 0;
            drop(idle);
            if is_awaited {
                self.pool.freed.notify_one();
            }
        }
    }
}
