//! Every way we know of to have the process hold memory outside of V8, on a machine with 2 GB: the kernel kills nobody, each ends in an
//! error that names the limit (or is no attack any more), and a neighbour in the same process is answered meanwhile.

use std::sync::Arc;
use std::time::Duration;

use aerostack_tests::{Binary, Connection, HttpAnswer, MemoryGroup, TestProject, get, long_test, test, try_get};
use libtest_mimic::Trial;
use tokio::sync::Mutex;

use crate::hostile;

/// What an attack may come to.
enum End {
    /// The handler caught an error with this text.
    Caught(&'static str),
    /// 503 that names one of the limits of the isolate.
    Stopped,
    /// 503 because the machine was about to run out of memory.
    Relieved,
    /// 500 with this text.
    Fails(&'static str),
    /// 200 with this text.
    Answers(&'static str),
}
use End::{Answers, Caught, Fails, Relieved, Stopped};

/// What is refused where there is no memory left for it.
const NO_MEMORY: End = Caught("raise limits.array_buffer_mb");
const TOO_LARGE: End = Caught("query result is larger than 50 MB");
const NO_BUFFER: End = Caught("Array buffer allocation failed");
const TOO_LONG: End = Caught("Invalid string length");

/// The handlers of `attacks.js` that are tried each time: a few of each kind, and none that takes long.
const QUICK: &[(&str, &[End])] = &[
    ("rows-raw", &[TOO_LARGE]),
    ("rows-at-once", &[NO_MEMORY]),
    ("rows-first", &[Answers("1")]),
    ("sql-registers", &[Caught("SQLITE_NOMEM")]),
    ("sql-shared-parameter", &[Caught("SQLITE_TOOBIG")]),
    ("throw-long", &[Fails("more characters)")]),
    ("digests-at-once", &[Answers("all")]),
    ("log-long", &[Answers("logged"), Stopped]),
];

/// The others.
const THOROUGH: &[(&str, &[End])] = &[
    ("rows-all", &[TOO_LARGE]),
    ("rows-numbers", &[TOO_LARGE]),
    ("rows-blobs", &[TOO_LARGE]),
    ("rows-batch", &[TOO_LARGE, NO_MEMORY]),
    ("rows-returning", &[TOO_LARGE]),
    ("sql-distinct", &[Answers("1500"), Caught("temporary files")]),
    ("sql-distinct-endless", &[Caught("temporary files"), Caught("SQLITE_NOMEM"), Stopped]),
    ("sql-window", &[Answers("1500"), Caught("temporary files")]),
    ("sql-group-concat", &[Caught("SQLITE_TOOBIG"), Answers("")]),
    ("sql-json", &[Caught("SQLITE_"), Answers("")]),
    ("sql-shared-text", &[Caught("SQLITE_TOOBIG")]),
    ("sql-long-text", &[Caught("SQLITE_TOOBIG"), Stopped]),
    ("throw-long-cause", &[Fails("more characters)"), Fails("outer")]),
    ("throw-long-aggregate", &[Fails("All of them")]),
    ("throw-long-stack", &[Fails("more characters)"), Fails("short")]),
    ("throw-long-name", &[Fails("more characters)")]),
    ("throw-long-string", &[Fails("more characters")]),
    ("throw-long-frozen", &[Fails("more characters)")]),
    ("reject-long", &[Answers("rejected")]),
    ("throw-long-later", &[Answers("later")]),
    ("error-in-wait-until", &[Answers("waits")]),
    ("sort-large", &[Stopped]),
    ("replace-all", &[Stopped, TOO_LONG]),
    ("respond-long", &[Stopped, Fails("raise limits."), Answers("")]),
    ("url-long", &[Stopped, Caught("Invalid URL"), TOO_LONG, Answers("")]),
    ("url-encoded-long", &[Stopped, Caught("Invalid URL"), TOO_LONG, Answers("")]),
    ("search-params-long", &[Stopped, Caught(""), Answers("")]),
    ("encode-long", &[Stopped, NO_BUFFER, Answers("")]),
    ("base64-long", &[Stopped, TOO_LONG, Answers("")]),
    ("blob-long", &[Stopped, NO_BUFFER, Answers("")]),
    ("clone-long", &[Stopped, NO_BUFFER, Answers("")]),
    ("headers-long", &[Stopped, TOO_LONG, Answers("")]),
    ("request-long", &[Stopped, NO_BUFFER, Answers("")]),
    ("json-long", &[Stopped, TOO_LONG, Answers("")]),
    ("pattern-long", &[Stopped, Caught("Invalid regular expression"), Answers("")]),
    ("cache-put-long", &[Stopped, Caught(""), Answers("")]),
    ("cache-puts-at-once", &[Caught(""), Stopped, Answers("")]),
    ("cache-bulk", &[Caught(""), Stopped, Answers("")]),
    ("queue-send-long", &[Stopped, Caught(""), Answers("")]),
    ("queue-send-batch-shared", &[Stopped, Caught("")]),
    ("storage-put-long", &[Stopped, Caught(""), Answers("")]),
    ("storage-gets-at-once", &[Caught(""), Stopped, Answers("")]),
    ("vectorize-long", &[Stopped, Caught(""), Answers("")]),
    ("derivations-at-once", &[Answers("derived"), Stopped, Caught("")]),
    // The worker that sends is the same, and may be what is stopped.
    ("fetch-endless", &[NO_MEMORY, Stopped, Caught("fetch failed")]),
    ("zip-bomb", &[Stopped, NO_BUFFER]),
    ("messages-queued", &[Stopped, Relieved, Caught("")]),
    ("messages-in-short-turns", &[Relieved]),
    ("normalize", &[Stopped, Relieved]),
    ("pattern-groups", &[Stopped, Relieved]),
    ("flat-then-buffer", &[Stopped, NO_BUFFER]),
    ("formats", &[Stopped, Answers("")]),
    ("form-long", &[Stopped, NO_BUFFER, TOO_LONG, Answers("")]),
    ("timers-with-text", &[Stopped, Answers("")]),
    ("streams-unread", &[Stopped, Caught("")]),
];

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    if let Err(reason) = MemoryGroup::with(GROUP_BYTES) {
        let name =
            format!("attacks on the memory of a small machine (ignored: no memory cgroup can be made: {reason})");
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        return;
    }
    for (kind, cases) in [("quick", QUICK), ("thorough", THOROUGH)] {
        let together = async move || {
            let machine = SmallMachine::start(ATTACKS);
            let mut unexpected = Vec::new();
            for (attack, ends) in cases {
                let answer = machine.survives(attack).await;
                if !ends.iter().any(|end| end.is(&answer)) {
                    let text: String = answer.text().chars().take(2000).collect();
                    unexpected.push(format!("{attack} came to {} {text}", answer.status));
                }
            }
            assert!(unexpected.is_empty(), "{unexpected:#?}");
        };
        let name = format!("on 2 GB each {kind} attack on memory ends in a named error, and a neighbour is answered");
        trials.push(if kind == "quick" { test(&name, together) } else { long_test(&name, together) });
    }
    trials.push(test("on 2 GB answers that nobody takes are bounded", answers_nobody_takes));
    trials.push(long_test("on 2 GB no hostile handler ends the process", async || {
        let machine = SmallMachine::start(include_str!("hostile/handlers.js"));
        for attack in hostile::handlers() {
            machine.survives(attack).await;
        }
    }));
    trials.push(long_test("on 2 GB threads that cannot be stopped end in a restart that no client notices", restarts));
}

const ATTACKS: &str = include_str!("small_memory/attacks.js");

/// What attacks have to do with. One at a time: they would fill this machine together.
const GROUP_BYTES: u64 = 2 * 1024 * 1024 * 1024;
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct SmallMachine {
    // First: it has to end before the group can be removed.
    binary: Binary,
    group: MemoryGroup,
    _project: TestProject,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

const CONFIG: &str = "name = \"attacker\"\n\
    [limits]\ncpu_ms = 15000\nwall_ms = 60000\n\
    [[functions]]\nname = \"neighbour\"\nmain = \"src/neighbour.ts\"\nroute = \"/neighbour\"\n";

impl SmallMachine {
    fn start(attacks: &str) -> Self {
        let alone = loop {
            if let Ok(alone) = ONE_AT_A_TIME.try_lock() {
                break alone;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let group = MemoryGroup::with(GROUP_BYTES).expect("it could be made before");
        let project = TestProject::new(&[
            ("aerostack.toml", CONFIG),
            ("src/index.ts", "export { default } from './attacks.js'"),
            ("src/attacks.js", attacks),
            ("src/neighbour.ts", "export default { fetch: () => new Response('unharmed') }"),
        ]);
        let binary = project.start_in_group(&group, &["dev", "--port", "0"]);
        Self { binary, group, _project: project, _alone: alone }
    }

    /// Lets an attack come to its end, and returns that. It harms nobody else meanwhile.
    async fn survives(&self, attack: &str) -> HttpAnswer {
        let address = self.binary.address;
        let mut guilty = Connection::patient(address).await;
        guilty.write_get(&format!("/{attack}")).await;
        let answer = {
            let mut answer = std::pin::pin!(guilty.answer());
            loop {
                self.neighbour_answers(attack).await;
                if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), answer.as_mut()).await {
                    break answer;
                }
            }
        };
        self.neighbour_answers(attack).await;
        let next = self.get("/calls", attack).await;
        assert_eq!(next.status, 200, "after {attack}: {}", next.text());
        assert_eq!(self.group.kills(), 0, "{attack}");
        answer
    }

    async fn get(&self, path: &str, attack: &str) -> HttpAnswer {
        let answer = try_get(self.binary.address, path).await;
        answer.unwrap_or_else(|| {
            let (kills, output) = (self.group.kills(), self.binary.output());
            panic!("{attack}: {path} is not answered, {kills} were killed: {output}")
        })
    }

    async fn neighbour_answers(&self, attack: &str) {
        let answer = tokio::time::timeout(Duration::from_secs(20), self.get("/neighbour", attack)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{attack}: the neighbour waits: {}", self.binary.output()));
        assert_eq!(answer.text(), "unharmed", "{attack}");
    }
}

/// Each answer is kept until its client has taken it, by clients that take nothing.
async fn answers_nobody_takes() {
    let machine = SmallMachine::start(ATTACKS);
    for path in ["/answer-text", "/answer-bytes"] {
        let mut clients = Vec::new();
        for _ in 0..120 {
            let mut client = Connection::open_narrow(machine.binary.address).await;
            client.write_get(path).await;
            clients.push(client);
        }
        machine.neighbour_answers(path).await;
        // The last to ask are told why there is nothing for them.
        let last = get(machine.binary.address, path).await;
        let text: String = last.text().chars().take(2000).collect();
        let is_told =
            ["limits.array_buffer_mb", "Array buffer allocation failed"].iter().any(|told| text.contains(told));
        assert!(last.status >= 400 && is_told, "{} {text}", last.status);
        assert_eq!(machine.group.kills(), 0);
        drop(clients);
        loop {
            let answer = get(machine.binary.address, path).await;
            if answer.status == 200 {
                assert_eq!(answer.body.len(), 30_000_000);
                break;
            }
        }
    }
    let peak = machine.group.peak().unwrap_or(0);
    assert!(peak < GROUP_BYTES * 3 / 4, "{peak}");
}

/// A thread that V8 cannot be made to leave keeps its heap. Enough of them, and the process starts over.
async fn restarts() {
    let machine = Arc::new(SmallMachine::start(ATTACKS));
    let (process, address) = (machine.binary.id(), machine.binary.address);
    let asks = machine.clone();
    let clients = tokio::spawn(async move {
        while asks.binary.output().matches("ready http://").count() < 2 {
            asks.neighbour_answers("restart").await;
        }
    });
    for _ in 0..10 {
        let answer = get(address, "/replace-all").await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        if machine.binary.output().contains("starting over") {
            break;
        }
    }
    machine.binary.wait_for("are lost to isolates that could not be stopped: starting over");
    clients.await.expect("every client was answered");
    assert_eq!((machine.binary.id(), machine.group.kills()), (process, 0));
    assert_eq!(get(address, "/calls").await.text(), "called");
}

impl End {
    fn is(&self, answer: &HttpAnswer) -> bool {
        let text = answer.text();
        match self {
            Caught(expected) => answer.status == 400 && text.contains(expected),
            Stopped => answer.status == 503 && text.contains("raise limits."),
            Relieved => answer.status == 503 && text.contains("the machine is nearly out of memory"),
            Fails(expected) => answer.status == 500 && text.contains(expected),
            Answers(expected) => answer.status == 200 && text.starts_with(expected),
        }
    }
}
