//! What the kernel knows of this process, read at each scrape.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The process as `/proc/self` shows it. What cannot be read is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct ProcessSnapshot {
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) cpu: Option<Duration>,
}

/// `USER_HZ`: in what the kernel counts time for programs, on every architecture it runs on today.
const TICKS_A_SECOND: u64 = 100;

impl ProcessSnapshot {
    pub(super) fn take() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // One descriptor is that of the listing itself.
        let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1));
        Self {
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            open_descriptors: descriptors.and_then(|count| u64::try_from(count).ok()),
            threads: field(&status, "Threads:"),
            cpu: cpu_time(&stat),
        }
    }
}

/// Seconds since the UNIX epoch.
pub(super) fn seconds_since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    field(status, name).map(|kibibytes| kibibytes * 1024)
}

/// User and system time, fields 14 and 15 of proc(5), counted from behind the command's name, which may hold anything.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_A_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_threads_and_time() {
        let process = ProcessSnapshot::take();
        assert!(process.resident_bytes > Some(100 * 1024), "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.open_descriptors > Some(2) && process.threads >= Some(1), "{process:?}");
        assert!(process.cpu.is_some(), "{process:?}");
    }

    #[test]
    fn a_command_with_spaces_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1000 1 1";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("garbage"), None);
    }
}
