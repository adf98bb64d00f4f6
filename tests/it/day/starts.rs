//! A project that is broken when `dev` starts, and what `serve` refuses.

use aerostack_tests::{Connection, TestProject, get, send, test};
use libtest_mimic::Trial;
use serde_json::json;

use super::{CONFIG, answering};

pub(super) fn trials(trials: &mut Vec<Trial>) {
    let thrown = format!("throw new Error('boom');\n{}", answering("fixed"));
    let imports = format!("import './gone.ts';\n{}", answering("fixed"));
    let good = answering("fixed");
    for (what, broken, fix, text) in [
        (
            "a syntax error",
            ("src/index.ts", "export default { fetch( { return 1; } };"),
            ("src/index.ts", &*good),
            "src/index.ts:1:",
        ),
        ("a missing import", ("src/index.ts", &*imports), ("src/gone.ts", "export const x = 1;"), "gone.ts"),
        ("an error while the modules load", ("src/index.ts", &*thrown), ("src/index.ts", &*good), "boom"),
        (
            "a migration that fails",
            ("migrations/0001_a.sql", "CREATE TABLE a (x;"),
            ("migrations/0001_a.sql", "CREATE TABLE a (x);"),
            "0001_a.sql:1",
        ),
        (
            "a config that does not parse",
            ("aerostack.toml", "name = \"shop\"\ncrons = ["),
            ("aerostack.toml", CONFIG),
            "aerostack.toml:2:",
        ),
        (
            "a config with a wrong value",
            ("aerostack.toml", "name = \"shop\"\n[limits]\ncpu_ms = 0\n"),
            ("aerostack.toml", CONFIG),
            "cpu_ms",
        ),
        (
            "a driver that does not exist",
            ("aerostack.toml", "name = \"shop\"\n[[d1_databases]]\nbinding = \"DB\"\ndriver = \"nosuch\"\n"),
            ("aerostack.toml", CONFIG),
            "nosuch",
        ),
    ] {
        let [broken, fix] = [broken, fix].map(|(path, text)| (path.to_owned(), text.to_owned()));
        trials.push(test(
            &format!("dev survives a start with {what}: it says it, answers with it, and serves after the save"),
            async move || {
                let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("fixed"))]);
                project.write(&broken.0, &broken.1);
                let served = project.dev();
                served.wait_for(text);
                let refused = get(served.address, "/").await;
                assert_eq!(refused.status, 500);
                assert!(refused.text().contains(text) && !refused.text().contains('\u{1b}'), "{}", refused.text());
                assert!(!served.output().lines().any(|line| line.starts_with("ready ")), "{}", served.output());
                project.write(&fix.0, &fix.1);
                let before = served.line_count();
                if !served.output().lines().any(|line| line.starts_with("ready ")) {
                    served.wait_for_after(before, "ready http://");
                }
                assert_eq!(get(served.address, "/").await.text(), "fixed");
                // And goes on as after any other start.
                let before = served.line_count();
                project.write("src/index.ts", &answering("saved"));
                served.wait_for_after(before, "~ src/index.ts -> reloaded in");
                assert_eq!(get(served.address, "/").await.text(), "saved");
            },
        ));
    }

    trials.push(test("a second wrong save is said too, and a worker beside the broken one is served", async || {
        let config = "name = \"shop\"\n[[functions]]\nname = \"api\"\nmain = \"src/api.ts\"\nroute = \"/api/*\"\n";
        let project = TestProject::new(&[
            ("aerostack.toml", config),
            ("src/index.ts", &answering("main")),
            ("src/api.ts", "first mistake;"),
        ]);
        let served = project.dev();
        served.wait_for("not ready http://");
        assert_eq!(get(served.address, "/").await.text(), "main");
        let mut kept = Connection::open(served.address).await;
        assert_eq!(kept.get("/").await.text(), "main");
        for broken in [get(served.address, "/api/x").await, kept.get("/api").await] {
            assert!(broken.status == 500 && broken.text().contains("src/api.ts:1:"), "{}", broken.text());
        }
        let ready = get(served.address, "/_aerostack/ready").await;
        assert_eq!((ready.status, &ready.json()["workers"][0]["name"]), (503, &json!("api")));
        let before = served.line_count();
        project.write("src/api.ts", "export default { second mistake };");
        served.wait_for_after(before, "second mistake");
        served.wait_for_after(before, "~ src/api.ts: not reloaded");
        let before = served.line_count();
        project.write("src/api.ts", &answering("api"));
        served.wait_for_after(before, "~ src/api.ts -> reloaded in");
        assert_eq!(get(served.address, "/api/x").await.text(), "api");
        assert_eq!(kept.get("/api/x").await.text(), "api");
    }));

    trials.push(test("a request that waits with its body gets the error of a broken start whole", async || {
        let project = TestProject::new(&[("aerostack.toml", "name = "), ("src/index.ts", &answering("fixed"))]);
        let served = project.dev();
        let refused = send(served.address, "POST", "/", &[], &vec![b'x'; 300_000]).await;
        assert!(refused.status == 500 && refused.text().contains("aerostack.toml:1:"), "{}", refused.text());
    }));

    trials.push(test("dev that never got ready ends at Ctrl-C", async || {
        for (file, text) in [("aerostack.toml", "name = "), ("src/index.ts", "mistake")] {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
            project.write(file, text);
            let mut served = project.dev();
            served.signal("INT");
            assert!(served.wait(), "{}", served.output());
        }
    }));

    trials.push(test("serve and check exit with 1 where dev waits", async || {
        for (file, text) in [
            ("aerostack.toml", "name = "),
            ("src/index.ts", "export default { fetch( { } };"),
            ("src/index.ts", "throw new Error('boom');"),
            ("migrations/0001_a.sql", "CREATE TABLE a (x;"),
        ] {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
            project.write(file, text);
            for arguments in [&["serve", "--port", "0"][..], &["check"]] {
                let run = project.run(arguments);
                assert!(!run.succeeded && run.stdout.is_empty() && !run.stderr.is_empty(), "{arguments:?}: {run:?}");
            }
        }
    }));

    trials.push(test("serve does not start without a required secret, and names all that are missing", async || {
        let config = "name = \"shop\"\n[secrets]\nSTRIPE_KEY = \"from the dashboard\"\nOTHER = \"\"\n";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", &answering("x"))]);
        let refused = project.run(&["serve", "--port", "0"]);
        assert!(!refused.succeeded, "{refused:?}");
        assert!(refused.stderr.contains("2 required secrets not set: STRIPE_KEY, OTHER"), "{}", refused.stderr);
        let served = project.start_in(&[("STRIPE_KEY", "sk-123"), ("OTHER", "x")], &["serve", "--port", "0"]);
        assert_eq!(get(served.address, "/").await.text(), "x");
        // A developer may do without.
        assert_eq!(get(project.dev().address, "/").await.text(), "x");
    }));

    trials.push(test(
        "serve refuses more isolates than memory can hold, and says it when there are many",
        async || {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
            let refused = project.run(&["serve", "--port", "0", "--isolates", "1000000"]);
            assert!(!refused.succeeded && refused.stderr.contains("1000000 isolates need at least "), "{refused:?}");
            let cores = std::thread::available_parallelism().expect("a count of cores").get();
            let served = project.start(&["serve", "--port", "0", "--isolates", &(cores + 1).to_string()]);
            served.wait_for(&format!("starting {} isolates on {cores} core", cores + 1));
            assert_eq!(get(served.address, "/").await.text(), "x");
        },
    ));
}
