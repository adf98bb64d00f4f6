//! Input from outside that is changed at random, against the runtime itself: bytes on a socket, and the stored bodies of messages.
//!
//! The corpora `fuzz/corpus/http` and `fuzz/corpus/queue` are replayed. With `AEROSTACK_FUZZ_SECONDS=600` changed inputs follow for as
//! long, each round of them from a seed of its own, from `AEROSTACK_FUZZ_SEED` on (1 where it is not set). An input that breaks
//! something is left in `fuzz/artifacts/<target>`, and the seed of its round is named; where the process died, the seed is in the
//! file `last` there. Mend it, and add that input to the corpus.

mod answers;
mod http;
mod queue;

use std::str::FromStr;
use std::time::{Duration, Instant};

use aerostack_fuzz_mutator::{InHand, Input, Random, corpus, keep, mutated};
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    http::trials(trials);
    queue::trials(trials);
}

/// An input that broke something, and what.
struct Broken {
    input: Input,
    what: String,
}

/// Has `round` try the corpus, and then changed inputs for as long as somebody wants, so many at once.
async fn fuzz(target: &str, at_once: usize, round: impl AsyncFn(&[Input]) -> Result<(), Broken>) {
    let corpus = corpus(target);
    for inputs in corpus.chunks(at_once) {
        if let Err(Broken { input, what }) = round(inputs).await {
            panic!("{target}/{}: {what}", input.name);
        }
    }
    let seconds = Duration::from_secs(from_environment("AEROSTACK_FUZZ_SECONDS", 0));
    if seconds.is_zero() {
        return;
    }
    let first: u64 = from_environment("AEROSTACK_FUZZ_SEED", 1);
    let (began, mut seed) = (Instant::now(), first);
    let mut in_hand = InHand::of(target);
    while began.elapsed() < seconds {
        in_hand.takes(seed.to_string().as_bytes());
        let mut random = Random::new(seed);
        let changed = |number| Input { name: format!("changed-{number}"), bytes: mutated(&corpus, &mut random) };
        let inputs: Vec<Input> = (0..at_once).map(changed).collect();
        if let Err(Broken { input, what }) = round(&inputs).await {
            let path = keep(target, &input.bytes);
            panic!("{} (AEROSTACK_FUZZ_SEED={seed}): {what}", path.display());
        }
        seed += 1;
    }
    let tried = (seed - first) * at_once as u64;
    eprintln!(
        "{target}: {tried} inputs in {} s, seeds {first} to {}, none breaks anything",
        seconds.as_secs(),
        seed - 1
    );
}

fn from_environment<T: FromStr>(name: &str, otherwise: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => otherwise,
    }
}
