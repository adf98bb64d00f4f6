use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aerostack_faults::block_on;
use aerostack_tests::{Binary, Connection, TestProject, get};
use libtest_mimic::Trial;

/// Reloads where `AEROSTACK_FAULT_RELOADS` does not say how many.
const DEFAULT_RELOADS: u64 = 24;
const CLIENTS: usize = 4;
/// By so much memory may grow between a quarter of the reloads and their end. An isolate that stays takes more than five
/// megabytes, and there are eighteen reloads in between, or more.
const GROWTH_MB: u64 = 40;
/// By so many descriptors and threads: what is at work at the moment of the look.
const SLACK: usize = 6;

/// What a process holds.
#[derive(Debug)]
struct Held {
    memory_mb: u64,
    descriptors: usize,
    threads: usize,
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(Trial::test("reloads under load fail no request and leave nothing behind", || {
        let reloads = match std::env::var("AEROSTACK_FAULT_RELOADS") {
            Ok(text) => text.parse().map_err(|_| "AEROSTACK_FAULT_RELOADS is a number")?,
            Err(_) => DEFAULT_RELOADS,
        };
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"reloaded\"\n"),
            ("migrations/0001.sql", "CREATE TABLE seen (version INTEGER);"),
            ("src/index.ts", &worker(0)),
        ]);
        let served = project.dev();
        let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (address, is_over, answers) = (served.address, is_over.clone(), answers.clone());
                std::thread::spawn(move || block_on(ask_until_over(address, &is_over, &answers)))
            })
            .collect();
        let mut early = None;
        for version in 1..=reloads {
            let (lines, before) = (served.line_count(), answers.load(Ordering::Relaxed));
            project.write("src/index.ts", &worker(version));
            served.wait_for_after(lines, "-> reloaded in ");
            assert_eq!(block_on(get(served.address, "/")).text(), version.to_string());
            // Under load: each version answers the clients, too.
            wait_until("the clients are answered", || answers.load(Ordering::Relaxed) >= before + 20);
            if version == reloads / 4 {
                early = Some(held(&served));
            }
        }
        let early = early.ok_or("at least four reloads")?;
        wait_until("old isolates end", || held(&served).threads <= early.threads + SLACK);
        let late = held(&served);
        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client was failed")?;
        }
        eprintln!("{reloads} reloads, {} answers: {early:?}, then {late:?}", answers.load(Ordering::Relaxed));
        assert!(late.memory_mb <= early.memory_mb + GROWTH_MB, "{early:?}, then {late:?}");
        assert!(late.descriptors <= early.descriptors + SLACK, "{early:?}, then {late:?}");
        Ok(())
    }));
}

/// Each version has something of its own to leave behind: a megabyte, a timer, an open database call.
fn worker(version: u64) -> String {
    format!(
        "const kept = new Uint8Array(1_000_000).fill({version});
         export default {{
           async fetch(request, env, ctx) {{
             ctx.waitUntil(env.DB.prepare('SELECT count(*) FROM seen').first());
             await scheduler.wait(1);
             return new Response(String({version} + kept.length - 1_000_000));
           }},
         }};"
    )
}

/// Every answer must come, over one connection, and be whole.
async fn ask_until_over(address: std::net::SocketAddr, is_over: &AtomicBool, answers: &AtomicU64) {
    let mut connection = Connection::open(address).await;
    while !is_over.load(Ordering::Relaxed) {
        let answer = connection.get("/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().parse::<u64>().expect("the answer is a version");
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn held(served: &Binary) -> Held {
    let process = format!("/proc/{}", served.id());
    let status = std::fs::read_to_string(format!("{process}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("memory is told");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kilobytes");
    let count = |folder: &str| std::fs::read_dir(format!("{process}/{folder}")).expect("the process lives").count();
    Held { memory_mb: kilobytes / 1024, descriptors: count("fd"), threads: count("task") }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
