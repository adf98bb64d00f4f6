//! How an event may end: well, by what the handler throws, by `waitUntil` work, by a limit.

use std::time::Duration;

use aerostack_isolate::Failure;
use aerostack_queue::Decision::{Ack, Retry, Undecided};
use aerostack_tests::{TestWorker, test};
use libtest_mimic::Trial;

use super::{assert_succeeded, deliver_three, exception, send_three, stopped, three_messages};

pub(super) fn trials(trials: &mut Vec<Trial>) {
    handlers(trials);
    work(trials);
    limits(trials);
    lines(trials);
}

fn handlers(trials: &mut Vec<Trial>) {
    for (name, body, text) in [
        ("throws at once", "a.ack(); throw new TypeError('on purpose')", "Uncaught TypeError: on purpose"),
        (
            "throws after an await",
            "a.ack(); await scheduler.wait(1); throw new Error('later')",
            "Uncaught Error: later",
        ),
        ("throws what is no error", "a.ack(); throw 'a text'", "Uncaught \"a text\""),
        ("throws null", "a.ack(); throw null", "Uncaught null"),
        (
            "is failed by a binding",
            "a.ack(); await env.DB.prepare('SELECT * FROM absent').all()",
            "no such table: absent",
        ),
    ] {
        trials.push(test(&format!("a queue handler that {name} fails, and its acks stand"), async move || {
            let (report, lines, _) = deliver_three(three_messages(body)).await;
            assert!(exception(&report).contains(text), "{}", exception(&report));
            assert_eq!(report.notes.decisions, [Ack, Undecided, Undecided]);
            assert!(lines.is_empty(), "whoever called it tells of the failure: {lines:#?}");
        }));
    }

    trials.push(test("ackAll stands when the handler fails afterwards", async || {
        let (report, ..) =
            deliver_three(three_messages("b.retry(); batch.ackAll(); throw new Error('on purpose')")).await;
        assert_eq!(exception(&report), "Uncaught Error: on purpose");
        assert_eq!(report.notes.decisions, [Ack, Retry(None), Ack]);
    }));

    for (name, handler) in [
        ("is not async and throws", "queue() { throw new Error('on purpose') }"),
        ("returns a promise that rejects", "queue: () => Promise.reject(new Error('on purpose'))"),
        (
            "returns a thenable that rejects",
            "queue: () => ({ then(resolve, reject) { reject(new Error('on purpose')) } })",
        ),
    ] {
        trials.push(test(&format!("a handler that {name} fails its event"), async move || {
            let worker = TestWorker::start(&format!("export default {{ {handler} }}")).await;
            assert_eq!(exception(&worker.deliver().await), "Uncaught Error: on purpose");
        }));
    }

    for handler in ["queue() {}", "queue: async () => {}", "queue: () => 5", "queue: async () => ({ then: 1 })"] {
        trials.push(test(
            &format!("a handler that returns anything at all has succeeded: {handler}"),
            async move || {
                let worker = TestWorker::start(&format!("export default {{ {handler} }}")).await;
                assert_succeeded(&worker.deliver().await, &worker.log.lines());
            },
        ));
    }

    trials.push(test("a handler that is missing is named", async || {
        let worker = TestWorker::start("export default { fetch() { return new Response('only this') } }").await;
        let missing = |name: &str| format!("Uncaught TypeError: Handler does not export a {name}() function.");
        assert_eq!(exception(&worker.deliver().await), missing("queue"));
        assert_eq!(exception(&worker.scheduled("* * * * *", 0).await), missing("scheduled"));
        let handlers = worker.worker.handlers();
        assert_eq!((handlers.fetch, handlers.queue, handlers.scheduled), (true, false, false));
    }));

    trials.push(test("a handler that never settles has hung, and its acks stand", async || {
        let (report, ..) = deliver_three(three_messages("a.ack(); await new Promise(() => {})")).await;
        assert!(matches!(report.outcome, Err(Failure::Hung)), "{:?}", report.outcome);
        assert_eq!(report.notes.decisions, [Ack, Undecided, Undecided]);
        let worker = TestWorker::start("export default { scheduled: () => new Promise(() => {}) }").await;
        let report = worker.scheduled("* * * * *", 0).await;
        assert!(matches!(report.outcome, Err(Failure::Hung)), "{:?}", report.outcome);
    }));
}

