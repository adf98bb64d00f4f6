//! State that goes while `dev` runs.

use aerostack_tests::{TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::CONFIG;

const COUNTS: &str = "export default {
  async fetch(request, env) {
    if (request.method === 'POST') {
      await env.DB.exec(\"INSERT INTO items VALUES ('x')\");
      await env.CACHE.put('k', 'v');
      await env.QUEUE.send('message');
      await env.STORAGE.put('object', 'bytes');
    }
    const rows = await env.DB.prepare('SELECT count(*) AS n FROM items').first('n');
    return Response.json([rows, await env.CACHE.get('k'), (await env.STORAGE.head('object'))?.key ?? null]);
  },
  queue(batch) { console.log('got', batch.messages.length); },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    for (what, removed) in [
        ("the state folder", ".aerostack"),
        ("the folder of the databases", ".aerostack/database"),
        ("the file of the cache", ".aerostack/cache/local-kv.sqlite"),
    ] {
        trials.push(test(&format!("dev notices that {what} was removed, and starts afresh"), async move || {
            let project = TestProject::new(&[
                ("aerostack.toml", CONFIG),
                ("migrations/0001_items.sql", "CREATE TABLE items (name TEXT);"),
                ("src/index.ts", COUNTS),
            ]);
            let served = project.dev();
            let before = served.line_count();
            assert_eq!(send(served.address, "POST", "/", &[], b"").await.json(), json!([1, "v", "object"]));
            served.wait_for_after(before, "got 1");
            let before = served.line_count();
            let path = project.path().join(removed);
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }
                .expect("it can be removed");
            served.wait_for_after(before, "was removed or replaced: starting afresh");
            served.wait_for_after(before, "started afresh in");
            let whole = removed == ".aerostack";
            let database = i32::from(removed.ends_with("sqlite"));
            let cache = if removed.ends_with("database") { json!("v") } else { json!(null) };
            let object = if whole { json!(null) } else { json!("object") };
            assert_eq!(get(served.address, "/").await.json(), json!([database, cache, object]));
            let before = served.line_count();
            let expected = json!([database + 1, "v", "object"]);
            assert_eq!(send(served.address, "POST", "/", &[], b"").await.json(), expected);
            served.wait_for_after(before, "got 1");
            assert_eq!(project.rows("SELECT count(*) AS n FROM items"), json!([{ "n": database + 1 }]));
            assert_eq!(served.output().matches("starting afresh").count(), 1, "{}", served.output());
        }));
    }
}
