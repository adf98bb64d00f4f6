//! HTTP/1 (RFC 9112) on a connection of an isolate's thread.
//!
//! Nearly all of a small request's time that is not the system's goes into HTTP, so this is not left to hyper, as HTTP/2 and the admin
//! routes are: a head is read where it arrives and copied once, an answer is written straight into what is sent, and the bytes of a
//! body go from the socket into the memory that becomes a buffer of JavaScript's.

mod answer;
mod inbound;

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use aerostack_http1::Framing;
use aerostack_isolate::{Response, ResponseBody};
use bytes::{Buf, BufMut};
use http::{HeaderMap, Method, Version, header};
use http_body::Body;

use self::answer::{BodyFraming, Wanted};
use self::inbound::{Inbound, NoHead};
use crate::body::ClientBody;
use crate::corked::Corked;
use crate::error_page::plain;
use crate::request::{Connection, Reply};
use crate::wire::Reading;

pub(crate) use self::inbound::InboundBody;

/// How long a client that may still be sending is given to take its last answer: closing at once would make the system take it back.
const LINGER: Duration = Duration::from_secs(1);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Serves requests until the client closes, an answer is the last, or `is_leaving` says that no more are taken.
pub(crate) async fn serve(
    reading: Reading,
    outbound: Corked,
    requests: &Rc<Connection>,
    is_leaving: &Cell<bool>,
) -> io::Result<()> {
    let inbound = Inbound::new(reading);
    let mut is_first = true;
    loop {
        let head = poll_fn(|context| {
            outbound.send_on(context).map_err(NoHead::Failed)?;
            // A first request that has begun to arrive is waited for.
            let is_awaited = is_first && inbound.has_arrived();
            if is_leaving.get() && !is_awaited {
                return Poll::Ready(Err(NoHead::Closed));
            }
            inbound.poll_head(context, requests.shared.limits.header_bytes)
        });
        let head = match head.await {
            Ok(head) => head,
            Err(NoHead::Closed) => return outbound.shut_down().await,
            Err(NoHead::Failed(error)) => return Err(error),
            Err(NoHead::Refused(refusal)) => {
                tracing::debug!(refusal.text, "a request was refused");
                let wanted = Wanted { version: Version::HTTP_11, is_head: false };
                send(&inbound, &outbound, wanted, plain(refusal.status, refusal.text), true).await?;
                return linger(&inbound, &outbound).await;
            }
        };
        is_first = false;
        let wanted = Wanted { version: head.parts.version, is_head: head.parts.method == Method::HEAD };
        let asks_to_close = head.is_last;
        let body = body(&inbound, head.body, head.expects_continue);
        let reads_on = matches!(body, ClientBody::Http1(_));
        let response = match requests.answer(head.parts, body) {
            Reply::Now(response) => response.expect("a reply is taken once"),
            Reply::Later(response) => answered(&inbound, &outbound, response).await?,
        };
        let is_out_of_step = || reads_on && !inbound.is_in_step();
        let is_last = asks_to_close || is_leaving.get() || says_close(response.headers()) || is_out_of_step();
        let framing = send(&inbound, &outbound, wanted, response, is_last).await?;
        if reads_on && !is_read(&inbound, &outbound, is_leaving).await? || is_out_of_step() {
            return linger(&inbound, &outbound).await;
        }
        if is_last || framing == BodyFraming::Close {
            return outbound.shut_down().await;
        }
        // A client may send any number at once; others want their turn, too.
        tokio::task::coop::consume_budget().await;
    }
}

/// The body of a request, as much as is known of it by now.
fn body(inbound: &Inbound, framing: Framing, expects_continue: bool) -> ClientBody {
    if let Framing::Length(length) = framing {
        if length == 0 {
            return ClientBody::Empty;
        }
        if let Some(bytes) = inbound.take_arrived(length) {
            return ClientBody::Arrived(bytes);
        }
    }
    ClientBody::Http1(inbound.body(framing, expects_continue))
}

