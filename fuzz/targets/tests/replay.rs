//! Every input that once was interesting, again.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use aerostack_fuzz_targets::{CountingAllocator, LARGEST_ALLOCATION, TARGETS};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// No input of the corpus is a thousandth of this.
const MOST_BYTES: usize = 256 * 1024 * 1024;

#[test]
fn every_input_of_the_corpus_keeps_the_properties_of_its_target() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name);
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("the folder can be read").path())
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} has a corpus", target.name);
        for path in paths {
            let input = fs::read(&path).expect("the input can be read");
            LARGEST_ALLOCATION.store(0, Ordering::Relaxed);
            (target.run)(&input);
            let largest = LARGEST_ALLOCATION.load(Ordering::Relaxed);
            assert!(largest <= MOST_BYTES, "{} has {largest} bytes allocated at once", path.display());
        }
    }
}
