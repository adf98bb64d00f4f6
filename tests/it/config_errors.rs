//! Wrong configs through the binary: all problems at once, each with file, line and a way out.

use aerostack_tests::{TestProject, get, test};
use libtest_mimic::Trial;

const MAIN: (&str, &str) = ("src/index.ts", "export default { fetch: () => new Response('hello') };");

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("every problem of a config is reported at once, with its line and a code frame", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", "name = 5\nmian = \"src/index.ts\"\n\n[limits]\ncpu_ms = \"a lot\"\nmemory_mb = 1\n"),
            MAIN,
        ]);
        let run = project.run(&["check"]);
        assert!(!run.succeeded && run.stdout.is_empty(), "{run:?}");
        for part in [
            "error: `name` must be a string",
            "aerostack.toml:1:8",
            "1 | name = 5",
            "warning: unknown key `mian`",
            "did you mean `main`?",
            "error: `limits.cpu_ms` must be an integer",
            "aerostack.toml:5:10",
            "limits.memory_mb",
            "aerostack.toml:6:",
        ] {
            assert!(run.stderr.contains(part), "{part:?} is not in:\n{}", run.stderr);
        }
    }));

    trials.push(test("TOML that cannot be parsed is one error with its line", async || {
        for (text, place) in
            [("name = \"x\n", "1:"), ("name = \"x\"\n[limits\n", "2:"), ("name = \"x\"\nname = \"y\"\n", "2:")]
        {
            let run = TestProject::new(&[("aerostack.toml", text), MAIN]).run(&["check"]);
            assert!(!run.succeeded, "{run:?}");
            assert!(run.stderr.contains(&format!("aerostack.toml:{place}")), "{}", run.stderr);
            assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
            assert!(run.stderr.ends_with("\n1 error, 0 warnings\n"), "{}", run.stderr);
        }
    }));

    trials.push(test("a config that is no UTF-8 is a clear error", async || {
        let project = TestProject::new(&[MAIN]);
        std::fs::write(project.path().join("aerostack.toml"), b"name = \"\xff\xfe\"\n").expect("a file can be written");
        let run = project.run(&["check"]);
        assert!(!run.succeeded && run.stderr.contains("aerostack.toml") && run.stderr.contains("UTF-8"), "{run:?}");
    }));

    trials.push(test("an unknown key is a warning, and dev serves", async || {
        let project =
            TestProject::new(&[("aerostack.toml", "name = \"x\"\ncompatability_date = \"2025-01-01\"\n"), MAIN]);
        let served = project.dev();
        served.wait_for("warning: unknown key `compatability_date`");
        served.wait_for("did you mean `compatibility_date`?");
        assert_eq!(get(served.address, "/").await.text(), "hello");
    }));

    trials.push(test("an empty config is enough", async || {
        let project = TestProject::new(&[("aerostack.toml", ""), MAIN]);
        let served = project.dev();
        assert_eq!(get(served.address, "/").await.text(), "hello");
    }));

    trials.push(test(
        "a wrangler.toml, wrangler.json or wrangler.jsonc serves when there is no aerostack.toml",
        async || {
            for (name, text) in [
                (
                    "wrangler.toml",
                    "name = \"w\"\nmain = \"src/index.ts\"\ncompatibility_date = \"2025-01-01\"\n[vars]\nA = \"1\"\n",
                ),
                ("wrangler.json", r#"{ "name": "w", "main": "src/index.ts", "vars": { "A": "1" } }"#),
                (
                    "wrangler.jsonc",
                    "{ // a comment\n \"name\": \"w\", \"main\": \"src/index.ts\", \"vars\": { \"A\": \"1\" }, }",
                ),
            ] {
                let main =
                    ("src/index.ts", "export default { fetch: (request, env) => new Response('hello ' + env.A) };");
                let project = TestProject::new(&[(name, text), main]);
                let served = project.dev();
                assert_eq!(get(served.address, "/").await.text(), "hello 1", "{name}");
            }
        },
    ));

    trials.push(test("a wrong wrangler.jsonc points into that file", async || {
        let project =
            TestProject::new(&[("wrangler.jsonc", "{\n  \"name\": 5,\n  \"main\": \"src/index.ts\"\n}\n"), MAIN]);
        let run = project.run(&["check"]);
        assert!(!run.succeeded && run.stderr.contains("wrangler.jsonc:2:"), "{run:?}");
    }));

    trials.push(test("two workers on one route are an error that shows both", async || {
        let project = TestProject::new(&[
            (
                "aerostack.toml",
                "name = \"x\"\n[[functions]]\nname = \"a\"\nmain = \"src/a.ts\"\nroute = \"/api/*\"\n[[functions]]\nname = \"b\"\nmain = \"src/a.ts\"\nroute = \"/api/*\"\n",
            ),
            MAIN,
            ("src/a.ts", "export default { fetch: () => new Response('a') };"),
        ]);
        let run = project.run(&["check"]);
        assert!(!run.succeeded && run.stderr.contains("two workers answer the route \"/api/*\""), "{run:?}");
    }));

    trials.push(test(
        "mounted workers answer below their route, the longest prefix wins, and the prefix is stripped",
        async || {
            let worker = |name: &str| {
                format!("export default {{ fetch: (r) => new Response('{name} ' + new URL(r.url).pathname) }};")
            };
            let project = TestProject::new(&[
                (
                    "aerostack.toml",
                    "name = \"x\"\n[[functions]]\nname = \"api\"\nmain = \"src/api.ts\"\nroute = \"/api/*\"\n\
                 [[functions]]\nname = \"deep\"\nmain = \"src/deep.ts\"\nroute = \"/api/deep/*\"\n\
                 [[functions]]\nname = \"kept\"\nmain = \"src/kept.ts\"\nroute = \"/kept/*\"\nstrip_prefix = false\n",
                ),
                ("src/index.ts", &worker("main")),
                ("src/api.ts", &worker("api")),
                ("src/deep.ts", &worker("deep")),
                ("src/kept.ts", &worker("kept")),
            ]);
            let served = project.dev();
            let mut one_connection = aerostack_tests::Connection::open(served.address).await;
            for (path, expected) in [
                ("/", "main /"),
                ("/api", "api /"),
                ("/api/", "api /"),
                ("/api/items", "api /items"),
                ("/apis", "main /apis"),
                ("/api/deep/x", "deep /x"),
                ("/api/deeper", "api /deeper"),
                ("/kept/x", "kept /kept/x"),
            ] {
                assert_eq!(get(served.address, path).await.text(), expected, "{path}");
                // A connection belongs to the worker of its first request; the others are reached from it all the same.
                assert_eq!(one_connection.get(path).await.text(), expected, "{path}");
            }
        },
    ));
}
