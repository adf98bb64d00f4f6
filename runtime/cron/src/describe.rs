//! A [`CronExpression`] in English words. What it says is derived from the values, so two spellings of one schedule read alike.

use crate::CronExpression;
use crate::days::{DayOfMonth, DayOfWeek};
use crate::set::Set;

/// Times of day are listed one by one up to so many.
const LISTED_TIMES: u32 = 6;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

pub(crate) fn describe(expression: &CronExpression) -> String {
    let mut words = time(expression.minutes, expression.hours);
    let days = match (day_of_month(expression.days), day_of_week(expression.weekdays)) {
        (Some(days), Some(weekdays)) => Some(format!("{days} or {weekdays}")),
        (days, weekdays) => days.or(weekdays),
    };
    if let Some(days) = days {
        words.push(' ');
        words.push_str(&days);
    }
    if expression.months.len() < 12 {
        let month = |value: u8| MONTHS[usize::from(value - 1)].to_owned();
        words.push_str(" in ");
        words.push_str(&list(expression.months, 1, 12, month));
    }
    words
}

fn time(minutes: Set, hours: Set) -> String {
    if hours.len() == 24 {
        return match minutes.step(0, 59) {
            Some(1) => "every minute".to_owned(),
            Some(step) if 60 % step == 0 => format!("every {step} minutes"),
            _ if minutes.len() == 1 && minutes.contains(0) => "every hour".to_owned(),
            _ => format!("at {} of every hour", minutes_in_words(minutes)),
        };
    }
    if minutes.len() == 1
        && minutes.contains(0)
        && let Some(step) = hours.step(0, 23)
        && 24 % step == 0
    {
        return format!("every {step} hours");
    }
    if minutes.len() * hours.len() <= LISTED_TIMES {
        let times: Vec<String> = hours
            .values()
            .flat_map(|hour| minutes.values().map(move |minute| format!("{hour:02}:{minute:02}")))
            .collect();
        return format!("at {}", joined(&times));
    }
    let minutes = match minutes.step(0, 59) {
        Some(1) => "every minute".to_owned(),
        Some(step) if 60 % step == 0 => format!("every {step} minutes"),
        _ => format!("at {}", minutes_in_words(minutes)),
    };
    let hours = match hours.step(0, 23) {
        Some(step) if 24 % step == 0 => format!("of every {step} hours, from 0"),
        _ => format!("of {}", counted("hour", hours, 0, 23)),
    };
    format!("{minutes} {hours}")
}

fn minutes_in_words(minutes: Set) -> String {
    counted("minute", minutes, 0, 59)
}

fn day_of_month(days: DayOfMonth) -> Option<String> {
    Some(match days {
        DayOfMonth::Every => return None,
        DayOfMonth::Days(days) => format!("on {} of the month", counted("day", days, 1, 31)),
        DayOfMonth::Last { before: 0 } => "on the last day of the month".to_owned(),
        DayOfMonth::Last { before: 1 } => "on the day before the last of the month".to_owned(),
        DayOfMonth::Last { before } => format!("{before} days before the last of the month"),
        DayOfMonth::WeekdayNearestLast { before: 0 } => "on the last weekday of the month".to_owned(),
        DayOfMonth::WeekdayNearestLast { before: 1 } => {
            "on the weekday nearest the day before the last of the month".to_owned()
        }
        DayOfMonth::WeekdayNearestLast { before } => {
            format!("on the weekday nearest {before} days before the last of the month")
        }
        DayOfMonth::WeekdayNearest(day) => format!("on the weekday nearest day {day} of the month"),
    })
}

fn day_of_week(weekdays: DayOfWeek) -> Option<String> {
    let name = |weekday: u8| WEEKDAYS[usize::from(weekday)].to_owned();
    Some(match weekdays {
        DayOfWeek::Every => return None,
        DayOfWeek::Days(days) if days.len() == 7 => "on every weekday".to_owned(),
        DayOfWeek::Days(days) => format!("on {}", list(days, 0, 6, name)),
        DayOfWeek::Last(weekday) => format!("on the last {} of the month", name(weekday)),
        DayOfWeek::Nth { weekday, nth } => {
            format!("on the {} {} of the month", ORDINALS[usize::from(nth - 1)], name(weekday))
        }
    })
}

/// `minute 5`, `minutes 0, 15 and 20 to 30`.
fn counted(noun: &str, values: Set, min: u8, max: u8) -> String {
    let plural = if values.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", list(values, min, max, |value| value.to_string()))
}

/// The values as words, three and more in a row as `first to last`.
fn list(values: Set, min: u8, max: u8, word: impl Fn(u8) -> String) -> String {
    let mut words = Vec::new();
    for run in values.runs(min, max) {
        let round = max - min + 1;
        let length = (run.last + round - run.first) % round;
        if length >= 2 {
            words.push(format!("{} to {}", word(run.first), word(run.last)));
        } else {
            words.push(word(run.first));
            words.extend((length == 1).then(|| word(run.last)));
        }
    }
    joined(&words)
}

/// `a`, `a and b`, `a, b and c`.
fn joined(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
