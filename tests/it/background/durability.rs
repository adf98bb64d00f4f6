//! What is promised of a queue, put to the test: the process is killed again and again while it sends and consumes.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Mutex;

use aerostack_database::script;
use aerostack_tests::{Binary, TestProject, get, test};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

const MESSAGES: usize = 20_000;
const KILLS: usize = 20;
/// Messages of one `sendBatch`, and of one batch of the consumer.
const BATCH: usize = 100;
const CONCURRENCY: usize = 2;

/// Sends a hundred numbers for each request; writes down each message that it is given.
const WORKER: &str = "export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/seen') return Response.json(await env.DB.prepare('SELECT count(DISTINCT number) AS n FROM seen').first('n'));
    const from = Number(searchParams.get('from'));
    await env.QUEUE.sendBatch(Array.from({ length: 100 }, (_, number) => ({ body: from + number })));
    return new Response('stored');
  },
  async queue(batch, env) {
    const insert = env.DB.prepare('INSERT INTO seen (message, number) VALUES (?, ?)');
    await env.DB.batch(batch.messages.map((message) => insert.bind(message.id, message.body)));
  },
};";

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("twenty kill -9 under load lose none of 20,000 messages, and only what was in flight comes twice", async || {
        let config = format!(
            "name = \"durable\"\n[[queues.consumers]]\nqueue = \"local-queue\"\nmax_batch_size = {BATCH}\nmax_batch_timeout = 0\n\
             max_concurrency = {CONCURRENCY}\nmax_retries = 100\nvisibility_timeout_ms = 1000\n"
        );
        let project = TestProject::new(&[
            ("aerostack.toml", &config),
            ("migrations/0001_seen.sql", "CREATE TABLE seen (message TEXT NOT NULL, number INTEGER NOT NULL);"),
            ("src/index.ts", WORKER),
        ]);
        let acknowledged = watch::Sender::new(0);
        let served = Mutex::new(project.dev());
        let killed = async {
            for kill in 0..KILLS {
                // A random place in each kill's share of the load.
                let share = MESSAGES / BATCH / (KILLS + 1);
                let enough = kill * share + random(kill, share);
                let mut so_far = acknowledged.subscribe();
                let _ = so_far.wait_for(|so_far| *so_far >= enough).await;
                // Anywhere in the next batches.
                for _ in 0..random(kill, 300) {
                    tokio::task::yield_now().await;
                }
                let restarted = {
                    let mut served = served.lock().expect("nobody panicked");
                    served.signal("KILL");
                    served.wait();
                    project.dev()
                };
                *served.lock().expect("nobody panicked") = restarted;
            }
        };
        let address = || served.lock().expect("nobody panicked").address;
        tokio::join!(send_all(&address, &acknowledged), killed);

        let expected = MESSAGES.to_string();
        let mut served = served.into_inner().expect("nobody panicked");
        wait_until_seen(&served, &expected).await;
        wait_until_settled(&project);
        served.signal("INT");
        assert!(served.wait(), "{}", served.output());
        assert_eq!(project.rows("SELECT count(DISTINCT number) AS n FROM seen"), json!([{ "n": MESSAGES }]));
        assert!(!served.output().contains("Dropped"), "{}", served.output());

        let number = |sql: &str| project.rows(sql)[0]["n"].as_u64().expect("a number");
        // A batch that was stored without an answer was sent again, all of it: there is no half of one.
        let messages = number("SELECT count(DISTINCT message) AS n FROM seen");
        let batches = (MESSAGES / BATCH..=MESSAGES / BATCH + KILLS).map(|batches| (batches * BATCH) as u64);
        assert!(batches.into_iter().any(|whole| whole == messages), "{messages} messages");
        let duplicates = number("SELECT count(*) - count(DISTINCT message) AS n FROM seen");
        // A handler may be at work, and one more batch on its way to be settled, for each of the concurrency.
        let in_flight = u64::try_from(KILLS * BATCH * CONCURRENCY * 2).expect("a small number");
        assert!(duplicates <= in_flight, "{duplicates} messages came twice");
        for file in [".aerostack/queue/queues.sqlite", &database_file(&project)] {
            let checked = script::execute(&project.path().join(file), "PRAGMA integrity_check").expect("the file can be read");
            let text = format!("{:?}", checked[0].cells);
            assert!(text.contains("\"ok\""), "{file}: {text}");
        }
    }));
}

/// Sends every batch until it is acknowledged, one after the other, and tells how many are.
async fn send_all(address: &impl Fn() -> SocketAddr, acknowledged: &watch::Sender<usize>) {
    for batch in 0..MESSAGES / BATCH {
        while !post(address(), &format!("/?from={}", batch * BATCH)).await {}
        acknowledged.send_modify(|acknowledged| *acknowledged += 1);
    }
}

/// Whether the server said that all is stored. It may die at any time.
async fn post(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
        return false;
    };
    let request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200 ")
        && answer.ends_with(b"stored")
}

async fn wait_until_seen(served: &Binary, expected: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let seen = get(served.address, "/seen").await.text();
        if seen == expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{seen} of {expected} numbers were seen\n{}", served.output());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Waits for the last leases: of messages that were killed with their consumer, and of their repetitions.
fn wait_until_settled(project: &TestProject) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let left = project.queued("QUEUE").len();
        if left == 0 {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{left} messages are never settled");
    }
}

fn random(salt: usize, below: usize) -> usize {
    RandomState::new().hash_one(salt) as usize % below
}

/// The only database of the project.
fn database_file(project: &TestProject) -> String {
    let folder = std::fs::read_dir(project.path().join(".aerostack/database")).expect("there is a database");
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.into_iter().find(|name| name.ends_with(".sqlite")).expect("there is a database");
    format!(".aerostack/database/{name}")
}
