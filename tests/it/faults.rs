//! Faults of the whole process: killed while it writes, its disk full, two of it over one folder, reloaded again and again.

mod disk_full;
mod processes;
mod reloads;
mod storm;

use std::net::SocketAddr;

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    storm::trials(trials);
    disk_full::trials(trials);
    processes::trials(trials);
    reloads::trials(trials);
}

/// The status and the body of an answer, of a server that may die at any time.
async fn ask(address: SocketAddr, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length: usize =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    // An answer that was cut off says nothing.
    (body.len() == length).then(|| (status, body.to_owned()))
}
