//! What a server has sent, read as strictly as the standards write it.

/// An answer over HTTP/1.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Whether the client may have asked for a head without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Always,
    /// There was a `HEAD` or a `CONNECT` among the requests.
    Sometimes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All answers on a connection; an error says what is no HTTP/1.1 (RFC 9112).
pub(super) fn http1(mut rest: &[u8], bodies: Bodies) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n").ok_or("a head without an end")?;
        let head = std::str::from_utf8(&rest[..end]).map_err(|_| "a head that is no text")?;
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status = status(lines.next().unwrap_or_default())?;
        let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
        let mut answer = Answer { status, headers, body: Vec::new() };
        let has_none = status < 200 || matches!(status, 204 | 304);
        // No body of these servers begins so.
        let left_out = bodies == Bodies::Sometimes && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
        if !has_none && !left_out {
            (answer.body, rest) = body(&answer, rest)?;
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn status(line: &str) -> Result<u16, String> {
    let wrong = || format!("no status line: {line:?}");
    let (version, rest) = line.split_once(' ').ok_or_else(wrong)?;
    let code = rest.get(..3).filter(|_| rest.as_bytes().get(3) == Some(&b' ')).ok_or_else(wrong)?;
    let code: u16 = code.parse().map_err(|_| wrong())?;
    if matches!(version, "HTTP/1.0" | "HTTP/1.1") && (100..600).contains(&code) { Ok(code) } else { Err(wrong()) }
}

fn header(line: &str) -> Result<(String, String), String> {
    let wrong = || format!("no header: {line:?}");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_text = !value.contains(|character: char| character.is_control());
    if is_token && is_text { Ok((name.to_lowercase(), value.trim().to_owned())) } else { Err(wrong()) }
}

fn body<'a>(answer: &Answer, rest: &'a [u8]) -> Result<(Vec<u8>, &'a [u8]), String> {
    if answer.header("transfer-encoding") == Some("chunked") {
        return chunks(rest);
    }
    if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().map_err(|_| format!("a content-length of {length:?}"))?;
        let body = rest.get(..length).ok_or_else(|| format!("a body of {} bytes instead of {length}", rest.len()))?;
        return Ok((body.to_vec(), &rest[length..]));
    }
    match answer.header("connection") {
        Some("close") => Ok((rest.to_vec(), &[])),
        _ => Err("a body without a length on a connection that stays open".to_owned()),
    }
}

fn chunks(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("a chunk without a size")?;
        let size = std::str::from_utf8(&rest[..end]).map_err(|_| "a chunk's size that is no text")?;
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("a chunk's size of {size:?}"))?;
        rest = &rest[end + 2..];
        let chunk = rest.get(..size).ok_or("a chunk that is too short")?;
        rest = rest[size..].strip_prefix(b"\r\n").ok_or("a chunk without an end")?;
        if size == 0 {
            return Ok((body, rest));
        }
        body.extend_from_slice(chunk);
    }
}

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

/// A frame of HTTP/2 (RFC 9113, section 4.1).
struct Frame<'a> {
    kind: u8,
    stream: u32,
    payload: &'a [u8],
}

/// The data of every stream of an HTTP/2 connection, by its number; an error says what are no frames of a server's.
pub(super) fn http2(mut rest: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, String> {
    let mut streams: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut is_first = true;
    while !rest.is_empty() {
        let (frame, after) = first_frame(rest).ok_or("a frame that is cut off")?;
        rest = after;
        if std::mem::take(&mut is_first) && frame.kind != SETTINGS {
            return Err(format!("a first frame of type {}", frame.kind));
        }
        if frame.kind == PUSH_PROMISE || frame.kind > CONTINUATION {
            return Err(format!("a frame of type {}, which this server has no use for", frame.kind));
        }
        if frame.kind == DATA {
            match streams.iter_mut().find(|(known, _)| *known == frame.stream) {
                Some((_, data)) => data.extend_from_slice(frame.payload),
                None => streams.push((frame.stream, frame.payload.to_vec())),
            }
        }
    }
    Ok(streams)
}

/// Whether the server has said that the connection is to end.
pub(super) fn has_goaway(mut rest: &[u8]) -> bool {
    while let Some((frame, after)) = first_frame(rest) {
        if frame.kind == GOAWAY {
            return true;
        }
        rest = after;
    }
    false
}

fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<9>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((Frame { kind: head[3], stream, payload }, rest))
}
