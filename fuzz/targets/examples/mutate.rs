//! A fuzzer for a stable compiler: changes inputs of the corpus at random, without seeing what code they reach.
//!
//! `mutate <target> <seconds> [seed]` prints how many inputs were tried, and stops at the first that breaks a property or has
//! more memory allocated than it may, which it leaves in `fuzz/artifacts/<target>`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use aerostack_fuzz_targets::{CountingAllocator, LARGEST_ALLOCATION, Target, target};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MOST_BYTES: usize = 256 * 1024 * 1024;
const SLOW: Duration = Duration::from_secs(2);
const LONGEST: usize = 64 * 1024;

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

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
    let corpus = corpus(target);
    let mut random = Random(seed);
    let began = Instant::now();
    let mut tried = 0_u64;
    let mut slowest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(seconds) {
        let input = mutated(&corpus, &mut random);
        LARGEST_ALLOCATION.store(0, Ordering::Relaxed);
        let started = Instant::now();
        let outcome = panic::catch_unwind(|| (target.run)(&input));
        let took = started.elapsed();
        slowest = slowest.max(took);
        tried += 1;
        let largest = LARGEST_ALLOCATION.load(Ordering::Relaxed);
        if outcome.is_err() || largest > MOST_BYTES || took > SLOW {
            let path = keep(target, &input);
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

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut corpus: Vec<Vec<u8>> = entries.filter_map(|entry| fs::read(entry.ok()?.path()).ok()).collect();
    corpus.sort();
    corpus.push(Vec::new());
    corpus
}

fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const NUMBERS: [&[u8]; 8] =
        [b"0", b"-1", b"18446744073709551615", b"9223372036854775808", b"1e308", &[0xff; 8], &[0xff; 4], &[0; 8]];
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(8) {
        let place = random.below(input.len() + 1);
        match random.below(7) {
            0 if !input.is_empty() => {
                let place = random.below(input.len());
                input[place] ^= 1 << random.below(8);
            }
            1 if !input.is_empty() => {
                let place = random.below(input.len());
                input[place] = random.next() as u8;
            }
            2 => input.insert(place, random.next() as u8),
            3 => {
                let end = (place + random.below(16)).min(input.len());
                input.drain(place..end);
            }
            4 => {
                let end = (place + random.below(32)).min(input.len());
                let copy = input[place..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let end = (from + random.below(64)).min(other.len());
                input.splice(place..place, other[from..end].iter().copied());
            }
            _ => {
                let number = NUMBERS[random.below(NUMBERS.len())];
                let end = (place + number.len()).min(input.len());
                input.splice(place..end, number.iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn keep(target: Target, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artifacts").join(target.name);
    let path = folder.join(format!("input-{}", input.len()));
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)).expect("the input can be kept");
    path
}
