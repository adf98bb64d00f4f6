//! `ack`, `retry`, `ackAll`, `retryAll`: which call counts, and what the others are told.

use std::time::Duration;

use aerostack_queue::Decision::{self, Ack, Undecided};
use aerostack_tests::test;
use libtest_mimic::Trial;

use super::{assert_succeeded, deliver_three, three_messages};

/// The calls, what is decided of the three messages, and which (later, earlier) pairs of calls on which message warn.
type Row = (&'static str, [Decision; 3], &'static [Warning]);

enum Warning {
    Message(&'static str, &'static str),
    Batch(&'static str, &'static str),
}

const RETRY: Decision = Decision::Retry(None);

const fn after(seconds: u64) -> Decision {
    Decision::Retry(Some(Duration::from_secs(seconds)))
}

const ROWS: &[Row] = &[
    ("", [Undecided, Undecided, Undecided], &[]),
    ("a.ack()", [Ack, Undecided, Undecided], &[]),
    ("b.retry()", [Undecided, RETRY, Undecided], &[]),
    ("c.retry({ delaySeconds: 5 })", [Undecided, Undecided, after(5)], &[]),
    ("a.retry({ delaySeconds: 0 }); b.retry({ delaySeconds: 86400 })", [after(0), after(86_400), Undecided], &[]),
    ("a.retry({ delaySeconds: undefined }); b.retry(undefined); c.retry({})", [RETRY, RETRY, RETRY], &[]),
    ("a.retry({ delaySeconds: '3' })", [after(3), Undecided, Undecided], &[]),
    ("a.ack(); a.ack()", [Ack, Undecided, Undecided], &[]),
    ("a.ack(); a.retry()", [Ack, Undecided, Undecided], &[Warning::Message("retry", "ack")]),
    ("a.ack(); a.retry({ delaySeconds: 5 })", [Ack, Undecided, Undecided], &[Warning::Message("retry", "ack")]),
    ("a.retry(); a.ack()", [RETRY, Undecided, Undecided], &[Warning::Message("ack", "retry")]),
    ("a.retry(); a.retry({ delaySeconds: 4 })", [after(4), Undecided, Undecided], &[]),
    ("a.retry({ delaySeconds: 4 }); a.retry()", [after(4), Undecided, Undecided], &[]),
    ("batch.ackAll()", [Ack, Ack, Ack], &[]),
    ("batch.ackAll(); batch.ackAll()", [Ack, Ack, Ack], &[]),
    ("batch.retryAll()", [RETRY, RETRY, RETRY], &[]),
    ("batch.retryAll({ delaySeconds: 7 })", [after(7), after(7), after(7)], &[]),
    ("batch.ackAll(); a.ack()", [Ack, Ack, Ack], &[]),
    ("batch.ackAll(); a.retry()", [Ack, Ack, Ack], &[Warning::Message("retry", "ackAll")]),
    ("batch.retryAll(); a.ack()", [RETRY, RETRY, RETRY], &[Warning::Message("ack", "retryAll")]),
    ("batch.ackAll(); batch.retryAll()", [Ack, Ack, Ack], &[Warning::Batch("retryAll", "ackAll")]),
    ("batch.retryAll(); batch.ackAll()", [RETRY, RETRY, RETRY], &[Warning::Batch("ackAll", "retryAll")]),
    ("a.ack(); batch.retryAll({ delaySeconds: 3 })", [Ack, after(3), after(3)], &[]),
    ("a.retry({ delaySeconds: 9 }); batch.ackAll()", [after(9), Ack, Ack], &[]),
    ("a.retry(); batch.ackAll(); a.ack()", [RETRY, Ack, Ack], &[]),
    ("a.retry(); batch.retryAll({ delaySeconds: 3 })", [after(3), after(3), after(3)], &[]),
    ("a.retry({ delaySeconds: 9 }); batch.retryAll({ delaySeconds: 3 })", [after(9), after(3), after(3)], &[]),
    ("a.retry({ delaySeconds: 0 }); batch.retryAll({ delaySeconds: 3 })", [after(0), after(3), after(3)], &[]),
    ("batch.retryAll({ delaySeconds: 3 }); a.retry({ delaySeconds: 9 })", [after(9), after(3), after(3)], &[]),
    ("batch.retryAll({ delaySeconds: 3 }); a.retry()", [after(3), after(3), after(3)], &[]),
    (
        "a.ack(); batch.retryAll(); a.retry({ delaySeconds: 1 })",
        [Ack, RETRY, RETRY],
        &[Warning::Message("retry", "ack")],
    ),
    ("a.retry(); batch.retryAll(); a.ack()", [RETRY, RETRY, RETRY], &[Warning::Message("ack", "retryAll")]),
    ("batch.messages.length = 0; batch.retryAll()", [RETRY, RETRY, RETRY], &[]),
    ("await scheduler.wait(1); a.ack(); await env.CACHE.get('x'); b.retry()", [Ack, RETRY, Undecided], &[]),
];

