//! What the handlers are given: the batch and its messages, the controller of a cron firing, `env` and `ctx`.

use std::time::Duration;

use aerostack_isolate::Event;
use aerostack_queue::QueueBatch;
use aerostack_tests::{TestWorker, WorkerSetup, test};
use libtest_mimic::Trial;

use super::assert_succeeded;

/// Delivers what `fetch` sends to `queue`, which throws where something is not as it should be.
async fn sent_and_checked(send: &str, check: &str) {
    let setup = WorkerSetup::of(&format!(
        "import {{ assert, assertEquals, assertThrows }} from './testing.ts';
        export default {{
          async fetch(request, env, ctx) {{ {send}; return new Response('sent'); }},
          async queue(batch, env, ctx) {{ const bodies = batch.messages.map((message) => message.body); {check} }},
        }};"
    ));
    let worker = setup.file("src/testing.ts", include_str!("../../workers/testing.ts")).start().await;
    assert_eq!(worker.get("/").await.text(), "sent");
    let report = worker.deliver().await;
    assert_succeeded(&report, &worker.log.lines());
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    bodies(trials);
    batches(trials);
    scheduled(trials);
}

fn bodies(trials: &mut Vec<Trial>) {
    for (name, send, check) in [
        (
            "JSON arrives as the value that was sent",
            "for (const body of [null, false, 0, '', '漢字\\u0000\\u2028', [1, [2]], { a: { b: null } }, { __proto__: null, at: new Date(0) }])
               await env.QUEUE.send(body)",
            "assertEquals(bodies, [null, false, 0, '', '漢字\\u0000\\u2028', [1, [2]], { a: { b: null } }, { at: '1970-01-01T00:00:00.000Z' }])",
        ),
        (
            "text arrives as a string, whatever it holds",
            "for (const body of ['', '{\"a\":1}', '漢字 \\u0000 ☃ 😀', 'x'.repeat(128000)]) await env.QUEUE.send(body, { contentType: 'text' })",
            "assertEquals(bodies, ['', '{\"a\":1}', '漢字 \\u0000 ☃ 😀', 'x'.repeat(128000)])",
        ),
        (
            "bytes arrive as a Uint8Array of exactly what the view showed",
            "const { buffer } = new Uint8Array([0, 1, 255, 3, 0, 0, 192, 63]);
             for (const view of [new Uint8Array(buffer, 1, 2), new Float32Array(buffer, 4), new DataView(buffer, 2, 1), new Uint8Array(0)])
               await env.QUEUE.send(view, { contentType: 'bytes' })",
            "assertEquals(bodies, [[1, 255], [0, 0, 192, 63], [255], []].map((bytes) => new Uint8Array(bytes)));
             for (const body of bodies) assertEquals([body.byteOffset, body.buffer.byteLength], [0, body.byteLength])",
        ),
        (
            "clones arrive as what they were, cycles and errors included",
            "const cycle = { list: [1] }; cycle.self = cycle; cycle.list.push(cycle);
             const clone = { contentType: 'v8' };
             await env.QUEUE.sendBatch([new Map([['k', new Set([1n, 'two'])]]), new Date(86400000), /a.b/gi, new Float32Array([1.5, -0]), new Uint8Array([1, 2]).buffer,
               cycle, new RangeError('too far', { cause: 'why' }), undefined ?? null, -0, NaN, { a: undefined }].map((body) => ({ body, ...clone })))",
            "assertEquals(bodies.slice(0, 5), [new Map([['k', new Set([1n, 'two'])]]), new Date(86400000), /a.b/gi, new Float32Array([1.5, -0]), new Uint8Array([1, 2]).buffer].map((body, place) => place === 2 ? bodies[2] : body));
             assertEquals([bodies[2] instanceof RegExp, bodies[2].source, bodies[2].flags], [true, 'a.b', 'gi']);
             assert(bodies[5].self === bodies[5] && bodies[5].list[1] === bodies[5]);
             assertEquals([bodies[6] instanceof RangeError, bodies[6].message, bodies[6].cause], [true, 'too far', 'why']);
             assertEquals(bodies.slice(7, 10), [null, -0, NaN]);
             assert('a' in bodies[10] && bodies[10].a === undefined)",
        ),
        (
            "a producer from before 2024-03-18 sends clones",
            "await env.OLD_QUEUE.send(new Map([[1n, 'one']])); await env.OLD_QUEUE.sendBatch([{ body: new Date(5) }]); await env.OLD_QUEUE.send({ a: 1 }, { contentType: 'json' })",
            "assertEquals(bodies, [new Map([[1n, 'one']]), new Date(5), { a: 1 }])",
        ),
        (
            "bytes that change after send arrive as they were",
            "const bytes = new Uint8Array([1, 2]); const sending = env.QUEUE.send(bytes, { contentType: 'bytes' }); bytes[0] = 9; await sending",
            "assertEquals(bodies, [new Uint8Array([1, 2])])",
        ),
        (
            "a hundred messages arrive in the order they were sent",
            "await env.QUEUE.sendBatch(Array.from({ length: 100 }, (_, body) => ({ body })))",
            "assertEquals(bodies, Array.from({ length: 100 }, (_, number) => number))",
        ),
    ] {
        trials.push(test(&format!("queue: {name}"), async move || sent_and_checked(send, check).await));
    }
}

