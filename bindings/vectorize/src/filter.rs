//! Metadata filters (Cloudflare contract, section 5.3): from JSON text to a list of conditions, and what they make of a value.
//!
//! `{ "genre": "jazz", "year": { "$gte": 1950, "$lt": 1960 }, "label.name": { "$in": ["Verve", "Impulse"] } }`
//!
//! Where the contract is silent: `$ne` and `$nin` are the exact opposites of `$eq` and `$in`, so they admit a vector that lacks
//! the property; `null` equals a property that is not there; a list has a value if one of its elements has it; values of
//! different types are neither equal nor ordered.

use std::cmp::Ordering;

use aerostack_bindings::Result;
use serde_json::{Map, Value};

use crate::limits::{MAX_FILTER_BYTES, MAX_KEY_CHARACTERS, indexed_part, refuse};

/// A condition on the metadata of a vector: all of several conditions on its properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A condition on one property.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The keys that lead to the property, joined by dots.
    pub key: String,
    test: Test,
}

/// The value of a property, as far as filters look at it.
#[derive(Debug, Clone, PartialEq)]
pub enum Property {
    /// It is not there, is `null`, or is an object.
    Absent,
    /// It has one value.
    One(Scalar),
    /// It is a list; elements that are no scalars are left out.
    List(Vec<Scalar>),
}

/// A value that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// The first 64 bytes of a string.
    Text(String),
    /// A number, as float64.
    Number(f64),
    /// A truth value.
    Boolean(bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    /// `$eq`; `None` is `null`.
    Equal(Option<Scalar>),
    /// `$ne`.
    NotEqual(Option<Scalar>),
    /// `$in`.
    In(Vec<Scalar>),
    /// `$nin`.
    NotIn(Vec<Scalar>),
    /// `$lt`, `$lte`, `$gt`, `$gte`, or one of the first two with one of the last two.
    Within { lower: Option<Bound>, upper: Option<Bound> },
}

#[derive(Debug, Clone, PartialEq)]
struct Bound {
    value: Scalar,
    /// Whether the value itself is within.
    inclusive: bool,
}

impl Filter {
    /// Reads a filter from the JSON text of an object.
    ///
    /// # Errors
    /// `InvalidInput`, with what is wrong and where.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() >= MAX_FILTER_BYTES {
            let length = json.len();
            return refuse(format!(
                "invalid filter: its JSON must be shorter than {MAX_FILTER_BYTES} bytes, got {length}"
            ));
        }
        let Ok(Value::Object(object)) = serde_json::from_str(json) else {
            return refuse("invalid filter: it must be an object");
        };
        if object.is_empty() {
            return refuse("invalid filter: it must not be empty; leave it out to search everything");
        }
        let conditions = object.into_iter().map(|(key, value)| condition(key, value)).collect::<Result<_>>()?;
        Ok(Self { conditions })
    }

    /// What has to hold, all of it.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether a vector with this metadata passes.
    pub fn admits(&self, metadata: Option<&Value>) -> bool {
        self.conditions.iter().all(|condition| condition.admits(&Property::of(metadata, &condition.key)))
    }
}

impl Condition {
    /// Whether a property of this value passes.
    pub fn admits(&self, property: &Property) -> bool {
        match &self.test {
            Test::Equal(value) => property.equals(value.as_ref()),
            Test::NotEqual(value) => !property.equals(value.as_ref()),
            Test::In(values) => values.iter().any(|value| property.equals(Some(value))),
            Test::NotIn(values) => !values.iter().any(|value| property.equals(Some(value))),
            Test::Within { lower, upper } => property.scalars().iter().any(|scalar| {
                lower.as_ref().is_none_or(|bound| bound.is_kept(scalar, Ordering::Greater))
                    && upper.as_ref().is_none_or(|bound| bound.is_kept(scalar, Ordering::Less))
            }),
        }
    }
}

impl Property {
    /// What metadata has under a key, in which dots lead into nested objects.
    pub fn of(metadata: Option<&Value>, key: &str) -> Self {
        let mut found = metadata;
        for part in key.split('.') {
            found = found.and_then(|value| value.as_object()).and_then(|object| object.get(part));
        }
        match found {
            None => Self::Absent,
            Some(Value::Array(elements)) => Self::List(elements.iter().filter_map(Scalar::of).collect()),
            Some(value) => Scalar::of(value).map_or(Self::Absent, Self::One),
        }
    }

    fn scalars(&self) -> &[Scalar] {
        match self {
            Self::Absent => &[],
            Self::One(scalar) => std::slice::from_ref(scalar),
            Self::List(scalars) => scalars,
        }
    }

    fn equals(&self, value: Option<&Scalar>) -> bool {
        match value {
            None => *self == Self::Absent,
            Some(value) => self.scalars().contains(value),
        }
    }
}

