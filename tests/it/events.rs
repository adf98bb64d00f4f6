//! `scheduled` and `queue` handlers in this process: what they are given, what they decide, how they may end
//! (Cloudflare contract, sections 3.2, 3.3 and 7).

mod decisions;
mod endings;
mod given;
mod lifetimes;

use aerostack_isolate::{EventReport, Failure};
use aerostack_tests::{TestWorker, WorkerSetup};
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    given::trials(trials);
    decisions::trials(trials);
    endings::trials(trials);
    lifetimes::trials(trials);
}

/// A worker that answers any request by sending the messages 0, 1 and 2, and whose `queue` handler is `body`, which has them as
/// `a`, `b` and `c`.
fn three_messages(body: &str) -> WorkerSetup {
    WorkerSetup::of(&format!(
        "let kept: any = undefined; let calls = 0;
        export default {{
          async fetch(request, env, ctx) {{
            await env.QUEUE.sendBatch([{{ body: 0 }}, {{ body: 1 }}, {{ body: 2 }}]);
            return new Response('sent');
          }},
          async queue(batch, env, ctx) {{
            const [a, b, c] = batch.messages;
            {body}
          }},
        }};"
    ))
}

/// Runs the `queue` handler of [`three_messages`] once. Returns how it ended, what was logged, and the ids of the messages.
async fn deliver_three(setup: WorkerSetup) -> (EventReport, Vec<String>, Vec<String>) {
    let worker = setup.start().await;
    let ids = send_three(&worker).await;
    let report = worker.deliver().await;
    (report, worker.log.lines(), ids)
}

async fn send_three(worker: &TestWorker) -> Vec<String> {
    assert_eq!(worker.get("/").await.text(), "sent");
    let peeked = worker.queues.peek("local-queue", 10).await.expect("the queue can be read");
    peeked.iter().map(|message| message.id.to_string()).collect()
}

fn assert_succeeded(report: &EventReport, lines: &[String]) {
    assert!(report.outcome.is_ok(), "{:?}\nlog: {lines:#?}", report.outcome);
}

/// The text of the exception that an event failed with.
fn exception(report: &EventReport) -> String {
    match &report.outcome {
        Err(Failure::Exception(error)) => error.exception_message.clone(),
        other => panic!("no exception: {other:?}"),
    }
}

/// Why an event was stopped.
fn stopped(report: &EventReport) -> String {
    match &report.outcome {
        Err(Failure::Stopped(reason)) => reason.to_string(),
        other => panic!("not stopped: {other:?}"),
    }
}
