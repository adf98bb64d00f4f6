use crate::model::Limits;
use crate::section::Section;

/// Reads `[limits]`; what is not set, or wrong and reported, has its default.
pub(super) fn read_limits(root: &Section<'_>) -> Limits {
    let defaults = Limits::default();
    let Some(section) = root.section("limits") else {
        return defaults;
    };
    // 0 is how "no limit" is written.
    let limit_or_none = |key, range, unit, default| match section.integer(key, range, unit) {
        None => default,
        Some(0) => None,
        limit => limit,
    };
    Limits {
        cpu_ms: section.integer("cpu_ms", 1..=900_000, "milliseconds").unwrap_or(defaults.cpu_ms),
        wall_ms: limit_or_none("wall_ms", 0..=86_400_000, "milliseconds", defaults.wall_ms),
        event_wall_ms: section
            .integer("event_wall_ms", 1..=86_400_000, "milliseconds")
            .unwrap_or(defaults.event_wall_ms),
        memory_mb: section.integer("memory_mb", 16..=16_384, "MiB").unwrap_or(defaults.memory_mb),
        array_buffer_mb: section.integer("array_buffer_mb", 1..=65_536, "MiB").unwrap_or(defaults.array_buffer_mb),
        request_body_mb: section.integer("request_body_mb", 1..=65_536, "MiB").unwrap_or(defaults.request_body_mb),
        response_body_mb: limit_or_none("response_body_mb", 0..=1_048_576, "MiB", defaults.response_body_mb),
        concurrent_requests: section
            .integer("concurrent_requests", 1..=1_000_000, "")
            .unwrap_or(defaults.concurrent_requests),
        queued_requests: section.integer("queued_requests", 0..=1_000_000, "").unwrap_or(defaults.queued_requests),
        subrequests: section.integer("subrequests", 1..=10_000_000, "").unwrap_or(defaults.subrequests),
        log_kb: section.integer("log_kb", 1..=1_048_576, "KiB").unwrap_or(defaults.log_kb),
        wait_until_ms: section
            .integer("wait_until_ms", 1..=86_400_000, "milliseconds")
            .unwrap_or(defaults.wait_until_ms),
        queue_backlog_mb: section
            .integer("queue_backlog_mb", 1..=16_777_216, "MiB")
            .unwrap_or(defaults.queue_backlog_mb),
        connections: section.integer("connections", 1..=1_000_000, "").unwrap_or(defaults.connections),
    }
}