impl Scalar {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(indexed_part(text).to_owned())),
            Value::Number(number) => number.as_f64().map(Self::Number),
            Value::Bool(boolean) => Some(Self::Boolean(*boolean)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (Self::Boolean(one), Self::Boolean(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

impl Bound {
    /// Whether a value lies on the given side of this bound.
    fn is_kept(&self, scalar: &Scalar, side: Ordering) -> bool {
        match scalar.compare(&self.value) {
            None => false,
            Some(Ordering::Equal) => self.inclusive,
            Some(ordering) => ordering == side,
        }
    }
}

fn condition(key: String, value: Value) -> Result<Condition> {
    check_key(&key)?;
    let test = match value {
        Value::Object(operators) => test_of_operators(&key, &operators)?,
        Value::Array(_) => {
            return refuse(format!(
                "invalid filter: {key:?} must be a string, number, boolean, null or an object of operators; use $in for a list"
            ));
        }
        value => Test::Equal(Scalar::of(&value)),
    };
    Ok(Condition { key, test })
}

fn check_key(key: &str) -> Result<()> {
    if key.split('.').any(str::is_empty) {
        return refuse(format!("invalid filter: key {key:?} is empty, or has an empty part beside a dot"));
    }
    if key.chars().count() > MAX_KEY_CHARACTERS {
        return refuse(format!("invalid filter: a key is longer than {MAX_KEY_CHARACTERS} characters"));
    }
    if key.starts_with('$') {
        return refuse(format!(
            "invalid filter: key {key:?} starts with $; operators stand below the key of a property"
        ));
    }
    if key.contains(['"', '|']) {
        return refuse(format!("invalid filter: key {key:?} contains \" or |"));
    }
    Ok(())
}

fn test_of_operators(key: &str, operators: &Map<String, Value>) -> Result<Test> {
    let mut lower = None;
    let mut upper = None;
    for (operator, value) in operators {
        let (side, inclusive) = match operator.as_str() {
            "$gt" => (&mut lower, false),
            "$gte" => (&mut lower, true),
            "$lt" => (&mut upper, false),
            "$lte" => (&mut upper, true),
            "$eq" | "$ne" | "$in" | "$nin" if operators.len() > 1 => {
                return refuse(format!(
                    "invalid filter: {operator} of {key:?} cannot be combined with another operator; only a lower and an \
                     upper bound can"
                ));
            }
            "$eq" => return Ok(Test::Equal(operand(key, operator, value)?)),
            "$ne" => return Ok(Test::NotEqual(operand(key, operator, value)?)),
            "$in" => return Ok(Test::In(operands(key, operator, value)?)),
            "$nin" => return Ok(Test::NotIn(operands(key, operator, value)?)),
            _ => {
                return refuse(format!(
                    "invalid filter: {key:?} has the unknown operator {operator:?}; there are $eq, $ne, $in, $nin, $lt, \
                     $lte, $gt and $gte, and a dot in the key for nesting"
                ));
            }
        };
        let Some(value) = Scalar::of(value) else {
            return refuse(format!("invalid filter: {operator} of {key:?} must be a string, number or boolean"));
        };
        if side.replace(Bound { value, inclusive }).is_some() {
            return refuse(format!("invalid filter: {key:?} has two bounds on the same side"));
        }
    }
    if lower.is_none() && upper.is_none() {
        return refuse(format!("invalid filter: {key:?} has no operator"));
    }
    Ok(Test::Within { lower, upper })
}

fn operand(key: &str, operator: &str, value: &Value) -> Result<Option<Scalar>> {
    if matches!(value, Value::Array(_) | Value::Object(_)) {
        return refuse(format!("invalid filter: {operator} of {key:?} must be a string, number, boolean or null"));
    }
    Ok(Scalar::of(value))
}

fn operands(key: &str, operator: &str, value: &Value) -> Result<Vec<Scalar>> {
    let scalars = value.as_array().and_then(|values| values.iter().map(Scalar::of).collect::<Option<Vec<_>>>());
    match scalars {
        Some(scalars) if !scalars.is_empty() => Ok(scalars),
        _ => refuse(format!("invalid filter: {operator} of {key:?} must be a list of strings, numbers or booleans")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admits(filter: &Value, metadata: &Value) -> bool {
        Filter::parse(&filter.to_string()).expect("a valid filter").admits(Some(metadata))
    }

    fn refusal(filter: &Value) -> String {
        Filter::parse(&filter.to_string()).expect_err("refused").to_string()
    }

    #[test]
    fn a_bare_value_means_equal_and_several_keys_mean_and() {
        let metadata = json!({ "a": "x", "n": 1, "b": true, "pandas": { "nice": 42 } });
        assert!(admits(&json!({ "a": "x" }), &metadata));
        assert!(admits(&json!({ "a": "x", "n": 1.0, "b": true, "pandas.nice": 42 }), &metadata));
        assert!(!admits(&json!({ "a": "x", "n": 2 }), &metadata));
        assert!(!admits(&json!({ "n": "1" }), &metadata), "types differ");
        assert!(!admits(&json!({ "pandas": 42 }), &metadata));
        assert!(!admits(&json!({ "a.x": 42 }), &metadata));
    }

    #[test]
    fn the_negative_operators_are_the_opposites_of_the_positive_ones() {
        for metadata in
            [json!({ "k": "x" }), json!({ "k": 1 }), json!({}), json!({ "k": null }), json!({ "k": ["x", 2] })]
        {
            for value in [json!("x"), json!(1), json!(false), json!(null)] {
                let (equal, not) = (json!({ "k": { "$eq": value } }), json!({ "k": { "$ne": value } }));
                assert_ne!(admits(&equal, &metadata), admits(&not, &metadata), "{value} {metadata}");
                assert_eq!(admits(&equal, &metadata), admits(&json!({ "k": value }), &metadata));
            }
            let (one, none) = (json!({ "k": { "$in": ["x", 2] } }), json!({ "k": { "$nin": ["x", 2] } }));
            assert_ne!(admits(&one, &metadata), admits(&none, &metadata), "{metadata}");
        }
    }

    #[test]
    fn bounds_are_of_numbers_and_texts_and_two_may_combine() {
        let at = |value: Value| json!({ "k": value });
        assert!(admits(&json!({ "k": { "$gt": 1 } }), &at(json!(1.5))));
        assert!(!admits(&json!({ "k": { "$gt": 1 } }), &at(json!(1))));
        assert!(admits(&json!({ "k": { "$gte": 1, "$lt": 9 } }), &at(json!(1))));
        assert!(!admits(&json!({ "k": { "$gte": 1, "$lt": 9 } }), &at(json!(9))));
        assert!(admits(&json!({ "k": { "$lte": 9 } }), &at(json!(9))));
        assert!(admits(&json!({ "k": { "$gte": "net", "$lt": "neu" } }), &at(json!("netflix"))));
        assert!(!admits(&json!({ "k": { "$gte": "net", "$lt": "neu" } }), &at(json!("neu"))));
        assert!(!admits(&json!({ "k": { "$lt": 9 } }), &at(json!("1"))), "a text is not below a number");
        assert!(!admits(&json!({ "k": { "$lt": 9 } }), &json!({})));
        assert!(
            !admits(&json!({ "k": { "$gte": 3, "$lt": 5 } }), &at(json!([1, 9]))),
            "one element has to lie between"
        );
    }

    #[test]
    fn null_is_a_property_that_is_not_there() {
        for metadata in [json!({}), json!({ "k": null }), json!({ "other": 1 })] {
            assert!(admits(&json!({ "k": null }), &metadata));
        }
        assert!(!admits(&json!({ "k": null }), &json!({ "k": 0 })));
        assert!(Filter::parse("{\"k\":null}").expect("valid").admits(None));
    }

    #[test]
    fn a_list_has_the_values_of_its_elements() {
        let metadata = json!({ "diet": ["vegetarian", "vegan", { "not": "this" }] });
        assert!(admits(&json!({ "diet": "vegan" }), &metadata));
        assert!(admits(&json!({ "diet": { "$in": ["halal", "vegetarian"] } }), &metadata));
        assert!(!admits(&json!({ "diet": { "$ne": "vegan" } }), &metadata));
    }

    #[test]
    fn sixty_four_bytes_of_a_text_count() {
        let long = "é".repeat(40);
        assert!(admits(&json!({ "k": format!("{}different", "é".repeat(32)) }), &json!({ "k": long })));
        assert!(!admits(&json!({ "k": "é".repeat(31) }), &json!({ "k": long })));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_a_reason() {
        for (filter, part) in [
            (json!([]), "must be an object"),
            (json!({}), "must not be empty"),
            (json!({ "": 1 }), "is empty"),
            (json!({ "a..b": 1 }), "empty part"),
            (json!({ "$eq": 1 }), "starts with $"),
            (json!({ "a|b": 1 }), "contains"),
            (json!({ "a\"b": 1 }), "contains"),
            (json!({ "k".repeat(513): 1 }), "longer than 512"),
            (json!({ "k": [1] }), "use $in"),
            (json!({ "k": {} }), "no operator"),
            (json!({ "k": { "$like": 1 } }), "unknown operator \"$like\""),
            (json!({ "k": { "nested": 1 } }), "unknown operator \"nested\""),
            (json!({ "k": { "$eq": 1, "$ne": 2 } }), "cannot be combined"),
            (json!({ "k": { "$gt": 1, "$in": [1] } }), "cannot be combined"),
            (json!({ "k": { "$gt": 1, "$gte": 2 } }), "two bounds"),
            (json!({ "k": { "$gt": null } }), "must be a string, number or boolean"),
            (json!({ "k": { "$eq": [1] } }), "must be a string, number, boolean or null"),
            (json!({ "k": { "$in": 1 } }), "must be a list"),
            (json!({ "k": { "$in": [] } }), "must be a list"),
            (json!({ "k": { "$nin": [null] } }), "must be a list"),
            (json!({ "k": "x".repeat(2040) }), "shorter than 2048 bytes"),
        ] {
            assert!(refusal(&filter).contains(part), "{filter}: {}", refusal(&filter));
        }
    }
}
