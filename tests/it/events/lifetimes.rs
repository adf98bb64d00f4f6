//! Events beside one another, beside requests, and beside what happens to their isolate: a kill, a reload, the end.

use std::time::Duration;

use aerostack_queue::Decision::{Ack, Undecided};
use aerostack_tests::{TestWorker, WorkerSetup, test};
use libtest_mimic::Trial;

use super::{assert_succeeded, stopped};

/// Events wait for the key `open` of the cache, which every isolate and version sees; requests open it, count, or loop.
const GATED: &str = "let requests = 0;
export default {
  async fetch(request, env) {
    const path = new URL(request.url).pathname;
    if (path === '/open') await env.CACHE.put('open', 'yes');
    if (path === '/send') await env.QUEUE.sendBatch([{ body: 0 }, { body: 1 }]);
    if (path === '/cpu') for (;;) {}
    return new Response(`VERSION ${++requests}`);
  },
  async queue(batch, env) { batch.messages[0]?.ack(); await gate('queue', env); },
  async scheduled(event, env) { await gate(event.cron, env); },
};
async function gate(name, env) {
  console.log(name, 'began in VERSION');
  while (await env.CACHE.get('open') === null) await scheduler.wait(1);
  console.log(name, 'ended in VERSION');
}";

fn gated(version: &str) -> WorkerSetup {
    WorkerSetup::of(&GATED.replace("VERSION", version)).limits(|limits| limits.cpu = Duration::from_millis(300))
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("two events run at the same time in one isolate", async || {
        let worker = gated("one").start().await;
        let opened = async {
            worker.log.wait_for("queue began").await;
            worker.log.wait_for("first began").await;
            worker.log.wait_for("second began").await;
            worker.get("/open").await
        };
        let (queue, first, second, _) =
            tokio::join!(worker.deliver(), worker.scheduled("first", 0), worker.scheduled("second", 0), opened);
        for report in [queue, first, second] {
            assert_succeeded(&report, &worker.log.lines());
        }
    }));

    trials.push(test("requests are answered while an event runs, by the same isolate", async || {
        let worker = gated("one").start().await;
        let asked = async {
            worker.log.wait_for("queue began").await;
            for expected in 1..=20 {
                assert_eq!(worker.get("/").await.text(), format!("one {expected}"));
            }
            worker.get("/open").await;
        };
        let (report, ()) = tokio::join!(worker.deliver(), asked);
        assert_succeeded(&report, &worker.log.lines());
        assert_eq!(worker.get("/").await.text(), "one 22");
    }));

    trials.push(test(
        "an event whose isolate is stopped under it keeps what it decided, and is told why",
        async || {
            let worker = gated("one").start().await;
            worker.get("/send").await;
            let killed = async {
                worker.log.wait_for("queue began").await;
                worker.log.wait_for("tick began").await;
                assert!(worker.try_send(request("/cpu")).await.is_err());
            };
            let (queue, tick, ()) = tokio::join!(worker.deliver(), worker.scheduled("tick", 0), killed);
            for report in [&queue, &tick] {
                assert_eq!(stopped(report), "exceeded CPU limit 300 ms: raise limits.cpu_ms");
            }
            assert_eq!(queue.notes.decisions, [Ack, Undecided]);
            assert_eq!(worker.get("/open").await.text(), "one 1", "a new isolate");
            assert_succeeded(&worker.scheduled("next", 0).await, &worker.log.lines());
        },
    ));

    trials.push(test("an event in another isolate than the one that is stopped goes on", async || {
        let mut setup = gated("one");
        setup.isolates = 2;
        let worker = setup.start().await;
        let killed = async {
            worker.log.wait_for("queue began").await;
            // The isolate with the event is the busier one: the request goes to the other.
            assert!(worker.try_send(request("/cpu")).await.is_err());
            worker.get("/open").await;
        };
        let (report, ()) = tokio::join!(worker.deliver(), killed);
        assert_succeeded(&report, &worker.log.lines());
        worker.log.wait_for("queue ended in one").await;
    }));

    trials.push(test(
        "a reload lets an event end in its version, and the next one begins in the new one",
        async || {
            let worker = gated("one").start().await;
            let reloaded = async {
                worker.log.wait_for("old began in one").await;
                worker.replace(gated("two")).await;
                assert_eq!(worker.get("/").await.text(), "two 1");
                let next = worker.scheduled("new", 0);
                let opened = async {
                    worker.log.wait_for("new began in two").await;
                    worker.get("/open").await;
                };
                tokio::join!(next, opened).0
            };
            let (old, new) = tokio::join!(worker.scheduled("old", 0), reloaded);
            for report in [old, new] {
                assert_succeeded(&report, &worker.log.lines());
            }
            worker.log.wait_for("old ended in one").await;
            worker.log.wait_for("new ended in two").await;
        },
    ));

    trials.push(test("events that meet a stream of reloads all run, each once, in one version or another", async || {
        let source = |version: usize| {
            WorkerSetup::of(&format!(
                "export default {{ async scheduled(event, env) {{ await scheduler.wait(1); console.log('ran', event.cron, 'in {version}') }} }}"
            ))
        };
        let worker = source(0).start().await;
        let reloads = async {
            for version in 1..=8 {
                worker.replace(source(version)).await;
            }
        };
        let events = async {
            for number in 0..200 {
                let (a, b) = (format!("{number}a"), format!("{number}b"));
                let (first, second) = tokio::join!(worker.scheduled(&a, 0), worker.scheduled(&b, 0));
                assert_succeeded(&first, &worker.log.lines());
                assert_succeeded(&second, &worker.log.lines());
            }
        };
        tokio::join!(reloads, events);
        let lines = worker.log.lines();
        let mut ran: Vec<&str> = lines.iter().filter_map(|line| line.split(" ran ").nth(1)?.split(' ').next()).collect();
        ran.sort_unstable();
        ran.dedup();
        assert_eq!((lines.len(), ran.len()), (400, 400));
    }));

    trials.push(test("a worker that ends lets its events end first, and begins no other", async || {
        let worker = gated("one").start().await;
        let ended = async {
            worker.log.wait_for("last began").await;
            let opened = async {
                worker.get("/open").await;
            };
            tokio::join!(worker.worker.drain(), opened);
        };
        let (last, ()) = tokio::join!(worker.scheduled("last", 0), ended);
        assert_succeeded(&last, &worker.log.lines());
        assert_eq!(stopped(&worker.scheduled("too late", 0).await), "the worker was shut down");
    }));

    trials.push(test("an event that nobody waits for any more runs to its end", async || {
        let worker: TestWorker = gated("one").start().await;
        {
            let event = worker.scheduled("left alone", 0);
            let began = worker.log.wait_for("left alone began");
            tokio::select! {
                _ = event => panic!("the gate is closed"),
                () = began => {}
            }
        }
        worker.get("/open").await;
        worker.log.wait_for("left alone ended in one").await;
    }));
}

fn request(path: &str) -> http::Request<bytes::Bytes> {
    http::Request::get(path).body(bytes::Bytes::new()).expect("a valid request")
}