/// Waits for an answer. An error when the client leaves before.
async fn answered(
    inbound: &Inbound,
    outbound: &Corked,
    mut response: Pin<Box<dyn Future<Output = Response>>>,
) -> io::Result<Response> {
    poll_fn(|context| {
        if let Poll::Ready(response) = response.as_mut().poll(context) {
            return Poll::Ready(Ok(response));
        }
        if inbound.take_continue() {
            outbound.append(|bytes| bytes.extend_from_slice(CONTINUE));
        }
        outbound.send_on(context)?;
        inbound.poll_gone(context).map(Err)
    })
    .await
}

/// Waits until nobody reads the last request's body any more, who may go on after the answer; false where that is not waited for.
async fn is_read(inbound: &Inbound, outbound: &Corked, is_leaving: &Cell<bool>) -> io::Result<bool> {
    poll_fn(|context| {
        outbound.send_on(context)?;
        match inbound.poll_body_end(context) {
            Poll::Pending if !is_leaving.get() => Poll::Pending,
            end => Poll::Ready(Ok(end.is_ready())),
        }
    })
    .await
}

/// Sends an answer. An error when the client leaves before its end, or the end is not what was announced.
async fn send(
    inbound: &Inbound,
    outbound: &Corked,
    wanted: Wanted,
    mut response: Response,
    is_last: bool,
) -> io::Result<BodyFraming> {
    let framing = answer::framing(wanted, &response);
    let closes = is_last || framing == BodyFraming::Close;
    outbound.append(|bytes| answer::write_head(wanted, &response, framing, closes, bytes));
    if framing.has_body() {
        send_body(inbound, outbound, framing, response.body_mut()).await?;
    }
    drop(response);
    poll_fn(|context| outbound.poll_deliver(context)).await?;
    Ok(framing)
}

async fn send_body(
    inbound: &Inbound,
    outbound: &Corked,
    framing: BodyFraming,
    body: &mut ResponseBody,
) -> io::Result<()> {
    let mut sent = 0;
    while !body.is_end_stream() {
        let frame = poll_fn(|context| {
            let frame = Pin::new(&mut *body).poll_frame(context);
            if frame.is_pending() {
                // What is there is not kept until there is more.
                if let Poll::Ready(Err(error)) = outbound.poll_deliver(context) {
                    return Poll::Ready(Err(error));
                }
                return inbound.poll_gone(context).map(Err);
            }
            frame.map(Ok)
        });
        let data = match frame.await? {
            None => break,
            Some(Err(error)) => {
                // The client gets the status that the log says it got, and then the end of its connection.
                poll_fn(|context| outbound.poll_deliver(context)).await?;
                return Err(io::Error::other(error));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.has_remaining() => data,
                Ok(_) | Err(_) => continue,
            },
        };
        sent += data.remaining() as u64;
        if let BodyFraming::Length(length) = framing
            && sent > length
        {
            break;
        }
        if framing == BodyFraming::Chunked {
            outbound.append(|bytes| chunk_size(data.remaining(), bytes));
            put(outbound, data.chain(&b"\r\n"[..])).await?;
        } else {
            put(outbound, data).await?;
        }
    }
    match framing {
        BodyFraming::Chunked => outbound.append(|bytes| bytes.extend_from_slice(b"0\r\n\r\n")),
        BodyFraming::Length(length) if length != sent => {
            poll_fn(|context| outbound.poll_deliver(context)).await?;
            let text = format!("response body length mismatch: content-length is {length}, body has {sent} bytes");
            return Err(io::Error::other(text));
        }
        _ => {}
    }
    Ok(())
}

/// Puts a small piece to what is sent next, and sends a large one from where it lies.
async fn put(outbound: &Corked, mut piece: impl Buf) -> io::Result<()> {
    if outbound.has_room(piece.remaining()) {
        outbound.append(|bytes| bytes.put(piece));
        return Ok(());
    }
    poll_fn(|context| outbound.poll_send(context, &mut piece)).await
}

fn chunk_size(length: usize, into: &mut Vec<u8>) {
    write!(into, "{length:x}\r\n").expect("memory takes all");
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Ends a connection whose client may still be sending.
async fn linger(inbound: &Inbound, outbound: &Corked) -> io::Result<()> {
    outbound.shut_down().await?;
    // A client that goes on has had its chance.
    let _ = tokio::time::timeout(LINGER, poll_fn(|context| inbound.poll_discard(context))).await;
    Ok(())
}