fn batches(trials: &mut Vec<Trial>) {
    trials.push(test("queue: a batch and its messages have what the contract says", async || {
        sent_and_checked(
            "await env.CACHE.put('before', String(Date.now())); await env.QUEUE.send('one'); await env.QUEUE.send('two', { delaySeconds: 600 })",
            "assertEquals(batch.queue, 'local-queue');
             assertEquals(Object.prototype.toString.call(batch), '[object MessageBatch]');
             assert(Array.isArray(batch.messages), 'an array');
             assertEquals(batch.messages.length, 1);
             const [message] = batch.messages;
             assertEquals(Object.prototype.toString.call(message), '[object Message]');
             assert(/^[0-9a-f]{32}$/.test(message.id), message.id);
             assertEquals(message.attempts, 1);
             assertEquals(message.body, 'one');
             assert(message.timestamp instanceof Date, 'a Date');
             const sent = message.timestamp.getTime() - Number(await env.CACHE.get('before'));
             assert(sent >= 0 && sent < 10_000, `sent ${sent} ms after`);
             const { backlogCount, backlogBytes, oldestMessageTimestamp, ...others } = batch.metadata.metrics;
             assertEquals([backlogCount, backlogBytes, others], [2, 10, {}]);
             assertEquals(oldestMessageTimestamp, message.timestamp);
             assertEquals(await batch.ackAll(), undefined);
             assertEquals(message.ack(), undefined);
             assertEquals([typeof env.DB, typeof env.QUEUE.send, typeof ctx.waitUntil, typeof ctx.passThroughOnException], ['object', 'function', 'function', 'function'])",
        )
        .await;
    }));

    trials.push(test("queue: the attempts are those of each message", async || {
        let source = "export default {
          async fetch(request, env) { await env.QUEUE.sendBatch([{ body: 0 }, { body: 1 }]); return new Response('sent') },
          queue(batch) { console.log(batch.queue, ...batch.messages.map((message) => message.attempts)) } }";
        let worker = TestWorker::start(source).await;
        worker.get("/").await;
        let mut messages = worker.queues.lease("local-queue", 10, Duration::from_mins(1)).await.expect("a lease");
        messages[1].attempts = 7;
        let backlog = worker.queues.backlog("local-queue").await.expect("a backlog");
        let batch = QueueBatch { queue: "another".into(), messages, backlog };
        assert_succeeded(&worker.event(Event::Queue(batch)).await, &worker.log.lines());
        assert_eq!(worker.log.lines(), ["info [queue another]: another 1 7"]);
    }));

    trials.push(test("handlers are called as methods of the default export", async || {
        let source = "class Jobs { prefix = 'job'; queue(batch) { console.log(this.prefix, batch.messages.length) } \
             scheduled(event) { console.log(this.prefix, event.cron) } \
             async fetch(request, env) { await env.QUEUE.send(1); return new Response('sent') } }
             export default new Jobs();";
        let worker = TestWorker::start(source).await;
        worker.get("/").await;
        assert_succeeded(&worker.deliver().await, &worker.log.lines());
        assert_succeeded(&worker.scheduled("* * * * *", 0).await, &worker.log.lines());
        assert_eq!(worker.log.lines(), ["info [queue local-queue]: job 1", "info [cron * * * * *]: job * * * * *"]);
    }));

    trials.push(test("a handler may send to the queue it consumes", async || {
        let source = "export default {
          async fetch(request, env) { await env.QUEUE.send(3); return new Response('sent') },
          async queue(batch, env) { for (const { body } of batch.messages) if (body > 0) await env.QUEUE.send(body - 1); else console.log('zero') } }";
        let worker = TestWorker::start(source).await;
        worker.get("/").await;
        for _ in 0..4 {
            assert_succeeded(&worker.deliver().await, &worker.log.lines());
        }
        assert_eq!(worker.log.lines(), ["info [queue local-queue]: zero"]);
    }));
}

