//! Clients of every kind that ask without a pause, and note each request that is not answered as it must be.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// How long an answer may take, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of an upload.
const UPLOAD: usize = 300_000;

/// What a client does, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Keeps its connection.
    Keeps,
    /// Opens a connection for each request and asks for its end.
    Opens,
    /// Opens a connection for each request and closes it without a word.
    Drops,
    /// Sends four requests at once.
    Pipelines,
    /// Sends a head in pieces, on a new connection every other time.
    Stutters,
    /// Sends five requests at once over HTTP/2.
    MultiplexesHttp2,
    /// Sends a long body in pieces.
    Uploads,
    /// Reads an answer that comes in pieces.
    Streams,
    /// Gets back what it sends while it sends it.
    Echoes,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::Keeps,
        Self::Opens,
        Self::Drops,
        Self::Pipelines,
        Self::Stutters,
        Self::MultiplexesHttp2,
        Self::Uploads,
        Self::Streams,
        Self::Echoes,
    ];
}

/// What the server does under the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// It goes on: every request is answered with 200, and no connection is closed but by its client.
    GoesOn,
    /// It drains and ends: every request that it took is answered. New connections may hear that it is going away, and
    /// are not taken after that.
    Drains,
}

/// Clients at work on one server.
pub(super) struct Load {
    address: SocketAddr,
    server: Server,
    is_over: AtomicBool,
    answers: AtomicU64,
    lost: Mutex<Vec<String>>,
}

/// Why a client stops.
enum End {
    /// The server takes no connections any more, as it should by then.
    ServerIsGone,
    Lost(String),
}

impl Load {
    pub(super) fn on(address: SocketAddr, server: Server) -> Arc<Self> {
        let (is_over, answers, lost) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        Arc::new(Self { address, server, is_over, answers, lost })
    }

