//! Text to [`CronExpression`].

use std::ops::Range;

use crate::days::{DayOfMonth, DayOfWeek};
use crate::set::Set;
use crate::{CronError, CronExpression, Weekdays};

/// What the values of one field are.
struct Kind {
    /// For messages: `minute`.
    name: &'static str,
    min: u8,
    max: u8,
    /// Three letters each, the first for `first_name`.
    names: &'static [&'static str],
    first_name: u8,
}

/// One field of one expression.
struct Field<'a> {
    kind: &'static Kind,
    expression: &'a str,
    text: &'a str,
}

const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[], first_name: 0 };
const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[], first_name: 0 };
const DAY: Kind = Kind { name: "day of the month", min: 1, max: 31, names: &[], first_name: 0 };
const MONTH: Kind = Kind {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    first_name: 1,
};
const WEEKDAY_NAMES: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const UNIX_WEEKDAY: Kind = Kind { name: "weekday", min: 0, max: 7, names: WEEKDAY_NAMES, first_name: 0 };
const QUARTZ_WEEKDAY: Kind = Kind { name: "weekday", min: 1, max: 7, names: WEEKDAY_NAMES, first_name: 1 };

pub(crate) fn expression(text: &str, weekdays: Weekdays) -> Result<CronExpression, CronError> {
    let [minute, hour, day, month, weekday] = fields(text)?;
    let weekday_kind = match weekdays {
        Weekdays::Unix => &UNIX_WEEKDAY,
        Weekdays::Quartz => &QUARTZ_WEEKDAY,
    };
    let field = |kind, part| Field { kind, expression: text, text: part };
    Ok(CronExpression {
        text: text.into(),
        minutes: field(&MINUTE, minute).values()?,
        hours: field(&HOUR, hour).values()?,
        days: field(&DAY, day).day_of_month()?,
        months: field(&MONTH, month).values()?,
        weekdays: field(weekday_kind, weekday).day_of_week()?,
    })
}

/// The five fields; spaces and tabs stand between them and nowhere else.
fn fields(text: &str) -> Result<[&str; 5], CronError> {
    let fields: Vec<&str> = text.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
    let count = fields.len();
    let Ok(fields) = <[&str; 5]>::try_from(fields) else {
        let mut help =
            vec!["the fields are minute, hour, day of the month, month, weekday: \"0 9 * * MON\"".to_owned()];
        if text.starts_with('@') {
            help.push(shorthand_help(text));
        } else if count == 6 {
            help.push("there is no field for seconds".to_owned());
        }
        let message = format!("a cron expression has 5 fields, \"{text}\" has {count}");
        return Err(CronError { message, range: 0..text.len(), help });
    };
    let trimmed = text.trim_matches([' ', '\t']);
    if trimmed.len() != text.len() {
        let leading = text.len() - text.trim_start_matches([' ', '\t']).len();
        let range = if leading > 0 { 0..leading } else { trimmed.len()..text.len() };
        return Err(CronError {
            message: format!("the cron expression \"{text}\" begins or ends with white space"),
            range,
            help: vec![format!("write \"{trimmed}\"")],
        });
    }
    Ok(fields)
}

fn shorthand_help(text: &str) -> String {
    let instead = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * SUN",
        "@hourly" => "0 * * * *",
        _ => "0 0 * * *",
    };
    format!("names such as {text} are not supported: write \"{instead}\"")
}

