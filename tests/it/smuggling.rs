//! Requests behind requests: a second one hidden where two readers may disagree about the end of the first. What is right is worked
//! out here from the letter of RFC 9112, section 6.3, and never from what the server does.

use std::net::SocketAddr;

use aerostack_tests::{TestServer, exchange, test, wait_until_idle};
use libtest_mimic::Trial;

/// Says which request it was, and what body it had.
const WORKER: &str = "export default { async fetch(request) { \
    return new Response(`<${new URL(request.url).pathname} ${(await request.text()).length}>`) } }";

/// Hidden in the body of the first request, or behind it.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: a.test\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n";

/// The field that says how a body is coded, in spellings that somebody may take for it.
const CODING_NAMES: [&str; 9] = [
    "Transfer-Encoding:",
    "transfer-encoding: ",
    "TRANSFER-ENCODING:\t",
    "Transfer_Encoding: ",
    "Transfer-Encoding : ",
    " Transfer-Encoding: ",
    "Transfer-Encoding\0: ",
    "X: y\rTransfer-Encoding: ",
    "Transfer-Encoding:\r\n ",
];

const CODINGS: [&str; 20] = [
    "chunked",
    "Chunked",
    "chunked ",
    "chunked\t",
    "\u{b}chunked",
    "\"chunked\"",
    "chunked;q=1",
    "chunked,",
    ",chunked",
    "identity",
    "identity, chunked",
    "chunked, identity",
    "chunked, chunked",
    "gzip, chunked",
    "xchunked",
    "chunked\0",
    "chunke",
    "",
    "chunked\u{c}",
    "chunked\u{a0}",
];

/// Lengths of the body, where `N` is the right one.
const LENGTHS: [&str; 16] = [
    "N",
    "0N",
    " N ",
    "+N",
    "-0",
    "0",
    "0xN",
    "N, N",
    "N,",
    "N;",
    "N N",
    "1e1",
    "N.0",
    "18446744073709551616",
    "",
    "\u{ff15}",
];

/// How the next request is told from the first one.
#[derive(Debug, PartialEq, Eq)]
enum Right {
    /// The body is what is there; then comes the next request.
    Length,
    /// The body ends where its chunks do; then comes the hidden request, and the next one.
    Chunks,
    /// There is none; what is behind the head is the next request.
    NoBody,
    /// It is refused, and nothing behind it is read.
    Refused,
}

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("no request is found in another one's body, however its end is written", async || {
        let server = TestServer::start(WORKER).await;
        let cases = cases();
        assert!(cases.len() > 10_000, "{}", cases.len());
        for case in cases {
            case.try_on(server.address).await;
        }
        wait_until_idle(&server).await;
    }));
}

fn cases() -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    let codings: Vec<Option<(&str, &str)>> = CODING_NAMES
        .iter()
        .flat_map(|name| CODINGS.iter().map(move |coding| Some((*name, *coding))))
        .chain([None])
        .collect();
    let lengths: Vec<Option<&str>> = LENGTHS.iter().copied().map(Some).chain([None]).collect();
    for version in ["1.1", "1.0"] {
        for coding in &codings {
            for length in &lengths {
                for length_is_first in [true, false] {
                    cases.push(Case { version, coding: *coding, length: *length, length_is_first });
                }
            }
        }
    }
    cases
}

#[derive(Debug)]
struct Case<'a> {
    version: &'a str,
    coding: Option<(&'a str, &'a str)>,
    length: Option<&'a str>,
    length_is_first: bool,
}

impl Case<'_> {
    async fn try_on(&self, address: SocketAddr) {
        let body = format!("0\r\n\r\n{HIDDEN}");
        let length =
            self.length.map(|length| format!("Content-Length: {}\r\n", length.replace('N', &body.len().to_string())));
        let coding = self.coding.map(|(name, coding)| format!("{name}{coding}\r\n"));
        let (first, second) = if self.length_is_first { (length, coding) } else { (coding, length) };
        let fields: String = [first, second].into_iter().flatten().collect();
        // HTTP/1.0 closes where nobody asks it not to.
        let keep = if self.version == "1.0" { "connection: keep-alive\r\n" } else { "" };
        let request = format!("POST /first HTTP/{}\r\nhost: a.test\r\n{keep}{fields}\r\n{body}{NEXT}", self.version);
        let answered = exchange(address, request.as_bytes()).await;
        let answered = String::from_utf8_lossy(&answered);
        let seen: Vec<&str> =
            answered.split('<').skip(1).filter_map(|part| part.split_once('>')).map(|(seen, _)| seen).collect();
        let whole = format!("/first {}", body.len());
        let expected: &[&str] = match self.right() {
            Right::Length => &[&whole, "/next 0"],
            Right::Chunks => &["/first 0", "/hidden 0", "/next 0"],
            // What follows is no request, so nothing behind it is one.
            Right::NoBody => &["/first 0"],
            Right::Refused => &[],
        };
        assert_eq!(seen, expected, "{self:?}: {request:?}: {answered}");
        let refusals = answered.matches("HTTP/1.1 400 ").count();
        let is_refused = matches!(self.right(), Right::NoBody | Right::Refused);
        assert_eq!(refusals, usize::from(is_refused), "{self:?}: {request:?}: {answered}");
    }

    /// What RFC 9112, section 6.3, makes of it, and of what could be read in two ways: a refusal.
    fn right(&self) -> Right {
        let length = match self.length.map(str::trim) {
            None => Some(None),
            Some("N" | "0N") => Some(Some(Right::Length)),
            Some("0") => Some(Some(Right::NoBody)),
            Some(_) => None,
        };
        let coding = match self.coding {
            None => Some(None),
            Some((name, coding)) => {
                let is_valid = coding.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
                match name {
                    // Another field, of whatever value a field may have.
                    "Transfer_Encoding: " if is_valid => Some(None),
                    "Transfer-Encoding:" | "transfer-encoding: " | "TRANSFER-ENCODING:\t"
                        if coding.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked") =>
                    {
                        Some(Some(()))
                    }
                    _ => None,
                }
            }
        };
        match (length, coding) {
            (Some(Some(right)), Some(None)) => right,
            (Some(None), Some(Some(()))) if self.version == "1.1" => Right::Chunks,
            (Some(None), Some(None)) => Right::NoBody,
            _ => Right::Refused,
        }
    }
}
