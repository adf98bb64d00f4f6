//! Every input that once was interesting, again.

use std::sync::atomic::Ordering;

use aerostack_fuzz_mutator::corpus;
use aerostack_fuzz_targets::{CountingAllocator, LARGEST_ALLOCATION, TARGETS};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// No input of the corpus is a thousandth of this.
const MOST_BYTES: usize = 256 * 1024 * 1024;

#[test]
fn every_input_of_the_corpus_keeps_the_properties_of_its_target() {
    for target in TARGETS {
        for input in corpus(target.name) {
            LARGEST_ALLOCATION.store(0, Ordering::Relaxed);
            (target.run)(&input.bytes);
            let largest = LARGEST_ALLOCATION.load(Ordering::Relaxed);
            assert!(largest <= MOST_BYTES, "{}/{} has {largest} bytes allocated at once", target.name, input.name);
        }
    }
}
