//! What memory the process may have: of the machine, and of the control groups that it is in.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that the process and its neighbours may have together; `None` where the system does not tell.
pub fn limit() -> Option<u64> {
    let machine = meminfo(&read("/proc/meminfo")?, "MemTotal");
    let groups = groups().into_iter().filter_map(|group| group.limit());
    groups.chain(machine).min()
}

/// Bytes that are left of it; `None` where the system does not tell.
pub fn available() -> Option<u64> {
    let machine = meminfo(&read("/proc/meminfo")?, "MemAvailable");
    let groups = groups().into_iter().filter_map(|group| Some(group.limit()?.saturating_sub(group.used()?)));
    groups.chain(machine).min()
}

/// A control group that counts memory, of the first or of the second version.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    fn limit(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        // Without a limit it is `max`, or a number that no machine has.
        self.number(file)
    }

    /// Without what the kernel keeps of files that nobody has read for a while, and gives back when it is asked.
    fn used(&self) -> Option<u64> {
        let (file, inactive) = match self.version {
            Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::Two => ("memory.current", "inactive_file"),
        };
        let given_back = read(self.folder.join("memory.stat")).and_then(|stat| word_after(&stat, inactive));
        Some(self.number(file)?.saturating_sub(given_back.unwrap_or(0)))
    }

    fn number(&self, file: &str) -> Option<u64> {
        read(self.folder.join(file))?.trim().parse().ok()
    }
}

/// The groups of the process and those above them.
fn groups() -> Vec<Group> {
    let Some(memberships) = read("/proc/self/cgroup") else { return Vec::new() };
    groups_of(&memberships, Path::new("/sys/fs/cgroup"))
}

/// See `cgroups(7)`: lines `number:controllers:path`, the controllers of version 2 being none.
fn groups_of(memberships: &str, mount: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, version) = match controllers {
            "" => (mount.to_path_buf(), Version::Two),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (mount.join("memory"), Version::One)
            }
            _ => continue,
        };
        // In a container the path may be that of the host, of which only the root is seen here.
        let path = Path::new(path.trim_start_matches('/'));
        groups.extend(path.ancestors().map(|path| Group { folder: root.join(path), version }));
    }
    groups
}

fn meminfo(text: &str, name: &str) -> Option<u64> {
    word_after(text, &format!("{name}:"))?.checked_mul(1024)
}

/// The number in the line that begins with this word.
fn word_after(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == name).then(|| words.next()?.parse().ok()).flatten()
    })
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_of_both_versions_and_all_above_are_found() {
        let memberships = "5:cpu,cpuacct:/a\n4:memory:/service/shop\n0::/user\n";
        let group = |folder: &str, version| Group { folder: folder.into(), version };
        let expected = [
            group("/mount/memory/service/shop", Version::One),
            group("/mount/memory/service", Version::One),
            group("/mount/memory/", Version::One),
            group("/mount/user", Version::Two),
            group("/mount/", Version::Two),
        ];
        assert_eq!(groups_of(memberships, Path::new("/mount")), expected);
    }

    #[test]
    fn a_group_has_a_limit_and_does_not_count_what_the_kernel_gives_back() {
        let folder = std::env::temp_dir().join(format!("aerostack-memory-group-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let group = Group { folder: folder.clone(), version: Version::Two };
        assert_eq!((group.limit(), group.used()), (None, None));
        fs::write(folder.join("memory.max"), "max\n").unwrap();
        assert_eq!(group.limit(), None);
        fs::write(folder.join("memory.max"), "1000\n").unwrap();
        fs::write(folder.join("memory.current"), "700\n").unwrap();
        assert_eq!((group.limit(), group.used()), (Some(1000), Some(700)));
        fs::write(folder.join("memory.stat"), "anon 1\ninactive_file 200\n").unwrap();
        assert_eq!(group.used(), Some(500));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_machine_tells_what_it_has_and_what_is_left() {
        assert!(limit().unwrap() >= available().unwrap());
        assert_eq!(meminfo("MemTotal:       100 kB\nMemFree: 1 kB", "MemTotal"), Some(102_400));
    }
}
