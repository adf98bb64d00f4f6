use std::io::{BufRead as _, BufReader, PipeReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aerostack_telemetry::without_colours;
use tempfile::TempDir;

use crate::MemoryGroup;

/// How long the binary may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A project in a temporary folder.
pub struct TestProject {
    folder: TempDir,
}

/// A finished run of the binary.
#[derive(Debug)]
pub struct Run {
    /// Whether it exited with 0.
    pub succeeded: bool,
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
}

/// `aerostack dev` or `serve`, running. Killed when dropped.
pub struct Binary {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    lines: Arc<(Mutex<Vec<String>>, Condvar)>,
}

impl TestProject {
    /// A project of files by path.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        for (path, text) in files {
            project.write(path, text);
        }
        project
    }

    /// A copy of a folder, without the state that somebody left in it.
    pub fn copy_of(folder: &Path) -> Self {
        let project = Self::new(&[]);
        copy_files(folder, project.path());
        project
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
        std::fs::write(path, text).expect("a file can be written");
    }

    /// Adds to the end of a file.
    pub fn append(&self, path: &str, text: &str) {
        let before = std::fs::read_to_string(self.path().join(path)).expect("the file can be read");
        self.write(path, &(before + text));
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Run {
        self.run_in(&[], arguments)
    }

    /// The same with variables in its environment.
    pub fn run_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
        finish(command(self.path()).args(arguments).envs(variables.iter().copied()))
    }

    /// Runs the binary to its end in a folder below the project.
    pub fn run_below(&self, folder: &Path, arguments: &[&str]) -> Run {
        finish(command(folder).args(arguments))
    }

    /// Runs the binary to its end and reads the JSON it prints.
    pub fn run_json(&self, arguments: &[&str]) -> serde_json::Value {
        let run = self.run(arguments);
        assert!(run.succeeded, "{arguments:?}: {}", run.stderr);
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", run.stdout))
    }

    /// The rows of one statement, run on `DB` from outside.
    pub fn rows(&self, sql: &str) -> serde_json::Value {
        self.run_json(&["db", "execute", "--json", "--command", sql])[0]["results"].take()
    }

    /// Waits until a query gives these rows.
    pub fn wait_for_rows(&self, sql: &str, expected: &serde_json::Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows(sql);
            if rows == *expected {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {rows}, not {expected}");
        }
    }

    /// The messages of a queue, as `aerostack queue peek --json` shows them.
    pub fn queued(&self, queue: &str) -> Vec<serde_json::Value> {
        let peeked = self.run_json(&["queue", "peek", "--json", "--limit", "1000", "--queue", queue]);
        peeked.as_array().expect("a list of messages").clone()
    }

    /// Starts `aerostack dev` on a free port and waits until it is ready, or says that it is not yet.
    pub fn dev(&self) -> Binary {
        self.dev_with(&[])
    }

    /// The same with more arguments.
    pub fn dev_with(&self, arguments: &[&str]) -> Binary {
        self.start(&[&["dev", "--port", "0"], arguments].concat())
    }

    /// The same with environment variables.
    pub fn dev_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Binary {
        self.start_in(environment, &[&["dev", "--port", "0"], arguments].concat())
    }

    /// Starts the binary and waits until it serves.
    pub fn start(&self, arguments: &[&str]) -> Binary {
        self.start_in(&[], arguments)
    }

    /// The same in a control group.
    pub fn start_in_group(&self, group: &MemoryGroup, arguments: &[&str]) -> Binary {
        let mut inside = bare_command("sh", self.path());
        // The shell enters, and becomes the binary.
        inside.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.entrance()).arg(binary_path());
        Self::started(inside, &[], arguments)
    }

    /// The same with variables in its environment.
    pub fn start_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Binary {
        Self::started(command(self.path()), variables, arguments)
    }

    /// Starts the binary in a folder below the project, and waits until it serves.
    pub fn start_below(&self, folder: &Path, arguments: &[&str]) -> Binary {
        Self::started(command(folder), &[], arguments)
    }

    fn started(mut command: Command, variables: &[(&str, &str)], arguments: &[&str]) -> Binary {
        // One pipe for both, as a terminal is: what is said first comes first.
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let output = writer.try_clone().expect("a pipe can be shared");
        command.args(arguments).envs(variables.iter().copied()).stdout(output).stderr(writer);
        Self::watch(command, reader).wait_until_it_serves()
    }

    /// Starts the binary with its standard output in a file; the lines are those of standard error.
    pub fn start_with_output_in(&self, file: &Path, arguments: &[&str]) -> Binary {
        self.start_split(file, arguments).wait_until_it_serves()
    }

    /// The same, where the log says in that file that the binary serves.
    pub fn start_with_log_in(&self, file: &Path, arguments: &[&str]) -> Binary {
        let mut binary = self.start_split(file, arguments);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(file).expect("the file can be read");
            if let Some(line) = log.lines().find(|line| line.contains("ready http://")) {
                binary.address = address_in(line);
                return binary;
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn start_split(&self, file: &Path, arguments: &[&str]) -> Binary {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let output = std::fs::File::create(file).expect("a file can be made");
        let mut command = command(self.path());
        command.args(arguments).stdout(output).stderr(writer);
        Self::watch(command, reader)
    }

    /// Starts `command`, whose lines come out of `reader`.
    fn watch(mut command: Command, reader: PipeReader) -> Binary {
        let child = command.spawn().expect("the binary can be started");
        // The pipe's other ends in this process: without them it ends when the child does.
        drop(command);
        let lines = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let collected = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                collected.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                collected.1.notify_all();
            }
        });
        Binary { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), lines }
    }
}

