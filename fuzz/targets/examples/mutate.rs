//! A fuzzer for a stable compiler: changes inputs of the corpus at random, without seeing what code they reach.
//!
//! `mutate <target> <seconds> [seed]` prints how many inputs were tried, and stops at the first that breaks a property or has
//! more memory allocated than it may, which it leaves in `fuzz/artifacts/<target>`. One that ends the process, as a stack that
//! overflows does, is the file `last` there.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{env, panic};

use aerostack_fuzz_mutator::{InHand, Random, corpus, keep, mutated};
use aerostack_fuzz_targets::{CountingAllocator, LARGEST_ALLOCATION, target};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MOST_BYTES: usize = 256 * 1024 * 1024;
const SLOW: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let parsed = match &arguments[..] {
        [name, seconds, rest @ ..] => {
            target(name).zip(seconds.parse().ok()).map(|(target, seconds)| (target, seconds, rest))
        }
        _ => None,
    };
    let Some((target, seconds, rest)) = parsed else {
        eprintln!("usage: mutate <target> <seconds> [seed]");
        return ExitCode::from(2);
    };
    let seed = rest.first().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let corpus = corpus(target.name);
    let mut random = Random::new(seed);
    let mut in_hand = InHand::of(target.name);
    let began = Instant::now();
    let mut tried = 0_u64;
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(seconds) {
        let input = mutated(&corpus, &mut random);
        in_hand.takes(&input);
        LARGEST_ALLOCATION.store(0, Ordering::Relaxed);
        let started = Instant::now();
        let outcome = panic::catch_unwind(|| (target.run)(&input));
        let took = started.elapsed();
        slowest = slowest.max(took);
        tried += 1;
        let largest = LARGEST_ALLOCATION.load(Ordering::Relaxed);
        if outcome.is_err() || largest > MOST_BYTES || took > SLOW {
            let path = keep(target.name, &input);
            eprintln!(
                "{}: input {tried} (seed {seed}): {took:?}, {largest} bytes at once: {}",
                target.name,
                path.display()
            );
            return ExitCode::FAILURE;
        }
    }
    eprintln!("{}: {tried} inputs in {seconds} s, none breaks a property; the slowest took {slowest:?}", target.name);
    ExitCode::SUCCESS
}
