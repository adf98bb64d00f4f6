use crate::model::Limits;
use crate::section::Section;

/// Reads `[limits]`; what is not set, or wrong and reported, has its default.
pub(super) fn read_limits(root: &Section<'_>) -> Limits {
    let defaults = Limits::default();
    let Some(section) = root.section("limits") else {
        return defaults;
    };
    let wall_ms = match section.integer("wall_ms", 0..=86_400_000, "milliseconds") {
        None => defaults.wall_ms,
        Some(0) => None,
        Some(milliseconds) => Some(milliseconds),
    };
    Limits {
        cpu_ms: section.integer("cpu_ms", 1..=900_000, "milliseconds").unwrap_or(defaults.cpu_ms),
        wall_ms,
        event_wall_ms: section
            .integer("event_wall_ms", 1..=86_400_000, "milliseconds")
            .unwrap_or(defaults.event_wall_ms),
        memory_mb: section.integer("memory_mb", 16..=16_384, "MiB").unwrap_or(defaults.memory_mb),
        array_buffer_mb: section.integer("array_buffer_mb", 1..=65_536, "MiB").unwrap_or(defaults.array_buffer_mb),
        request_body_mb: section.integer("request_body_mb", 1..=65_536, "MiB").unwrap_or(defaults.request_body_mb),
        concurrent_requests: section
            .integer("concurrent_requests", 1..=1_000_000, "")
            .unwrap_or(defaults.concurrent_requests),
        subrequests: section.integer("subrequests", 1..=10_000_000, "").unwrap_or(defaults.subrequests),
    }
}