impl Binary {
    fn wait_until_it_serves(mut self) -> Self {
        self.address = address_in(&self.wait_for("ready http://"));
        self
    }

    /// Waits for a line of its output that contains `text`, and returns it.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_after(0, text)
    }

    /// How many lines there are so far, for [`Binary::wait_for_after`].
    pub fn line_count(&self) -> usize {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for a line that contains `text`, past the first `skipped` lines.
    pub fn wait_for_after(&self, skipped: usize, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let (lines, grown) = &*self.lines;
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let says = |line: &&String| line.contains(text) || without_colours(line).contains(text);
            if let Some(line) = lines.iter().skip(skipped).find(says) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {text:?}; the output was:\n{}", lines.join("\n"));
            lines = grown.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All of its output so far.
    pub fn output(&self) -> String {
        self.lines.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `kill -NAME`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Waits for the process to end; whether it exited with 0.
    pub fn wait(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status.success();
            }
            assert!(Instant::now() < deadline, "the process does not end; its output was:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn finish(command: &mut Command) -> Run {
    let output = command.output().expect("the binary can be started");
    Run {
        succeeded: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The address of a ready line.
fn address_in(line: &str) -> SocketAddr {
    let line = without_colours(line);
    let text = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let text = text.replace("localhost", "127.0.0.1").replace("0.0.0.0", "127.0.0.1");
    text.parse().unwrap_or_else(|error| panic!("the ready line names the address: {error}: {line}"))
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folders can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.file_name() == ".aerostack" {
            continue;
        }
        if entry.path().is_dir() {
            copy_files(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

fn command(folder: &Path) -> Command {
    bare_command(binary_path(), folder)
}

fn bare_command(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    // What the developer has set for other programs must not change the tests.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = ["AEROSTACK_LOG", "OTEL_", "FORCE_COLOR", "NO_COLOR"];
    names.filter(|name| ours.iter().any(|ours| name.starts_with(ours))).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// The release binary beside this test binary: `target/release/deps/it-...` and `target/release/aerostack`.
fn binary_path() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let path = test.parent().and_then(Path::parent).expect("tests lie in target/release/deps").join("aerostack");
    assert!(path.is_file(), "{} is not built: `./x test` builds it first", path.display());
    path
}
