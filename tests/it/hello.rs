use aerostack_tests::{TestServer, TestWorker, get, test};
use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a handler answers with text", async || {
        let worker = TestWorker::start("export default { fetch: () => new Response('hello') }").await;
        let answer = worker.get("/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }));
    trials.push(test("a handler answers over HTTP", async || {
        let server = TestServer::start("export default { fetch: (r) => new Response(new URL(r.url).pathname) }").await;
        let answer = get(server.address, "/a/b?c=1").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "/a/b"));
    }));
}
