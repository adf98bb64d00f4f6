//! Clients that break off wherever they can, while the worker is replaced again and again: nobody else may notice, and nothing
//! may be left of them. Which of them does what when is drawn from `AEROSTACK_FUZZ_SEED` (1 where it is not set).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aerostack_fuzz_mutator::Random;
use aerostack_tests::{Binary, TestProject, get, long_blocking_test};
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::clients::{Load, Server};
use super::{CONFIG, SOURCE, clients_runtime, version, wait_until};

/// How long the attack goes on, and how many clients break off at the same time.
const ATTACK: Duration = Duration::from_secs(90);
const ATTACKERS: u64 = 40;

/// How long what a client has left may be kept: a look, the time for the rest of a body, and some more on a busy machine.
const KEPT: Duration = Duration::from_secs(10);

/// What is sent before a client breaks off. `{}` is a number of bytes to follow.
const BEGINNINGS: [&str; 14] = [
    "",
    "G",
    "GET /slow",
    "GET /slow HTTP/1.1\r\nhost: loc",
    "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET /later HTTP/1.1\r\nhost: localhost\r\n\r\nGET /pieces HTTP/1.1\r\nhost: localhost\r\n\r\nGET /slow HTT",
    "GET /pieces HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n",
    "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n",
    "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n",
    "POST /later HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nf4240\r\n",
    "POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nf4240\r\n",
    "POST /echo HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n",
    "POST /_aerostack/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n",
];

/// How a client breaks off.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// It closes its direction and reads to the end.
    HalfCloses,
    Closes,
    /// The connection is reset.
    Resets,
    /// It reads a little first.
    ReadsAndCloses,
    /// It stays silent for a while, and then closes.
    Waits,
}

pub(super) fn trials(trials: &mut Vec<Trial>) {
    let name = "clients that break off anywhere during reloads are noticed by nobody and leave nothing behind";
    trials.push(long_blocking_test(name, break_off_during_reloads));
}

fn break_off_during_reloads() {
    let project = TestProject::new(&[("aerostack.toml", CONFIG), ("src/index.ts", SOURCE)]);
    let served = project.dev();
    let runtime = clients_runtime();
    runtime.block_on(get(served.address, "/slow"));
    let before = descriptors(&served);
    let (is_over, broken_off) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = Load::on(served.address, Server::GoesOn);
    let clients = load.start(&runtime, 1);
    let seed: u64 = std::env::var("AEROSTACK_FUZZ_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    for attacker in 0..ATTACKERS {
        let (address, is_over, broken_off) = (served.address, is_over.clone(), broken_off.clone());
        runtime.spawn(async move {
            let mut random = Random::new(seed.wrapping_mul(1000) + attacker);
            while !is_over.load(Ordering::Relaxed) {
                if attacker.is_multiple_of(4) {
                    break_off_http2(address, &mut random).await;
                } else {
                    break_off(address, &mut random).await;
                }
                broken_off.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < ATTACK {
        number += 1;
        let lines = served.line_count();
        project.write("src/index.ts", &version(number));
        served.wait_for_after(lines, "-> reloaded in ");
        let answer = runtime.block_on(get(served.address, "/version"));
        assert_eq!((answer.status, answer.text()), (200, number.to_string()));
    }
    is_over.store(true, Ordering::Relaxed);
    load.end(&runtime, clients);
    runtime.shutdown_timeout(KEPT);
    let (answers, broken_off) = (load.answers(), broken_off.load(Ordering::Relaxed));
    eprintln!("seed {seed}: {number} reloads, {answers} answers, none lost, {broken_off} clients broke off");
    wait_until("nothing is left of them", || descriptors(&served) <= before + 8);
    let output = served.output();
    assert!(!output.contains("panicked"), "{output}");
}

async fn break_off(address: SocketAddr, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let beginning = BEGINNINGS[random.below(BEGINNINGS.len())];
    let cut = if random.below(3) == 0 { random.below(beginning.len() + 1) } else { beginning.len() };
    if stream.write_all(&beginning.as_bytes()[..cut]).await.is_err() {
        return;
    }
    if cut == beginning.len() && beginning.starts_with("POST") {
        let body = vec![b'x'; [0, 1, 100, 20_000, 400_000][random.below(5)]];
        // The server may take only a part of it, or close.
        let _ = tokio::time::timeout(Duration::from_millis(50), stream.write_all(&body)).await;
    }
    let endings = [Ending::HalfCloses, Ending::Closes, Ending::Resets, Ending::ReadsAndCloses, Ending::Waits];
    let mut answer = Vec::new();
    match endings[random.below(endings.len())] {
        Ending::HalfCloses => {
            let _ = stream.shutdown().await;
            let _ = tokio::time::timeout(KEPT, stream.read_to_end(&mut answer)).await;
        }
        Ending::Closes => {}
        Ending::Resets => stream.set_zero_linger().expect("the option is known"),
        Ending::ReadsAndCloses => {
            let _ = tokio::time::timeout(Duration::from_millis(20), stream.read_buf(&mut answer)).await;
        }
        Ending::Waits => tokio::time::sleep(Duration::from_millis(random.below(500) as u64)).await,
    }
}

/// The same over HTTP/2, frame by frame: streams that are taken back, bodies that never end, and connections that are gone.
async fn break_off_http2(address: SocketAddr, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    for number in 0..=random.below(8) {
        let id = u32::try_from(2 * number + 1).expect("a small number");
        let path = ["/slow", "/pieces", "/echo", "/length", "/later"][random.below(5)];
        // :method POST (indexed), :scheme http (indexed), then :path and :authority as literals.
        let mut head = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).expect("a short path")];
        head.extend(path.as_bytes());
        head.extend([0x01, 9]);
        head.extend(b"localhost");
        let ends = random.below(2) == 0;
        sent.extend(frame(1, if ends { 5 } else { 4 }, id, &head));
        if !ends {
            sent.extend(frame(0, 0, id, &vec![b'x'; [0, 1, 16_000][random.below(3)]]));
        }
        if random.below(2) == 0 {
            sent.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
        }
    }
    let cut = if random.below(4) == 0 { random.below(sent.len()) } else { sent.len() };
    if stream.write_all(&sent[..cut]).await.is_err() {
        return;
    }
    let mut answer = Vec::new();
    let pause = Duration::from_millis(random.below(30) as u64);
    let _ = tokio::time::timeout(pause, stream.read_to_end(&mut answer)).await;
    if random.below(3) == 0 {
        stream.set_zero_linger().expect("the option is known");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn descriptors(served: &Binary) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", served.id())).expect("the process lives").count()
}
