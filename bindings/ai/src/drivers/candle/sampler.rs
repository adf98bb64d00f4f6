//! The choice of the next token.

use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::Sampling;

/// How many of the latest tokens the repetition penalty looks at, as in llama.cpp.
const REPETITION_WINDOW: usize = 64;

/// So many refused choices, then every token is asked about.
const PATIENCE: usize = 16;

/// Chooses the tokens of one answer.
pub(super) struct Sampler {
    sampling: Sampling,
    random: SmallRng,
    /// Prompt and answer.
    seen: Vec<u32>,
    /// How often each token stands in the answer.
    answered: HashMap<u32, u32>,
    /// Reused from token to token.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for the answer to a prompt.
    pub(super) fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let random = sampling.seed.map_or_else(SmallRng::from_entropy, SmallRng::seed_from_u64);
        let seen = prompt[prompt.len().saturating_sub(REPETITION_WINDOW)..].to_vec();
        Self { sampling, random, seen, answered: HashMap::new(), candidates: Vec::new() }
    }

    /// The next token among those that `allows`, or `None` where it allows none. `logits` has one score a token and is changed.
    pub(super) fn next(&mut self, logits: &mut [f32], mut allows: impl FnMut(u32) -> bool) -> Option<u32> {
        self.penalise(logits);
        for _ in 0..PATIENCE {
            let token = self.choose(logits)?;
            if allows(token) {
                return Some(self.take(token));
            }
            logits[token as usize] = f32::NEG_INFINITY;
        }
        for (token, logit) in (0..).zip(logits.iter_mut()) {
            if *logit > f32::NEG_INFINITY && !allows(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let token = self.choose(logits)?;
        Some(self.take(token))
    }

    fn take(&mut self, token: u32) -> u32 {
        self.seen.push(token);
        *self.answered.entry(token).or_default() += 1;
        token
    }

    fn penalise(&self, logits: &mut [f32]) {
        if let Some(penalty) = self.sampling.repetition_penalty.filter(|penalty| *penalty > 0.0) {
            let mut recent = self.seen[self.seen.len().saturating_sub(REPETITION_WINDOW)..].to_vec();
            recent.sort_unstable();
            recent.dedup();
            for token in recent {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                }
            }
        }
        let frequency = self.sampling.frequency_penalty.unwrap_or(0.0);
        let presence = self.sampling.presence_penalty.unwrap_or(0.0);
        if frequency != 0.0 || presence != 0.0 {
            for (token, count) in &self.answered {
                if let Some(logit) = logits.get_mut(*token as usize) {
                    *logit -= frequency * *count as f32 + presence;
                }
            }
        }
    }

    fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let (best, highest) = highest(logits)?;
        let temperature = self.sampling.temperature;
        if temperature <= 0.0 {
            return Some(best);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        // What is e^-30 times as likely as the best is never chosen.
        let floor = highest - 30.0 * temperature;
        candidates.extend((0..).zip(logits.iter().copied()).filter(|(_, logit)| *logit >= floor));
        let likeliest_first = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let Some(top_k) = self.sampling.top_k.map(|top_k| top_k as usize)
            && top_k < candidates.len()
        {
            candidates.select_nth_unstable_by(top_k, likeliest_first);
            candidates.truncate(top_k);
        }
        let mut total = 0.0;
        for (_, score) in candidates.iter_mut() {
            *score = ((*score - highest) / temperature).exp();
            total += *score;
        }
        if let Some(top_p) = self.sampling.top_p.filter(|top_p| *top_p < 1.0) {
            // A token below this line cannot be among those that make up `top_p`.
            let line = total * (1.0 - top_p) / candidates.len() as f32;
            candidates.retain(|(_, weight)| *weight >= line);
            candidates.sort_unstable_by(likeliest_first);
            let mut sum = 0.0;
            let enough = candidates.iter().position(|(_, weight)| {
                sum += weight;
                sum >= total * top_p
            });
            candidates.truncate(enough.map_or(candidates.len(), |at| at + 1));
            total = candidates.iter().map(|(_, weight)| weight).sum();
        }
        let mut left = self.random.gen_range(0.0..1.0) * total;
        for (token, weight) in candidates.iter() {
            left -= weight;
            if left <= 0.0 {
                return Some(*token);
            }
        }
        candidates.last().map(|(token, _)| *token)
    }
}

