//! Cron expressions in the grammar of production (Cloudflare contract, section 7), in UTC.
//!
//! Five fields: minute, hour, day of the month, month, weekday.
//!
//! | field | values | besides |
//! |---|---|---|
//! | minute | 0-59 | |
//! | hour | 0-23 | |
//! | day of the month | 1-31 | `L` last day, `L-3` third before it, `LW` last weekday, `L-3W` and `15W` weekday nearest that day |
//! | month | 1-12, `JAN`-`DEC` | |
//! | weekday | digits as [`Weekdays`] says, `SUN`-`SAT` | `L` Saturday, `6L` or `friL` last Friday, `SAT#5` fifth Saturday of the month |
//!
//! Every field takes `*`, lists, ranges and steps (`*/5`, `3/5`, `10-30/5`); ranges may wrap (`FRI-MON`, `22-2`). Names do
//! not mind case. A day of the month and a weekday, both given, mean either. An expression that no time matches
//! (`* * 31 11 *`) is valid and never fires.
//!
//! The parser is our own. `croner` 4 lacks `L-3`, `L-3W` and wrapping ranges. `saffron`, the parser of production, is not
//! maintained, tells neither place nor reason of an error, counts no weekdays from Monday, and has defects that this crate
//! does not copy: a wrapping range begins one value early (`22-2` is true at 21:00) and with a step may miss values, `L-3W` can
//! fire on two days of a month, and `1,*` means `1,0`; here it is an error. Everything else was compared on 300 000 random
//! expressions, and agrees.
//!
//! A crate of its own, without dependencies, because `runtime/config` reports a wrong expression with its line, and must not
//! pull in the scheduler and the queue drivers below it.

mod calendar;
mod days;
mod describe;
mod parse;
mod set;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use calendar::{Date, MINUTES_A_DAY};
use days::{DayOfMonth, DayOfWeek};
use set::Set;

pub use calendar::{minute_of_text, minute_text};

/// Milliseconds of a minute.
pub const MINUTE_MS: u64 = 60_000;

/// A parsed cron expression that keeps its text.
#[derive(Clone, PartialEq, Eq)]
pub struct CronExpression {
    text: Arc<str>,
    minutes: Set,
    hours: Set,
    days: DayOfMonth,
    months: Set,
    weekdays: DayOfWeek,
}

/// How digits in the weekday field count. Names (`MON`) mean the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weekdays {
    /// 0-7 with 1 = Monday and both 0 and 7 = Sunday, as the Aerostack docs print it.
    Unix,
    /// 1-7 with 1 = Sunday, as Cloudflare counts.
    Quartz,
}

/// What is done about firings that were missed, because the process was not there or the machine slept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenMissed {
    /// They are counted and reported, and nothing runs.
    #[default]
    Skip,
    /// The latest of them runs once.
    RunLatest,
}

/// Why a text is not a cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// What is wrong, with the offending part in quotes.
    pub message: String,
    /// The bytes of the expression that are wrong; all of them where the number of fields is.
    pub range: Range<usize>,
    /// What to do, a line each.
    pub help: Vec<String>,
}

/// The Gregorian calendar repeats after so many days, so what has not fired by then never does.
const DAYS_OF_400_YEARS: i64 = 146_097;

impl CronExpression {
    /// Reads an expression.
    pub fn parse(text: &str, weekdays: Weekdays) -> Result<Self, CronError> {
        parse::expression(text, weekdays)
    }

    /// The expression, character for character as it was given.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it fires in the minute that holds `time_ms`, milliseconds since the UNIX epoch.
    pub fn matches(&self, time_ms: u64) -> bool {
        let minute = time_ms / MINUTE_MS;
        let (day, minute_of_day) = split(minute);
        self.matches_time(minute_of_day) && self.matches_date(Date::of_day(day))
    }

    /// The first firing after `time_ms`; `None` when it never fires. Both in milliseconds since the UNIX epoch, the
    /// result at the start of a minute.
    pub fn next_after(&self, time_ms: u64) -> Option<u64> {
        let (first_day, mut from) = split(time_ms / MINUTE_MS + 1);
        let last_day = first_day + DAYS_OF_400_YEARS;
        let mut day = first_day;
        while day <= last_day {
            let date = Date::of_day(day);
            if !self.months.contains(date.month) {
                day += i64::from(date.days_in_month() - date.day) + 1;
                from = 0;
                continue;
            }
            if self.matches_date(date)
                && let Some(minute) = (from..MINUTES_A_DAY).find(|minute| self.matches_time(*minute))
            {
                return u64::try_from(day * i64::from(MINUTES_A_DAY) + i64::from(minute))
                    .ok()
                    .map(|minute| minute * MINUTE_MS);
            }
            day += 1;
            from = 0;
        }
        None
    }

    /// The firings after `after_ms` up to and with `until_ms`: how many, and the first and the last of them.
    pub fn firings_between(&self, after_ms: u64, until_ms: u64) -> Option<Firings> {
        let first_ms = self.next_after(after_ms).filter(|first| *first <= until_ms)?;
        let (first_day, first_minute) = split(first_ms / MINUTE_MS);
        let (until_day, until_minute) = split(until_ms / MINUTE_MS);
        let of_day: Vec<u16> = (0..MINUTES_A_DAY).filter(|minute| self.matches_time(*minute)).collect();
        let (mut count, mut last_ms) = (0, first_ms);
        for day in (first_day..=until_day).filter(|day| self.matches_date(Date::of_day(*day))) {
            let from = if day == first_day { first_minute } else { 0 };
            let until = if day == until_day { until_minute } else { MINUTES_A_DAY };
            let fired = of_day.partition_point(|minute| *minute <= until);
            let skipped = of_day.partition_point(|minute| *minute < from);
            if fired > skipped {
                count += (fired - skipped) as u64;
                last_ms = (day.unsigned_abs() * u64::from(MINUTES_A_DAY) + u64::from(of_day[fired - 1])) * MINUTE_MS;
            }
        }
        Some(Firings { count, first_ms, last_ms })
    }

    /// The expression in English words, for example `every 5 minutes` or `at 09:00 on Monday`.
    pub fn describe(&self) -> String {
        if self.next_after(0).is_none() {
            return "never: no date matches".to_owned();
        }
        describe::describe(self)
    }

    fn matches_time(&self, minute_of_day: u16) -> bool {
        self.hours.contains((minute_of_day / 60) as u8) && self.minutes.contains((minute_of_day % 60) as u8)
    }

    fn matches_date(&self, date: Date) -> bool {
        if !self.months.contains(date.month) {
            return false;
        }
        match (&self.days, &self.weekdays) {
            (DayOfMonth::Every, weekdays) => weekdays.contains(date),
            (days, DayOfWeek::Every) => days.contains(date),
            (days, weekdays) => days.contains(date) || weekdays.contains(date),
        }
    }
}

/// What [`CronExpression::firings_between`] found. Times are milliseconds since the UNIX epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firings {
    /// How many, at least 1.
    pub count: u64,
    /// The first.
    pub first_ms: u64,
    /// The last.
    pub last_ms: u64,
}

impl fmt::Display for CronExpression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CronExpression({:?}, {})", self.text, self.describe())
    }
}

/// The day since the epoch and the minute of that day.
fn split(minute: u64) -> (i64, u16) {
    let minutes_a_day = u64::from(MINUTES_A_DAY);
    ((minute / minutes_a_day) as i64, (minute % minutes_a_day) as u16)
}
