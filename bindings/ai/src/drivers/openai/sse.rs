//! Server-sent events, from pieces that are cut anywhere.

use std::collections::VecDeque;

use aerostack_bindings::Result;

use super::client::Reply;

/// The data of the events of a reply.
pub(super) struct Lines {
    reply: Reply,
    parser: Parser,
    ready: VecDeque<String>,
    ended: bool,
}

/// Takes bytes, gives the data of whole events.
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    /// The `data` lines of the event so far.
    data: Option<String>,
    /// The last byte was the first half of a `\r\n`.
    after_return: bool,
}

impl Lines {
    pub(super) fn new(reply: Reply) -> Self {
        Self { reply, parser: Parser::default(), ready: VecDeque::new(), ended: false }
    }

    /// The data of the next event; none at the end.
    pub(super) async fn next_data(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok(Some(data));
            }
            if self.ended {
                return Ok(None);
            }
            if let Some(bytes) = self.reply.piece().await? {
                self.parser.push(&bytes, &mut self.ready);
            } else {
                self.ended = true;
                // Some services leave out the empty line after the last event.
                self.parser.push(b"\n\n", &mut self.ready);
            }
        }
    }
}

impl Parser {
    fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<String>) {
        for byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    self.end_line(ready);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(*byte);
                }
            }
        }
    }

    fn end_line(&mut self, ready: &mut VecDeque<String>) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            ready.extend(self.data.take());
            return;
        }
        let Some(value) = line.strip_prefix(b"data:") else { return };
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(&value);
            }
            None => self.data = Some(value.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": a comment\r\ndata: {\"a\":\"ä☃\"}\r\n\r\nevent: x\nid: 1\ndata:two\ndata: lines\n\n\n\rdata: [DONE]\r\r";

    fn parse(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
        let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
        pieces.for_each(|piece| parser.push(&piece, &mut ready));
        ready.into()
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let expected = ["{\"a\":\"ä☃\"}", "two\nlines", "[DONE]"];
        assert_eq!(parse([STREAM.into()].into_iter()), expected);
        assert_eq!(parse(STREAM.bytes().map(|byte| vec![byte])), expected);
        for cut in 0..STREAM.len() {
            let (one, other) = STREAM.as_bytes().split_at(cut);
            assert_eq!(parse([one.to_vec(), other.to_vec()].into_iter()), expected, "cut at {cut}");
        }
    }
}
