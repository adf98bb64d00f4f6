/// `[limits]`: what one worker may use. Cloudflare's figures (cloudflare-contract section 10) where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one request in milliseconds.
    pub cpu_ms: u64,
    /// Time from a request to the end of its handler in milliseconds; none for no limit (written as 0).
    pub wall_ms: Option<u64>,
    /// Time from the call of a `scheduled` or `queue` handler to the end of its `waitUntil` work in milliseconds.
    pub event_wall_ms: u64,
    /// JavaScript heap of one isolate in MiB.
    pub memory_mb: u64,
    /// Memory of all `ArrayBuffer`s of one isolate in MiB, beside the heap.
    pub array_buffer_mb: u64,
    /// Body of one request in MiB.
    pub request_body_mb: u64,
    /// Body of one response in MiB; none for no limit (written as 0), as in production.
    pub response_body_mb: Option<u64>,
    /// Requests that one isolate works on at the same time; more wait.
    pub concurrent_requests: u64,
    /// Requests that wait for one isolate; more are refused.
    pub queued_requests: u64,
    /// `fetch` and binding calls of one request.
    pub subrequests: u64,
    /// What one request may log in KiB.
    pub log_kb: u64,
    /// Time that `waitUntil` work of a request may go on after its answer in milliseconds.
    pub wait_until_ms: u64,
    /// Bodies of all messages of one queue in MiB, for those who send to it.
    pub queue_backlog_mb: u64,
    /// Connections of the whole process; of several workers the largest counts.
    pub connections: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_ms: 30_000,
            wall_ms: Some(120_000),
            event_wall_ms: 900_000,
            memory_mb: 128,
            array_buffer_mb: 128,
            request_body_mb: 100,
            response_body_mb: None,
            concurrent_requests: 1_000,
            queued_requests: 1_000,
            subrequests: 1_000,
            log_kb: 256,
            wait_until_ms: 30_000,
            queue_backlog_mb: 25_600,
            connections: 16_384,
        }
    }
}
