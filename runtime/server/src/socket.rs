//! What the operating system is told about a connection.

use std::os::fd::{AsRawFd, RawFd};

use tokio::net::TcpStream;

/// Bytes that the system keeps of an answer beyond what is on its way to the client, so that slow readers cost little.
const UNSENT_BYTES: libc::c_int = 128 * 1024;

/// A client that vanished without a word is noticed after about two minutes, also where nothing is to be sent to it.
const KEEPALIVE: [(libc::c_int, libc::c_int); 3] =
    [(libc::TCP_KEEPIDLE, 60), (libc::TCP_KEEPINTVL, 15), (libc::TCP_KEEPCNT, 4)];

/// Sets a new connection up. What the system refuses stays at its default: the connection works without.
pub(crate) fn prepare(stream: &TcpStream) {
    let refused = |error: std::io::Error| tracing::debug!(%error, "a socket option was refused");
    let options =
        [(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1), (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, UNSENT_BYTES)];
    let keepalive = KEEPALIVE.map(|(option, value)| (libc::IPPROTO_TCP, option, value));
    for (level, option, value) in options.into_iter().chain(keepalive) {
        if let Err(error) = set(stream, level, option, value) {
            refused(error);
        }
    }
    if let Err(error) = stream.set_nodelay(true) {
        refused(error);
    }
}

fn set(stream: &TcpStream, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> std::io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer is to an integer of that length.
    let outcome = unsafe { libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Bytes that were handed to the system and that the client has not confirmed yet.
pub(crate) fn unconfirmed_bytes(stream: &TcpStream) -> std::io::Result<u64> {
    ask(stream.as_raw_fd(), libc::TIOCOUTQ)
}

/// Bytes that have arrived and were not read.
pub(crate) fn unread_bytes(descriptor: RawFd) -> std::io::Result<u64> {
    ask(descriptor, libc::FIONREAD)
}

fn ask(descriptor: RawFd, question: libc::Ioctl) -> std::io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the pointer is to what these questions write; a descriptor that is not open is an error.
    let outcome = unsafe { libc::ioctl(descriptor, question, &raw mut bytes) };
    if outcome == 0 { Ok(u64::try_from(bytes).unwrap_or(0)) } else { Err(std::io::Error::last_os_error()) }
}

/// Whether the other side has closed its direction, or the connection is broken. Bytes from before that may still be
/// unread.
pub(crate) fn has_hung_up(descriptor: RawFd) -> bool {
    let mut asked = libc::pollfd { fd: descriptor, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the pointer is to one such question.
    let answered = unsafe { libc::poll(&raw mut asked, 1, 0) };
    answered > 0 && asked.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}

/// Hands over as much as the system takes at once. A client that left is nobody to tell.
pub(crate) fn send_now(descriptor: RawFd, bytes: &[u8]) {
    // SAFETY: the pointer and the length are those of a slice; a descriptor that is not open is an error.
    unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

/// Ends both directions; the descriptor stays open.
pub(crate) fn end(descriptor: RawFd) {
    // SAFETY: a descriptor that is not open is an error.
    unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
}
