//! The changed limits of a worker, in one line of the start table.

use aerostack_config::Limits;

/// The limits that the config sets to something else than their default, the most often met first.
pub(crate) fn changed_limits(limits: &Limits) -> Option<String> {
    let defaults = Limits::default();
    let wall =
        |limits: &Limits| limits.wall_ms.map_or("wall none".to_owned(), |wall| format!("wall {}", duration(wall)));
    let response = |limits: &Limits| {
        limits.response_body_mb.map_or("response body none".to_owned(), |size| format!("response body {size} MB"))
    };
    let shown: [&dyn Fn(&Limits) -> String; 12] = [
        &|limits| format!("cpu {}", duration(limits.cpu_ms)),
        &wall,
        &|limits| format!("event wall {}", duration(limits.event_wall_ms)),
        &|limits| format!("waitUntil {}", duration(limits.wait_until_ms)),
        &|limits| format!("memory {}+{} MB", limits.memory_mb, limits.array_buffer_mb),
        &|limits| format!("request body {} MB", limits.request_body_mb),
        &response,
        &|limits| format!("{}+{} requests", limits.concurrent_requests, limits.queued_requests),
        &|limits| format!("{} subrequests", limits.subrequests),
        &|limits| format!("log {} KB", limits.log_kb),
        &|limits| format!("queue {} MB", limits.queue_backlog_mb),
        &|limits| format!("{} connections", limits.connections),
    ];
    let texts = shown.iter().map(|shown| (shown(limits), shown(&defaults)));
    let changed: Vec<String> = texts.filter(|(text, default)| text != default).map(|(text, _)| text).collect();
    if changed.is_empty() { None } else { Some(changed.join(", ")) }
}

fn duration(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) { format!("{} s", milliseconds / 1000) } else { format!("{milliseconds} ms") }
}

#[cfg(test)]
mod tests {
    use aerostack_config::Limits;

    use super::changed_limits;

    #[test]
    fn only_limits_that_were_changed_are_shown() {
        assert_eq!(changed_limits(&Limits::default()), None);
        let limits =
            Limits { cpu_ms: 50, wall_ms: None, response_body_mb: Some(5), memory_mb: 64, ..Limits::default() };
        let shown = changed_limits(&limits).expect("some were changed");
        assert_eq!(shown, "cpu 50 ms, wall none, memory 64+128 MB, response body 5 MB");
    }
}
