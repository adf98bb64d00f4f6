use bytes::{Buf, Bytes, BytesMut};

/// What is read of extensions and trailers, which nobody sees, before the body is refused.
const UNSEEN_BYTES: usize = 16 * 1024;

/// How far a body in the chunked transfer coding was read (RFC 9112, section 7.1).
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    unseen: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's size; `None` before its first digit.
    Size(Option<u64>),
    /// In what may follow a size.
    Extension(u64),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// At the begin of a line after the last chunk.
    TrailerBegin,
    Trailer,
    TrailerLineFeed,
    EndLineFeed,
    End,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(Bytes),
    /// What has arrived holds no more of it.
    NeedsMore,
    End,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size(None), unseen: 0 }
    }

    /// Takes the next piece out of what has arrived. An error says what is wrong with it.
    pub(super) fn decode(&mut self, arrived: &mut BytesMut) -> Result<Decoded, &'static str> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                State::Data(left) if !arrived.is_empty() => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(arrived.len());
                    let left = left - length as u64;
                    self.state = if left == 0 { State::DataReturn } else { State::Data(left) };
                    let data = Bytes::copy_from_slice(&arrived[..length]);
                    arrived.advance(length);
                    return Ok(Decoded::Data(data));
                }
                _ => {}
            }
            let Some(byte) = arrived.first().copied() else { return Ok(Decoded::NeedsMore) };
            arrived.advance(1);
            self.state = self.after(byte)?;
        }
    }

    fn after(&mut self, byte: u8) -> Result<State, &'static str> {
        Ok(match (self.state, byte) {
            (State::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = size.unwrap_or(0);
                if size >> 60 != 0 {
                    return Err("a chunk is larger than any body");
                }
                State::Size(Some(size << 4 | digit))
            }
            (State::Size(Some(size)), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Size(Some(size)) | State::Extension(size), b'\r') => State::SizeLineFeed(size),
            (State::Size(_), _) => return Err("a chunk's size is no number"),
            (State::Extension(size), byte) if byte != b'\n' => self.pass_over(State::Extension(size))?,
            (State::SizeLineFeed(0) | State::TrailerLineFeed, b'\n') => State::TrailerBegin,
            (State::SizeLineFeed(size), b'\n') => State::Data(size),
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size(None),
            (State::DataReturn | State::DataLineFeed, _) => return Err("a chunk is longer than its size"),
            (State::TrailerBegin, b'\r') => State::EndLineFeed,
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            (State::TrailerBegin | State::Trailer, byte) if byte != b'\n' => self.pass_over(State::Trailer)?,
            (State::EndLineFeed, b'\n') => State::End,
            _ => return Err("a line of a chunked body does not end as it should"),
        })
    }

    fn pass_over(&mut self, next: State) -> Result<State, &'static str> {
        self.unseen += 1;
        if self.unseen > UNSEEN_BYTES {
            return Err("the extensions and trailers of a chunked body are too long");
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Chunked, Decoded, UNSEEN_BYTES};

    /// The body that arrives in pieces of a length, and what comes after it.
    fn decoded(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, BytesMut), String> {
        let (mut chunked, mut arrived, mut body) = (Chunked::new(), BytesMut::new(), Vec::new());
        let mut pieces = bytes.chunks(piece);
        loop {
            match chunked.decode(&mut arrived)? {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::NeedsMore => match pieces.next() {
                    Some(piece) => arrived.extend_from_slice(piece),
                    None => return Err("there is no end".to_owned()),
                },
                Decoded::End => {
                    pieces.for_each(|piece| arrived.extend_from_slice(piece));
                    return Ok((body, arrived));
                }
            }
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_arrives_and_what_follows_it_is_left() {
        for (bytes, body) in [
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("5\r\nhello\r\n1 ; a=\"b\"\r\n!\r\n000\r\n\r\n", "hello!"),
            ("a\r\n0123456789\r\n00B\r\n0123456789a\r\n0\r\nx: y\r\nz: \r\n\r\n", "01234567890123456789a"),
        ] {
            let sent = [bytes, "GET / HTTP/1.1\r\n"].concat();
            for piece in 1..=sent.len() {
                let (found, rest) = decoded(sent.as_bytes(), piece).expect(bytes);
                assert_eq!((found, &rest[..]), (body.as_bytes().to_vec(), &b"GET / HTTP/1.1\r\n"[..]), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_others_may_read_in_another_way_is_refused() {
        for bytes in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1\nx\r\n",
            "1\r\rx",
            "1;a\nx\r\n",
            "1\r\nxy",
            "1\r\nx\n",
            "1\r\nx\rz",
            "0\r\n\n",
            "0\r\nx: y\n",
            "0\r\nx\rz",
            "0\r\n\r\r",
            "10000000000000000\r\n",
            "ffffffffffffffff0\r\n",
        ] {
            let refused = decoded(bytes.as_bytes(), 1).expect_err(bytes);
            assert_ne!(refused, "there is no end", "{bytes:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_without_an_end_are_refused() {
        for begin in ["1;", "0\r\nx: "] {
            let bytes = [begin, &"a".repeat(UNSEEN_BYTES + 1)].concat();
            let refused = decoded(bytes.as_bytes(), 1000).expect_err(begin);
            assert!(refused.contains("too long"), "{refused}");
        }
    }
}
