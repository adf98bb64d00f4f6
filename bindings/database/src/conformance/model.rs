//! Random operations against a model in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Case, Outcome, Place, always, text};
use crate::cells::Cell;
use crate::driver::{Statement, Value};

pub(super) fn cases() -> Vec<Case> {
    vec![Case { name: "random_operations_agree_with_a_model", needs: always, trial: agrees_with_model }]
}

#[derive(Debug, Clone)]
enum Operation {
    Insert(i64, Option<String>),
    Upsert(i64, String),
    Update(i64, String),
    Delete(i64),
    DeleteAbove(i64),
    Batch(Vec<Operation>),
}

type Model = BTreeMap<i64, String>;

fn agrees_with_model(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL CHECK (length(name) < 6))")?;
    let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
    let operations = proptest::collection::vec(operation(), 1..40);
    runner
        .run(&operations, |operations| {
            let fail = |error: aerostack_bindings::Error| TestCaseError::fail(error.to_string());
            place.run("DELETE FROM t").map_err(fail)?;
            let mut model = Model::new();
            for operation in &operations {
                let statements = statements(operation);
                let found = place.call(statements);
                let mut next = model.clone();
                let expected = apply(&mut next, operation);
                match (&found, &expected) {
                    (Ok(results), Ok(changes)) => {
                        let found: u64 = results.iter().map(|result| result.meta.changes).sum();
                        prop_assert_eq!(found, *changes, "changes of {:?}", operation);
                        model = next;
                    }
                    (Err(error), Err(start)) => {
                        prop_assert!(error.message().starts_with(start), "{:?}: {}", operation, error.message());
                    }
                    _ => prop_assert!(false, "{:?}: found {:?}, expected {:?}", operation, found, expected),
                }
                let rows = place.cells("SELECT id, name FROM t ORDER BY id").map_err(fail)?;
                let expected: Vec<Cell> = model
                    .iter()
                    .flat_map(|(id, name)| [Cell::Integer(*id), Cell::Text(name.as_str().into())])
                    .collect();
                prop_assert_eq!(rows, expected, "rows after {:?}", operation);
            }
            Ok(())
        })
        .map_err(|error| error.to_string().into())
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || "[a-z\u{e4}]{0,6}";
    let simple = prop_oneof![
        4 => (0_i64..12, proptest::option::weighted(0.9, name())).prop_map(|(id, name)| Operation::Insert(id, name)),
        2 => (0_i64..12, name()).prop_map(|(id, name)| Operation::Upsert(id, name)),
        2 => (0_i64..12, name()).prop_map(|(id, name)| Operation::Update(id, name)),
        2 => (0_i64..12).prop_map(Operation::Delete),
        1 => (0_i64..12).prop_map(Operation::DeleteAbove),
    ];
    prop_oneof![
        4 => simple.clone(),
        1 => proptest::collection::vec(simple, 2..5).prop_map(Operation::Batch),
    ]
}

fn statements(operation: &Operation) -> Vec<Statement> {
    let number = |id: &i64| Value::Real(*id as f64);
    let statement = match operation {
        Operation::Insert(id, name) => {
            let name = name.as_ref().map_or(Value::Null, |name| text(name));
            Statement::with_params("INSERT INTO t VALUES (?, ?)", [number(id), name])
        }
        Operation::Upsert(id, name) => Statement::with_params(
            "INSERT INTO t VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET name = ?2",
            [number(id), text(name)],
        ),
        Operation::Update(id, name) => {
            Statement::with_params("UPDATE t SET name = ?2 WHERE id = ?1", [number(id), text(name)])
        }
        Operation::Delete(id) => Statement::with_params("DELETE FROM t WHERE id = ? RETURNING id", [number(id)]),
        Operation::DeleteAbove(id) => Statement::with_params("DELETE FROM t WHERE id > ?", [number(id)]),
        Operation::Batch(operations) => return operations.iter().flat_map(statements).collect(),
    };
    vec![statement]
}

/// Changes the model as the database should change: how many rows changed, or how the error begins.
fn apply(model: &mut Model, operation: &Operation) -> Result<u64, &'static str> {
    let checked = |name: &str| if name.chars().count() < 6 { Ok(()) } else { Err("CHECK constraint failed") };
    match operation {
        Operation::Insert(_, None) => Err("NOT NULL constraint failed: t.name"),
        Operation::Insert(id, Some(name)) => {
            checked(name)?;
            if model.contains_key(id) {
                return Err("UNIQUE constraint failed: t.id");
            }
            model.insert(*id, name.clone());
            Ok(1)
        }
        Operation::Upsert(id, name) => {
            checked(name)?;
            model.insert(*id, name.clone());
            Ok(1)
        }
        Operation::Update(id, name) => {
            let Some(row) = model.get_mut(id) else { return Ok(0) };
            checked(name)?;
            row.clone_from(name);
            Ok(1)
        }
        Operation::Delete(id) => Ok(u64::from(model.remove(id).is_some())),
        Operation::DeleteAbove(id) => {
            let above = model.split_off(&(id + 1));
            Ok(above.len() as u64)
        }
        Operation::Batch(operations) => {
            operations.iter().try_fold(0, |changes, operation| Ok(changes + apply(model, operation)?))
        }
    }
}