pub(super) fn trials(trials: &mut Vec<Trial>) {
    for (calls, decisions, warnings) in ROWS {
        let shown = if calls.is_empty() { "no call at all" } else { calls };
        trials.push(test(&format!("queue decisions: {shown}"), async move || {
            let (report, lines, ids) = deliver_three(three_messages(calls)).await;
            assert_succeeded(&report, &lines);
            assert_eq!(report.notes.decisions, decisions);
            let warnings: Vec<String> =
                warnings.iter().map(|warning| format!("warn [queue local-queue]: {}", warning.text(&ids[0]))).collect();
            assert_eq!(lines, warnings);
        }));
    }

    for (given, shown) in [("-1", "-1"), ("86401", "86401"), ("1.5", "1.5"), ("'soon'", "soon"), ("NaN", "NaN")] {
        trials.push(test(&format!("a retry after {shown} seconds is refused, and decides nothing"), async move || {
            let calls = format!(
                "for (const subject of [a, batch]) {{
                   try {{ subject.retry ? subject.retry({{ delaySeconds: {given} }}) : subject.retryAll({{ delaySeconds: {given} }}) }}
                   catch (error) {{ console.log(`${{error.name}}: ${{error.message}}`) }}
                 }}"
            );
            let (report, lines, _) = deliver_three(three_messages(&calls)).await;
            assert_succeeded(&report, &lines);
            assert_eq!(report.notes.decisions, [Undecided, Undecided, Undecided]);
            let refused = format!(
                "info [queue local-queue]: RangeError: message delay {shown} is invalid: it must be a whole number of seconds from 0 to 86400"
            );
            assert_eq!(lines, [refused.clone(), refused]);
        }));
    }

    trials.push(test("calls after the handler is over have no effect and say so", async || {
        let calls = "if (kept === undefined) { kept = { batch, a }; return; }
            kept.a.ack(); kept.batch.ackAll(); b.ack();";
        let worker = three_messages(calls).start().await;
        let ids = super::send_three(&worker).await;
        let first = worker.deliver().await;
        super::send_three(&worker).await;
        let second = worker.deliver().await;
        let lines = worker.log.lines();
        assert_succeeded(&second, &lines);
        assert_eq!(first.notes.decisions, [Undecided, Undecided, Undecided]);
        assert_eq!(second.notes.decisions, [Undecided, Ack, Undecided]);
        let late = |call: &str| {
            format!("warn: Received a call to {call} after the queue() handler was over. It has no effect.")
        };
        assert_eq!(lines, [late(&format!("ack() on message {}", ids[0])), late("ackAll()")]);
    }));
}

impl Warning {
    fn text(&self, id: &str) -> String {
        match self {
            Self::Message(call, earlier) => format!(
                "Received a call to {call}() on message {id} after {earlier}() was already called. \
                 Calling {call}() on a message after calling {earlier}() has no effect."
            ),
            Self::Batch(call, earlier) => format!(
                "Received a call to {call}() after {earlier}() was already called. \
                 Calling {call}() after calling {earlier}() has no effect."
            ),
        }
    }
}