/// The first token with the highest score, and that score; `None` where no token has any.
fn highest(logits: &[f32]) -> Option<(u32, f32)> {
    let mut highest: Option<(u32, f32)> = None;
    for (token, logit) in (0..).zip(logits.iter().copied()) {
        if logit > highest.map_or(f32::NEG_INFINITY, |(_, best)| best) {
            highest = Some((token, logit));
        }
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 4.0, 2.0, 3.0, -5.0];

    fn sampling(temperature: f32) -> Sampling {
        Sampling { temperature, seed: Some(7), ..Sampling::default() }
    }

    fn choices(sampling: Sampling, count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, &[]);
        (0..count).map(|_| sampler.next(&mut LOGITS.to_vec(), |_| true).expect("a token")).collect()
    }

    #[test]
    fn without_temperature_the_likeliest_is_taken() {
        assert_eq!(choices(sampling(0.0), 4), [1; 4]);
    }

    #[test]
    fn of_equal_scores_the_first_is_taken() {
        let mut sampler = Sampler::new(sampling(0.0), &[]);
        assert_eq!(sampler.next(&mut [1.0, 3.0, 3.0], |_| true), Some(1));
    }

    #[test]
    fn a_seed_makes_the_choice_repeatable() {
        assert_eq!(choices(sampling(1.0), 50), choices(sampling(1.0), 50));
        let other = Sampling { seed: Some(8), ..sampling(1.0) };
        assert_ne!(choices(sampling(1.0), 50), choices(other, 50));
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let counts = choices(sampling(1.0), 20_000).into_iter().fold([0u32; 5], |mut counts, token| {
            counts[token as usize] += 1;
            counts
        });
        let total: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
        for (count, logit) in counts.iter().zip(LOGITS) {
            let (share, expected) = (*count as f32 / 20_000.0, logit.exp() / total);
            assert!((share - expected).abs() < 0.02, "{share} against {expected}");
        }
    }

    #[test]
    fn top_k_keeps_the_likeliest() {
        let chosen = choices(Sampling { top_k: Some(2), ..sampling(5.0) }, 200);
        assert!(chosen.iter().all(|token| [1, 3].contains(token)) && chosen.contains(&1) && chosen.contains(&3));
        assert_eq!(choices(Sampling { top_k: Some(1), ..sampling(5.0) }, 10), [1; 10]);
    }

    #[test]
    fn top_p_keeps_the_least_that_make_it_up() {
        // The shares are 64 %, 24 %, 9 %, 3 %.
        let chosen = choices(Sampling { top_p: Some(0.8), ..sampling(1.0) }, 300);
        assert!(chosen.iter().all(|token| [1, 3].contains(token)) && chosen.contains(&3));
        assert_eq!(choices(Sampling { top_p: Some(0.0), ..sampling(1.0) }, 10), [1; 10]);
    }

    #[test]
    fn what_is_not_allowed_is_never_chosen() {
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(sampling(temperature), &[]);
            for _ in 0..50 {
                assert_eq!(sampler.next(&mut LOGITS.to_vec(), |token| token == 4), Some(4));
            }
            assert_eq!(sampler.next(&mut LOGITS.to_vec(), |_| false), None);
        }
    }

    #[test]
    fn many_refusals_end_in_the_same_choice() {
        let mut logits: Vec<f32> = (0..1000).map(|token| token as f32).collect();
        let mut sampler = Sampler::new(sampling(0.0), &[]);
        assert_eq!(sampler.next(&mut logits, |token| token < 100), Some(99));
    }

    #[test]
    fn penalties_make_room_for_other_tokens() {
        let repetition = Sampling { repetition_penalty: Some(2.0), ..sampling(0.0) };
        assert_eq!(Sampler::new(repetition, &[1]).next(&mut LOGITS.to_vec(), |_| true), Some(3));
        let presence = Sampling { presence_penalty: Some(2.0), ..sampling(0.0) };
        assert_eq!(choices(presence, 2), [1, 3]);
        let frequency = Sampling { frequency_penalty: Some(0.6), ..sampling(0.0) };
        assert_eq!(choices(frequency, 4), [1, 1, 3, 1]);
        // What the prompt says counts for repetition only.
        assert_eq!(Sampler::new(presence, &[1]).next(&mut LOGITS.to_vec(), |_| true), Some(1));
    }
}
