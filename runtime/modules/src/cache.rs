//! Compiled scripts, so that a reload compiles what changed and a cold start compiles nothing.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::SystemTime;

use deno_ast::ModuleSpecifier;
use sha2::{Digest, Sha256};

use crate::compile::{CompileOptions, CompileProblem, Compiled, compile};
use crate::module::Dialect;

/// Compiles through two layers: the memory of this process, and a folder if there is one.
#[derive(Debug, Default)]
pub(crate) struct CompileCache {
    memory: Mutex<Memory>,
    disk: Option<DiskCache>,
}

/// Where a compiled script came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Compiled,
    Memory,
    Disk,
}

#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<Key, (Arc<Compiled>, u64)>,
    loads: u64,
}

/// One file an entry, `<key>.json`: the SHA-256 of the rest on the first line, then the compiled script as JSON.
#[derive(Debug)]
struct DiskCache {
    folder: PathBuf,
    prune: Once,
    has_warned: AtomicBool,
}

/// SHA-256 of all that the result depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key(String);

/// Changes whenever the same text may compile to something else with the versions below unchanged.
const FORMAT: u32 = 2;

/// Entries that so many loads did not ask for are forgotten. Several workers share a loader, each load asks for its own.
const LOADS_KEPT: u64 = 32;

/// More entries than this on disk, and the oldest half goes.
const MOST_FILES: usize = 4096;

impl CompileCache {
    /// Also keeps results in a folder, which is made when first needed.
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        let disk = DiskCache { folder, prune: Once::new(), has_warned: AtomicBool::new(false) };
        Self { memory: Mutex::default(), disk: Some(disk) }
    }

    /// Counts a load, so that entries of files long gone can be told from the others.
    pub(crate) fn begin_load(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.loads += 1;
        let oldest = memory.loads.saturating_sub(LOADS_KEPT);
        memory.entries.retain(|_, (_, last_used)| *last_used >= oldest);
    }

    /// As [`compile`], unless the result is known. Failures are not kept: they are rare, and their frames need the source.
    pub(crate) fn compile(
        &self,
        url: &ModuleSpecifier,
        text: &Arc<str>,
        dialect: Dialect,
        options: &CompileOptions,
    ) -> Result<(Arc<Compiled>, Origin), Vec<CompileProblem>> {
        let key = Key::of(url, text, dialect, options);
        if let Some(known) = self.recall(&key) {
            return Ok((known, Origin::Memory));
        }
        if let Some(stored) = self.disk.as_ref().and_then(|disk| disk.read(&key)) {
            return Ok((self.remember(key, stored), Origin::Disk));
        }
        let compiled = compile(url, text, dialect, options)?;
        if let Some(disk) = &self.disk {
            disk.write(&key, &compiled);
        }
        Ok((self.remember(key, compiled), Origin::Compiled))
    }

    fn recall(&self, key: &Key) -> Option<Arc<Compiled>> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let loads = memory.loads;
        let (compiled, last_used) = memory.entries.get_mut(key)?;
        *last_used = loads;
        Some(compiled.clone())
    }

    fn remember(&self, key: Key, compiled: Compiled) -> Arc<Compiled> {
        let compiled = Arc::new(compiled);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let loads = memory.loads;
        memory.entries.insert(key, (compiled.clone(), loads));
        compiled
    }
}

impl Key {
    fn of(url: &ModuleSpecifier, text: &str, dialect: Dialect, options: &CompileOptions) -> Self {
        // The source map names the file by the last part of its URL.
        let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        let versions = [env!("CARGO_PKG_VERSION"), deno_ast::VERSION];
        let mut hash = Sha256::new();
        hash.update(format!("{FORMAT} {versions:?} {dialect:?} {options:?} {name:?}\n"));
        hash.update(text);
        Self(hex(&hash.finalize()))
    }
}

impl DiskCache {
    /// `None` for an entry that is missing, torn or not ours: it is made anew.
    fn read(&self, key: &Key) -> Option<Compiled> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        let newline = bytes.iter().position(|byte| *byte == b'\n')?;
        let (sum, rest) = (&bytes[..newline], &bytes[newline + 1..]);
        if sum != hex(&Sha256::digest(rest)).as_bytes() {
            return None;
        }
        serde_json::from_slice(rest).ok()
    }

    /// A cache that cannot be written costs time and nothing else, so that is said once and the worker runs.
    fn write(&self, key: &Key, compiled: &Compiled) {
        self.prune.call_once(|| self.drop_oldest());
        if let Err(error) = self.try_write(key, compiled)
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "compiled modules cannot be kept on disk");
        }
    }

    fn try_write(&self, key: &Key, compiled: &Compiled) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let json = serde_json::to_vec(compiled)?;
        let mut bytes = hex(&Sha256::digest(&json)).into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&json);

        // For this user alone, as all local state is: this may be the first of it.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // Under a name of its own first: another process must see the whole entry or none.
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.folder.join(format!("{}.{}.{number}.tmp", key.0, std::process::id()));
        let result = std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, self.path(key)));
        if result.is_err() {
            // The first error is the one to report; a leftover is pruned later.
            let _ = std::fs::remove_file(&unfinished);
        }
        result
    }

    fn drop_oldest(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .filter(|(_, path)| is_entry(path))
            .collect();
        if files.len() <= MOST_FILES {
            return;
        }
        files.sort();
        for (_, path) in &files[..files.len() - MOST_FILES / 2] {
            let _ = std::fs::remove_file(path);
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.json", key.0))
    }
}

/// Only files that this cache made are ever removed by it.
fn is_entry(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (key, rest) = name.split_once('.').unwrap_or((name, ""));
    let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key && (rest == "json" || Path::new(rest).extension().is_some_and(|extension| extension == "tmp"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
