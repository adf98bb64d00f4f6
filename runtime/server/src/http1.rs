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
use std::time::{Duration, Instant};

use aerostack_http1::{Framing, Head, Refusal};
use aerostack_isolate::{Response, ResponseBody};
use bytes::{Buf, BufMut};
use http::{HeaderMap, Method, StatusCode, Version, header};
use http_body::Body;

use self::answer::{BodyFraming, Wanted};
use self::inbound::{Inbound, NextLook, NoHead};
use crate::body::ClientBody;
use crate::corked::Corked;
use crate::error_page::plain;
use crate::lifecycle::{Arrived, HEAD_WHILE_LEAVING, Lifecycle, State};
use crate::request::{Connection, Reply};
use crate::wire::Reading;

pub(crate) use self::inbound::InboundBody;

/// How long a client that may still be sending is given to take its last answer: closing at once would make the system
/// take it back. One that still sends the body of its request may pause this long, and go on as long as a body may
/// stand still.
const LINGER_PAUSE: Duration = Duration::from_secs(2);
const LINGER_AFTER_REFUSAL: Duration = Duration::from_secs(1);
const LINGER_WHILE_LEAVING: Duration = Duration::from_millis(500);

/// How long the rest of a body that nobody reads may take to arrive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const TOO_SLOW: Refusal =
    Refusal { status: StatusCode::REQUEST_TIMEOUT, text: "the head of the request did not arrive in time" };

/// What a connection is told while it is served.
#[derive(Default)]
pub(crate) struct Signals {
    /// Since when no more requests are taken, but those that were sent before the client could know.
    pub(crate) leaving: Cell<Option<Instant>>,
    /// The client was waited for long enough.
    pub(crate) overdue: Cell<bool>,
}

impl Signals {
    fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    /// Whether an answer that begins now is the last. A client that always sends more, on purpose or because it uploads
    /// while it reads, keeps its connection only for so long.
    fn end_with_this_answer(&self, inbound: &Inbound) -> bool {
        self.leaving.get().is_some_and(|since| !inbound.has_more() || since.elapsed() >= HEAD_WHILE_LEAVING)
    }
}

/// Serves requests until the client closes, an answer is the last, or `signals` say that the connection ends.
pub(crate) async fn serve(
    reading: Reading,
    outbound: Corked,
    requests: &Rc<Connection>,
    signals: &Signals,
) -> io::Result<()> {
    let inbound = Inbound::new(reading);
    let _closing = inbound.close_at_end();
    let lifecycle = &requests.socket.lifecycle;
    let linger_time = requests.shared.limits.body_timeout;
    loop {
        let head = match next_head(&inbound, &outbound, requests, signals).await {
            Ok(head) => head,
            Err(NoHead::Closed) => return outbound.shut_down().await,
            Err(NoHead::Failed(error)) => return Err(error),
            Err(NoHead::Refused(refusal)) => {
                tracing::debug!(refusal.text, "a request was refused");
                lifecycle.enter(State::Sending);
                let wanted = Wanted { version: Version::HTTP_11, is_head: false };
                send(&inbound, &outbound, wanted, plain(refusal.status, refusal.text), true).await?;
                return linger(&inbound, &outbound, requests, signals, LINGER_AFTER_REFUSAL).await;
            }
        };
        lifecycle.enter(State::Answering);
        let wanted = Wanted { version: head.parts.version, is_head: head.parts.method == Method::HEAD };
        let asks_to_close = head.is_last;
        let body = body(&inbound, head.body, head.expects_continue);
        let reads_on = matches!(body, ClientBody::Http1(_));
        let response = match requests.answer(head.parts, body) {
            Reply::Now(response) => response.expect("a reply is taken once"),
            Reply::Later(response) => answered(&inbound, &outbound, response).await?,
        };
        lifecycle.enter(State::Sending);
        if reads_on && inbound.take_last_continue() {
            outbound.append(|bytes| bytes.extend_from_slice(CONTINUE));
        }
        let is_last = asks_to_close
            || says_close(response.headers())
            || reads_on && !inbound.may_go_on()
            || signals.end_with_this_answer(&inbound);
        let framing = send(&inbound, &outbound, wanted, response, is_last).await?;
        if is_last || framing == BodyFraming::Close {
            let sends_no_more = asks_to_close && (!reads_on || inbound.has_passed_body()) && !inbound.has_more();
            if sends_no_more {
                return outbound.shut_down().await;
            }
            return linger(&inbound, &outbound, requests, signals, linger_time).await;
        }
        if reads_on && !inbound.has_passed_body() && !drain(&inbound, &outbound, lifecycle).await? {
            return linger(&inbound, &outbound, requests, signals, linger_time).await;
        }
        // A client may send any number at once; others want their turn, too.
        tokio::task::coop::consume_budget().await;
    }
}

