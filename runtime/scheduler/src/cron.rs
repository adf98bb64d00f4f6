//! Cron triggers: when `scheduled` handlers run.

mod agenda;
mod record;
mod runner;

pub(crate) use runner::CronRunner;
