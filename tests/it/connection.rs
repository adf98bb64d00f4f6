use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::http_client::HttpAnswer;

/// How long anything a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that stays open, read piece by piece: for what `send` and `exchange` cannot say.
pub struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Bytes that arrived and were not asked for yet.
    arrived: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.expect("the server listens"),
            patience: PATIENCE,
            arrived: Vec::new(),
        }
    }

    /// Connects, to wait for what takes long.
    pub async fn patient(address: SocketAddr) -> Self {
        Self { patience: PATIENCE * 4, ..Self::open(address).await }
    }

    /// Connects with a receive buffer as small as the system allows, so that the sender soon has to wait.
    pub async fn open_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_recv_buffer_size(4096).expect("the buffer can be shrunk");
        Self {
            stream: socket.connect(address).await.expect("the server listens"),
            patience: PATIENCE,
            arrived: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        written.expect("the server reads in time").expect("the connection is open");
    }

    /// Sends bytes, unless the server takes none of them for two seconds or has closed the connection; then false.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let written = tokio::time::timeout(Duration::from_secs(2), self.stream.write_all(bytes.as_ref())).await;
        written.is_ok_and(|written| written.is_ok())
    }

    /// Reads an HTTP/2 frame: its type, its flags, its payload.
    pub async fn frame(&mut self) -> (u8, u8, Vec<u8>) {
        let head = self.exactly(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        (head[3], head[4], self.exactly(length as usize).await)
    }

    /// Sends `GET path`, without asking for the end of the connection.
    pub async fn write_get(&mut self, path: &str) {
        self.write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    }

    /// Sends `GET path` and reads the answer.
    pub async fn get(&mut self, path: &str) -> HttpAnswer {
        self.write_get(path).await;
        self.answer().await
    }

    /// Says that nothing more will be sent; what the server sends can still be read.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// Reads the status line and the headers of an answer, lower-case, lines ended by `\n`.
    pub async fn head(&mut self) -> String {
        let head = self.until(b"\r\n\r\n").await;
        String::from_utf8_lossy(&head).replace("\r\n", "\n").to_lowercase()
    }

    /// Reads the next chunk of a chunked body; empty at its end.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.until(b"\r\n").await;
        let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).expect("a chunk size");
        let chunk = self.exactly(size).await;
        self.exactly(2).await;
        chunk
    }

    /// Reads a whole answer to anything but `HEAD`, by its `content-length` or its chunks.
    pub async fn answer(&mut self) -> HttpAnswer {
        let head = self.head().await;
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let chunk = self.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        } else if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            body = self.exactly(length.parse().expect("a length")).await;
        }
        HttpAnswer { status, head, body }
    }

    /// The same, or nothing where the server closes the connection before.
    pub async fn try_answer(&mut self) -> Option<HttpAnswer> {
        if self.arrived.is_empty() && !self.more().await {
            return None;
        }
        Some(self.answer().await)
    }

    /// Whether something has arrived, or the connection is closed.
    pub async fn has_arrived(&mut self) -> bool {
        !self.arrived.is_empty() || tokio::time::timeout(Duration::ZERO, self.stream.readable()).await.is_ok()
    }

    /// Reads until the server closes the connection, orderly or not.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.arrived)
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(place) = self.arrived.windows(end.len()).position(|window| window == end) {
                return self.arrived.drain(..place + end.len()).collect();
            }
            let open = self.more().await;
            assert!(open, "the server closed the connection after {:?}", String::from_utf8_lossy(&self.arrived));
        }
    }

    async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.arrived.len() < length {
            let open = self.more().await;
            assert!(open, "the server closed the connection {} bytes short", length - self.arrived.len());
        }
        self.arrived.drain(..length).collect()
    }

    /// Waits for more bytes; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(self.patience, self.stream.read_buf(&mut self.arrived)).await;
        read.expect("the server answers or closes in time").is_ok_and(|read| read > 0)
    }
}
