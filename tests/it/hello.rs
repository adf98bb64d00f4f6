use aerostack_tests::{TestServer, TestWorker, get, test};
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a handler answers with text", async || {
        let worker = TestWorker::start("export default { fetch: () => new Response('hello') }").await;
        let answer = worker.get("/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }));
    trials.push(test("the tests run with debug assertions and overflow checks on", async || {
        let past_the_end = std::panic::catch_unwind(|| std::hint::black_box(u8::MAX) + std::hint::black_box(1));
        assert!(cfg!(debug_assertions) && past_the_end.is_err());
    }));
    trials.push(test("a handler answers over HTTP", async || {
        let server = TestServer::start("export default { fetch: (r) => new Response(new URL(r.url).pathname) }").await;
        let answer = get(server.address, "/a/b?c=1").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "/a/b"));
    }));
}
