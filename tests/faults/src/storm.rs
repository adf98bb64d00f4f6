//! A child process writes as fast as it can and says on a pipe what it begins and what it was promised; its parent kills it at a
//! random moment, looks at what is left, and holds that to the promises. Again and again on the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::content::random_below;

/// Set where the test binary is to be the child: the name of the storm.
const ROLE: &str = "AEROSTACK_FAULT_ROLE";
/// The folder the child is to write in.
const FOLDER: &str = "AEROSTACK_FAULT_FOLDER";
/// How often it was killed before.
const ROUND: &str = "AEROSTACK_FAULT_ROUND";

/// Kills a storm where `AEROSTACK_FAULT_ROUNDS` does not say how many.
const DEFAULT_ROUNDS: u64 = 10;

/// When a child's time comes. One child in five does not get so far: it is killed while it opens its files.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// It is let say a random number of lines, so many at most, and no more than it ever says.
    pub lines: u64,
    /// From then on it lives for a random part of this.
    pub rest: Duration,
}

/// How long a child that is killed at its start may have been there.
const LONGEST_START: Duration = Duration::from_millis(25);

/// What a storm finds on disk: the version of each key that is there.
pub type Observed = BTreeMap<String, u64>;

/// Something that a child does until it is killed.
pub trait Storm: Send + Sync + 'static {
    /// A sentence: what is promised.
    fn name(&self) -> &'static str;

    /// When the child is killed.
    fn timing(&self) -> Timing {
        Timing { lines: 400, rest: Duration::from_millis(5) }
    }

    /// In the child: writes until it is killed. A key has one write at a time, and each write another version, from
    /// [`Say::first_version`] on.
    fn work(&self, folder: &Path, say: &Say);
}

/// One kind of write under fire, whose promises are versions of keys.
pub trait WriteStorm: Storm {
    /// In the parent: everything that is there.
    ///
    /// # Errors
    /// Where something is there by half, damaged, or left over.
    fn observe(&self, folder: &Path) -> Result<Observed, Failed>;
}

/// How a child says what it does.
#[derive(Debug, Clone)]
pub struct Say {
    round: u64,
}

/// What a child said about one key.
#[derive(Debug, Default)]
struct Promise {
    /// What is there for certain, `None` for nothing.
    acknowledged: Option<u64>,
    /// What may be there instead, where a write has begun.
    #[expect(clippy::option_option, reason = "the outer one is whether, the inner one is what: `None` for nothing")]
    begun: Option<Option<u64>>,
}

impl Say {
    /// Versions of this process begin here: above those of all processes before.
    pub fn first_version(&self) -> u64 {
        (self.round + 1) * 1_000_000_000
    }

    /// How often the child was killed before.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// A write begins that leaves this version under the key; `None` removes it.
    pub fn begins(&self, key: &str, version: Option<u64>) {
        match version {
            Some(version) => self.line(&format!("begin {key} {version}")),
            None => self.line(&format!("begin {key} -")),
        }
    }

    /// The write that was begun has been acknowledged.
    pub fn was_promised(&self, key: &str) {
        self.line(&format!("done {key}"));
    }

    /// Says anything else, in one write, so that the lines of two threads do not mix.
    pub fn line(&self, line: &str) {
        if std::io::stdout().write_all(format!("{line}\n").as_bytes()).is_err() {
            // Nobody listens any more.
            std::process::exit(1);
        }
    }
}

/// How often a storm kills.
pub fn rounds() -> u64 {
    match std::env::var("AEROSTACK_FAULT_ROUNDS") {
        Ok(text) => text.parse().expect("AEROSTACK_FAULT_ROUNDS is a number"),
        Err(_) => DEFAULT_ROUNDS,
    }
}

