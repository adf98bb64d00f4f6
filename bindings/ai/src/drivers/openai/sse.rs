//! Server-sent events, from pieces that are cut anywhere.

use std::collections::VecDeque;

use aerostack_bindings::{Error, ErrorKind, Result};

use super::client::Reply;

/// A service that never ends a line must not fill the memory. A whole answer in one event is a hundredth of this.
const LONGEST_EVENT: usize = 16 * 1024 * 1024;

/// The data of the events of a reply.
pub(super) struct Lines {
    reply: Reply,
    parser: Parser,
    ready: VecDeque<String>,
    ended: bool,
}

/// Takes bytes, gives the data of whole events.
#[derive(Default)]
pub(super) struct Parser {
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
                self.parser.push(&bytes, &mut self.ready)?;
            } else {
                self.ended = true;
                self.parser.end(&mut self.ready);
            }
        }
    }
}

impl Parser {
    pub(super) fn push(&mut self, bytes: &[u8], ready: &mut VecDeque<String>) -> Result<()> {
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
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > LONGEST_EVENT {
                return Err(Error::new(ErrorKind::Unavailable, "the service sent an event that is too long"));
            }
        }
        Ok(())
    }

    /// Some services leave out the empty line after the last event.
    pub(super) fn end(&mut self, ready: &mut VecDeque<String>) {
        self.after_return = false;
        if !self.line.is_empty() {
            self.end_line(ready);
        }
        self.end_line(ready);
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
        pieces.for_each(|piece| parser.push(&piece, &mut ready).expect("the events are short"));
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
    #[test]
    fn an_event_without_an_end_is_refused() {
        let mebibyte = vec![b'a'; 1024 * 1024];
        for piece in [mebibyte.clone(), [b"data:", &*mebibyte, b"\n"].concat()] {
            let (mut parser, mut ready) = (Parser::default(), VecDeque::new());
            let refused = (0..20).position(|_| parser.push(&piece, &mut ready).is_err());
            assert!(refused.is_some_and(|refused| refused >= 15), "{refused:?}");
        }
    }
}
