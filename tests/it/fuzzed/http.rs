//! Bytes on a socket of the server: whatever they are, it answers as HTTP wants it or closes, in time; what a handler is told is
//! nothing that nobody sent; the next request is served, and nothing is left over.

use std::net::SocketAddr;
use std::time::Duration;

use aerostack_fuzz_mutator::Input;
use aerostack_modules::Url;
use aerostack_server::ClientLimits;
use aerostack_tests::{TestServer, WorkerSetup, exchange, get, test, wait_until_idle};
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::answers::{Answer, Bodies, has_goaway, http1, http2};
use super::{Broken, fuzz};

/// Says what it was told.
const WORKER: &str = "export default {
  async fetch(request) {
    const { url, method } = request;
    if (url.endsWith('/next')) return new Response('next');
    const bytes = url.endsWith('/unread') ? [] : new Uint8Array(await request.arrayBuffer());
    let body = '';
    for (const byte of bytes) body += String.fromCharCode(byte);
    return Response.json({ url, method, headers: [...request.headers], body });
  },
};";

/// How long a client of these tests may be silent.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that is not over by then hangs. Many timeouts may follow each other on one, and the machine may be slow.
const HANGS: Duration = Duration::from_secs(30);

/// As much of the preface of HTTP/2 as the server looks at.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("whatever bytes come in on a socket, the server answers or closes, and goes on", async || {
        let limits = ClientLimits {
            header_timeout: TIMEOUT,
            body_timeout: TIMEOUT,
            send_timeout: TIMEOUT,
            header_bytes: 16 * 1024,
            body_bytes: 32 * 1024,
            ..ClientLimits::default()
        };
        let server = TestServer::of(WorkerSetup::of(WORKER), limits).await;
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let told = told_over_http1(request, &exchange(server.address, request).await).expect("HTTP");
        assert_eq!(told.len(), 1, "the handler says what it was told");
        fuzz("http", 64, async |inputs| {
            let mut talks = JoinSet::new();
            for (input, manner) in inputs.iter().flat_map(|input| Manner::ALL.map(|manner| (input, manner))) {
                talks.spawn(tried(server.address, input.clone(), manner));
            }
            while let Some(outcome) = talks.join_next().await {
                outcome.expect("a client does not panic")?;
            }
            let next = get(server.address, "/next").await;
            assert_eq!((next.status, next.text().as_str()), (200, "next"));
            wait_until_idle(&server).await;
            Ok(())
        })
        .await;
    }));
}

/// How a client sends its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All at once; then it waits for the server to close.
    Waits,
    /// In pieces that arrive one by one; then it waits.
    Stutters,
    /// All at once; then it says that nothing more will come.
    Ends,
    /// All at once; then it is gone.
    Leaves,
}

impl Manner {
    const ALL: [Self; 4] = [Self::Waits, Self::Stutters, Self::Ends, Self::Leaves];
}

async fn tried(address: SocketAddr, input: Input, manner: Manner) -> Result<(), Broken> {
    let outcome = match tokio::time::timeout(HANGS, talk(address, &input.bytes, manner)).await {
        Ok((answered, ending)) => judge(&input.bytes, &answered, ending, manner),
        Err(_) => Err(format!("the connection is not over after {} s", HANGS.as_secs())),
    };
    outcome.map_err(|what| Broken { input, what: format!("to a client that {manner:?}: {what}") })
}

/// How a connection ended, from the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed,
    /// The system may then have dropped what was on its way.
    Reset,
}

async fn talk(address: SocketAddr, bytes: &[u8], manner: Manner) -> (Vec<u8>, Ending) {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("the option is known");
    let pieces = if manner == Manner::Stutters { 8 } else { 1 };
    for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
        // The server may have answered and closed already.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if manner == Manner::Leaves {
        return (Vec::new(), Ending::Reset);
    }
    if manner == Manner::Ends {
        // Where it fails, the connection is over.
        let _ = stream.shutdown().await;
    }
    let (mut answered, mut is_told) = (Vec::new(), manner == Manner::Ends);
    loop {
        match stream.read_buf(&mut answered).await {
            Ok(0) => return (answered, Ending::Closed),
            Ok(_) => {}
            Err(_) => return (answered, Ending::Reset),
        }
        // Without that the server would wait for the answer to its last ping, longer than these tests want to.
        if !is_told && is_http2(bytes) && has_goaway(&answered) {
            is_told = true;
            let _ = stream.shutdown().await;
        }
    }
}

