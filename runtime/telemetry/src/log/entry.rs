use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use aerostack_trace::Identity;
use serde_json::{Map, Value};

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For a person: lines as they read best, with colour on a terminal.
    #[default]
    Text,
    /// For a program: one JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("the log format is {text:?}, not text or json")),
        }
    }
}

/// How much an [`Entry`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who looks for something.
    Trace,
    /// For who looks for something.
    Debug,
    /// What happens.
    Info,
    /// Worth a look.
    Warn,
    /// It failed.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// What a program reads of one line: a JSON object with `time`, `level` and `message`, then `worker`, `request_id`, `trace_id` and
/// `span_id` where they are known, then fields of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    level: Level,
    message: String,
    worker: Option<String>,
    identity: Option<Identity>,
    fields: Map<String, Value>,
}

/// Keys that a field may not take from the entry itself.
const OWN_KEYS: [&str; 7] = ["time", "level", "message", "worker", "request_id", "trace_id", "span_id"];

impl Entry {
    /// An entry without any fields.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, message: message.into(), worker: None, identity: None, fields: Map::new() }
    }

    /// Names the worker that it is about.
    #[must_use]
    pub fn worker(self, name: &str) -> Self {
        Self { worker: Some(name.to_owned()), ..self }
    }

    /// Names the request or event that it is about.
    #[must_use]
    pub fn identity(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    /// Adds a field. One that would hide a key of every entry gets an underscore before its name.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        let name = if OWN_KEYS.contains(&name) { format!("_{name}") } else { name.to_owned() };
        self.fields.insert(name, value.into());
        self
    }

    /// The line, without its end.
    pub fn to_json(&self, now: SystemTime) -> String {
        let mut line = Map::new();
        line.insert("time".to_owned(), timestamp(now).into());
        line.insert("level".to_owned(), self.level.to_string().into());
        line.insert("message".to_owned(), self.message.as_str().into());
        if let Some(worker) = &self.worker {
            line.insert("worker".to_owned(), worker.as_str().into());
        }
        if let Some(identity) = self.identity {
            line.insert("request_id".to_owned(), identity.request.to_string().into());
            if let Some(span) = identity.span {
                line.insert("trace_id".to_owned(), span.trace.to_string().into());
                line.insert("span_id".to_owned(), span.span.to_string().into());
            }
        }
        line.extend(self.fields.clone());
        Value::Object(line).to_string()
    }
}

/// RFC 3339 in UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01 in the Gregorian calendar. Counted from 1 March of the year 0, so that the
/// day that comes every four years is the last of a year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    const DAYS_BEFORE_1970: u64 = 719_468;
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aerostack_trace::{Ids, RequestId, SpanContext};

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (milliseconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn an_entry_names_worker_request_and_trace_before_its_own_fields() {
        let span = SpanContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let identity = Identity { request: RequestId(7), span };
        let entry = Entry::new(Level::Warn, "two\nlines").field("status", 200).worker("shop").identity(identity);
        assert_eq!(
            entry.to_json(UNIX_EPOCH),
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"warn","message":"two\nlines","worker":"shop","request_id":"0000000000000007","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","status":200}"#
        );
    }

    #[test]
    fn a_field_cannot_take_the_place_of_the_time_or_the_trace() {
        let identity = Identity { request: Ids::random().request(), span: None };
        let entry = Entry::new(Level::Info, "x").identity(identity).field("time", "now").field("request_id", 1);
        let line: Value = serde_json::from_str(&entry.to_json(UNIX_EPOCH)).expect("it is JSON");
        assert_eq!(line["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(line["request_id"], identity.request.to_string());
        assert_eq!((&line["_time"], &line["_request_id"]), (&Value::from("now"), &Value::from(1)));
    }

    #[test]
    fn a_format_is_named_text_or_json() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        let error = "JSON".parse::<LogFormat>().expect_err("names are lower-case");
        assert_eq!(error, "the log format is \"JSON\", not text or json");
    }
}
