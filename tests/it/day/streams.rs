//! Which stream a line goes to, and its colours.

use aerostack_tests::{TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::Value;

use super::CONFIG;

const TALKS: &str = "export default {
  fetch(request) {
    console.log('plain'); console.error('\\u001b[31mred\\u001b[0m');
    if (request.url.endsWith('/throws')) throw new Error('on purpose');
    return new Response('x');
  },
  scheduled() { console.log('on schedule'); },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("what workers do goes to standard output, what aerostack says to standard error", async || {
        for command in ["dev", "serve"] {
            let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", TALKS)]);
            let file = project.path().join("output.log");
            let arguments: &[&str] = if command == "serve" { &["--trigger-routes"] } else { &[] };
            let mut served = project.start_with_output_in(&file, &[&[command, "--port", "0"], arguments].concat());
            get(served.address, "/throws").await;
            get(served.address, "/cdn-cgi/handler/scheduled").await;
            served.signal("TERM");
            assert!(served.wait(), "{}", served.output());
            let output = std::fs::read_to_string(&file).expect("it is there");
            for text in ["log GET /throws plain", "failed GET /throws", "GET /throws 500 ", "on schedule", "cron "] {
                assert!(output.contains(text), "{command}: {text} is not in {output}");
            }
            assert!(!output.contains("ready http://"), "{output}");
            let said = served.output();
            assert!(said.contains("ready http://") && !said.contains("GET /throws"), "{said}");
        }
    }));

    trials.push(test("as JSON the whole log goes to standard output", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", TALKS)]);
        let file = project.path().join("output.log");
        let mut served = project.start_with_log_in(&file, &["dev", "--port", "0", "--log-format", "json"]);
        get(served.address, "/").await;
        served.signal("TERM");
        assert!(served.wait());
        assert_eq!(served.output(), "");
        let log = std::fs::read_to_string(&file).expect("it is there");
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        for message in ["loaded shop", "GET / 200", "red"] {
            assert!(lines.iter().any(|line| line["message"] == message), "{message}: {log}");
        }
    }));

    trials.push(test("colours of a worker are shown where there are colours, and removed elsewhere", async || {
        let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", TALKS)]);
        let plain = project.dev();
        get(plain.address, "/").await;
        assert_eq!(plain.wait_for("red"), "  error GET / red");
        assert!(!plain.output().contains('\u{1b}') && !plain.output().contains('\u{fffd}'), "{}", plain.output());
        let coloured = project.dev_in(&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], &[]);
        get(coloured.address, "/").await;
        let line = coloured.wait_for("red");
        assert!(line.ends_with("\u{1b}[31mred\u{1b}[0m") && line.contains("\u{1b}[31merror\u{1b}[0m"), "{line:?}");
        coloured.wait_for("\u{1b}[32mready\u{1b}[0m");
    }));
}
