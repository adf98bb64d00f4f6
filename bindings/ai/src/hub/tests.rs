use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::catalogue::MODELS;

/// A double of a hub, on this machine: two hosts (names of one), the second for what the first points to.
struct Double {
    base: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// What the checksum headers say is the checksum of, where it is not the file's.
    claims: HashMap<String, Vec<u8>>,
    /// So many bytes of an answer, then the connection ends; once for each entry.
    cuts: Vec<usize>,
    /// Where it is set, what is not asked for with it is refused.
    token: Option<String>,
    /// `<METHOD> <path> <range> <authorization>` of each request.
    asked: Vec<String>,
}

impl Double {
    fn new(model: &CatalogueModel) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut state = State::default();
        for file in model.files {
            let content = format!("{file} ").repeat(5000).into_bytes();
            state.files.insert(format!("/{}/resolve/main/{file}", model.repository), content);
        }
        let state = Arc::new(Mutex::new(state));
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || _ = answer(stream, port, &served));
            }
        });
        Self { base: format!("http://127.0.0.1:{port}"), state }
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("no panic"));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no panic").asked)
    }
}

/// Answers the requests of one connection. Large files are pointed to on the host `localhost`, as the public hub points to its store.
fn answer(stream: TcpStream, port: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next() {
        let line = line?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: HashMap<String, String> = lines
            .by_ref()
            .map_while(|line| line.ok().filter(|line| !line.is_empty()))
            .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
            .collect();
        let mut state = state.lock().expect("no panic");
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        state.asked.push(format!("{method} {path} {} {}", header("range"), header("authorization")).trim().to_owned());
        let stored = path.strip_prefix("/store").filter(|_| header("host").starts_with("localhost"));
        if stored.is_none()
            && state.token.as_ref().is_some_and(|token| header("authorization") != format!("Bearer {token}"))
        {
            writer.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let name = stored.unwrap_or(&path).to_owned();
        let Some(content) = state.files.get(&name).cloned() else {
            writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let sum = format!("{:x}", Sha256::digest(state.claims.get(&name).unwrap_or(&content)));
        if stored.is_none() {
            let size = content.len();
            let target = format!("http://localhost:{port}/store{name}");
            write!(
                writer,
                "HTTP/1.1 302 Found\r\nLocation: {target}\r\nX-Linked-Size: {size}\r\nX-Linked-ETag: \"{sum}\"\r\nContent-Length: 0\r\n\r\n"
            )?;
            continue;
        }
        let from: usize = header("range").trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", content.len() - from)?;
        if !state.cuts.is_empty() {
            let cut = state.cuts.remove(0);
            writer.write_all(&content[from..from + cut])?;
            return writer.shutdown(Shutdown::Both);
        }
        writer.write_all(&content[from..])?;
    }
    Ok(())
}

/// A model of one file.
fn model() -> &'static CatalogueModel {
    MODELS.iter().find(|model| model.files.len() == 1).expect("there is one")
}

fn pull(double: &Double, model: &CatalogueModel, folder: &Path, token: Option<&str>) -> Result<PathBuf> {
    let hub = Hub::new(&double.base, token.map(str::to_owned))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let told = Mutex::new((0, 0));
    let pulled = runtime.block_on(hub.pull(model, folder, &|progress| {
        assert!(progress.received <= progress.total);
        *told.lock().expect("no panic") = (progress.received, progress.total);
    }));
    let (received, total) = *told.lock().expect("no panic");
    assert!(pulled.is_err() || (received == total && total > 0), "the last that was told is that all is there");
    pulled
}

fn path_of(model: &CatalogueModel) -> String {
    format!("/{}/resolve/main/{}", model.repository, model.files[0])
}

#[test]
fn all_files_of_a_model_arrive_in_its_folder() {
    let model = crate::catalogue::find("@cf/baai/bge-base-en-v1.5").expect("known");
    let double = Double::new(model);
    let folder = tempfile::tempdir().expect("a folder");
    let pulled = pull(&double, model, folder.path(), None).expect("pulled");
    assert_eq!(pulled, folder.path().join("baai/bge-base-en-v1.5"));
    for file in model.files {
        let content = std::fs::read(pulled.join(file)).expect("arrived");
        assert_eq!(content, format!("{file} ").repeat(5000).into_bytes());
    }
    double.asked();
    pull(&double, model, folder.path(), None).expect("pulled again");
    assert!(double.asked().iter().all(|asked| asked.starts_with("HEAD ")), "what is there is not received again");
}

#[test]
fn a_download_that_is_cut_off_goes_on_where_it_ended() {
    let double = Double::new(model());
    double.with(|state| state.cuts = vec![1000, 2000]);
    let folder = tempfile::tempdir().expect("a folder");
    let pulled = pull(&double, model(), folder.path(), None).expect("pulled");
    let content = std::fs::read(pulled.join(model().files[0])).expect("arrived");
    assert_eq!(content, format!("{} ", model().files[0]).repeat(5000).into_bytes());
    let asked = double.asked();
    let from: Vec<usize> = asked
        .iter()
        .filter(|asked| asked.starts_with("GET /store"))
        .filter_map(|asked| asked.split(' ').nth(2)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .collect();
    // What came right before a cut may be lost with the connection.
    assert!(matches!(from[..], [first, second] if first <= 1000 && second <= first + 2000 && second > 0), "{from:?}");
}

#[test]
fn a_download_that_never_ends_fails_and_the_next_one_goes_on() {
    let double = Double::new(model());
    double.with(|state| state.cuts = vec![10; ATTEMPTS as usize]);
    let folder = tempfile::tempdir().expect("a folder");
    let error = pull(&double, model(), folder.path(), None).expect_err("cut off");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with(&format!("cannot get {}: the download of ", model().name)), "{error}");
    double.asked();
    pull(&double, model(), folder.path(), None).expect("pulled");
    // What came right before a cut may be lost with the connection, so where it goes on is not exact.
    let resumed = double.asked().iter().any(|asked| asked.contains("bytes=") && !asked.contains("bytes=0-"));
    assert!(resumed, "it began anew");
}

#[test]
fn a_damaged_file_never_gets_its_name() {
    let double = Double::new(model());
    double.with(|state| {
        let mut other = state.files[&path_of(model())].clone();
        other[17] ^= 1;
        state.claims.insert(path_of(model()), other);
    });
    let folder = tempfile::tempdir().expect("a folder");
    let error = pull(&double, model(), folder.path(), None).expect_err("damaged");
    assert!(error.to_string().contains("arrived damaged"), "{error}");
    let left: Vec<_> = std::fs::read_dir(folder.path().join(model().folder())).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
    // With the right checksum it is got anew.
    double.with(|state| state.claims.clear());
    pull(&double, model(), folder.path(), None).expect("pulled");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let double = Double::new(model());
    double.with(|state| state.token = Some("secret".to_owned()));
    let folder = tempfile::tempdir().expect("a folder");
    let error = pull(&double, model(), folder.path(), None).expect_err("refused");
    assert!(error.to_string().contains("set HF_TOKEN"), "{error}");
    double.asked();
    pull(&double, model(), folder.path(), Some("secret")).expect("pulled");
    let asked = double.asked();
    assert!(asked.iter().all(|asked| asked.contains("Bearer secret") != asked.contains("/store")), "{asked:?}");
}

#[test]
fn what_the_hub_has_not_is_said() {
    let double = Double::new(model());
    double.with(|state| state.files.clear());
    let folder = tempfile::tempdir().expect("a folder");
    let error = pull(&double, model(), folder.path(), None).expect_err("not there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("404 Not Found"), "{error}");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for base in ["", "hub", "ftp://hub", "file:///etc"] {
        assert_eq!(Hub::new(base, None).err().map(|error| error.kind()), Some(ErrorKind::ConfigInvalid), "{base}");
    }
}