    /// Starts so many clients of each kind.
    pub(super) fn start(self: &Arc<Self>, runtime: &Runtime, of_each: usize) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for kind in Kind::ALL.into_iter().cycle().take(Kind::ALL.len() * of_each) {
            let load = self.clone();
            clients.spawn_on(async move { load.ask(kind).await }, runtime.handle());
        }
        clients
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Ends the load. Fails where a request was lost.
    pub(super) fn end(&self, runtime: &Runtime, mut clients: JoinSet<()>) {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = async { while clients.join_next().await.is_some() {} };
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE * 2, ended).await });
        assert!(ended.is_ok(), "a client does not end");
        let lost = std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner));
        let (count, answers) = (lost.len(), self.answers());
        assert!(lost.is_empty(), "{count} requests were lost, {answers} answered: {:#?}", &lost[..count.min(5)]);
    }

    async fn ask(&self, kind: Kind) {
        let mut round = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            round += 1;
            let end = match kind {
                Kind::Keeps => self.keep("/slow").await,
                Kind::Opens => self.open(round).await,
                Kind::Drops => self.once("/later", "").await.map(|_| ()),
                Kind::Pipelines => self.pipeline().await,
                Kind::Stutters => self.stutter(round).await,
                Kind::MultiplexesHttp2 => self.multiplex().await,
                Kind::Uploads => self.upload().await,
                Kind::Streams => self.keep("/pieces").await,
                Kind::Echoes => self.echo().await,
            };
            match end {
                Ok(()) => {}
                Err(End::ServerIsGone) => return,
                Err(End::Lost(text)) => {
                    self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{kind:?}: {text}"));
                }
            }
        }
    }

    /// Connects; the server may be gone where it drains.
    async fn connect(&self) -> Result<Client<'_>, End> {
        match TcpStream::connect(self.address).await {
            Ok(stream) => Ok(Client { load: self, stream, arrived: Vec::new(), is_first: true, asked_to_close: false }),
            Err(_) if self.server == Server::Drains => Err(End::ServerIsGone),
            Err(error) => Err(End::Lost(format!("not connected: {error}"))),
        }
    }

    /// Asks on a connection of its own, with this line among the headers.
    async fn once(&self, path: &str, headers: &str) -> Result<Answer, End> {
        let mut client = self.connect().await?;
        client.asked_to_close = headers.starts_with("connection: close");
        client.write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes()).await?;
        client.answer(path).await
    }

    async fn open(&self, round: usize) -> Result<(), End> {
        let path = ["/a", "/slow", "/pieces"][round % 3];
        let answer = self.once(path, "connection: close\r\n").await?;
        if answer.closes { Ok(()) } else { Err(End::Lost("the answer to connection: close does not close".to_owned())) }
    }

    async fn keep(&self, path: &str) -> Result<(), End> {
        let mut client = self.connect().await?;
        while !self.is_over.load(Ordering::Relaxed) {
            client.write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
            if client.answer(path).await?.closes {
                break;
            }
        }
        Ok(())
    }

    async fn pipeline(&self) -> Result<(), End> {
        const PATHS: [&str; 4] = ["/1", "/slow", "/pieces", "/4"];
        let requests = PATHS.map(|path| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).concat();
        let mut client = self.connect().await?;
        while !self.is_over.load(Ordering::Relaxed) {
            client.write(requests.as_bytes()).await?;
            for (place, path) in PATHS.iter().enumerate() {
                let answer = client.answer(path).await?;
                if answer.closes && place + 1 < PATHS.len() && answer.status == 200 {
                    return Err(End::Lost(format!("only {} of four requests sent at once are answered", place + 1)));
                }
                if answer.closes {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn stutter(&self, round: usize) -> Result<(), End> {
        let mut client = self.connect().await?;
        if round.is_multiple_of(2) {
            client.write(b"GET /whole HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
            if client.answer("/whole").await?.closes {
                return Ok(());
            }
        }
        for piece in ["GET /stut", "tered HTTP/1.1\r\nhost: local", "host\r\n\r\n"] {
            client.write(piece.as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        client.answer("/stuttered").await.map(|_| ())
    }

    async fn upload(&self) -> Result<(), End> {
        let mut client = self.connect().await?;
        let piece = vec![b'u'; UPLOAD / 10];
        while !self.is_over.load(Ordering::Relaxed) {
            client
                .write(
                    format!("POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: {UPLOAD}\r\n\r\n").as_bytes(),
                )
                .await?;
            for _ in 0..10 {
                // A server that drains refuses an upload without reading all of it.
                if client.write(&piece).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if client.answer("/length").await?.closes {
                break;
            }
        }
        Ok(())
    }

    async fn echo(&self) -> Result<(), End> {
        let mut client = self.connect().await?;
        while !self.is_over.load(Ordering::Relaxed) {
            client.write(b"POST /echo HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            for piece in ["3\r\n/ec\r\n", "2\r\nho\r\n", "0\r\n\r\n"] {
                client.write(piece.as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if client.answer("/echo").await?.closes {
                break;
            }
        }
        Ok(())
    }

    async fn multiplex(&self) -> Result<(), End> {
        const PATHS: [&str; 5] = ["/1", "/slow", "/pieces", "/4", "/later"];
        let stream = self.connect().await?.stream;
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (client, connection) = shaken.map_err(|error| End::Lost(format!("no handshake: {error}")))?;
        let (mut client, mut connection) = (Some(client), tokio::spawn(connection));
        let outcome = async {
            for _ in 0..20 {
                let Some(asking) = client.as_mut().filter(|_| !self.is_over.load(Ordering::Relaxed)) else { break };
                match asking.ready().await {
                    Ok(()) => {}
                    // Nothing was asked.
                    Err(_) if self.server == Server::Drains => return Ok(()),
                    Err(error) => return Err(End::Lost(format!("the HTTP/2 connection ended: {error:?}"))),
                }
                let asked = PATHS.map(|path| {
                    let request = http::Request::get(format!("http://localhost{path}"));
                    asking.send_request(request.body(Full::new(Bytes::new())).expect("a valid request"))
                });
                for (path, asked) in PATHS.into_iter().zip(asked) {
                    let read = tokio::time::timeout(PATIENCE, async {
                        let (head, body) = asked.await?.into_parts();
                        Ok::<_, hyper::Error>((head.status.as_u16(), body.collect().await?.to_bytes()))
                    });
                    let mut read = std::pin::pin!(read);
                    let read = tokio::select! {
                        read = &mut read => read,
                        // hyper may forget a request that comes into its queue while the connection ends. It fails when
                        // the queue goes; a request that was sent does not need the queue.
                        _ = &mut connection, if client.is_some() => {
                            client = None;
                            read.await
                        }
                    };
                    match read {
                        Err(_) => return Err(End::Lost(format!("{path} is not answered over HTTP/2"))),
                        Ok(Err(error)) => return self.left_http2(&error).await,
                        Ok(Ok((status, body))) => self.check(path, status, &body)?,
                    }
                }
            }
            Ok(())
        };
        let outcome = outcome.await;
        if client.take().is_some() {
            // What was sent last tells the server that this is the end.
            let _ = tokio::time::timeout(PATIENCE, connection).await;
        }
        outcome
    }

    /// A server that drains says up to which stream it answers; the streams behind were never taken, and may be sent
    /// again elsewhere.
    async fn left_http2(&self, error: &hyper::Error) -> Result<(), End> {
        if self.server == Server::Drains && (is_goodbye(error) || self.is_gone().await) {
            return Ok(());
        }
        Err(End::Lost(format!("over HTTP/2: {error:?}")))
    }

    /// Whether nobody listens any more, or will in a moment.
    async fn is_gone(&self) -> bool {
        for _ in 0..100 {
            if TcpStream::connect(self.address).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    fn check(&self, path: &str, status: u16, body: &[u8]) -> Result<(), End> {
        let expected = match path {
            "/pieces" => "0;1;2;3;4;".to_owned(),
            "/length" => UPLOAD.to_string(),
            path => path.to_owned(),
        };
        if status == 200 && body == expected.as_bytes() {
            self.answers.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if self.server == Server::Drains && (status, body) == (503, b"the server is shutting down\n") {
            return Ok(());
        }
        Err(End::Lost(format!("{path}: {status} {:?}", String::from_utf8_lossy(body))))
    }
}

/// Whether a stream was not answered because the other side said that it takes no more.
fn is_goodbye(error: &hyper::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
            || format!("{error:?}").contains("GoAway")
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// A connection of HTTP/1.
struct Client<'a> {
    load: &'a Load,
    stream: TcpStream,
    arrived: Vec<u8>,
    is_first: bool,
    asked_to_close: bool,
}

struct Answer {
    status: u16,
    closes: bool,
}

impl Client<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        match tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(&error.to_string()).await),
            Err(_) => Err(End::Lost("the server takes nothing".to_owned())),
        }
    }

    /// Reads an answer and checks it.
    async fn answer(&mut self, path: &str) -> Result<Answer, End> {
        let Ok(read) = tokio::time::timeout(PATIENCE, self.read()).await else {
            return Err(End::Lost(format!("{path} is not answered")));
        };
        let (answer, body) = match read {
            Ok(read) => read,
            Err(error) => return Err(self.broken(&format!("{path}: {error}")).await),
        };
        self.is_first = false;
        self.load.check(path, answer.status, &body)?;
        if answer.closes && self.load.server == Server::GoesOn && !self.asked_to_close {
            return Err(End::Lost(format!("{path}: the answer closes the connection")));
        }
        Ok(answer)
    }

    /// A connection that broke without a byte while the server was ending was never taken.
    async fn broken(&self, why: &str) -> End {
        let was_never_taken = self.is_first && self.arrived.is_empty() && self.load.server == Server::Drains;
        if was_never_taken && self.load.is_gone().await {
            return End::ServerIsGone;
        }
        End::Lost(format!("{why}, after {:?}", String::from_utf8_lossy(&self.arrived)))
    }

    async fn read(&mut self) -> io::Result<(Answer, Vec<u8>)> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {head:?}")))?;
        let mut body = Vec::new();
        if head.contains("\r\ntransfer-encoding: chunked\r\n") {
            loop {
                let size = self.until(b"\r\n").await?;
                let size =
                    usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).map_err(io::Error::other)?;
                body.extend(self.exactly(size).await?);
                self.exactly(2).await?;
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            body = self.exactly(length.parse().map_err(io::Error::other)?).await?;
        }
        Ok((Answer { status, closes: head.contains("\r\nconnection: close\r\n") }, body))
    }

    async fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(place) = self.arrived.windows(end.len()).position(|window| window == end) {
                return Ok(self.arrived.drain(..place + end.len()).collect());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.arrived.len() < length {
            self.more().await?;
        }
        Ok(self.arrived.drain(..length).collect())
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.arrived).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
