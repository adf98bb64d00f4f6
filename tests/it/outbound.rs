//! `[outbound]`: what a worker's `fetch` reaches, by the binary, to a server that counts who comes.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aerostack_tests::{Binary, TestProject, get, send, test};
use libtest_mimic::Trial;

/// Fetches the URL in the request's body and answers with what came of it.
const FETCHES: &str = "export default { async fetch(request) { \
       const url = await request.text(); \
       try { \
         if (new URL(request.url).pathname === '/events') { \
           return new Response(await new Promise((resolve) => { \
             const source = new EventSource(url); \
             source.onerror = () => resolve(`error ${source.readyState}`); \
             source.onopen = () => { source.close(); resolve('open'); }; \
           })); \
         } \
         const response = await fetch(url); \
         return new Response(await response.text()); \
       } catch (error) { return new Response(`${error.constructor === TypeError} ${error.name}: ${error.message}`); } \
     } }";

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("serve reaches no address of this machine, in no spelling and by no name", async || {
        let origin = Origin::start();
        let project = project("");
        let served = project.start(&["serve", "--port", "0"]);
        let port = origin.port();
        for (host, shown, kind) in [
            ("127.0.0.1", "127.0.0.1", "the address is loopback"),
            ("2130706433", "127.0.0.1", "the address is loopback"),
            ("0x7f.1", "127.0.0.1", "the address is loopback"),
            ("0177.0.0.01", "127.0.0.1", "the address is loopback"),
            ("127.1", "127.0.0.1", "the address is loopback"),
            ("user:password@127.0.0.1", "127.0.0.1", "the address is loopback"),
            ("0", "0.0.0.0", "the address is unspecified"),
            ("[::]", "[::]", "the address is unspecified"),
            ("[::1]", "[::1]", "the address is loopback"),
            ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "the address is loopback"),
            ("[64:ff9b::7f00:1]", "[64:ff9b::7f00:1]", "the address is loopback"),
            ("localhost", "localhost", "its address is loopback"),
            ("LOCALHOST", "localhost", "its address is loopback"),
        ] {
            let expected = format!(
                "true TypeError: outbound access to host {shown}:{port} is not allowed: {kind}, and \
                 outbound.private does not allow it"
            );
            assert_eq!(fetched(&served, &format!("http://{host}:{port}/")).await, expected, "{host}");
        }
        // Whether this resolves is for the machine; it is the same host.
        assert!(fetched(&served, &format!("http://localhost.:{port}/")).await.starts_with("true TypeError: "));
        let metadata = fetched(&served, "http://169.254.169.254/latest/meta-data/").await;
        assert!(metadata.contains("the address is link-local"), "{metadata}");
        for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "http://[fe80::1%25lo]/", "gopher://127.0.0.1/"] {
            assert!(fetched(&served, url).await.starts_with("true TypeError: "), "{url}");
        }
        assert_eq!(fetched(&served, "data:text/plain,here").await, "here");
        assert_eq!(origin.connections(), 0, "nothing was connected to");
    }));

    trials.push(test("dev reaches this machine", async || {
        let origin = Origin::start();
        let project = project("");
        let served = project.dev();
        for host in ["127.0.0.1", "localhost", "2130706433"] {
            assert_eq!(fetched(&served, &format!("http://{host}:{}/", origin.port())).await, "origin", "{host}");
        }
        assert_eq!(events(&served, &format!("http://127.0.0.1:{}/events", origin.port())).await, "open");
    }));

    trials.push(test("every hop of a redirect is asked anew", async || {
        let (public, secret) = (Origin::start(), Origin::start());
        let config = format!("private = [\"127.0.0.1:{}\"]", public.port());
        let project = project(&config);
        let served = project.start(&["serve", "--port", "0"]);
        let start = format!("http://127.0.0.1:{}", public.port());
        assert_eq!(fetched(&served, &format!("{start}/")).await, "origin");
        for hops in [1, 2, 5] {
            let mut target = format!("http://localhost:{}/", secret.port());
            for _ in 0..hops {
                target = format!("{start}/redirect?{target}");
            }
            let answer = fetched(&served, &target).await;
            assert!(answer.starts_with("true TypeError: outbound access to host localhost:"), "{hops}: {answer}");
            let answer = fetched(&served, &target.replace("localhost", "127.0.0.1")).await;
            assert!(answer.starts_with("true TypeError: outbound access to host 127.0.0.1:"), "{hops}: {answer}");
        }
        assert_eq!(fetched(&served, &format!("{start}/redirect?{start}/")).await, "origin");
        assert_eq!(secret.connections(), 0, "no redirect reached it");
    }));

    trials.push(test("an EventSource is asked like a fetch", async || {
        let origin = Origin::start();
        let project = project("");
        let served = project.start(&["serve", "--port", "0"]);
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("http://{host}:{}/events", origin.port());
            // It counts as a lost connection, which is tried again later.
            assert_eq!(events(&served, &url).await, "error 0", "{host}");
        }
        assert_eq!(origin.connections(), 0, "nothing was connected to");
    }));

    trials.push(test("allow and deny are asked of names with their ports, and deny wins", async || {
        let (first, second) = (Origin::start(), Origin::start());
        let (one, two) = (first.port(), second.port());
        let config = format!("allow = [\"localhost:{one}\", \"127.0.0.0/8:{two}\"]\ndeny = [\"127.0.0.2\"]");
        let project = project(&config);
        let served = project.dev();
        assert_eq!(fetched(&served, &format!("http://localhost:{one}/")).await, "origin");
        assert_eq!(fetched(&served, &format!("http://127.0.0.1:{two}/")).await, "origin");
        // The name is not allowed at that port; what it resolves to is.
        assert_eq!(fetched(&served, &format!("http://localhost:{two}/")).await, "origin");
        for (url, why) in [
            (format!("http://127.0.0.1:{one}/"), "no rule of outbound.allow is about it"),
            ("http://localhost:8/".to_owned(), "no rule of outbound.allow is about it"),
            ("http://example.com/".to_owned(), "no rule of outbound.allow is about it"),
            (format!("http://127.0.0.2:{two}/"), "the rule \"127.0.0.2\" of outbound.deny is about it"),
        ] {
            let answer = fetched(&served, &url).await;
            // Whether example.com resolves is for the machine; either way nobody was asked.
            assert!(answer.ends_with(why) || url.contains("example.com"), "{url}: {answer}");
            assert!(answer.starts_with("true TypeError: "), "{url}: {answer}");
        }
        assert_eq!(
            (first.connections(), second.connections()),
            (1, 2),
            "one for each name that was allowed, and no other"
        );
    }));

    trials.push(test("each worker has the rules of its own project", async || {
        let origin = Origin::start();
        let project = TestProject::new(&[
            ("aerostack.toml", "name = \"demo\"\n[[functions]]\nname = \"open\"\nroute = \"/open/*\"\nproject = \"open\"\n[[functions]]\nname = \"shut\"\nroute = \"/shut/*\"\nproject = \"shut\"\n"),
            ("open/aerostack.toml", "name = \"open\"\n"),
            ("open/src/index.ts", FETCHES),
            ("shut/aerostack.toml", "name = \"shut\"\n[outbound]\nallow = []\n"),
            ("shut/src/index.ts", FETCHES),
        ]);
        let served = project.dev();
        let url = format!("http://127.0.0.1:{}/", origin.port());
        let ask = async |path| send(served.address, "POST", path, &[], url.as_bytes()).await.text();
        assert_eq!(ask("/open/").await, "origin");
        assert!(ask("/shut/").await.ends_with("no rule of outbound.allow is about it"));
        assert_eq!(ask("/open/").await, "origin");
    }));

    trials.push(test("a rule that is wrong keeps the project from starting, with its line", async || {
        let project = project("deny = [\"*.example.com\", \"http://evil.example\"]");
        let run = project.run(&["serve", "--port", "0"]);
        assert!(!run.succeeded);
        assert!(run.stderr.contains("a rule names a host, without a scheme and without a path"), "{}", run.stderr);
        assert!(run.stderr.contains("aerostack.toml:3"), "{}", run.stderr);
    }));

    trials.push(test("a request for an upgrade is a request like any other", async || {
        let origin = Origin::start();
        let source = "export default { async fetch(request) { try { await fetch(await request.text(), { headers: { upgrade: 'websocket' } }); \
                        return new Response('reached'); } catch (error) { return new Response(error.message); } } }";
        let project = TestProject::new(&[("aerostack.toml", "name = \"x\"\n"), ("src/index.ts", source)]);
        let served = project.start(&["serve", "--port", "0"]);
        let answer = fetched(&served, &format!("http://127.0.0.1:{}/", origin.port())).await;
        assert!(answer.contains("is not allowed"), "{answer}");
        assert_eq!(get(served.address, "/").await.status, 200);
        assert_eq!(origin.connections(), 0);
    }));
}

