use std::fmt;

use crate::ids::{Ids, SpanId, TraceId};

/// The header that carries a [`SpanContext`].
pub const TRACEPARENT: &str = "traceparent";

/// A span as other processes know it. Displayed as the value of `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace it belongs to.
    pub trace: TraceId,
    /// Itself.
    pub span: SpanId,
    flags: u8,
}

/// The bits of the flags that version 00 knows: sampled, and random-trace-id of its second level.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

impl SpanContext {
    /// The first span of a new trace. `records` says whether anybody keeps it.
    pub fn root(ids: &Ids, records: Sampling) -> Self {
        Self { trace: ids.trace(), span: ids.span(), flags: RANDOM }.with(records)
    }

    /// A span below this one, sampled like it.
    #[must_use]
    pub fn child(self, ids: &Ids) -> Self {
        Self { span: ids.span(), ..self }
    }

    /// Reads a header's value (W3C Trace Context, section 3.2). `None` for what is not valid, which is to be ignored. A version
    /// later than 00 is read as far as 00 goes, as its section 4 says.
    pub fn parse(header: &[u8]) -> Option<Self> {
        const LENGTH: usize = 55;
        let version = hex(header.get(..2)?)?;
        let is_whole = match version {
            0xff => false,
            0 => header.len() == LENGTH,
            _ => header.len() == LENGTH || header.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|place| header.get(*place) == Some(&b'-'));
        if !is_whole || !dashes {
            return None;
        }
        let trace = hex(&header[3..35])?;
        let span = u64::try_from(hex(&header[36..52])?).ok()?;
        let flags = u8::try_from(hex(&header[53..55])?).ok()? & KNOWN_FLAGS;
        (trace != 0 && span != 0).then_some(Self { trace: TraceId(trace), span: SpanId(span), flags })
    }

    /// Whether whoever began the trace wants it kept.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    fn with(self, records: Sampling) -> Self {
        match records {
            Sampling::On => Self { flags: self.flags | SAMPLED, ..self },
            Sampling::Off => self,
        }
    }
}

/// Whether the spans of a new trace are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// They are.
    On,
    /// Nobody keeps them.
    Off,
}

impl fmt::Display for SpanContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Lower-case digits only, as the specification wants them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_read_and_written_back_as_it_was() {
        let context = SpanContext::parse(VALID.as_bytes()).expect("it is valid");
        assert_eq!(context.to_string(), VALID);
        assert!(context.is_sampled());
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let unsampled = SpanContext::parse(VALID.replace("-01", "-00").as_bytes()).expect("it is valid");
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn what_the_specification_calls_invalid_is_ignored() {
        for header in [
            "",
            "00",
            "garbage",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
        ] {
            assert_eq!(SpanContext::parse(header.as_bytes()), None, "{header:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        let later = VALID.replace("00-4b", "cc-4b") + "-what the future brings";
        let context = SpanContext::parse(later.as_bytes()).expect("it begins like version 00");
        assert_eq!(context.to_string(), VALID);
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let ids = Ids::random();
        let parent = SpanContext::parse(VALID.as_bytes()).expect("it is valid");
        let child = parent.child(&ids);
        assert_eq!((child.trace, child.is_sampled()), (parent.trace, true));
        assert_ne!(child.span, parent.span);
    }

    #[test]
    fn a_root_is_sampled_where_somebody_keeps_it() {
        let ids = Ids::random();
        assert!(SpanContext::root(&ids, Sampling::On).is_sampled());
        let root = SpanContext::root(&ids, Sampling::Off);
        assert!(!root.is_sampled());
        assert_eq!(SpanContext::parse(root.to_string().as_bytes()), Some(root));
    }
}
