//! What the fuzzers here share: the corpus, inputs changed at random, and where one that broke something is kept.
//!
//! Nothing here sees what code an input reaches, so it needs no special compiler.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Changed inputs are cut here: longer ones are only more of the same.
const LONGEST: usize = 64 * 1024;

/// An input and what it is called.
#[derive(Debug, Clone)]
pub struct Input {
    /// In the corpus the name of its file, which says why it is there.
    pub name: String,
    /// The input itself.
    pub bytes: Vec<u8>,
}

/// Numbers at random, the same ones again for the same seed: SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// The inputs in `fuzz/corpus/<target>`, by name. A target without any is a mistake.
pub fn corpus(target: &str) -> Vec<Input> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<Input> = entries
        .map(|entry| {
            let entry = entry.expect("the folder can be read");
            let bytes = fs::read(entry.path()).expect("the input can be read");
            Input { name: entry.file_name().to_string_lossy().into_owned(), bytes }
        })
        .collect();
    assert!(!inputs.is_empty(), "{target} has a corpus");
    inputs.sort_by(|one, other| one.name.cmp(&other.name));
    inputs
}

/// One input of the corpus, or none of its bytes, with up to eight changes: bits, bytes, pieces of it and of its neighbours, numbers
/// that lie at borders.
pub fn mutated(corpus: &[Input], random: &mut Random) -> Vec<u8> {
    const NUMBERS: [&[u8]; 8] =
        [b"0", b"-1", b"18446744073709551615", b"9223372036854775808", b"1e308", &[0xff; 8], &[0xff; 4], &[0; 8]];
    let mut input = corpus.get(random.below(corpus.len() + 1)).map_or_else(Vec::new, |chosen| chosen.bytes.clone());
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
                let other = &corpus[random.below(corpus.len())].bytes;
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

/// Leaves an input that broke something in `fuzz/artifacts/<target>`.
pub fn keep(target: &str, input: &[u8]) -> PathBuf {
    let path = artifact(target, &format!("input-{}", input.len()));
    fs::write(&path, input).expect("the input can be kept");
    path
}

/// The bytes in hand, in `fuzz/artifacts/<target>/last`: there they outlive a process that dies of them without a word. Gone once
/// this is dropped in peace.
#[derive(Debug)]
pub struct InHand {
    path: PathBuf,
    file: File,
}

impl InHand {
    /// Nothing yet.
    pub fn of(target: &str) -> Self {
        let path = artifact(target, "last");
        let file = File::create(&path).expect("the file can be made");
        Self { path, file }
    }

    /// These are tried next.
    pub fn takes(&mut self, bytes: &[u8]) {
        let written = self.file.rewind().and_then(|()| self.file.write_all(bytes));
        written.and_then(|()| self.file.set_len(bytes.len() as u64)).expect("the file can be written");
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            fs::remove_file(&self.path).expect("the file is there");
        }
    }
}

fn artifact(target: &str, name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artifacts").join(target);
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder.join(name)
}
