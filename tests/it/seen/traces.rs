//! Trace ids in and out: `traceparent` of a request, of what its handler fetches, and of nothing else.

use aerostack_server::ClientLimits;
use aerostack_tests::{TestServer, WorkerSetup, send, test};
use libtest_mimic::Trial;
use serde_json::Value;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Says which headers it got.
const ORIGIN: &str = "export default { async fetch(request) { \
                      if (new URL(request.url).pathname === '/redirect') return new Response(null, { status: 302, headers: { location: '/end' } }); \
                      return Response.json([request.headers.get('traceparent'), request.headers.get('tracestate')]) } }";

/// Fetches as it is told, and tells what the origin got.
const WORKER: &str = "
const text = async (response) => (await response).json();
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const origin = env.ORIGIN;
    if (pathname === '/two') return Response.json([await text(fetch(origin)), await text(fetch(origin))]);
    if (pathname === '/own') return Response.json([await text(fetch(origin, { headers: { traceparent: 'mine' } }))]);
    if (pathname === '/redirect') return Response.json([await text(fetch(origin + '/redirect'))]);
    if (pathname === '/later') { await scheduler.wait(1); await env.DB.prepare('SELECT 1').all(); return Response.json([await text(fetch(origin))]); }
    if (pathname === '/nested') {
      let inner;
      const init = { get method() { inner ??= text(fetch(origin)); return 'GET'; } };
      return Response.json([await text(fetch(origin, init)), await inner]);
    }
    const asked = new Request(origin);
    const answer = await text(fetch(asked));
    return Response.json([answer, asked.headers.has('traceparent'), request.headers.get('traceparent')]);
  },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test(
        "a fetch carries the trace of the request that made it, each with a span of its own",
        async || {
            let [first, second] = both(&asked("/two", &[("traceparent", TRACEPARENT)]).await);
            for sent in [&first, &second] {
                assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && sent.ends_with("-01"), "{sent}");
                assert!(!sent.contains("00f067aa0ba902b7"), "the client's span is not ours: {sent}");
            }
            assert_ne!(first, second);
        },
    ));

    trials.push(test(
        "without a trace, or with an invalid one, the fetches of a request share a new one that is not sampled",
        async || {
            for headers in [
                &[][..],
                &[("traceparent", "00-nonsense-01")],
                &[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)],
            ] {
                let [first, second] = both(&asked("/two", headers).await);
                assert_eq!(first[..36], second[..36], "one trace");
                assert_ne!(first, second);
                assert!(!first.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{first}");
                assert!(u8::from_str_radix(&first[53..], 16).is_ok_and(|flags| flags & 1 == 0), "{first}");
            }
        },
    ));

    trials.push(test("a traceparent that the handler sets itself is sent as it is", async || {
        assert_eq!(asked("/own", &[("traceparent", TRACEPARENT)]).await[0][0], "mine");
    }));

    trials.push(test("tracestate is passed on with the trace it came with, and not without", async || {
        let state = ("tracestate", "vendor=1,other=2");
        assert_eq!(asked("/two", &[("traceparent", TRACEPARENT), state]).await[0][1], "vendor=1,other=2");
        assert_eq!(asked("/two", &[state]).await[0][1], Value::Null);
        assert_eq!(asked("/own", &[("traceparent", TRACEPARENT), state]).await[0][1], Value::Null);
    }));

    trials.push(test("the trace is kept over awaits, redirects and a fetch within a fetch", async || {
        for path in ["/later", "/redirect", "/nested"] {
            let answer = asked(path, &[("traceparent", TRACEPARENT)]).await;
            for sent in answer.as_array().expect("a list") {
                let sent = sent[0].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
                assert!(sent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{path}: {answer}");
            }
        }
    }));

    trials.push(test("neither the handler's request objects nor the answer to the client are changed", async || {
        let (server, _origin) = served().await;
        let answer = send(server.address, "GET", "/", &[("traceparent", TRACEPARENT)], b"").await;
        assert!(!answer.head.contains("trace"), "{}", answer.head);
        let answer = answer.json();
        assert!(answer[0][0].is_string(), "{answer}");
        assert_eq!((&answer[1], &answer[2]), (&Value::Bool(false), &Value::from(TRACEPARENT)));
    }));

    trials.push(test("a fetch of the main module, which no request made, carries no trace", async || {
        let origin = TestServer::start(ORIGIN).await;
        let source = format!(
            "const got = await (await fetch('http://{}/')).json(); export default {{ fetch: () => Response.json(got) }}",
            origin.address
        );
        let server = TestServer::start(&source).await;
        let answer = send(server.address, "GET", "/", &[("traceparent", TRACEPARENT)], b"").await.json();
        assert_eq!(answer, Value::from(vec![Value::Null, Value::Null]));
    }));
}

async fn served() -> (TestServer, TestServer) {
    let origin = TestServer::start(ORIGIN).await;
    let setup = WorkerSetup::of(WORKER).variable("ORIGIN", format!("http://{}", origin.address));
    (TestServer::of(setup, ClientLimits::default()).await, origin)
}

/// What the origin got, a pair of headers for each request.
async fn asked(path: &str, headers: &[(&str, &str)]) -> Value {
    let (server, _origin) = served().await;
    let answer = send(server.address, "GET", path, headers, b"").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn both(answer: &Value) -> [String; 2] {
    [0, 1].map(|place| answer[place][0].as_str().unwrap_or_else(|| panic!("no traceparent: {answer}")).to_owned())
}