fn judge(input: &[u8], answered: &[u8], ending: Ending, manner: Manner) -> Result<(), String> {
    let told = if answered.starts_with(b"HTTP/1.") {
        // What the server breaks off when its client says that nothing more will come is a matter of who is faster.
        if ending == Ending::Reset || manner == Manner::Ends {
            return Ok(());
        }
        told_over_http1(input, answered)?
    } else if is_http2(input) {
        if ending == Ending::Reset {
            return Ok(());
        }
        let streams = http2(answered)?;
        streams.into_iter().filter(|(_, data)| data.starts_with(b"{\"url\"")).map(|(_, data)| data).collect()
    } else if answered.is_empty() {
        Vec::new()
    } else {
        return Err(format!("an answer that is no HTTP: {:?}", String::from_utf8_lossy(answered)));
    };
    told.iter().try_for_each(|told| check_told(input, told))
}

/// What the handlers were told, from the answers that are theirs.
fn told_over_http1(input: &[u8], answered: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let may_lack_bodies = contains(input, b"HEAD") || contains(input, b"CONNECT");
    let answers = http1(answered, if may_lack_bodies { Bodies::Sometimes } else { Bodies::Always })?;
    let is_final = |answer: &&Answer| answer.status >= 200;
    let requests = input.windows(7).filter(|window| window == b"HTTP/1.").count();
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    if served > requests {
        return Err(format!("{served} requests were served, and {requests} at most were sent: {answers:?}"));
    }
    if let Some(after) =
        answers.iter().filter(is_final).skip_while(|answer| answer.header("connection") != Some("close")).nth(1)
    {
        return Err(format!("an answer after the one that was to be the last: {after:?}"));
    }
    let told = answers.into_iter().filter(|answer| answer.header("content-type") == Some("application/json"));
    Ok(told.map(|answer| answer.body).filter(|body| body.starts_with(b"{\"url\"")).collect())
}

fn check_told(input: &[u8], told: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(told);
    let told: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let wrong = |what: &str| Err(format!("{what}: {told}"));
    let url = told["url"].as_str().unwrap_or_default();
    let parsed = match Url::parse(url) {
        Ok(parsed) if parsed.as_str() == url && parsed.scheme() == "http" => parsed,
        _ => return wrong("a URL that is none, or not in its normal form"),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return wrong("a URL with somebody's name in it");
    }
    // HTTP/2 packs what it sends.
    if is_http2(input) {
        return Ok(());
    }
    let method = told["method"].as_str().unwrap_or_default();
    if method.is_empty() || !contains_in_any_case(input, method) {
        return wrong("a method that nobody sent");
    }
    for header in told["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap_or_default(), header[1].as_str().unwrap_or_default());
        if name == "cf-connecting-ip" && value == "127.0.0.1" {
            continue;
        }
        if name.is_empty() || name != name.to_lowercase() || !contains_in_any_case(input, name) {
            return wrong("a header that nobody sent");
        }
        if value.contains(['\r', '\n', '\0']) {
            return wrong("a header that goes on in another line");
        }
        // Headers of one name come as one.
        if value.is_ascii() && !value.split(", ").all(|part| contains(input, part.as_bytes())) {
            return wrong("a header with a value that nobody sent");
        }
    }
    // What stands in the body came, in this order; between its pieces may be the sizes of chunks.
    let mut rest = input.iter();
    let body = told["body"].as_str().unwrap_or_default();
    if !body.chars().all(|character| rest.any(|byte| u32::from(*byte) == u32::from(character))) {
        return wrong("a body that nobody sent");
    }
    Ok(())
}

fn is_http2(input: &[u8]) -> bool {
    input.starts_with(PREFACE)
}

fn contains(input: &[u8], part: &[u8]) -> bool {
    part.is_empty() || input.windows(part.len()).any(|window| window == part)
}

fn contains_in_any_case(input: &[u8], part: &str) -> bool {
    input.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}
