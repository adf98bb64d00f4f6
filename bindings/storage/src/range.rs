//! Which bytes of an object a caller wants (Cloudflare contract, section 4.3).

use aerostack_bindings::Result;

use crate::limits::Problem;

/// The bytes a caller asked for, before the size of the object is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RangeRequest {
    /// All of them.
    #[default]
    Whole,
    /// From an offset, or so many, or both.
    Span {
        /// The first byte, counted from zero.
        offset: Option<u64>,
        /// How many bytes.
        length: Option<u64>,
    },
    /// So many bytes at the end.
    Suffix(u64),
    /// The value of a `Range` header. One that is not valid, or has several ranges, means all bytes.
    Header(String),
}

/// Bytes of an object, within its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte, counted from zero.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl RangeRequest {
    /// The bytes of an object of `size` bytes.
    ///
    /// # Errors
    /// [`Problem::InvalidRange`] where there are none.
    pub fn resolve(&self, size: u64) -> Result<ByteRange> {
        match self {
            Self::Whole => Ok(ByteRange { offset: 0, length: size }),
            Self::Span { offset, length } => span(offset.unwrap_or(0), *length, size),
            Self::Suffix(0) => Err(Problem::InvalidRange.into()),
            Self::Suffix(suffix) => {
                let suffix = (*suffix).min(size);
                span(size - suffix, Some(suffix), size)
            }
            Self::Header(header) => Ok(single_range(header, size).unwrap_or(ByteRange { offset: 0, length: size })),
        }
    }
}

fn span(offset: u64, length: Option<u64>, size: u64) -> Result<ByteRange> {
    let Some(rest) = size.checked_sub(offset) else { return Err(Problem::InvalidRange.into()) };
    match length.unwrap_or(rest) {
        0 => Err(Problem::InvalidRange.into()),
        length => Ok(ByteRange { offset, length: length.min(rest) }),
    }
}

/// The one range of a `Range: bytes=...` header that lies within `size` bytes.
fn single_range(header: &str, size: u64) -> Option<ByteRange> {
    let (unit, ranges) = header.split_once('=')?;
    if !unit.trim_matches(' ').eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = ranges.split_once('-')?;
    match (number(first).ok()?, number(last).ok()?) {
        (Some(first), Some(last)) if first <= last && first < size => {
            Some(ByteRange { offset: first, length: last.min(size - 1) - first + 1 })
        }
        (Some(first), None) if first < size => Some(ByteRange { offset: first, length: size - first }),
        (None, Some(suffix)) if 0 < suffix && suffix < size => {
            Some(ByteRange { offset: size - suffix, length: suffix })
        }
        _ => None,
    }
}

/// A text that is neither a number nor empty, as is the rest of a list of several ranges.
struct NotANumber;

/// The number in a text of digits between spaces; `None` where there are only spaces.
fn number(text: &str) -> std::result::Result<Option<u64>, NotANumber> {
    let digits = text.trim_matches(' ');
    if digits.is_empty() {
        return Ok(None);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotANumber);
    }
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(request: &RangeRequest, size: u64) -> Option<(u64, u64)> {
        request.resolve(size).ok().map(|range| (range.offset, range.length))
    }

    fn span(offset: impl Into<Option<u64>>, length: impl Into<Option<u64>>) -> RangeRequest {
        RangeRequest::Span { offset: offset.into(), length: length.into() }
    }

    #[test]
    fn a_span_is_cut_at_the_end() {
        assert_eq!(resolved(&RangeRequest::Whole, 10), Some((0, 10)));
        assert_eq!(resolved(&RangeRequest::Whole, 0), Some((0, 0)));
        assert_eq!(resolved(&span(3, None), 10), Some((3, 7)));
        assert_eq!(resolved(&span(3, 4), 10), Some((3, 4)));
        assert_eq!(resolved(&span(3, 100), 10), Some((3, 7)));
        assert_eq!(resolved(&span(None, 4), 10), Some((0, 4)));
        assert_eq!(resolved(&span(10, 1), 10), Some((10, 0)));
        assert_eq!(resolved(&span(0, u64::MAX), 10), Some((0, 10)));
        assert_eq!(resolved(&RangeRequest::Suffix(4), 10), Some((6, 4)));
        assert_eq!(resolved(&RangeRequest::Suffix(40), 10), Some((0, 10)));
    }

    #[test]
    fn a_span_of_nothing_is_refused() {
        for (request, size) in [
            (span(11, None), 10),
            (span(11, 1), 10),
            (span(10, None), 10),
            (span(0, 0), 10),
            (span(0, None), 0),
            (RangeRequest::Suffix(0), 10),
            (RangeRequest::Suffix(1), 0),
        ] {
            assert_eq!(resolved(&request, size), None, "{request:?} of {size}");
        }
    }

    #[test]
    fn a_header_is_honoured_where_it_has_one_range_and_ignored_otherwise() {
        let header = |text: &str| resolved(&RangeRequest::Header(text.to_owned()), 10);
        assert_eq!(header("bytes=2-5"), Some((2, 4)));
        assert_eq!(header(" Bytes = 2 - 50 "), Some((2, 8)));
        assert_eq!(header("bytes=2-"), Some((2, 8)));
        assert_eq!(header("bytes=-3"), Some((7, 3)));
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=-0",
            "bytes=-10",
            "bytes=-11",
            "bytes=5-2",
            "bytes=10-",
            "bytes=10-12",
            "bytes=0-1,3-4",
            "bytes=a-b",
            "chars=0-1",
            "bytes=0-1-2",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(header(ignored), Some((0, 10)), "{ignored}");
        }
    }
}
