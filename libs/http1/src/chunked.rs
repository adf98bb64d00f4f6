use bytes::{Buf, Bytes, BytesMut};

/// Longest extensions and trailers, together: nobody sees them, and a body with longer ones is refused.
const UNSEEN_BYTES: usize = 16 * 1024;

/// How far a body in the chunked transfer coding was read (RFC 9112, section 7.1).
#[derive(Debug)]
pub struct Chunked {
    state: State,
    unseen: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a chunk's size; `None` before its first digit.
    Size(Option<u64>),
    /// In what may follow the size, which is kept along.
    Extension(u64, Extension),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    /// At the begin of a line after the last chunk.
    TrailerBegin,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    EndLineFeed,
    End,
}

/// Where in the extensions of a chunk the reader is (RFC 9112, section 7.1.1). Blanks may stand around `;` and `=`, nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// Behind a blank that only a `;` may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    /// Behind a name and a blank: `=` or the next `;` follows.
    BeforeEquals,
    BeforeValue,
    Value,
    Quoted,
    /// Behind a backslash in a quoted value.
    Escaped,
    /// Behind the closing quote.
    Unquoted,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// What has arrived holds no more of it.
    NeedsMore,
    /// The body and its trailers are over.
    End,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size(None), unseen: 0 }
    }
}

impl Chunked {
    /// Takes the next piece out of what has arrived. An error says what is wrong with it.
    pub fn decode(&mut self, arrived: &mut BytesMut) -> Result<Decoded, &'static str> {
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
            (State::Size(Some(size)), b'\r') => State::SizeLineFeed(size),
            (State::Size(Some(size)), b';') => State::Extension(size, Extension::BeforeName),
            (State::Size(Some(size)), b' ' | b'\t') => State::Extension(size, Extension::BeforeSemicolon),
            (State::Size(_), _) => return Err("a chunk's size is no number"),
            (State::Extension(size, Extension::Name | Extension::Value | Extension::Unquoted), b'\r') => {
                State::SizeLineFeed(size)
            }
            (State::Extension(size, extension), byte) => {
                let next = extension.after(byte).ok_or("invalid chunk extension")?;
                self.pass_over(State::Extension(size, next))?
            }
            (State::SizeLineFeed(0) | State::TrailerLineFeed, b'\n') => State::TrailerBegin,
            (State::SizeLineFeed(size), b'\n') => State::Data(size),
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size(None),
            (State::DataReturn | State::DataLineFeed, _) => return Err("a chunk is longer than its size"),
            (State::TrailerBegin, b'\r') => State::EndLineFeed,
            (State::TrailerName, b':') => self.pass_over(State::TrailerValue)?,
            (State::TrailerBegin | State::TrailerName, byte) if is_token(byte) => self.pass_over(State::TrailerName)?,
            (State::TrailerBegin | State::TrailerName, _) => return Err("invalid name of a trailer"),
            (State::TrailerValue, b'\r') => State::TrailerLineFeed,
            (State::TrailerValue, byte) if is_text(byte) => self.pass_over(State::TrailerValue)?,
            (State::TrailerValue, _) => return Err("invalid value of a trailer"),
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

impl Extension {
    /// Where the reader is behind a byte, if that may stand there.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Quoted, b'"') => Self::Unquoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, byte) if is_text(byte) => Self::Quoted,
            (Self::BeforeSemicolon | Self::Unquoted | Self::Value, b' ' | b'\t') => Self::BeforeSemicolon,
            (Self::Name | Self::BeforeEquals, b' ' | b'\t') => Self::BeforeEquals,
            (Self::BeforeName | Self::BeforeValue, b' ' | b'\t') => self,
            (Self::BeforeSemicolon | Self::Name | Self::BeforeEquals | Self::Value | Self::Unquoted, b';') => {
                Self::BeforeName
            }
            (Self::Name | Self::BeforeEquals, b'=') => Self::BeforeValue,
            (Self::BeforeValue, b'"') => Self::Quoted,
            (Self::BeforeName | Self::Name, byte) if is_token(byte) => Self::Name,
            (Self::BeforeValue | Self::Value, byte) if is_token(byte) => Self::Value,
            _ => return None,
        })
    }
}

/// A `tchar` (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a field's value or a quoted string: anything visible, blanks, and bytes beyond ASCII.
fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Chunked, Decoded, UNSEEN_BYTES};

    /// The body that arrives in pieces of a length, and what comes after it.
    fn decoded(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, BytesMut), String> {
        let (mut chunked, mut arrived, mut body) = (Chunked::default(), BytesMut::new(), Vec::new());
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
            ("1;a;b ; c=d\t; e = \"\\\"; \u{e9}\" ;f\r\n!\r\n0;last\r\n\r\n", "!"),
            ("a\r\n0123456789\r\n00B\r\n0123456789a\r\n0\r\nx: y\r\nz: \r\nempty:\r\n\r\n", "01234567890123456789a"),
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
            "1\r\nxy",
            "1\r\nx\n",
            "1\r\nx\rz",
            "0\r\n\n",
            "0\r\n\r\r",
            "10000000000000000\r\n",
            "ffffffffffffffff0\r\n",
        ] {
            let refused = decoded(bytes.as_bytes(), 1).expect_err(bytes);
            assert_ne!(refused, "there is no end", "{bytes:?}");
        }
    }

    #[test]
    fn an_extension_that_the_grammar_does_not_have_is_refused() {
        for extension in [
            " 5",
            " x",
            " ",
            "\t",
            ";",
            ";;a",
            ";a;",
            "; ",
            ";a b",
            ";a\0",
            ";a=",
            ";a=;b",
            ";a= ",
            ";a==b",
            ";a=b c",
            ";a ",
            ";a=\"",
            ";a=\"b\"c",
            ";a=\"\0\"",
            ";a=\"\\\0\"",
            ";a=\"\\\"",
            ";a=\"\n\"",
            ";a\n",
            ";a,b",
            ";=b",
            ";a=\u{7f}",
        ] {
            let bytes = format!("3{extension}\r\nabc\r\n0\r\n\r\n");
            let refused = decoded(bytes.as_bytes(), 1).expect_err(&bytes);
            assert_ne!(refused, "there is no end", "{bytes:?}");
        }
    }

    #[test]
    fn a_trailer_that_is_no_field_is_refused() {
        for trailer in [
            "no colon\r\n",
            "nocolon\r\n",
            ": y\r\n",
            "x : y\r\n",
            " x: y\r\n",
            "\tx: y\r\n",
            "x: y\r\n folded\r\n",
            "x: \0\r\n",
            "x\0: y\r\n",
            "x: \u{7f}\r\n",
            "x: y\n",
            "x: y\rz",
            "x\n",
            "x\r\n",
        ] {
            let bytes = format!("0\r\n{trailer}\r\n");
            let refused = decoded(bytes.as_bytes(), 1).expect_err(&bytes);
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
