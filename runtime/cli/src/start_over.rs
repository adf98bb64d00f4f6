//! Starting the process over in its own place: the same program with the same arguments, under the same number and on the same
//! listener. Nothing else gives back the memory of an isolate that could not be stopped.

use std::env;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use aerostack_server::Server;
use aerostack_telemetry::Level;
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

/// Lets begun requests end, while new connections wait. Says what for.
pub(crate) async fn drain(running: &Running, server: &Server, lost: u64) -> End {
    let megabytes = lost / (1024 * 1024);
    let text = format!(
        "{megabytes} MB of memory are lost to isolates that could not be stopped: starting over when what was begun has ended"
    );
    running.terminal.say(Level::Warn, text);
    server.hand_over_listener();
    tokio::select! {
        biased;
        () = stop_requested() => End::Stop,
        () = running.drain(server) => {
            running.terminal.flush();
            End::StartOver
        }
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