impl Field<'_> {
    /// `*` and lists of values, ranges and steps.
    fn values(&self) -> Result<Set, CronError> {
        if self.text == "*" {
            return Ok((self.kind.min..=self.kind.max).collect());
        }
        let mut set = Set::default();
        for part in self.text.split(',') {
            self.add(part, &mut set)?;
        }
        Ok(set)
    }

    fn day_of_month(&self) -> Result<DayOfMonth, CronError> {
        if self.text == "*" {
            return Ok(DayOfMonth::Every);
        }
        let special = |part: &str| part.starts_with(['L', 'l']) || part.ends_with(['W', 'w']);
        let Some(part) = self.special(special, "LW")? else {
            return Ok(DayOfMonth::Days(self.values()?));
        };
        if let Some(modifiers) = part.strip_prefix('L') {
            let (before, nearest) = match modifiers.strip_suffix('W') {
                Some(before) => (before, true),
                None => (modifiers, false),
            };
            let before = match before.strip_prefix('-') {
                Some(number) => self.number(number, 1, 30, "days before the last")?,
                None if before.is_empty() => 0,
                None => {
                    return Err(self
                        .wrong(part, "is not understood")
                        .with("the last day is `L`, `L-3`, `LW` or `L-3W`"));
                }
            };
            return Ok(if nearest { DayOfMonth::WeekdayNearestLast { before } } else { DayOfMonth::Last { before } });
        }
        let day = part.strip_suffix('W').unwrap_or(part);
        Ok(DayOfMonth::WeekdayNearest(self.value(day)?))
    }

    fn day_of_week(&self) -> Result<DayOfWeek, CronError> {
        if self.text == "*" {
            return Ok(DayOfWeek::Every);
        }
        let special = |part: &str| part.ends_with(['L', 'l']) || part.contains('#');
        let Some(part) = self.special(special, "L")? else {
            return Ok(DayOfWeek::Days(self.values()?));
        };
        if let Some((weekday, nth)) = part.split_once('#') {
            let nth = self.number(nth, 1, 5, "weeks of the month")?;
            return Ok(DayOfWeek::Nth { weekday: self.weekday(self.value(weekday)?), nth });
        }
        match part.strip_suffix('L').unwrap_or(part) {
            "" => Ok(DayOfWeek::Days(Set::from_iter([6]))),
            weekday => Ok(DayOfWeek::Last(self.weekday(self.value(weekday)?))),
        }
    }

    /// The whole field where it is one that `is_special`; an error where such a part stands in a list, or one of the
    /// `letters` in it is in lower case.
    fn special(&self, is_special: impl Fn(&str) -> bool, letters: &str) -> Result<Option<&str>, CronError> {
        let Some(part) = self.text.split(',').find(|part| is_special(part)) else { return Ok(None) };
        if part.len() != self.text.len() {
            return Err(self.wrong(part, "cannot stand in a list").with("it is a field of its own"));
        }
        let edges = part.chars().next().into_iter().chain(part.chars().last());
        for letter in edges.filter(|letter| letters.contains(letter.to_ascii_uppercase())) {
            if letter.is_ascii_lowercase() {
                let upper = letter.to_ascii_uppercase();
                return Err(self.wrong(part, "is not understood").with(&format!("`{letter}` is written `{upper}`")));
            }
        }
        Ok(Some(part))
    }

    /// One part of a list: `5`, `5-9`, `*/2`, `5/2`, `5-9/2`.
    fn add(&self, part: &str, set: &mut Set) -> Result<(), CronError> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let largest = if self.kind.name == "weekday" { 6 } else { self.kind.max - self.kind.min };
                (range, Some(self.number(step, 1, largest, "steps")?))
            }
            None => (part, None),
        };
        let (first, last) = match (range, range.split_once('-')) {
            ("*", _) if step.is_none() => {
                return Err(self.wrong(part, "cannot stand in a list").with("`*` alone means every value"));
            }
            ("*", _) => (self.kind.min, self.last_of_a_round()),
            (_, Some((first, last))) => (self.value(first)?, self.value(last)?),
            (value, None) => {
                let first = self.value(value)?;
                (first, if step.is_some() { self.last_of_a_round() } else { first })
            }
        };
        // Two digits for Sunday: counted from 7, a step goes on from 0.
        let first = if self.is_unix_weekday() && first == 7 && last != 7 { 0 } else { first };
        let round = if self.kind.name == "weekday" { 7 } else { self.kind.max - self.kind.min + 1 };
        let length = if first <= last { last - first } else { last + round - first };
        for distance in (0..=length).step_by(usize::from(step.unwrap_or(1))) {
            let value = (first - self.kind.min + distance) % round + self.kind.min;
            set.insert(if self.kind.name == "weekday" { self.weekday(value) } else { value });
        }
        Ok(())
    }

    /// Where `5/2` ends. A week ends with Saturday, however its digits count, so that `MON/2` means the same in both.
    fn last_of_a_round(&self) -> u8 {
        if self.is_unix_weekday() { 6 } else { self.kind.max }
    }

    fn is_unix_weekday(&self) -> bool {
        self.kind.name == "weekday" && self.kind.min == 0
    }

    /// A value of the weekday field as 0 = Sunday to 6 = Saturday.
    fn weekday(&self, value: u8) -> u8 {
        (value - self.kind.min) % 7
    }

    /// A value: digits, or a name.
    fn value(&self, text: &str) -> Result<u8, CronError> {
        let kind = self.kind;
        if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.number(text, kind.min, kind.max, "values").map_err(|error| self.with_weekday_help(error));
        }
        if let Some(position) = kind.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(position as u8 + kind.first_name);
        }
        let error = self.wrong(text, "is not understood");
        Err(match text {
            "?" => error.with("write `*`"),
            "*" => error.with("`*` stands alone or before a step: `*/5`"),
            _ if kind.names.is_empty() => error.with(&format!("values are {} to {}", kind.min, kind.max)),
            _ => {
                let (first, last) = (kind.names[0], kind.names[kind.names.len() - 1]);
                error.with(&format!("values are {} to {} and {first} to {last}", kind.min, kind.max))
            }
        })
    }

    fn number(&self, text: &str, min: u8, max: u8, what: &str) -> Result<u8, CronError> {
        if text.is_empty() {
            return Err(self.wrong(self.text, "lacks a number"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong(text, "is not a number").with(&format!("{what} are {min} to {max}")));
        }
        // What does not fit a byte is out of every range too.
        let number = text.parse::<u8>().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| self.wrong(text, "is out of range").with(&format!("{what} are {min} to {max}")))
    }

    fn with_weekday_help(&self, error: CronError) -> CronError {
        match (self.kind.name, self.kind.min) {
            ("weekday", 0) => error.with("weekdays count from 1 = Monday to 7 = Sunday here, and 0 is Sunday too"),
            ("weekday", _) => error.with("weekdays count from 1 = Sunday to 7 = Saturday here"),
            _ => error,
        }
    }

    /// `"61" is out of range in the minute field of "61 * * * *"`.
    fn wrong(&self, part: &str, what: &str) -> CronError {
        let Self { kind, expression, .. } = self;
        CronError {
            message: format!("\"{part}\" {what} in the {} field of \"{expression}\"", kind.name),
            range: self.range_of(part),
            help: Vec::new(),
        }
    }

    /// Where a part of the expression stands in it; an empty one is shown by its whole field.
    fn range_of(&self, part: &str) -> Range<usize> {
        let part = if part.is_empty() { self.text } else { part };
        let start = part.as_ptr().addr() - self.expression.as_ptr().addr();
        start..start + part.len()
    }
}

impl CronError {
    fn with(mut self, help: &str) -> Self {
        self.help.push(help.to_owned());
        self
    }
}
