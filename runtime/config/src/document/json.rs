use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::{Entry, Kind, SyntaxError, Table, Value};

/// Parses JSON with comments and trailing commas; nothing looser, because wrangler accepts nothing looser.
pub(crate) fn parse_json(text: &str) -> Result<Value, Vec<SyntaxError>> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        let range = error.range();
        vec![SyntaxError {
            message: error.kind().to_string().to_lowercase(),
            range: range.start..range.end,
            first_use: None,
        }]
    })?;
    let Some(root) = parsed.value else {
        return Err(vec![SyntaxError {
            message: "the file holds no JSON value".to_owned(),
            range: 0..0,
            first_use: None,
        }]);
    };
    let mut duplicates = Vec::new();
    let value = value(&root, &mut duplicates);
    if duplicates.is_empty() { Ok(value) } else { Err(duplicates) }
}

fn value(source: &ast::Value<'_>, duplicates: &mut Vec<SyntaxError>) -> Value {
    let range = source.range();
    let kind = match source {
        ast::Value::StringLit(text) => Kind::String(text.value.to_string()),
        ast::Value::NumberLit(number) => match number.value.parse() {
            Ok(integer) => Kind::Integer(integer),
            Err(_) => Kind::Float(number.value.parse().unwrap_or(f64::NAN)),
        },
        ast::Value::BooleanLit(boolean) => Kind::Boolean(boolean.value),
        ast::Value::NullKeyword(_) => Kind::Null,
        ast::Value::Array(array) => Kind::Array(array.elements.iter().map(|item| value(item, duplicates)).collect()),
        ast::Value::Object(object) => Kind::Table(table(object, duplicates)),
    };
    Value { kind, range: range.start..range.end }
}

fn table(object: &ast::Object<'_>, duplicates: &mut Vec<SyntaxError>) -> Table {
    let mut table = Table::default();
    for property in &object.properties {
        let key = property.name.as_str().to_owned();
        let range = property.name.range();
        let key_range = range.start..range.end;
        if let Some(first) = table.entries.iter().find(|entry| entry.key == key) {
            duplicates.push(SyntaxError {
                message: format!("duplicate key \"{key}\""),
                range: key_range.clone(),
                first_use: Some(first.key_range.clone()),
            });
        }
        table.entries.push(Entry { key, key_range, value: value(&property.value, duplicates) });
    }
    table
}
