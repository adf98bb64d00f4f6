//! Starting the process over in its own place: the same program with the same arguments, under the same number and on the same
//! listener. Nothing else gives back the memory of an isolate that could not be stopped.

use std::env;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use aerostack_isolate::RestartDue;
use aerostack_server::Server;
use anyhow::Context as _;
use tokio::net::TcpListener;

use crate::listen::Port;
use crate::running::{Running, stop_requested};

/// In which the process that starts finds the number of the listener it is handed.
const LISTENER: &str = "AEROSTACK_INHERITED_LISTENER";

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to.
    Stop,
    /// It starts over.
    StartOver,
}

/// What it takes to start over: the listener, kept open beside the server's, so that connections wait instead of being refused.
pub(crate) struct StartOver(OwnedFd);

impl StartOver {
    /// Keeps the listener.
    pub(crate) fn with(listener: &TcpListener) -> anyhow::Result<Self> {
        listener.as_fd().try_clone_to_owned().map(Self).context("cannot keep the listener")
    }

    /// Ends the process as `end` says. Returns if it stops, or cannot start over.
    pub(crate) async fn end(
        self,
        end: End,
        drain: impl Future<Output = ()>,
        end_output: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        if end == End::StartOver {
            end_output.await;
            return self.start_over();
        }
        // If it stayed open, clients that come after the server has closed its own would wait for nobody.
        drop(self);
        drain.await;
        end_output.await;
        Ok(())
    }

    /// Does not return if it succeeds.
    fn start_over(self) -> anyhow::Result<()> {
        let Self(listener) = self;
        // SAFETY: the descriptor is open. Without flags it is not closed by what follows.
        if unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, 0) } != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot hand the listener on");
        }
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| "aerostack".into());
        // The program that runs, whatever lies at its path now.
        let mut program = Command::new("/proc/self/exe");
        program.arg0(name).args(arguments).env(LISTENER, listener.as_raw_fd().to_string());
        Err(program.exec()).context("cannot start over")
    }
}

/// How long a restart waits for a moment in which nothing is in flight. Requests are served meanwhile.
const QUIET_PATIENCE: Duration = Duration::from_secs(30);

/// How long new connections wait for what is in flight, and how long if memory is running out.
const LONGEST_DRAIN: Duration = Duration::from_secs(3);
const LONGEST_URGENT_DRAIN: Duration = Duration::from_secs(1);

/// Lets requests in flight end; then new connections wait for the process that starts over.
pub(crate) async fn drain(running: &Running, server: &Server, due: RestartDue) -> End {
    let megabytes = due.lost / (1024 * 1024);
    running
        .terminal
        .warn(&format!("{megabytes} MB of memory are lost to isolates that could not be stopped: starting over"));
    let drained = async {
        let is_urgent = due.is_urgent
            || tokio::select! {
                // A stream that never ends must not have all others wait.
                _ = tokio::time::timeout(QUIET_PATIENCE, nothing_in_flight(server)) => false,
                () = aerostack_isolate::restart_urgent() => true,
            };
        server.hand_over_listener();
        let longest = if is_urgent { LONGEST_URGENT_DRAIN } else { LONGEST_DRAIN };
        if tokio::time::timeout(longest, running.drain(server)).await.is_err() {
            running.give_back_leases().await;
        }
        running.terminal.flush();
    };
    tokio::select! {
        biased;
        () = stop_requested() => End::Stop,
        () = drained => End::StartOver,
    }
}

async fn nothing_in_flight(server: &Server) {
    while server.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The listener that this process was handed by the one that it is in the place of, if it was.
pub(crate) fn inherited_listener(ip: IpAddr, port: Port) -> anyhow::Result<Option<TcpListener>> {
    let Some(number) = env::var_os(LISTENER) else { return Ok(None) };
    let number: RawFd = number.to_str().and_then(|number| number.parse().ok()).with_context(|| {
        format!("{LISTENER} is no number of a descriptor: it is set by aerostack for itself, and by nobody else")
    })?;
    // SAFETY: fcntl only looks whether it is open; it is to be closed by whatever this process starts.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Ok(None);
    }
    // SAFETY: it is open, and was left so for this process, which has opened nothing of that number since.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(number) };
    let address = listener.local_addr().with_context(|| format!("{LISTENER} is no listener"))?;
    let is_asked_for = address.ip() == ip
        && match port {
            Port::Exactly(port) => port == 0 || port == address.port(),
            Port::FirstFreeFrom(_) => true,
        };
    if !is_asked_for {
        return Ok(None);
    }
    listener.set_nonblocking(true).context("cannot use the listener")?;
    TcpListener::from_std(listener).map(Some).context("cannot use the listener")
}
