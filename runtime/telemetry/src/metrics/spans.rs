use std::sync::atomic::{AtomicU64, Ordering};

/// Spans on their way to a collector.
#[derive(Debug, Default)]
pub struct SpanMetrics {
    exported: AtomicU64,
    lost: [AtomicU64; 2],
}

/// Why a collector did not get a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanLoss {
    /// Too many waited.
    QueueFull,
    /// The collector could not be reached, or refused.
    ExportFailed,
}

impl SpanMetrics {
    /// The collector took so many.
    pub fn exported(&self, count: usize) {
        self.exported.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many were dropped.
    pub fn lost(&self, why: SpanLoss, count: usize) {
        self.lost[why as usize].fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn exported_count(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    pub(crate) fn losses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["queue_full", "export_failed"].into_iter().zip(self.lost.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