/// Does a child's work where this process is to be one, and does not return then.
pub fn run_as_child(storms: &[Arc<dyn Storm>]) {
    let Ok(role) = std::env::var(ROLE) else { return };
    let storm = storms.iter().find(|storm| storm.name() == role).expect("the role is that of a storm");
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("the folder is named"));
    let round = std::env::var(ROUND).expect("the round is named").parse().expect("the round is a number");
    storm.work(&folder, &Say { round });
    std::process::exit(0);
}

/// The test of a storm.
pub fn storm_trial(storm: Arc<dyn WriteStorm>) -> Trial {
    Trial::test(storm.name(), move || {
        let folder = tempfile::tempdir()?;
        let mut promises: BTreeMap<String, Promise> = BTreeMap::new();
        let mut acknowledged = 0_u64;
        for round in 0..rounds() {
            kill_a_child(&*storm, folder.path(), round, |line| {
                acknowledged += u64::from(line.starts_with("done "));
                hear(&mut promises, line)
            })?;
            let observed = storm.observe(folder.path()).map_err(|failed| after(round, &failed))?;
            compare(&mut promises, &observed).map_err(|failed| after(round, &failed))?;
        }
        assert!(acknowledged >= rounds(), "the children came to {acknowledged} writes only");
        Ok(())
    })
}

/// Starts a child, hears every line it says, and kills it at a random moment.
pub fn kill_a_child(
    storm: &dyn Storm,
    folder: &Path,
    round: u64,
    mut hear: impl FnMut(&str) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, storm.name())
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("the child has no standard output")?);
    let dies_early = random_below(5) == 0;
    let Timing { lines: most_lines, rest } = storm.timing();
    let mut lines_left = if dies_early { 0 } else { 1 + random_below(most_lines) };
    let mut line = String::new();
    while lines_left > 0 && lines.read_line(&mut line)? > 0 {
        hear(line.trim_end())?;
        line.clear();
        lines_left -= 1;
    }
    // The one sleep that waits for nothing: the moment itself is what is drawn.
    let longest = if dies_early { LONGEST_START } else { rest };
    std::thread::sleep(Duration::from_micros(random_below(longest.as_micros() as u64)));
    child.kill()?;
    // What it said before it was killed counts, too, but for a line it did not come to the end of.
    while lines.read_line(&mut line)? > 0 {
        if line.ends_with('\n') {
            hear(line.trim_end())?;
        }
        line.clear();
    }
    let status = child.wait()?;
    if status.code().is_some() {
        return Err(format!("the child ended by itself in round {round}: {status}").into());
    }
    Ok(())
}

fn hear(promises: &mut BTreeMap<String, Promise>, line: &str) -> Result<(), Failed> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["begin", key, version] => {
            let version = if version == "-" { None } else { Some(version.parse()?) };
            promises.entry(key.to_owned()).or_default().begun = Some(version);
        }
        ["done", key] => {
            let promise = promises.get_mut(key).ok_or("a write is acknowledged that never began")?;
            promise.acknowledged = promise.begun.take().ok_or("a write is acknowledged twice")?;
        }
        _ => return Err(format!("the child said {line:?}").into()),
    }
    Ok(())
}

/// Everything acknowledged is there; what was in flight is there or is not, and that is settled from now on.
fn compare(promises: &mut BTreeMap<String, Promise>, observed: &Observed) -> Result<(), Failed> {
    let keys: BTreeSet<String> = promises.keys().chain(observed.keys()).cloned().collect();
    for key in keys {
        let found = observed.get(&key).copied();
        let promise = promises.entry(key.clone()).or_default();
        if found != promise.acknowledged && Some(found) != promise.begun {
            return Err(format!(
                "{key} is {found:?}; {:?} was acknowledged, {:?} was in flight",
                promise.acknowledged, promise.begun
            )
            .into());
        }
        *promise = Promise { acknowledged: found, begun: None };
    }
    Ok(())
}

fn after(round: u64, failed: &Failed) -> Failed {
    format!("after kill {}: {}", round + 1, failed.message().unwrap_or_default()).into()
}