/// Waits for the head of the next request.
async fn next_head(
    inbound: &Inbound,
    outbound: &Corked,
    requests: &Connection,
    signals: &Signals,
) -> Result<Head, NoHead> {
    poll_fn(|context| {
        outbound.send_on(context).map_err(NoHead::Failed)?;
        let head = inbound.poll_head(context, requests.shared.limits.header_bytes);
        if head.is_ready() {
            return head;
        }
        let arrived = inbound.arrived();
        requests.socket.lifecycle.wait_for_head(arrived);
        match (signals.overdue.get(), arrived) {
            (false, _) => Poll::Pending,
            (true, Arrived::Nothing) => Poll::Ready(Err(NoHead::Closed)),
            (true, Arrived::Something) => Poll::Ready(Err(NoHead::Refused(TOO_SLOW))),
        }
    })
    .await
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
    let mut next_look = NextLook::default();
    poll_fn(|context| {
        if let Poll::Ready(response) = response.as_mut().poll(context) {
            return Poll::Ready(Ok(response));
        }
        if inbound.take_continue() {
            outbound.append(|bytes| bytes.extend_from_slice(CONTINUE));
        }
        outbound.send_on(context)?;
        inbound.poll_gone(context, &mut next_look).map(Err)
    })
    .await
}

/// Throws away what is left of the last request's body; false where that would take too much, or too long.
async fn drain(inbound: &Inbound, outbound: &Corked, lifecycle: &Lifecycle) -> io::Result<bool> {
    lifecycle.enter(State::Draining);
    let drained = poll_fn(|context| {
        outbound.send_on(context)?;
        inbound.poll_drain(context).map(Ok)
    });
    tokio::time::timeout(DRAIN_TIMEOUT, drained).await.unwrap_or(Ok(false))
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
    let mut next_look = NextLook::default();
    while !body.is_end_stream() {
        let frame = poll_fn(|context| {
            let frame = Pin::new(&mut *body).poll_frame(context);
            if frame.is_pending() {
                // What is there is not kept until there is more.
                if let Poll::Ready(Err(error)) = outbound.poll_deliver(context) {
                    return Poll::Ready(Err(error));
                }
                return inbound.poll_gone(context, &mut next_look).map(Err);
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
async fn linger(
    inbound: &Inbound,
    outbound: &Corked,
    requests: &Connection,
    signals: &Signals,
    at_most: Duration,
) -> io::Result<()> {
    requests.socket.lifecycle.enter(State::Lingering);
    inbound.close_body();
    outbound.shut_down().await?;
    let began = Instant::now();
    loop {
        let at_most = if signals.is_leaving() { at_most.min(LINGER_WHILE_LEAVING) } else { at_most };
        let left = at_most.saturating_sub(began.elapsed()).min(LINGER_PAUSE);
        match tokio::time::timeout(left, poll_fn(|context| inbound.poll_discard(context))).await {
            Ok(true) if !left.is_zero() => {}
            // The client has closed, or goes on and has had its chance.
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}
