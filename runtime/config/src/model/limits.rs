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
    /// Requests that one isolate works on at the same time; more wait.
    pub concurrent_requests: u64,
    /// `fetch` and binding calls of one request.
    pub subrequests: u64,
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
            concurrent_requests: 1_000,
            subrequests: 1_000,
        }
    }
}
