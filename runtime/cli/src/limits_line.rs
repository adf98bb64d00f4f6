//! The limits of a worker, in one line of the start table.

use aerostack_config::Limits;

/// The limits that a handler may meet, the most often met first.
pub(crate) fn limits_line(limits: &Limits) -> String {
    let mut parts = vec![format!("cpu {}", duration(limits.cpu_ms))];
    parts.extend(limits.wall_ms.map(|wall| format!("wall {}", duration(wall))));
    parts.push(format!("memory {}+{} MB", limits.memory_mb, limits.array_buffer_mb));
    parts.push(match limits.response_body_mb {
        Some(response) => format!("bodies {}/{response} MB", limits.request_body_mb),
        None => format!("request body {} MB", limits.request_body_mb),
    });
    parts.push(format!("{}+{} requests", limits.concurrent_requests, limits.queued_requests));
    parts.push(format!("{} subrequests", limits.subrequests));
    parts.push(format!("log {} KB", limits.log_kb));
    parts.join(", ")
}

fn duration(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) { format!("{} s", milliseconds / 1000) } else { format!("{milliseconds} ms") }
}

#[cfg(test)]
mod tests {
    use aerostack_config::Limits;

    use super::limits_line;

    #[test]
    fn the_line_has_every_limit_that_a_handler_may_meet() {
        assert_eq!(
            limits_line(&Limits::default()),
            "cpu 30 s, wall 120 s, memory 128+128 MB, request body 100 MB, 1000+1000 requests, 1000 subrequests, log 256 KB"
        );
        let limits = Limits { cpu_ms: 50, wall_ms: None, response_body_mb: Some(5), ..Limits::default() };
        assert_eq!(
            limits_line(&limits),
            "cpu 50 ms, memory 128+128 MB, bodies 100/5 MB, 1000+1000 requests, 1000 subrequests, log 256 KB"
        );
    }
}
