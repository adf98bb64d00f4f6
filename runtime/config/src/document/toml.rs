use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::{Entry, Kind, SyntaxError, Table, Value};

/// Parses TOML; on failure every syntax error that the parser could find, at least one.
pub(crate) fn parse_toml(text: &str) -> Result<Value, Vec<SyntaxError>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Value { kind: Kind::Table(table(document.get_ref())), range: 0..0 });
    }
    Err(errors
        .iter()
        .map(|error| SyntaxError {
            message: error.message().trim_end().replace('\n', ", "),
            range: error.span().unwrap_or(0..0),
            first_use: None,
        })
        .collect())
}

fn table(source: &DeTable<'_>) -> Table {
    let mut entries: Vec<Entry> = source
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_range: key.span(),
            value: spanned_value(value),
        })
        .collect();
    // The parser keeps keys in alphabetical order; the file's order is what people know.
    entries.sort_by_key(|entry| entry.key_range.start);
    Table { entries }
}

fn spanned_value(source: &Spanned<DeValue<'_>>) -> Value {
    let kind = match source.get_ref() {
        DeValue::String(text) => Kind::String(text.to_string()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Kind::Boolean(*value),
        DeValue::Datetime(date) => Kind::Date(date.to_string()),
        DeValue::Array(items) => Kind::Array(items.iter().map(spanned_value).collect()),
        DeValue::Table(entries) => Kind::Table(table(entries)),
    };
    Value { kind, range: source.span() }
}

/// TOML integers have no upper limit; those past 64 bits become floats, which no key of the config accepts as an integer.
fn integer(number: &DeInteger<'_>) -> Kind {
    if let Ok(value) = i64::from_str_radix(number.as_str(), number.radix()) {
        return Kind::Integer(value);
    }
    Kind::Float(number.as_str().parse().unwrap_or(f64::INFINITY))
}
