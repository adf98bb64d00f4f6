use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A control group with so much memory and no swap, of the first or the second version. Removed when dropped; what runs in it must
/// have ended by then.
pub struct MemoryGroup {
    folder: PathBuf,
    names: &'static Names,
}

struct Names {
    limit: &'static str,
    peak: &'static str,
    swap: (&'static str, Swap),
    events: &'static str,
}

/// What the file of the swap counts.
enum Swap {
    Alone,
    WithMemory,
}

const ONE: Names = Names {
    limit: "memory.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
    swap: ("memory.memsw.limit_in_bytes", Swap::WithMemory),
    events: "memory.oom_control",
};

const TWO: Names =
    Names { limit: "memory.max", peak: "memory.peak", swap: ("memory.swap.max", Swap::Alone), events: "memory.events" };

impl MemoryGroup {
    /// Makes one.
    ///
    /// # Errors
    /// Why none can be made here.
    pub fn with(bytes: u64) -> Result<Self, String> {
        let one = Self::below(Path::new("/sys/fs/cgroup/memory"), &ONE, bytes);
        one.or_else(|first| {
            Self::below(Path::new("/sys/fs/cgroup"), &TWO, bytes).map_err(|second| format!("{first}; {second}"))
        })
    }

    fn below(root: &Path, names: &'static Names, bytes: u64) -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("aerostack-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let folder = root.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        let group = Self { folder: folder.clone(), names };
        fs::write(folder.join(names.limit), bytes.to_string()).map_err(failed)?;
        // Not everywhere is swap counted.
        let swap = match names.swap.1 {
            Swap::Alone => 0,
            Swap::WithMemory => bytes,
        };
        let _ = fs::write(folder.join(names.swap.0), swap.to_string());
        Ok(group)
    }

    /// The file that a process writes its number to in order to enter.
    pub fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Bytes at the worst moment; `None` where the kernel does not tell.
    pub fn peak(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(self.names.peak)).ok()?.trim().parse().ok()
    }

    /// How many processes the kernel has killed because the memory was not enough.
    pub fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.folder.join(self.names.events)).expect("the group can be read");
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.map_or(0, |kills| kills.trim().parse().expect("a number"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.folder).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
