//! How much memory there is for this process.

use std::path::{Path, PathBuf};

/// The memory of the machine, or of a control group of this process where that may use less. None where the system does not say.
pub(crate) fn total_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits =
        limit_files(&groups).into_iter().filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// `MemTotal:        8038924 kB`
fn of_machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The files with the limits of the groups that `/proc/self/cgroup` names and of those above them: `0::/a/b` for version 2,
/// `4:memory:/a/b` for version 1. A group without a limit has a word in its file (`max`), or a number past all memory.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            controllers if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = group.trim_start_matches('/');
        files.extend(Path::new(group).ancestors().map(|group| Path::new(mount).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_what_the_kernel_says() {
        assert_eq!(of_machine("MemTotal:        8038924 kB\nMemFree: 1 kB\n"), Some(8_038_924 * 1024));
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn limits_are_those_of_the_group_and_all_above_it() {
        let version_2 = ["user.slice/shop/memory.max", "user.slice/memory.max", "memory.max"];
        let expected: Vec<PathBuf> = version_2.iter().map(|file| Path::new("/sys/fs/cgroup").join(file)).collect();
        assert_eq!(limit_files("0::/user.slice/shop\n"), expected);
        let version_1 = ["docker/memory.limit_in_bytes", "memory.limit_in_bytes"];
        let expected: Vec<PathBuf> =
            version_1.iter().map(|file| Path::new("/sys/fs/cgroup/memory").join(file)).collect();
        assert_eq!(limit_files("5:cpu,cpuacct:/docker\n4:memory:/docker\n"), expected);
    }
}