fn project(outbound: &str) -> TestProject {
    let config = format!("name = \"shop\"\n[outbound]\n{outbound}\n");
    TestProject::new(&[("aerostack.toml", &config), ("src/index.ts", FETCHES)])
}

async fn fetched(served: &Binary, url: &str) -> String {
    send(served.address, "POST", "/", &[], url.as_bytes()).await.text()
}

async fn events(served: &Binary, url: &str) -> String {
    send(served.address, "POST", "/events", &[], url.as_bytes()).await.text()
}

/// A server on loopback that counts its connections. `/redirect?URL` redirects, `/events` is a stream of events, all else is
/// `origin`.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut requests = BufReader::new(stream.try_clone().expect("a socket can be shared"));
                    let mut stream = stream;
                    while let Some(target) = next_request(&mut requests) {
                        let answer = match target.split_once('?') {
                            Some(("/redirect", to)) => format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
                            _ if target == "/events" => {
                                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 8\r\n\r\ndata: x\n".to_owned()
                            }
                            _ => "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\norigin".to_owned(),
                        };
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// The target of the next request on a connection; none at its end.
fn next_request(requests: &mut impl BufRead) -> Option<String> {
    let mut lines = requests.lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(String::is_empty)?;
    first.split(' ').nth(1).map(str::to_owned)
}
