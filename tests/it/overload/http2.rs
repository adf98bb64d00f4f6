//! Hostile HTTP/2, frame by frame (RFC 9113).

use std::time::Duration;

use aerostack_server::ClientLimits;
use aerostack_tests::{Connection, TestServer, WorkerSetup, get, test, wait_until_idle};
use libtest_mimic::Trial;

use super::{WORKER, limited};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a request over HTTP/2 is answered", async || {
        let server = limited(|_| {}).await;
        let mut connection = handshake(&server).await;
        connection.write(request(1, "/")).await;
        assert_eq!(answer(&mut connection).await, b"answered");
    }));

    trials.push(test("streams that are opened and taken back by the thousand end the connection", async || {
        let server = limited(|_| {}).await;
        let mut connection = handshake(&server).await;
        let mut streams = (1..).step_by(2);
        let mut taken = 0;
        loop {
            let batch: Vec<u8> = streams
                .by_ref()
                .take(100)
                .flat_map(|stream| {
                    [request(stream, "/wait"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
                })
                .collect();
            if !connection.try_write(&batch).await {
                break;
            }
            taken += 100;
            assert!(taken < 1_000_000, "{taken} streams were taken back and the connection goes on");
        }
        assert_goes_on(&server).await;
    }));

    trials.push(test("headers that continue for ever end the connection", async || {
        let server = limited(|_| {}).await;
        let mut connection = handshake(&server).await;
        connection.write(frame(HEADERS, END_STREAM, 1, &[0x82])).await;
        // A literal header, never indexed, of 16 KB.
        let mut header = vec![0x10, 1, b'x', 0x7f, 0xe1, 0x7e];
        header.resize(16_000, b'a');
        let mut taken = 0;
        while connection.try_write(&frame(CONTINUATION, 0, 1, &header)).await {
            taken += 1;
            assert!(taken < 10_000, "{taken} frames of a head were taken");
        }
        assert_goes_on(&server).await;
    }));

    for (what, flooded) in [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty data", frame(DATA, 0, 1, &[])),
    ] {
        trials.push(test(
            &format!("a flood of {what} whose answers nobody reads is taken up to a bound"),
            async move || {
                let server = limited(|limits| limits.send_timeout = Duration::from_millis(200)).await;
                let mut connection = handshake(&server).await;
                if what == "empty data" {
                    // The head of a request whose body goes on.
                    let mut head = request(1, "/wait");
                    head[4] = END_HEADERS;
                    connection.write(head).await;
                }
                let flood = flooded.repeat(1000);
                let mut taken = 0;
                while taken < 3000 && connection.try_write(&flood).await {
                    taken += 1;
                }
                drop(connection);
                assert_goes_on(&server).await;
            },
        ));
    }

    trials.push(test("a connection has a hundred streams at once, and more are refused", async || {
        let server = limited(|_| {}).await;
        let mut connection = handshake(&server).await;
        for stream in (1..301).step_by(2) {
            connection.write(request(stream, "/wait")).await;
        }
        let mut refused = 0;
        while refused < 50 {
            let (kind, _, payload) = connection.frame().await;
            if kind == RST_STREAM {
                // REFUSED_STREAM
                assert_eq!(payload, 7_u32.to_be_bytes());
                refused += 1;
            }
        }
        server.worker.log.wait_for_count("waiting", 100).await;
        assert_eq!(server.server.in_flight(), 100);
        drop(connection);
        assert_goes_on(&server).await;
    }));

    trials.push(test(
        "an idle HTTP/2 connection is closed after the header timeout, one with a request is not",
        async || {
            let limits = ClientLimits { header_timeout: Duration::from_millis(200), ..ClientLimits::default() };
            let source = WORKER.replace("600_000", "1_000");
            let server = TestServer::of(WorkerSetup::of(&source), limits).await;
            let mut idle = handshake(&server).await;
            let mut busy = handshake(&server).await;
            // Five times the timeout.
            busy.write(request(1, "/wait")).await;
            while idle.frame().await.0 != GOAWAY {}
            assert_eq!(answer(&mut busy).await, b"answered");
        },
    ));

    trials.push(test("bytes that are no frames end the connection", async || {
        let server = limited(|_| {}).await;
        for garbage in [&[0xff; 64][..], &frame(SETTINGS, 0, 0, &[1, 2, 3]), &frame(HEADERS, END_HEADERS, 2, &[0x82])] {
            let mut connection = handshake(&server).await;
            connection.write(garbage).await;
            connection.rest().await;
        }
        assert_goes_on(&server).await;
    }));
}

/// The next requests, over both versions, work, and nothing is left over.
async fn assert_goes_on(server: &TestServer) {
    assert_eq!(get(server.address, "/").await.text(), "answered");
    let mut connection = handshake(server).await;
    connection.write(request(1, "/")).await;
    assert_eq!(answer(&mut connection).await, b"answered");
    wait_until_idle(server).await;
}

async fn handshake(server: &TestServer) -> Connection {
    let mut connection = Connection::open(server.address).await;
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    connection.write(frame(SETTINGS, 0, 0, &[])).await;
    connection
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET path`, whole: static entries for the method and the scheme, literals for the path and the authority (RFC 7541).
fn request(stream: u32, path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x86];
    for (index, value) in [(0x04, path), (0x01, "localhost")] {
        head.extend([index, u8::try_from(value.len()).expect("a short value")]);
        head.extend(value.bytes());
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head)
}

/// The body of the only answer.
async fn answer(connection: &mut Connection) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let (kind, flags, payload) = connection.frame().await;
        match kind {
            DATA => body.extend(payload),
            RST_STREAM => panic!("the stream was reset"),
            _ => {}
        }
        if (kind == DATA || kind == HEADERS) && flags & END_STREAM != 0 {
            return body;
        }
    }
}
