//! Stored bodies of messages that are no longer what was stored: a handler is given a value, or the event fails and says why, and the
//! process lives.

use std::time::Duration;

use aerostack_database::script;
use aerostack_fuzz_mutator::Input;
use aerostack_isolate::{Event, EventReport, Failure};
use aerostack_queue::{ContentType, Outgoing, QueueBatch, Settlement, Verdict};
use aerostack_tests::{TestProject, TestWorker, WorkerSetup, test};
use bytes::Bytes;
use libtest_mimic::Trial;
use serde_json::Value;

use super::{Broken, fuzz};

/// Looks into every corner of what it is given, and says what it is. What it cannot do with it is no fault of the runtime's.
const WORKER: &str = "
  function walk(value, seen, depth) {
    if (depth > 50 || seen.size > 1000 || typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    Object.prototype.toString.call(value);
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      const bytes = value instanceof ArrayBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      let sum = 0;
      for (let i = 0; i < Math.min(bytes.length, 65536); i++) sum += bytes[i];
      return;
    }
    if (value instanceof Map) for (const [key, entry] of value) { walk(key, seen, depth + 1); walk(entry, seen, depth + 1); }
    if (value instanceof Set) for (const entry of value) walk(entry, seen, depth + 1);
    if (value instanceof RegExp) value.test('aaaa');
    if (value instanceof Error) String(value.stack);
    if (value instanceof Date) String(value);
    for (const key of Object.keys(value).slice(0, 1000)) walk(value[key], seen, depth + 1);
  }
  const tell = (text) => console.log('told ' + text);
  export default {
    queue(batch) {
      for (const { body } of batch.messages) {
        if (typeof body === 'string') tell(JSON.stringify(body));
        else if (body instanceof Uint8Array) tell(JSON.stringify(Array.from(body.subarray(0, 100000))));
        else {
          try { tell(JSON.stringify(body) ?? 'null'); } catch { tell('null'); }
          try { walk(body, new Set(), 0); console.log(body); structuredClone(body); } catch {}
        }
      }
    },
  };";

const QUEUE: &str = "local-queue";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "whatever a stored body is, a handler is given a value or the event fails and says why",
        async || {
            fuzz("queue", 64, async |inputs| {
                let setup = WorkerSetup::of(WORKER).limits(|limits| limits.cpu = Duration::from_secs(2));
                let worker = setup.start().await;
                for input in inputs {
                    tried(&worker, input).await.map_err(|what| Broken { input: input.clone(), what })?;
                }
                let report = deliver(&worker, ContentType::Json, b"[\"next\"]").await;
                assert!(report.outcome.is_ok(), "{report:?}");
                assert!(worker.log.lines().last().is_some_and(|line| line.contains("next")));
                Ok(())
            })
            .await;
        },
    ));

    trials.push(test("a message that cannot be read is named in the log, retried, and ends as a dead letter", async || {
        let config = "name = \"shop\"\n[[queues.consumers]]\nqueue = \"local-queue\"\nmax_batch_timeout = 0\nmax_retries = 1\n\
                      dead_letter_queue = \"graveyard\"\n";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", WORKER)]);
        assert!(project.run(&["queue", "send", "{}"]).succeeded);
        let id = project.queued(QUEUE)[0]["id"].as_str().expect("an id").to_owned();
        let file = project.path().join(".aerostack/queue/queues.sqlite");
        script::execute(&file, "UPDATE messages SET content_type = 'v8'").expect("the file can be written");
        let served = project.dev();
        served.wait_for(&format!("the body of message {id} cannot be read as v8"));
        served.wait_for("to dead letter queue \"graveyard\" after 2 failed attempts");
        assert_eq!(project.queued("graveyard")[0]["id"], id);
        assert!(project.run(&["queue", "send", "[\"next\"]"]).succeeded);
        served.wait_for("told [\"next\"]");
    }));
}

async fn tried(worker: &TestWorker, input: &Input) -> Result<(), String> {
    let (kind, body) = input.bytes.split_first().unwrap_or((&0, &[]));
    let content_type =
        [ContentType::Json, ContentType::Text, ContentType::Bytes, ContentType::V8][usize::from(kind % 4)];
    let before = worker.log.lines().len();
    let report = deliver(worker, content_type, body).await;
    let lines = worker.log.lines();
    let told = lines[before..].iter().find_map(|line| line.split_once("told ")).map(|(_, told)| told);
    match &report.outcome {
        Ok(()) => {
            let told = told.ok_or("the handler was not told of the message")?;
            check_told(content_type, body, told)
        }
        // Only what has a format can be broken, and then nobody is told.
        Err(Failure::Exception(error))
            if matches!(content_type, ContentType::Json | ContentType::V8) && told.is_none() =>
        {
            if content_type == ContentType::Json && serde_json::from_slice::<Value>(body).is_ok() {
                return Err(format!("JSON was refused: {}", error.exception_message));
            }
            if error.exception_message.contains("body of message") {
                Ok(())
            } else {
                Err(error.exception_message.clone())
            }
        }
        // V8 believes the lengths that it is told, up to the limit of the isolate.
        Err(Failure::Stopped(reason))
            if content_type == ContentType::V8 && reason.contains("exceeded memory limit") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}, {told:?}")),
    }
}

/// Stores a body as it is, gives it to the handler, and takes the message away as a consumer without retries would.
async fn deliver(worker: &TestWorker, content_type: ContentType, body: &[u8]) -> EventReport {
    let body = Bytes::copy_from_slice(body);
    let message = Outgoing { content_type, body: body.clone(), delay: Duration::ZERO };
    let backlog = worker.queues.send(QUEUE, vec![message]).await.expect("it is stored");
    let messages = worker.queues.lease(QUEUE, 1, Duration::from_mins(1)).await.expect("it is leased");
    let [delivery] = &messages[..] else { panic!("{} messages wait", messages.len()) };
    assert_eq!(delivery.body, body);
    let settlement = Settlement { lease: delivery.lease, verdict: Verdict::Delete };
    let report = worker.event(Event::Queue(QueueBatch { queue: QUEUE.into(), messages, backlog })).await;
    assert_eq!(worker.queues.settle(QUEUE, vec![settlement]).await.expect("it is settled"), 0);
    report
}

/// A handler gets what was stored, where another reader of the format can say what that is.
fn check_told(content_type: ContentType, body: &[u8], told: &str) -> Result<(), String> {
    let expected = match content_type {
        ContentType::Text => Value::from(String::from_utf8_lossy(body)),
        ContentType::Bytes => Value::from(body),
        // V8 reads more than JSON has: half a pair of surrogates, numbers beyond all bounds.
        ContentType::Json => match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(_) => return Ok(()),
        },
        ContentType::V8 => return Ok(()),
    };
    let got: Value = serde_json::from_str(told).map_err(|error| format!("{error}: {told}"))?;
    if are_same(&expected, &got) { Ok(()) } else { Err(format!("told {got} instead of {expected}")) }
}

/// Numbers of JavaScript are floating.
fn are_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| are_same(value, other)))
        }
        _ => one == other,
    }
}
