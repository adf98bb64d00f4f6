//! Content codings: gzip, deflate and brotli, in steps of a bounded size.
//!
//! A thousand bytes may hold a million. So a [`Decoder`] fills the memory that it is given and says what it has used of its input;
//! whoever drives it asks for more when somebody has taken what there is.

mod decoder;
mod encoder;
mod gzip;
mod streams;

pub(crate) use self::decoder::{Decoder, Members};
pub(crate) use self::encoder::Encoder;
pub(crate) use self::streams::{op_codec_finish, op_codec_new, op_codec_step};

/// How much is coded at once.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// How bytes are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls "deflate".
    Zlib,
    /// RFC 1951.
    Deflate,
    /// RFC 7932.
    Brotli,
}

impl Format {
    /// What a `content-encoding` header names, where `fetch` decodes it and a response is encoded with it: as on Workers, nothing else
    /// and no list.
    pub(crate) fn of_header(value: &[u8]) -> Option<Self> {
        match value.trim_ascii() {
            value if value.eq_ignore_ascii_case(b"gzip") => Some(Self::Gzip),
            value if value.eq_ignore_ascii_case(b"br") => Some(Self::Brotli),
            _ => None,
        }
    }

    /// What `CompressionStream` and `DecompressionStream` call it.
    fn of_stream(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Zlib),
            "deflate-raw" => Some(Self::Deflate),
            "brotli" => Some(Self::Brotli),
            _ => None,
        }
    }
}

/// Why bytes cannot be decoded; the texts are those of Workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, deno_error::JsError)]
#[class(type)]
pub(crate) enum CodingError {
    #[error("Decompression failed.")]
    Invalid,
    #[error("Trailing bytes after end of compressed data")]
    Trailing,
    #[error("Called close() on a decompression stream with incomplete data")]
    Incomplete,
    #[error("Compression failed.")]
    NotEncoded,
    #[error("The compression format must be either 'deflate', 'deflate-raw' or 'gzip'.")]
    UnknownFormat,
    #[error("the stream is closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use super::{CodingError, Decoder, Encoder, Format, Members};

    const FORMATS: [Format; 4] = [Format::Gzip, Format::Zlib, Format::Deflate, Format::Brotli];

    fn encoded(format: Format, plain: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(format);
        let mut all = encoder.write(plain).expect("it encodes");
        all.extend(encoder.finish().expect("it encodes"));
        all
    }

    /// Decodes in pieces: `input_bytes` are given and `output_bytes` are taken at once.
    fn decoded(
        format: Format,
        coded: &[u8],
        members: Members,
        (input_bytes, output_bytes): (usize, usize),
    ) -> Result<Vec<u8>, CodingError> {
        let mut decoder = Decoder::new(format, members);
        let mut all = Vec::new();
        for mut input in coded.chunks(input_bytes) {
            loop {
                let mut piece = Vec::new();
                decoder.decode(&mut input, &mut piece, output_bytes)?;
                assert!(piece.len() <= output_bytes);
                let is_full = piece.len() == output_bytes;
                all.extend(piece);
                if !is_full {
                    break;
                }
            }
            assert!(input.is_empty(), "all of it is taken where there is room");
        }
        decoder.check_complete()?;
        Ok(all)
    }

    fn sample() -> Vec<u8> {
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        noise.take(5000).chain(std::iter::repeat_n(b'a', 200_000)).chain(*b"the end").collect()
    }

    #[test]
    fn what_is_encoded_is_decoded_in_pieces_of_any_size() {
        let plain = sample();
        for format in FORMATS {
            for pieces in [(1, 1000), (7, 64 * 1024), (100_000, 3), (100_000, 100_000_000)] {
                let coded = encoded(format, &plain);
                let back = decoded(format, &coded, Members::One, pieces);
                assert!(back.as_deref() == Ok(&*plain), "{format:?} {pieces:?}");
            }
            assert_eq!(decoded(format, &encoded(format, b""), Members::One, (1, 1)), Ok(Vec::new()), "{format:?}");
        }
    }

    #[test]
    fn what_ends_too_early_is_incomplete() {
        for format in FORMATS {
            let coded = encoded(format, b"some text, some text, some text");
            for end in 0..coded.len() {
                let outcome = decoded(format, &coded[..end], Members::One, (100, 100));
                assert_eq!(outcome, Err(CodingError::Incomplete), "{format:?} {end}");
            }
        }
    }

    #[test]
    fn what_follows_the_end_is_refused_or_another_member() {
        for format in FORMATS {
            let mut coded = encoded(format, b"one");
            coded.push(0);
            assert_eq!(decoded(format, &coded, Members::One, (100, 100)), Err(CodingError::Trailing), "{format:?}");
        }
        let mut coded = encoded(Format::Gzip, b"one");
        coded.extend(encoded(Format::Gzip, b"two"));
        assert_eq!(decoded(Format::Gzip, &coded, Members::One, (100, 100)), Err(CodingError::Trailing));
        for pieces in [(1, 1), (100, 100)] {
            assert_eq!(decoded(Format::Gzip, &coded, Members::Any, pieces).as_deref(), Ok(&b"onetwo"[..]));
        }
        // Some servers pad.
        coded.extend([0; 9]);
        assert_eq!(decoded(Format::Gzip, &coded, Members::Any, (3, 3)).as_deref(), Ok(&b"onetwo"[..]));
    }

    #[test]
    fn what_is_no_such_data_is_invalid() {
        for format in FORMATS {
            let outcome = decoded(format, &[0xff; 40], Members::One, (100, 100));
            assert_eq!(outcome, Err(CodingError::Invalid), "{format:?}");
        }
        let mut coded = encoded(Format::Gzip, b"checked");
        let checksum = coded.len() - 8;
        coded[checksum] ^= 1;
        assert_eq!(decoded(Format::Gzip, &coded, Members::One, (1, 1)), Err(CodingError::Invalid));
    }

    #[test]
    fn a_gzip_header_with_every_optional_field_is_skipped() {
        let coded = encoded(Format::Gzip, b"text");
        let mut full = coded[..10].to_vec();
        full[3] = 0b0001_1110;
        full.extend([3, 0, 1, 2, 3]);
        full.extend(b"name\0comment\0");
        full.extend([9, 9]);
        full.extend(&coded[10..]);
        for pieces in [(1, 100), (100, 100)] {
            assert_eq!(decoded(Format::Gzip, &full, Members::One, pieces).as_deref(), Ok(&b"text"[..]));
        }
    }

    #[test]
    fn what_was_flushed_can_be_decoded_before_the_end() {
        for format in FORMATS {
            let mut encoder = Encoder::new(format);
            let mut coded = encoder.write(b"now").expect("it encodes");
            coded.extend(encoder.flush().expect("it encodes"));
            let mut decoder = Decoder::new(format, Members::One);
            let mut plain = Vec::new();
            decoder.decode(&mut &*coded, &mut plain, 100).expect("it decodes");
            assert_eq!(plain, b"now", "{format:?}");
        }
    }

    #[test]
    fn a_header_names_one_coding() {
        for (value, format) in [
            ("gzip", Some(Format::Gzip)),
            (" GZIP ", Some(Format::Gzip)),
            ("br", Some(Format::Brotli)),
            ("deflate", None),
            ("x-gzip", None),
            ("gzip, br", None),
            ("", None),
        ] {
            assert_eq!(Format::of_header(value.as_bytes()), format, "{value:?}");
        }
    }
}
