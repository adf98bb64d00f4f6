use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

/// Names one request or event in the log. Displayed as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// Names a trace; not zero. Displayed as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub(crate) u128);

/// Names a span; not zero. Displayed as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub(crate) u64);

/// Makes ids for one thread: unlike any that another source makes, but no secret (SplitMix64 from a seed of the operating
/// system's).
#[derive(Debug)]
pub struct Ids(Cell<u64>);

/// The step of SplitMix64: odd, so that the state takes every value before one comes again.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Ids {
    /// A source with a seed that nobody chose.
    pub fn random() -> Self {
        // The standard library draws the keys of a hasher from the operating system, once a thread, and counts on from there.
        Self(Cell::new(RandomState::new().hash_one(STEP)))
    }

    /// A request's id.
    pub fn request(&self) -> RequestId {
        RequestId(self.next())
    }

    /// A trace's id.
    pub fn trace(&self) -> TraceId {
        loop {
            let id = (u128::from(self.next()) << 64) | u128::from(self.next());
            if id != 0 {
                return TraceId(id);
            }
        }
    }

    /// A span's id.
    pub fn span(&self) -> SpanId {
        loop {
            let id = self.next();
            if id != 0 {
                return SpanId(id);
            }
        }
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(STEP);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl TraceId {
    /// As the wire has it, the most significant byte first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// As the wire has it, the most significant byte first.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_ids_of_several_sources_are_the_same() {
        let mut seen = HashSet::new();
        for source in (0..100).map(|_| Ids::random()) {
            for _ in 0..1000 {
                assert!(seen.insert(source.request()));
            }
        }
    }

    #[test]
    fn ids_are_displayed_with_all_their_digits() {
        assert_eq!(RequestId(0xa).to_string(), "000000000000000a");
        assert_eq!(SpanId(0xb).to_string(), "000000000000000b");
        assert_eq!(TraceId(0xc).to_string(), format!("{}c", "0".repeat(31)));
    }
}
