use std::time::{Duration, Instant};

use aerostack_tests::{TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

const CONFIG: &str = "name = \"shared\"
[[queues.consumers]]
queue = \"local-queue\"
max_batch_timeout = 0
";

/// Sends on a request, and notes in the shared database which process a message was delivered by.
const WORKER: &str = "const me = crypto.randomUUID();
export default {
  async fetch(request, env) {
    if (new URL(request.url).pathname === '/me') return new Response(me);
    await env.QUEUE.sendBatch(Array.from({ length: 50 }, (_, body) => ({ body })));
    return new Response('sent');
  },
  async queue(batch, env) {
    const insert = env.DB.prepare('INSERT INTO seen VALUES (?, ?)');
    await env.DB.batch(batch.messages.map((message) => insert.bind(message.id, me)));
  },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("of two processes over one folder one delivers, the other says so, and takes over after kill -9", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("migrations/0001.sql", "CREATE TABLE seen (message TEXT, process TEXT);"),
            ("src/index.ts", WORKER),
        ]);
        let mut first = project.dev();
        let second = project.dev();
        second.wait_for(&format!(
            "note: another process ({}) runs the cron triggers and queue consumers of this project; this one will when that ends",
            first.id()
        ));
        assert!(!first.output().contains("another process"), "{}", first.output());
        let names = [get(first.address, "/me").await.text(), get(second.address, "/me").await.text()];
        // Both serve, and both send.
        for served in [&first, &second] {
            assert_eq!(send(served.address, "POST", "/", &[], b"").await.text(), "sent");
        }
        let counts = "SELECT process, count(*) AS n, count(DISTINCT message) AS messages FROM seen GROUP BY process ORDER BY n";
        project.wait_for_rows(counts, &json!([{ "process": names[0], "n": 100, "messages": 100 }]));

        first.signal("KILL");
        first.wait();
        second.wait_for("that process has ended: cron triggers and queue consumers run here now");
        assert_eq!(send(second.address, "POST", "/", &[], b"").await.text(), "sent");
        let both = json!([
            { "process": names[1], "n": 50, "messages": 50 },
            { "process": names[0], "n": 100, "messages": 100 },
        ]);
        project.wait_for_rows(counts, &both);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !project.queued("QUEUE").is_empty() {
            assert!(Instant::now() < deadline, "messages are left");
        }
    }));
}
