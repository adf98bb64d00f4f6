//! SQLite's math functions, which D1 has and the SQLite linked here was built without.
//!
//! They behave as those of SQLite: an argument that is no number gives NULL, and so does a result that is none.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value, ValueRef};

/// Adds the math functions to a connection.
pub(super) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    for (name, function) in UNARY {
        add(connection, name, 1, move |context| Ok(number(context, 0).map(function)))?;
    }
    for (name, function) in BINARY {
        add(connection, name, 2, move |context| {
            Ok(number(context, 0).zip(number(context, 1)).map(|(x, y)| function(x, y)))
        })?;
    }
    for (name, function) in ROUNDING {
        add(connection, name, 1, move |context| {
            // An integer stays one; it may be too large for a double.
            if let ValueRef::Integer(whole) = context.get_raw(0) {
                return Ok(Value::Integer(whole));
            }
            Ok(number(context, 0).map_or(Value::Null, |x| Value::Real(function(x))))
        })?;
    }
    add(connection, "pi", 0, |_| Ok(std::f64::consts::PI))
}

type OfOne = fn(f64) -> f64;
type OfTwo = fn(f64, f64) -> f64;

const UNARY: [(&str, OfOne); 20] = [
    ("acos", f64::acos),
    ("acosh", f64::acosh),
    ("asin", f64::asin),
    ("asinh", f64::asinh),
    ("atan", f64::atan),
    ("atanh", f64::atanh),
    ("cos", f64::cos),
    ("cosh", f64::cosh),
    ("degrees", f64::to_degrees),
    ("exp", f64::exp),
    ("ln", |x| of_positive(x, f64::ln)),
    ("log", |x| of_positive(x, f64::log10)),
    ("log10", |x| of_positive(x, f64::log10)),
    ("log2", |x| of_positive(x, f64::log2)),
    ("radians", f64::to_radians),
    ("sin", f64::sin),
    ("sinh", f64::sinh),
    ("sqrt", f64::sqrt),
    ("tan", f64::tan),
    ("tanh", f64::tanh),
];

const BINARY: [(&str, OfTwo); 5] = [
    ("atan2", f64::atan2),
    ("log", |base, x| {
        let divisor = of_positive(base, f64::ln);
        if divisor == 0.0 { f64::NAN } else { of_positive(x, f64::ln) / divisor }
    }),
    ("mod", |x, y| x % y),
    ("pow", f64::powf),
    ("power", f64::powf),
];

const ROUNDING: [(&str, OfOne); 4] =
    [("ceil", f64::ceil), ("ceiling", f64::ceil), ("floor", f64::floor), ("trunc", f64::trunc)];

fn add<F, T>(connection: &Connection, name: &str, arguments: i32, function: F) -> rusqlite::Result<()>
where
    F: Fn(&Context<'_>) -> rusqlite::Result<T> + Send + 'static,
    T: rusqlite::functions::SqlFnOutput,
{
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function(name, arguments, flags, function)
}

/// The value of an argument, when it is a number or a string that reads as one.
fn number(context: &Context<'_>, argument: usize) -> Option<f64> {
    match context.get_raw(argument) {
        ValueRef::Integer(whole) => Some(whole as f64),
        ValueRef::Real(real) => Some(real),
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok().filter(|x: &f64| x.is_finite()),
        ValueRef::Null | ValueRef::Blob(_) => None,
    }
}

/// Logarithms of zero and below are NULL, which is what SQLite makes of "not a number".
fn of_positive(x: f64, function: fn(f64) -> f64) -> f64 {
    if x > 0.0 { function(x) } else { f64::NAN }
}
