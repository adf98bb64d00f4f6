//! The commands beside `dev`: environments, `check`, where a project is looked for, names, and `--json`.

use aerostack_tests::{TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{CONFIG, answering};

const WITH_STAGING: &str = "name = \"shop\"
[vars]
STAGE = \"top\"
[triggers]
crons = [\"0 1 * * *\"]
[env.staging]
vars = { STAGE = \"staging\" }
triggers = { crons = [\"0 2 * * *\"] }
[[env.staging.d1_databases]]
binding = \"DB\"
database_name = \"staging-db\"
migrations_dir = \"staging-migrations\"
[[env.staging.queues.producers]]
binding = \"QUEUE\"
queue = \"staging-jobs\"
[[env.staging.kv_namespaces]]
binding = \"CACHE\"
id = \"staging-cache\"
";

const SHOWS_STAGE: &str = "export default {
  fetch: (request, env) => Response.json([env.STAGE, env.SECRET ?? null]),
  scheduled(controller, env) { console.log(env.STAGE, controller.cron); },
};";

fn staged() -> TestProject {
    TestProject::new(&[
        ("aerostack.toml", WITH_STAGING),
        ("src/index.ts", SHOWS_STAGE),
        (".dev.vars", "SECRET=of-dev\n"),
        (".dev.vars.staging", "SECRET=of-staging\n"),
        ("staging-migrations/0001_a.sql", "CREATE TABLE a (x);"),
    ])
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    environments(trials);
    checking(trials);
    finding(trials);
    programs(trials);
}

fn environments(trials: &mut Vec<Trial>) {
    trials.push(test("--env chooses the environment of dev, also after a reload, and of serve", async || {
        let project = staged();
        assert_eq!(get(project.dev().address, "/").await.json(), json!(["top", "of-dev"]));
        for flag in [&["--env", "staging"][..], &["-e", "staging"], &["--env=staging"]] {
            let served = project.dev_with(flag);
            served.wait_for("shop-staging");
            assert_eq!(get(served.address, "/").await.json(), json!(["staging", "of-staging"]));
            let before = served.line_count();
            project.append("aerostack.toml", "# saved\n");
            served.wait_for_after(before, "reloaded in");
            assert_eq!(get(served.address, "/").await.json(), json!(["staging", "of-staging"]));
        }
        let served = project.start(&["serve", "--port", "0", "--env", "staging"]);
        assert_eq!(get(served.address, "/").await.json(), json!(["staging", "of-staging"]));
    }));

    trials.push(test("--env works for every command of a project", async || {
        let project = staged();
        let staging = ["--env", "staging"];
        let run = |arguments: &[&str]| {
            let run = project.run(&[arguments, &staging].concat());
            assert!(run.succeeded, "{arguments:?}: {run:?}");
            run
        };
        let list = run(&["db", "migrate", "list", "--json"]).stdout;
        assert!(list.contains("staging-db"), "{list}");
        assert!(run(&["db", "migrate", "apply"]).stdout.contains("staging-db  0001_a.sql"));
        run(&["db", "execute", "--command", "SELECT * FROM a"]);
        assert!(run(&["db", "migrate", "new", "next"]).stdout.contains("staging-migrations/0002_next.sql"));
        assert!(run(&["queue", "send", "1"]).stderr.contains("staging-jobs"));
        for command in [&["queue", "list"][..], &["queue", "peek"], &["queue", "purge", "--yes"], &["queue", "redrive"]]
        {
            let run = run(command);
            assert!(
                format!("{}{}", run.stdout, run.stderr).contains("staging-jobs") || command[1] == "peek",
                "{run:?}"
            );
        }
        run(&["cache", "put", "key", "value"]);
        assert_eq!(run(&["cache", "get", "key"]).stdout, "value");
        assert!(!project.run(&["cache", "get", "key"]).succeeded, "another cache");
        assert!(run(&["cron", "list"]).stdout.contains("0 2 * * *"));
        assert!(run(&["cron", "trigger"]).stdout.contains("staging 0 2 * * *"));
        run(&["models", "list"]);
        assert!(run(&["check"]).stderr.contains("shop-staging: 1 worker"));
    }));

    trials.push(test("an environment that does not exist is an error that names those that do", async || {
        let project = staged();
        for command in [&["serve", "--port", "0"][..], &["check"], &["cron", "list"], &["models", "where"]] {
            let run = project.run(&[command, &["--env", "stagign"]].concat());
            assert!(!run.succeeded, "{command:?}: {run:?}");
            assert!(run.stderr.contains("no environment \"stagign\""), "{}", run.stderr);
            assert!(run.stderr.contains("did you mean \"staging\"?"), "{}", run.stderr);
        }
    }));
}

fn checking(trials: &mut Vec<Trial>) {
    trials.push(test("check reports what is wrong everywhere at once, and exits with 1", async || {
        let project = TestProject::new(&[
            (
                "aerostack.toml",
                "name = \"shop\"\nnmae = 1\n[[functions]]\nname = \"api\"\nmain = \"src/api.ts\"\nroute = \"/api/*\"\n",
            ),
            ("migrations/0001_a.sql", "CREATE TABLE a (x;"),
            ("src/index.ts", "import './gone';\nimport './also-gone';\nexport default { fetch() {} };\n"),
            ("src/api.ts", "throw new Error('boom');\n"),
        ]);
        let run = project.run(&["check"]);
        assert!(!run.succeeded && run.stdout.is_empty(), "{run:?}");
        for text in
            ["unknown key `nmae`", "0001_a.sql:1", "src/index.ts:1:", "src/index.ts:2:", "shop: 2 workers, 3 errors, "]
        {
            assert!(run.stderr.contains(text), "{text} is not in:\n{}", run.stderr);
        }
        assert!(!project.path().join(".aerostack").exists(), "check leaves nothing behind");
        project.write("migrations/0001_a.sql", "CREATE TABLE a (x);");
        let run = project.run(&["check"]);
        assert!(run.stderr.contains("boom") && run.stderr.contains("src/api.ts:1:"), "{}", run.stderr);
        let list: Value = serde_json::from_str(&project.run(&["check", "--json"]).stdout).expect("JSON");
        assert_eq!(list["ok"], false);
        let problems = list["problems"].as_array().expect("a list");
        let places: Vec<&str> = problems.iter().filter_map(|problem| problem["place"].as_str()).collect();
        assert_eq!(places, ["aerostack.toml:2:1", "src/index.ts:1:8", "src/index.ts:2:8", "src/api.ts:1:7"]);
        assert_eq!((&problems[0]["severity"], &problems[0]["worker"]), (&json!("warning"), &json!(null)));
        assert_eq!((&problems[3]["severity"], &problems[3]["worker"]), (&json!("error"), &json!("api")));
    }));

    trials.push(test("check passes with warnings, runs no handler, and touches no state", async || {
        let project = TestProject::new(&[
            (
                "aerostack.toml",
                "name = \"shop\"\nnmae = 1\n[triggers]\ncrons = [\"* * * * *\"]\n[secrets]\nKEY = \"\"\n",
            ),
            ("migrations/0001_a.sql", "CREATE TABLE a (x);"),
            ("src/index.ts", "console.log('loaded'); export default { fetch() {} };\n"),
        ]);
        let run = project.run(&["check"]);
        assert!(run.succeeded && run.stdout.is_empty(), "{run:?}");
        for text in ["unknown key `nmae`", "KEY", "no `scheduled` handler", "shop: 1 worker, 0 errors, 3 warnings\n"] {
            assert!(run.stderr.contains(text), "{text} is not in:\n{}", run.stderr);
        }
        assert!(!project.path().join(".aerostack").exists());
        let fine = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
        let run = fine.run(&["check"]);
        assert!(run.succeeded && run.stderr == "shop: 1 worker, 0 errors, 0 warnings\n", "{run:?}");
        assert_eq!(fine.run_json(&["check", "--json"]), json!({ "ok": true, "problems": [] }));
        let nothing = TestProject::new(&[]).run(&["check"]);
        assert!(!nothing.succeeded && nothing.stderr.contains("no aerostack.toml in "), "{nothing:?}");
    }));
}

fn finding(trials: &mut Vec<Trial>) {
    trials.push(test("any command works in a folder below the project", async || {
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/deep/inside/x.ts", ""),
            ("src/index.ts", &answering("found")),
        ]);
        let below = project.path().join("src/deep/inside");
        let created = project.run_below(&below, &["db", "migrate", "new", "first"]);
        assert!(created.succeeded && project.path().join("migrations/0001_first.sql").is_file(), "{created:?}");
        for arguments in [&["check"][..], &["db", "migrate", "apply"], &["queue", "list"], &["cache", "list"]] {
            let run = project.run_below(&below, arguments);
            assert!(run.succeeded, "{arguments:?}: {run:?}");
        }
        assert!(project.path().join(".aerostack").is_dir() && !below.join(".aerostack").exists());
        let served = project.start_below(&below, &["dev", "--port", "0"]);
        assert_eq!(get(served.address, "/").await.text(), "found");
        let before = served.line_count();
        project.write("src/index.ts", &answering("saved"));
        served.wait_for_after(before, "~ src/index.ts -> reloaded in");
    }));

    trials.push(test(
        "the nearest config wins, and a folder that --config names is not searched upwards",
        async || {
            let project = TestProject::new(&[
                ("aerostack.toml", "name = \"outer\"\n"),
                ("src/index.ts", &answering("outer")),
                ("apps/inner/aerostack.toml", "name = \"inner\"\n"),
                ("apps/inner/src/index.ts", &answering("inner")),
            ]);
            let run = project.run_below(&project.path().join("apps/inner/src"), &["check"]);
            assert!(run.stderr.contains("inner: 1 worker"), "{run:?}");
            let run = project.run_below(&project.path().join("apps"), &["check"]);
            assert!(run.stderr.contains("outer: 1 worker"), "{run:?}");
            let run = project.run(&["check", "--config", "apps"]);
            assert!(!run.succeeded && run.stderr.contains("no aerostack.toml in apps"), "{run:?}");
        },
    ));

    trials.push(test("--host takes localhost and *, and says what it takes", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
        for command in ["dev", "serve"] {
            let served = project.start(&[command, "--port", "0", "--host", "localhost"]);
            assert_eq!(served.address.ip().to_string(), "127.0.0.1");
            assert_eq!(get(served.address, "/").await.text(), "x");
            drop(served);
            project.start(&[command, "--port", "0", "--host", "*"]).wait_for("ready http://0.0.0.0:");
            let wrong = project.run(&[command, "--host", "nowhere.example"]);
            assert!(!wrong.succeeded && wrong.stderr.contains("not an IP address, localhost, or *"), "{wrong:?}");
        }
    }));
}

fn programs(trials: &mut Vec<Trial>) {
    trials.push(test("the words of a migration's name are joined", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
        let run = project.run(&["db", "migrate", "new", "create", "items"]);
        assert!(run.succeeded && run.stdout == "migrations/0001_create_items.sql\n", "{run:?}");
        let run = project.run(&["db", "migrate", "new", "add users", "--json"]);
        assert_eq!(run.stdout, "{\"path\":\"migrations/0002_add_users.sql\"}\n");
    }));

    trials.push(test("every command answers programs in JSON", async || {
        let config = "name = \"shop\"\n[triggers]\ncrons = [\"0 9 * * mon\"]\n";
        let worker = "export default { fetch: () => new Response('x'), scheduled() { console.log('ran'); } };";
        let project = TestProject::new(&[
            ("aerostack.toml", config),
            ("migrations/0001_a.sql", "CREATE TABLE a (x);"),
            ("src/index.ts", worker),
        ]);
        let json = |arguments: &[&str]| project.run_json(&[arguments, &["--json"]].concat());
        let applied = json!([{ "database": "local-db", "binding": "DB", "name": "0001_a.sql" }]);
        assert_eq!(json(&["db", "migrate", "apply"]), applied);
        assert_eq!(json(&["db", "migrate", "apply"]), json!([]));
        assert_eq!(json(&["cache", "put", "k", "v", "--metadata", "[1]"]), json!({ "key": "k", "bytes": 1 }));
        assert_eq!(json(&["cache", "get", "k"]), json!({ "key": "k", "value": "v", "metadata": [1] }));
        assert_eq!(json(&["cache", "delete", "k"]), json!({ "key": "k", "deleted": true }));
        assert_eq!(json(&["cache", "delete", "k"]), json!({ "key": "k", "deleted": false }));
        assert_eq!(json(&["queue", "send", "1"]), json!({ "queue": "local-queue", "messages": 1 }));
        let moved = json!({ "queue": "local-queue", "to": null, "moved": 0 });
        assert_eq!(json(&["queue", "redrive"]), moved);
        assert_eq!(json(&["queue", "purge", "--yes"]), json!({ "queue": "local-queue", "deleted": 1 }));
        let list = json(&["cron", "list"]);
        assert_eq!((&list[0]["worker"], &list[0]["cron"]), (&json!("shop"), &json!("0 9 * * mon")));
        assert!(list[0]["nextTimestamp"].is_u64() && list[0]["description"].is_string(), "{list}");
        let ran = json(&["cron", "trigger", "--time", "5"]);
        assert_eq!((&ran["outcome"], &ran["scheduledTime"], &ran["worker"]), (&json!("ok"), &json!(5), &json!("shop")));
        assert!(json(&["models", "where"])["location"].is_string());
    }));

    trials.push(test("deleting a key says whether there was one", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", &answering("x"))]);
        assert!(project.run(&["cache", "put", "g", "v"]).succeeded);
        for said in ["deleted \"g\" from CACHE\n", "no key \"g\" in CACHE\n"] {
            let run = project.run(&["cache", "delete", "g"]);
            assert!(run.succeeded && run.stderr == said, "{run:?}");
        }
    }));

    trials.push(test("queues and databases are named by the same flag on every command", async || {
        let config = "name = \"shop\"\n[[d1_databases]]\nbinding = \"MAIN\"\ndatabase_name = \"main\"\n\
                      [[d1_databases]]\nbinding = \"LOGS\"\ndatabase_name = \"logs\"\n";
        let project = TestProject::new(&[("aerostack.toml", config), ("src/index.ts", &answering("x"))]);
        for arguments in [
            &["db", "execute", "--command", "SELECT 1", "--database", "LOGS"][..],
            &["db", "execute", "LOGS", "--command", "SELECT 1"],
            &["db", "migrate", "list", "--database", "logs"],
            &["queue", "peek", "--queue", "QUEUE"],
            &["queue", "peek", "local-queue"],
        ] {
            let run = project.run(arguments);
            assert!(run.succeeded && !run.stderr.contains("the first of the project"), "{arguments:?}: {run:?}");
        }
        let both = project.run(&["queue", "peek", "QUEUE", "--queue", "QUEUE"]);
        assert!(!both.succeeded && both.stderr.contains("cannot be used with"), "{both:?}");
    }));
}
