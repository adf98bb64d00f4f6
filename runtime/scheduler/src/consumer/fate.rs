use std::time::Duration;

use aerostack_queue::{Decision, Verdict};

use super::{ConsumerSettings, QueueName};
use crate::target::HandlerOutcome;

/// What becomes of a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is done with.
    Acked,
    /// It is delivered again after the delay.
    Retried(Duration),
    /// Its last attempt failed: it moves to the dead-letter queue.
    DeadLettered(QueueName),
    /// Its last attempt failed, and there is no dead-letter queue.
    Dropped,
}

/// A worker that cannot be started is not asked again at once.
const RETRY_OF_NOT_RUN: Duration = Duration::from_secs(5);

impl Fate {
    /// The rules of section 3.3 of the Cloudflare contract: an `ack()` stands even when the handler fails afterwards, what is
    /// undecided follows the handler, and a message fails `max_retries + 1` times at most. `attempts` counts deliveries, this one
    /// included.
    pub fn of(decision: Decision, outcome: HandlerOutcome, attempts: u32, settings: &ConsumerSettings) -> Self {
        if outcome == HandlerOutcome::NotRun {
            return Self::Retried(settings.retry_delay.max(RETRY_OF_NOT_RUN));
        }
        let delay = match (decision, outcome) {
            (Decision::Ack, _) | (Decision::Undecided, HandlerOutcome::Ok) => return Self::Acked,
            (Decision::Retry(delay), _) => delay,
            (Decision::Undecided, HandlerOutcome::Exception | HandlerOutcome::NotRun) => None,
        };
        if attempts < settings.max_attempts() {
            return Self::Retried(delay.unwrap_or(settings.retry_delay));
        }
        settings.dead_letter_queue.clone().map_or(Self::Dropped, Self::DeadLettered)
    }

    /// What the driver is told.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Acked | Self::Dropped => Verdict::Delete,
            Self::Retried(delay) => Verdict::Retry(*delay),
            Self::DeadLettered(queue) => Verdict::DeadLetter(queue.state.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_retries: u32) -> ConsumerSettings {
        ConsumerSettings { max_retries, retry_delay: Duration::from_secs(7), ..ConsumerSettings::default() }
    }

    #[test]
    fn a_message_whose_handler_could_not_be_called_is_never_given_up() {
        let fate = Fate::of(Decision::Undecided, HandlerOutcome::NotRun, 9, &settings(0));
        assert_eq!(fate, Fate::Retried(Duration::from_secs(7)));
        let eager = ConsumerSettings { retry_delay: Duration::ZERO, ..settings(0) };
        assert_eq!(Fate::of(Decision::Undecided, HandlerOutcome::NotRun, 9, &eager), Fate::Retried(RETRY_OF_NOT_RUN));
    }

    #[test]
    fn an_ack_stands_whatever_happens_after_it() {
        for outcome in [HandlerOutcome::Ok, HandlerOutcome::Exception] {
            assert_eq!(Fate::of(Decision::Ack, outcome, 9, &settings(0)), Fate::Acked);
        }
    }

    #[test]
    fn the_undecided_follow_the_handler() {
        assert_eq!(Fate::of(Decision::Undecided, HandlerOutcome::Ok, 9, &settings(0)), Fate::Acked);
        let failed = Fate::of(Decision::Undecided, HandlerOutcome::Exception, 1, &settings(1));
        assert_eq!(failed, Fate::Retried(Duration::from_secs(7)));
    }

    #[test]
    fn a_delay_of_the_handler_beats_the_consumers_even_when_it_is_zero() {
        let decided = |delay| Fate::of(Decision::Retry(delay), HandlerOutcome::Ok, 1, &settings(1));
        assert_eq!(decided(None), Fate::Retried(Duration::from_secs(7)));
        assert_eq!(decided(Some(Duration::ZERO)), Fate::Retried(Duration::ZERO));
        assert_eq!(decided(Some(Duration::from_mins(1))), Fate::Retried(Duration::from_mins(1)));
    }

    #[test]
    fn the_last_attempt_is_number_max_retries_and_one() {
        let dead_letters = QueueName { name: "dead".into(), state: "dead@shop".into() };
        let with_dlq = ConsumerSettings { dead_letter_queue: Some(dead_letters.clone()), ..settings(2) };
        for attempts in [1, 2] {
            let fate = Fate::of(Decision::Retry(None), HandlerOutcome::Ok, attempts, &with_dlq);
            assert!(matches!(fate, Fate::Retried(_)), "{attempts}: {fate:?}");
        }
        for attempts in [3, 4] {
            let fate = Fate::of(Decision::Retry(None), HandlerOutcome::Ok, attempts, &with_dlq);
            assert_eq!(fate, Fate::DeadLettered(dead_letters.clone()));
            assert_eq!(fate.verdict(), Verdict::DeadLetter("dead@shop".to_owned()));
            assert_eq!(Fate::of(Decision::Retry(None), HandlerOutcome::Ok, attempts, &settings(2)), Fate::Dropped);
        }
        assert_eq!(Fate::of(Decision::Undecided, HandlerOutcome::Exception, 1, &settings(0)), Fate::Dropped);
    }
}
