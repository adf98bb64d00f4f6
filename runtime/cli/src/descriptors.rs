//! How many files and connections the process may have open.

/// Raises the soft limit of open files to the hard one, as every server does: the soft one is meant for programs that use `select`.
/// Returns what it is then.
pub(crate) fn raise_limit() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to a local.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

/// Descriptors that are left for everything that is no connection of a client: databases, modules, outbound requests.
const RESERVED: u64 = 256;

/// The connections that fit: `wanted`, or as many as there are descriptors for.
pub(crate) fn connections(wanted: u64, descriptors: u64) -> u64 {
    wanted.min(descriptors.saturating_sub(RESERVED).max(RESERVED))
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        assert_eq!(connections(16_384, 1_048_576), 16_384);
        assert_eq!(connections(16_384, 1024), 768);
        assert_eq!(connections(16_384, 100), 256);
    }
}
