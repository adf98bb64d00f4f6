//! Invocations are numbered, and the numbers end: an isolate that answers 90 thousand requests a second gets there within a day.

use std::collections::BTreeSet;
use std::rc::Rc;

use aerostack_isolate::{Breaches, IncomingRequest, InvocationLimits, Invocations, RequestBody};
use aerostack_tests::{Connection, TestServer, WorkerSetup, get, send, test, wait_until_idle};
use aerostack_trace::{Identity, Ids};
use libtest_mimic::Trial;
use tokio::task::JoinSet;

const WORKER: &str = include_str!("../workers/invocations/numbers.ts");

/// How many numbers an isolate has left when a test begins.
const LEFT: u64 = 40;

/// Requests at once, and how often: the numbers end among them.
const AT_ONCE: u64 = 16;
const ROUNDS: u64 = 6;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("an isolate goes on past the last number of an invocation", async || {
        let setup = WorkerSetup { numbers_left: Some(LEFT), ..WorkerSetup::of(WORKER) };
        let server = TestServer::of(setup, aerostack_server::ClientLimits::default()).await;
        let address = server.address;
        // It is at work while the numbers end.
        let mut early = Connection::open(address).await;
        early.write("POST /early HTTP/1.1\r\nhost: localhost\r\nx-name: early\r\ncontent-length: 4\r\n\r\nbo").await;
        assert!(early.head().await.contains("transfer-encoding: chunked"));
        for round in 0..ROUNDS {
            let mut answers = JoinSet::new();
            for place in 0..AT_ONCE {
                answers.spawn(async move {
                    let name = format!("{round}-{place}");
                    let headers = [("x-name", name.as_str())];
                    let answer = send(address, "POST", &format!("/{name}"), &headers, b"body").await;
                    assert_eq!((answer.status, answer.text()), (200, format!("{name} body")));
                });
            }
            while let Some(answered) = answers.join_next().await {
                answered.expect("every request has its own answer");
            }
        }
        early.write("dy").await;
        assert_eq!(early.chunk().await, b"early body");
        wait_until_idle(&server).await;
        // What is over is over: of the first request nothing is left to be read.
        assert_eq!(get(address, "/kept").await.status, 500);
        let lines: BTreeSet<String> = server.worker.log.lines().into_iter().collect();
        for name in (0..ROUNDS).flat_map(|round| (0..AT_ONCE).map(move |place| format!("{round}-{place}"))) {
            for line in ["put", "waited"].map(|word| format!("info [POST /{name}]: {word} {name}")) {
                assert!(lines.contains(&line), "{line} is not in {lines:?}");
            }
        }
    }));

    trials.push(test("numbers of invocations are exact in JavaScript, and no two at once are the same", async || {
        let limits = InvocationLimits { subrequests: 1, response_body_bytes: None, log_bytes: 1 };
        let invocations = Rc::new(Invocations::new(limits, Breaches::default().into()));
        invocations.begin_again_after(LEFT);
        let mut seen = BTreeSet::new();
        for _ in 0..LEFT * 3 {
            let id = invocations.begin(Identity { request: Ids::random().request(), span: None }, Box::new(incoming()));
            let number = id.number();
            assert!(number > 0 && number < 1 << f64::MANTISSA_DIGITS && (number as f64) as u64 == number, "{number}");
            assert!(seen.insert(number), "{number} is there twice");
            assert!(invocations.identity(id).is_some());
        }
        assert_eq!(invocations.len() as u64, LEFT * 3);
    }));
}

fn incoming() -> IncomingRequest {
    let parts = Box::new(http::Request::new(()).into_parts().0);
    IncomingRequest { parts, url: "http://localhost/".to_owned(), body: RequestBody::Empty, client_address: None }
}