fn work(trials: &mut Vec<Trial>) {
    trials.push(test("an event is over when its waitUntil work is", async || {
        let body = "ctx.waitUntil((async () => { await scheduler.wait(30); c.ack(); console.log('work is done') })()); a.ack()";
        let (report, lines, _) = deliver_three(three_messages(body)).await;
        assert_succeeded(&report, &lines);
        assert_eq!(lines, ["info [queue local-queue]: work is done"]);
        assert_eq!(report.notes.decisions, [Ack, Undecided, Ack]);
    }));

    trials.push(test("work that waitUntil work adds is waited for, too", async || {
        let source = "export default { scheduled(event, env, ctx) {
            const step = async (left) => { await scheduler.wait(5); if (left > 0) ctx.waitUntil(step(left - 1)); else console.log('the last step') };
            ctx.waitUntil(step(3)) } }";
        let worker = TestWorker::start(source).await;
        assert_succeeded(&worker.scheduled("* * * * *", 0).await, &worker.log.lines());
        assert_eq!(worker.log.lines(), ["info [cron * * * * *]: the last step"]);
    }));

    trials.push(test("messages sent in waitUntil work arrive", async || {
        let body = "ctx.waitUntil((async () => { await scheduler.wait(5); await env.QUEUE.send('from the work') })())";
        let worker = three_messages(body).start().await;
        send_three(&worker).await;
        assert_succeeded(&worker.deliver().await, &worker.log.lines());
        assert_eq!(worker.queues.backlog("local-queue").await.expect("a backlog").messages, 4);
    }));

    for (name, when) in [
        ("at once", "Promise.reject(new Error('in the work'))"),
        ("later", "(async () => { await scheduler.wait(5); throw new Error('in the work') })()"),
    ] {
        trials.push(test(
            &format!("waitUntil work that rejects {name} fails the event, and acks stand"),
            async move || {
                let (report, lines, _) =
                    deliver_three(three_messages(&format!("ctx.waitUntil({when}); b.ack()"))).await;
                assert!(exception(&report).ends_with("Error: in the work"), "{}", exception(&report));
                assert_eq!(report.notes.decisions, [Undecided, Ack, Undecided]);
                assert!(lines.is_empty(), "{lines:#?}");
            },
        ));
    }

    trials.push(test(
        "of several failures the handler's is the event's, else the first of the work; no other is swallowed",
        async || {
            let body =
                "ctx.waitUntil(Promise.reject(new Error('first'))); ctx.waitUntil(Promise.reject(new Error('second')))";
            let (report, lines, _) = deliver_three(three_messages(body)).await;
            assert!(exception(&report).ends_with("Error: first"), "{}", exception(&report));
            assert_eq!(lines, ["uncaught [queue local-queue]: Uncaught (in promise) Error: second"]);
            let (report, lines, _) =
                deliver_three(three_messages(&format!("{body}; throw new Error('of the handler')"))).await;
            assert_eq!(exception(&report), "Uncaught Error: of the handler");
            assert_eq!(lines.len(), 2, "{lines:#?}");
            assert!(lines[0].contains("Error: first") || lines[1].contains("Error: first"), "{lines:#?}");
        },
    ));

    trials.push(test("work goes on after the handler failed, and the event is over after it", async || {
        let body = "ctx.waitUntil((async () => { await scheduler.wait(20); b.ack(); console.log('work is done') })()); throw new Error('of the handler')";
        let (report, lines, _) = deliver_three(three_messages(body)).await;
        assert_eq!(exception(&report), "Uncaught Error: of the handler");
        assert_eq!(lines, ["info [queue local-queue]: work is done"]);
        assert_eq!(report.notes.decisions, [Undecided, Ack, Undecided]);
    }));

    trials.push(test("work that never settles has hung, unless the handler failed first", async || {
        let (report, ..) = deliver_three(three_messages("ctx.waitUntil(new Promise(() => {}))")).await;
        assert!(matches!(report.outcome, Err(Failure::Hung)), "{:?}", report.outcome);
        let body = "ctx.waitUntil(new Promise(() => {})); throw new Error('of the handler')";
        let (report, ..) = deliver_three(three_messages(body)).await;
        assert_eq!(exception(&report), "Uncaught Error: of the handler");
    }));
}

