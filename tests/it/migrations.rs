//! What `dev` says of migrations that fail, that were edited too late, and that do not make a table.

use aerostack_tests::{TestProject, get, test};
use libtest_mimic::Trial;

const CONFIG: &str = "name = \"shop\"\n";

/// Catches what the database says, as careful handlers do.
const CAREFUL: &str = "export default { async fetch(request, env) {
  try { return Response.json(await env.DB.prepare('SELECT * FROM users').all()) }
  catch (error) { console.error('cannot list', error.message); return new Response(error.message, { status: 500 }) }
} };";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a migration that fails is shown in its file, by a path that can be clicked", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", CAREFUL),
            ("migrations/0001_bad.sql", "CREATE TABLE half (x);\n\nINSERT INTO absent VALUES (1);\n"),
        ]);
        let run = project.run(&["db", "migrate", "apply"]);
        assert!(!run.succeeded, "{run:?}");
        let frame = "error: migration failed: no such table: absent: SQLITE_ERROR
 --> migrations/0001_bad.sql:3:1
  |
1 | CREATE TABLE half (x);
2 |
3 | INSERT INTO absent VALUES (1);
  | ^";
        assert!(run.stderr.contains(frame), "{}", run.stderr);
    }));

    trials.push(test("an applied migration that is edited has no effect, and dev says so once", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", CAREFUL),
            ("migrations/0001_users.sql", "CREATE TABLE users (name TEXT);\n"),
        ]);
        let served = project.dev();
        served.wait_for("applied migration 0001_users.sql");
        project.write("migrations/0001_users.sql", "CREATE TABLE users (name TEXT, age INTEGER);\n");
        served
            .wait_for("migration migrations/0001_users.sql is already applied to local-db, its changes have no effect");
        let before = served.line_count();
        project.write("src/index.ts", &format!("{CAREFUL}\n"));
        served.wait_for_after(before, "reloaded in");
        assert_eq!(served.output().matches("have no effect").count(), 1, "{}", served.output());
        let run = project.run(&["db", "migrate", "apply"]);
        assert!(run.succeeded && run.stderr.contains("its changes have no effect"), "{}", run.stderr);
    }));

    trials.push(test("a missing table that the handler catches is explained once", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", CAREFUL)]);
        let served = project.dev();
        for _ in 0..3 {
            assert_eq!(get(served.address, "/").await.text(), "D1_ERROR: no such table: users: SQLITE_ERROR");
        }
        served.wait_for("hint: DB (local-db) has no table users, and migrations has no migrations");
        get(served.address, "/").await;
        assert_eq!(served.output().matches("hint: DB").count(), 1, "{}", served.output());
    }));

    trials.push(test("an error in a worker does not tell where the project lies", async || {
        let source = "export default { async fetch(request, env) {
          try { await env.DB.prepare('CREATE TABLE t (a)').run(); return new Response('made') }
          catch (error) { return new Response(error.message) }
        } };";
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", source)]);
        let served = project.dev();
        let file = project.path().join(".aerostack/database/local-db.sqlite");
        std::fs::rename(&file, file.with_extension("aside")).expect("it can be moved");
        let text = get(served.address, "/").await.text();
        assert!(text.starts_with("D1_ERROR: .aerostack/database/local-db.sqlite was removed or replaced"), "{text}");
        std::fs::rename(file.with_extension("aside"), &file).expect("it can be moved back");
        assert_eq!(get(served.address, "/").await.text(), "made");
    }));
}
