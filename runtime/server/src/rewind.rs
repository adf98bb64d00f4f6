use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aerostack_isolate::Mourning;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::sending::SendWatch;
use crate::socket::unconfirmed_bytes;

/// A connection whose first bytes were read already and are read once more.
pub(crate) struct Rewind {
    // First, so that it ends before the stream is closed: who mourns uses its descriptor.
    _mourning: Option<Mourning>,
    prefix: Bytes,
    stream: TcpStream,
    sending: SendWatch,
}

impl Rewind {
    /// The connection fails when the client takes nothing of what is sent to it for `send_timeout`.
    pub(crate) fn new(prefix: Bytes, stream: TcpStream, send_timeout: Duration) -> Self {
        Self { _mourning: None, prefix, stream, sending: SendWatch::new(send_timeout) }
    }

    /// Ends the mourning before the connection is closed.
    pub(crate) fn mourned(self, mourning: Mourning) -> Self {
        Self { _mourning: Some(mourning), ..self }
    }

    /// Resolves once tokio knows that the system takes bytes, which of a connection that has come to a new thread it knows after its
    /// next look. An error means that the connection is gone.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// The bytes that were read already.
    pub(crate) fn first_bytes(&self) -> &[u8] {
        &self.prefix
    }
}

impl AsyncRead for Rewind {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewind {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, sending, .. } = &mut *self;
        let written = Pin::new(&mut *stream).poll_write(context, bytes);
        given_up(sending.watch(written, context, || unconfirmed_bytes(stream)), stream)
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
        given_up(sending.watch(written, context, || unconfirmed_bytes(stream)), stream)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
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