fn limits(trials: &mut Vec<Trial>) {
    trials.push(test("what was decided survives a kill by the CPU limit, and the next batch is taken", async || {
        let body = "if (await env.CACHE.get('looped') !== null) return;
            await env.CACHE.put('looped', 'yes'); a.ack(); b.retry({ delaySeconds: 2 }); for (;;) {}";
        let worker = three_messages(body).limits(|limits| limits.cpu = Duration::from_millis(100)).start().await;
        send_three(&worker).await;
        let report = worker.deliver().await;
        assert_eq!(stopped(&report), "exceeded CPU limit 100 ms: raise limits.cpu_ms");
        assert_eq!(report.notes.decisions, [Ack, Retry(Some(Duration::from_secs(2))), Undecided]);
        send_three(&worker).await;
        assert_succeeded(&worker.deliver().await, &worker.log.lines());
    }));

    trials.push(test("what was decided survives a kill by the memory limit", async || {
        let body = "batch.ackAll(); const hoard = []; for (;;) hoard.push({ at: hoard.length })";
        let setup = three_messages(body).limits(|limits| limits.heap_bytes = 48 * 1024 * 1024);
        let (report, ..) = deliver_three(setup).await;
        assert_eq!(stopped(&report), "exceeded memory limit 48 MB: raise limits.memory_mb");
        assert_eq!(report.notes.decisions, [Ack, Ack, Ack]);
    }));

    trials.push(test("a wall limit ends the event, what was decided stands, and the isolate goes on", async || {
        let body = "calls++; console.log('call', calls); if (calls > 1) return; a.ack(); await scheduler.wait(600_000)";
        let worker = three_messages(body).limits(|limits| limits.event_wall = Duration::from_millis(100)).start().await;
        send_three(&worker).await;
        let report = worker.deliver().await;
        assert_eq!(stopped(&report), "exceeded wall time limit 100 ms: raise limits.event_wall_ms");
        assert_eq!(report.notes.decisions, [Ack, Undecided, Undecided]);
        send_three(&worker).await;
        assert_succeeded(&worker.deliver().await, &worker.log.lines());
        assert_eq!(worker.log.lines(), ["info [queue local-queue]: call 1", "info [queue local-queue]: call 2"]);
    }));

    trials.push(test("waitUntil work that goes on past a wall limit decides nothing any more, and is told so", async || {
        let body = "ctx.waitUntil((async () => { while (kept === undefined) await scheduler.wait(1); a.ack(); batch.retryAll(); console.log('past it') })()); b.ack()";
        let source = format!("if (kept === undefined && calls++ > 0) {{ kept = true; return; }} {body}");
        let worker = three_messages(&source).limits(|limits| limits.event_wall = Duration::from_millis(100)).start().await;
        let ids = send_three(&worker).await;
        let report = worker.deliver().await;
        assert_eq!(stopped(&report), "exceeded wall time limit 100 ms: raise limits.event_wall_ms");
        assert_eq!(report.notes.decisions, [Undecided, Ack, Undecided]);
        assert_succeeded(&worker.deliver().await, &worker.log.lines());
        worker.log.wait_for("past it").await;
        let late = |call: &str| format!("Received a call to {call} after the queue() handler was over. It has no effect.");
        worker.log.wait_for(&late(&format!("ack() on message {}", ids[0]))).await;
        worker.log.wait_for(&late("retryAll()")).await;
    }));

    trials.push(test("the wall limit of events is not that of requests", async || {
        let source = "export default { async fetch() { await scheduler.wait(300); return new Response('slow') },
            async scheduled() { await scheduler.wait(300) } }";
        let setup =
            aerostack_tests::WorkerSetup::of(source).limits(|limits| limits.wall = Some(Duration::from_millis(50)));
        let worker = setup.start().await;
        assert!(worker.try_send(http::Request::get("/").body(bytes::Bytes::new()).expect("a request")).await.is_err());
        assert_succeeded(&worker.scheduled("* * * * *", 0).await, &worker.log.lines());
    }));
}

fn lines(trials: &mut Vec<Trial>) {
    trials.push(test(
        "what an event prints carries its name, also after awaits, in timers and in waitUntil work",
        async || {
            let source = "export default {
          async queue(batch, env, ctx) { await speak('queue', ctx) },
          async scheduled(event, env, ctx) { await speak('scheduled', ctx) } };
          async function speak(name, ctx) {
            console.log(name, 1); await scheduler.wait(1); console.warn(name, 2);
            await new Promise((done) => setTimeout(() => { console.error(name, 3); done() }, 1));
            ctx.waitUntil(scheduler.wait(5).then(() => console.debug(name, 4)));
          }";
            let worker = TestWorker::start(source).await;
            assert_succeeded(&worker.deliver().await, &worker.log.lines());
            assert_succeeded(&worker.scheduled("0 9 * * 1", 0).await, &worker.log.lines());
            let expected = |name: &str, word: &str| {
                ["info", "warn", "error", "debug"]
                    .iter()
                    .enumerate()
                    .map(|(place, level)| format!("{level} [{name}]: {word} {}", place + 1))
                    .collect::<Vec<_>>()
            };
            let expected = [expected("queue local-queue", "queue"), expected("cron 0 9 * * 1", "scheduled")].concat();
            assert_eq!(worker.log.lines(), expected);
        },
    ));

    trials.push(test("an error that a timer of an event throws is logged, and fails nothing", async || {
        let body = "setTimeout(() => { throw new Error('in a timer') }, 1); await scheduler.wait(20)";
        let (report, lines, _) = deliver_three(three_messages(body)).await;
        assert_succeeded(&report, &lines);
        assert_eq!(lines, ["uncaught: Uncaught Error: in a timer"]);
    }));
}
