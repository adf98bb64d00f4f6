use std::sync::OnceLock;

/// How often each limit was met, by its key in `[limits]`. Whoever enforces the limits counts; a page of metrics asks.
pub type BreachCounts = Box<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Where to ask, once that is known.
#[derive(Default)]
pub(super) struct Breaches(OnceLock<BreachCounts>);

impl Breaches {
    pub(super) fn count_by(&self, counts: BreachCounts) {
        self.0.get_or_init(|| counts);
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        self.0.get().map_or_else(Vec::new, |counts| counts())
    }
}

impl std::fmt::Debug for Breaches {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.counts()).finish()
    }
}
