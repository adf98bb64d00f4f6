//! The merging of neighbours, best first, that both kinds of tokenizers do.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A part of a text on its way to be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Symbol {
    /// What it is, where it is one.
    pub(super) token: Option<u32>,
    /// Its first byte.
    pub(super) start: usize,
    /// Behind its last byte.
    pub(super) end: usize,
}

/// What two neighbours may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    /// The lowest is done first.
    pub(super) rank: f32,
    /// The token.
    pub(super) token: u32,
}

/// Joins neighbours, the lowest rank first and of equal ranks the leftmost, until none can be joined. The time grows with
/// n log n.
pub(super) fn merge(mut symbols: Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<Joined>) -> Vec<Symbol> {
    const NONE: usize = usize::MAX;
    let count = symbols.len();
    let mut previous: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
    let mut next: Vec<usize> = (0..count).map(|at| if at + 1 < count { at + 1 } else { NONE }).collect();
    let mut candidates = BinaryHeap::new();
    let consider = |symbols: &[Symbol], left: usize, right: usize, candidates: &mut BinaryHeap<Candidate>| {
        if left != NONE
            && right != NONE
            && let Some(joined) = join(&symbols[left], &symbols[right])
        {
            candidates.push(Candidate { joined, left, right, start: symbols[left].start, end: symbols[right].end });
        }
    };
    for right in 1..count {
        consider(&symbols, right - 1, right, &mut candidates);
    }
    while let Some(Candidate { joined, left, right, start, end }) = candidates.pop() {
        // One of the two has become part of something else since.
        if next[left] != right
            || symbols[left].start != start
            || symbols[right].end != end
            || symbols[right].start == usize::MAX
        {
            continue;
        }
        symbols[left] = Symbol { token: Some(joined.token), start, end };
        symbols[right].start = usize::MAX;
        let after = next[right];
        next[left] = after;
        if after != NONE {
            previous[after] = left;
        }
        next[right] = NONE;
        consider(&symbols, previous[left], left, &mut candidates);
        consider(&symbols, left, after, &mut candidates);
    }
    symbols.retain(|symbol| symbol.start != usize::MAX);
    symbols
}

struct Candidate {
    joined: Joined,
    left: usize,
    right: usize,
    start: usize,
    end: usize,
}

impl Ord for Candidate {
    /// The greatest of a heap comes out first: the lowest rank, then the leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        other.joined.rank.total_cmp(&self.joined.rank).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
