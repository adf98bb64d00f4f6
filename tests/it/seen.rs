//! The process seen from outside: health, readiness, metrics, logs for programs, traces.

mod health;
mod logs;
mod metrics;
mod otlp;
mod traces;

use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    health::trials(trials);
    metrics::trials(trials);
    logs::trials(trials);
    traces::trials(trials);
    otlp::trials(trials);
}