fn scheduled(trials: &mut Vec<Trial>) {
    trials.push(test("scheduled: the controller has the time, the expression character for character, and the type", async || {
        let source = "export default { async scheduled(event, env, ctx) {
            console.log(JSON.stringify([event.scheduledTime, event.cron, event.type, Object.prototype.toString.call(event),
              typeof event.noRetry, typeof env.DB, typeof ctx.waitUntil, event.noRetry.length])) } }";
        let worker = TestWorker::start(source).await;
        for (cron, time) in [("*/5 * * * *", 1_700_000_000_000), (" 0   9 * *  mon-FRI ", 0), ("", 253_402_300_799_999), ("日 \"", 1)] {
            let before = worker.log.lines().len();
            let report = worker.scheduled(cron, time).await;
            assert_succeeded(&report, &worker.log.lines());
            assert!(!report.notes.no_retry && report.notes.decisions.is_empty(), "{:?}", report.notes);
            let expected = serde_json::json!([time, cron, "scheduled", "[object ScheduledController]", "function", "object", "function", 0]);
            assert_eq!(worker.log.lines()[before..], [format!("info [cron {cron}]: {expected}")]);
        }
    }));

    trials.push(test("scheduled: noRetry is reported, whether the handler fails or not", async || {
        let source = "export default { async scheduled(event) { await scheduler.wait(1); event.noRetry(); event.noRetry(); \
             if (event.cron === 'fail') throw new Error('on purpose') } }";
        let worker = TestWorker::start(source).await;
        let report = worker.scheduled("good", 0).await;
        assert!(report.notes.no_retry && report.outcome.is_ok(), "{report:?}");
        let report = worker.scheduled("fail", 0).await;
        assert!(report.notes.no_retry && report.outcome.is_err(), "{report:?}");
    }));

    trials.push(test("an event's binding calls are counted", async || {
        let source = "export default { async scheduled(event, env, ctx) { await env.DB.prepare('SELECT 1').first(); \
             await env.DB.prepare('SELECT 2').first(); ctx.waitUntil(env.CACHE.get('x')); await env.QUEUE.send(1) } }";
        let report = TestWorker::start(source).await.scheduled("* * * * *", 0).await;
        let mut costs: Vec<(&str, u32)> = report.costs.iter().collect();
        costs.sort_unstable();
        assert_eq!(costs, [("cache", 1), ("database", 2), ("queue", 1)]);
    }));
}
