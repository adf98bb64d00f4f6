//! What a running project does without a request: cron triggers and queue consumers, through the binary.

mod commands;
mod durability;
mod lifecycle;
mod lines;
mod triggers;

use libtest_mimic::Trial;

pub(crate) fn trials(trials: &mut Vec<Trial>) {
    triggers::trials(trials);
    lines::trials(trials);
    commands::trials(trials);
    lifecycle::trials(trials);
    durability::trials(trials);
}
