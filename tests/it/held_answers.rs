//! Answers of which many come in one turn of the thread are held to its end: none may be lost, late for ever, or in another's place.

use aerostack_tests::{Connection, TestServer, test};
use libtest_mimic::Trial;

/// Answers with the number of the path, in front of as many bytes as its query says.
const NUMBERED: &str = "export default { async fetch(request) {
    const url = new URL(request.url);
    const body = `${url.pathname.slice(1)} ${'x'.repeat(Number(url.search.slice(1)))}`;
    if (!url.pathname.endsWith('7')) return new Response(body);
    // In two pieces, with a pause between.
    return new Response(new ReadableStream({ async start(controller) {
        controller.enqueue(new TextEncoder().encode(body.slice(0, 3)));
        await new Promise((resume) => setTimeout(resume, 1));
        controller.enqueue(new TextEncoder().encode(body.slice(3)));
        controller.close();
    } }));
} }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("a hundred clients that ask at once get each its own answers, small and large", async || {
        let server = TestServer::start(NUMBERED).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(Connection::open(server.address).await);
        }
        for round in 0..20 {
            let length = |client: usize| [0, 100, 15_000, 17_000, 200_000][(client + round) % 5];
            for (number, client) in clients.iter_mut().enumerate() {
                let length = length(number);
                client.write(format!("GET /{number}?{length} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
            }
            for (number, client) in clients.iter_mut().enumerate() {
                let answer = client.answer().await;
                let expected = format!("{number} {}", "x".repeat(length(number)));
                assert!(answer.text() == expected, "round {round}, client {number}: {} bytes", answer.body.len());
            }
        }
    }));

    trials.push(test(
        "a client that pipelines more than the system takes gets all answers once it reads",
        async || {
            let server = TestServer::start(NUMBERED).await;
            let mut client = Connection::open_narrow(server.address).await;
            let request = |number| format!("GET /{number}?2000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
            let requests: Vec<String> = (0..2000).map(request).collect();
            client.write(requests.concat()).await;
            for number in 0..2000 {
                let text = client.answer().await.text();
                assert!(text == format!("{number} {}", "x".repeat(2000)), "answer {number}: {} bytes", text.len());
            }
        },
    ));
}
