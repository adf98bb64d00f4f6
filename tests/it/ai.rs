//! Inference costs more than anything else a worker does: none of it goes on once nobody waits for it.

use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestServer, TestWorker, WorkerSetup, test};
use libtest_mimic::Trial;

/// Each path leaves an inference in another state.
const WORKER: &str = "let kept;
const endless = (env, options) => env.AI.run('@cf/test/endless', { prompt: 'p', stream: true }, options);
const slow = (env, options) => env.AI.run('@cf/test/slow', { prompt: 'p', stream: true }, options);
const silent = (env, options) => env.AI.run('@cf/test/silent', { prompt: 'p' }, options);
export default {
  async fetch(request, env, ctx) {
    switch (new URL(request.url).pathname) {
      case '/stream': return new Response(await endless(env));
      case '/slow': return new Response(await slow(env));
      case '/through': return new Response((await endless(env)).pipeThrough(new TransformStream()));
      case '/silent': return Response.json(await silent(env));
      case '/cancel': {
        const reader = (await endless(env)).getReader();
        await reader.read();
        await reader.cancel();
        return new Response('cancelled');
      }
      case '/signal': {
        const controller = new AbortController();
        kept = await slow(env, { signal: controller.signal });
        controller.abort();
        return new Response('aborted');
      }
      case '/signal-call': {
        const controller = new AbortController();
        const answer = silent(env, { signal: controller.signal }).catch((error) => error.name);
        setTimeout(() => controller.abort(), 0);
        return new Response(await answer);
      }
      case '/kept': kept = await slow(env); return new Response('kept');
      case '/forgotten': silent(env).catch(() => {}); return new Response('forgotten');
      case '/few': {
        const reader = (await endless(env)).getReader();
        for (let n = 0; n < 3; n++) await reader.read();
        kept = reader;
        ctx.waitUntil(new Promise((done) => setTimeout(done, 600_000)));
        return new Response('three');
      }
    }
  },
};
";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    for path in ["/cancel", "/signal", "/signal-call", "/kept", "/forgotten"] {
        trials.push(test(&format!("ai: no inference goes on after {path} has its answer"), async move || {
            let worker = TestWorker::start(WORKER).await;
            assert_eq!(worker.get(path).await.status, 200);
            worker.ai.wait_for_running(0).await;
            assert_eq!(worker.ai.begun(), 1);
        }));
    }

    for path in ["/stream", "/slow", "/through"] {
        trials.push(test(
            &format!("ai: a client that leaves {path} in the middle ends the inference"),
            async move || {
                let server = TestServer::of(WorkerSetup::of(WORKER), ClientLimits::default()).await;
                let mut connection = Connection::open_narrow(server.address).await;
                connection.write_get(path).await;
                connection.head().await;
                connection.chunk().await;
                assert_eq!(server.worker.ai.running(), 1);
                drop(connection);
                server.worker.ai.wait_for_running(0).await;
            },
        ));
    }

    trials.push(test("ai: a client that leaves before the answer ends the inference", async || {
        let server = TestServer::of(WorkerSetup::of(WORKER), ClientLimits::default()).await;
        let mut connection = Connection::open(server.address).await;
        connection.write_get("/silent").await;
        server.worker.ai.wait_for_running(1).await;
        drop(connection);
        server.worker.ai.wait_for_running(0).await;
    }));

    trials.push(test("ai: what nobody reads is not asked for", async || {
        let worker = TestWorker::start(WORKER).await;
        assert_eq!(worker.get("/few").await.text(), "three");
        // One event is looked at before the call has its answer, and a stream of bytes is filled one read ahead.
        assert!((3..=5).contains(&worker.ai.events()), "{} events", worker.ai.events());
        assert_eq!(worker.ai.running(), 1);
    }));

    trials.push(test("ai: the limits of a request end its inference", async || {
        let setup = WorkerSetup::of(WORKER).limits(|limits| limits.wall = Some(std::time::Duration::from_millis(300)));
        let server = TestServer::of(setup, ClientLimits::default()).await;
        let answer = aerostack_tests::get(server.address, "/silent").await;
        assert_eq!(answer.status, 503);
        server.worker.ai.wait_for_running(0).await;
    }));
}
