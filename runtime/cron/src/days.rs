//! Which dates the two fields for days match.

use crate::calendar::Date;
use crate::set::Set;

const SUNDAY: u8 = 0;
const SATURDAY: u8 = 6;

/// The day-of-month field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayOfMonth {
    /// `*`.
    Every,
    /// Lists, ranges, steps.
    Days(Set),
    /// `L`, and `L-n` with `n` days before it.
    Last { before: u8 },
    /// `LW`, and `L-nW`: the weekday nearest that day.
    WeekdayNearestLast { before: u8 },
    /// `nW`.
    WeekdayNearest(u8),
}

/// The weekday field. Weekdays are 0 = Sunday to 6 = Saturday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayOfWeek {
    /// `*`.
    Every,
    /// Lists, ranges, steps.
    Days(Set),
    /// `6L`: the last such day of the month.
    Last(u8),
    /// `SAT#5`.
    Nth { weekday: u8, nth: u8 },
}

impl DayOfMonth {
    pub(crate) fn contains(self, date: Date) -> bool {
        let last = date.days_in_month();
        match self {
            Self::Every => true,
            Self::Days(days) => days.contains(date.day),
            Self::Last { before } => date.day + before == last,
            Self::WeekdayNearestLast { before } => {
                last.checked_sub(before).is_some_and(|day| nearest_weekday(date, day) == Some(date.day))
            }
            Self::WeekdayNearest(day) => nearest_weekday(date, day) == Some(date.day),
        }
    }
}

impl DayOfWeek {
    pub(crate) fn contains(self, date: Date) -> bool {
        match self {
            Self::Every => true,
            Self::Days(days) => days.contains(date.weekday),
            Self::Last(weekday) => date.weekday == weekday && date.day + 7 > date.days_in_month(),
            Self::Nth { weekday, nth } => date.weekday == weekday && date.day.div_ceil(7) == nth,
        }
    }
}

/// The day from Monday to Friday that is nearest `day` and in the same month as `date`; `None` where the month has no such
/// `day`.
fn nearest_weekday(date: Date, day: u8) -> Option<u8> {
    let last = date.days_in_month();
    if day == 0 || day > last {
        return None;
    }
    Some(match date.weekday_of(day) {
        SATURDAY if day == 1 => 3,
        SATURDAY => day - 1,
        SUNDAY if day == last => day - 2,
        SUNDAY => day + 1,
        _ => day,
    })
}
