//! The two directions of a connection that came from the acceptor.

use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aerostack_isolate::Mourning;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Join, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::sending::SendWatch;
use crate::socket::{has_hung_up, unconfirmed_bytes, unread_bytes};

/// A connection whose first bytes were read already and are read once more.
pub(crate) struct Wire {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
}

/// What comes in.
pub(crate) struct Reading {
    first_bytes: Bytes,
    stream: OwnedReadHalf,
}

/// What goes out.
pub(crate) struct Writing {
    // First, so that it ends before the stream is closed: who mourns uses its descriptor.
    _mourning: Option<Mourning>,
    stream: OwnedWriteHalf,
    sending: SendWatch,
}

impl Wire {
    /// The connection fails when the client takes nothing of what is sent to it for `send_timeout`.
    pub(crate) fn new(first_bytes: Bytes, stream: TcpStream, send_timeout: Duration) -> Self {
        let (reading, writing) = stream.into_split();
        Self {
            reading: Reading { first_bytes, stream: reading },
            writing: Writing { _mourning: None, stream: writing, sending: SendWatch::new(send_timeout) },
        }
    }

    /// Ends the mourning before the connection is closed.
    pub(crate) fn mourned(self, mourning: Mourning) -> Self {
        Self { writing: Writing { _mourning: Some(mourning), ..self.writing }, ..self }
    }

    /// Resolves once tokio knows that the system takes bytes, which of a connection that has come to a new thread it knows after its
    /// next look. An error means that the connection is gone.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.writing.stream.writable().await
    }

    /// The bytes that were read already.
    pub(crate) fn first_bytes(&self) -> &[u8] {
        &self.reading.first_bytes
    }

    /// Both directions as one.
    pub(crate) fn joined(self) -> Join<Reading, Writing> {
        tokio::io::join(self.reading, self.writing)
    }
}

impl Reading {
    /// Whether the client has sent more than was read.
    pub(crate) fn has_unread(&self) -> bool {
        let asked = || unread_bytes(self.stream.as_ref().as_raw_fd());
        !self.first_bytes.is_empty() || asked().is_ok_and(|unread| unread > 0)
    }

    /// Whether the client has closed, though it may have sent more before that than was read.
    pub(crate) fn has_hung_up(&self) -> bool {
        has_hung_up(self.stream.as_ref().as_raw_fd())
    }

    /// Waits until there is something to read, as far as is known without asking the system.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.first_bytes.is_empty() { self.stream.as_ref().poll_read_ready(context) } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncRead for Reading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first_bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.first_bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.first_bytes[..length]);
        self.first_bytes.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, sending, .. } = &mut *self;
        let written = Pin::new(&mut *stream).poll_write(context, bytes);
        given_up(sending.watch(written, context, || unconfirmed_bytes(stream.as_ref())), stream.as_ref())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; SMALL_BYTES];
        if let Some(joined) = join(slices, &mut joined) {
            return self.poll_write(context, joined);
        }
        let Self { stream, sending, .. } = &mut *self;
        let written = Pin::new(&mut *stream).poll_write_vectored(context, slices);
        given_up(sending.watch(written, context, || unconfirmed_bytes(stream.as_ref())), stream.as_ref())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Closes a connection whose last answer was sent: says so to the client, and throws away what it still sends until it
/// closes, too. Closing with unread bytes would make the system take the answer back.
pub(crate) async fn see_out(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 4096];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// Up to this size a head and its body are put together: the system takes one slice faster than a list.
const SMALL_BYTES: usize = 1024;

/// All slices as one, where they fit.
fn join<'a>(slices: &[io::IoSlice<'_>], room: &'a mut [u8; SMALL_BYTES]) -> Option<&'a [u8]> {
    let mut end = 0;
    for slice in slices {
        room.get_mut(end..end + slice.len())?.copy_from_slice(slice);
        end += slice.len();
    }
    Some(&room[..end])
}

/// A client that takes nothing is not sent what the system holds for it either: closing then breaks the connection at once, and its
/// memory is free.
fn given_up<T>(written: Poll<io::Result<T>>, stream: &TcpStream) -> Poll<io::Result<T>> {
    if let Poll::Ready(Err(error)) = &written
        && error.kind() == io::ErrorKind::TimedOut
        && let Err(error) = stream.set_zero_linger()
    {
        tracing::debug!(%error, "a socket option was refused");
    }
    written
}
