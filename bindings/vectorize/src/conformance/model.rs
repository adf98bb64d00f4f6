use std::cell::Cell;
use std::collections::BTreeMap;

use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Place, Shape, block_on};
use crate::filter::Filter;
use crate::{Match, Metric, Query, Vector, VectorDriver, Writing};

/// Few enough that a sequence meets the same id again.
const IDS: &[&str] = &["a", "A", "b", "c", "d", "e", "f", "\u{e9}", "\u{1f600}"];
const NAMESPACES: &[&str] = &["n", "m", "N"];
const METADATA: &[&str] = &[
    "{}",
    "{\"k\":1}",
    "{\"k\":2,\"o\":{\"p\":\"x\"}}",
    "{\"k\":\"1\",\"o\":{\"p\":\"y\"}}",
    "{\"k\":true}",
    "{\"k\":null,\"o\":{\"p\":[\"x\",3]}}",
    "{\"k\":[1,2]}",
    "{\"k\":-0.5,\"o\":1}",
];
const FILTERS: &[&str] = &[
    "{\"k\":1}",
    "{\"k\":{\"$ne\":1}}",
    "{\"k\":{\"$in\":[1,\"1\",true]}}",
    "{\"k\":{\"$nin\":[2]}}",
    "{\"k\":{\"$lt\":2}}",
    "{\"k\":{\"$gte\":-1,\"$lte\":1}}",
    "{\"k\":{\"$gt\":\"0\"}}",
    "{\"k\":null}",
    "{\"o.p\":\"x\"}",
    "{\"o.p\":{\"$ne\":\"x\"},\"k\":{\"$ne\":null}}",
    "{\"missing\":1}",
];
const DIMENSIONS: usize = 19;

#[derive(Debug, Clone)]
enum Call {
    Write { vectors: Vec<Vector>, writing: Writing },
    Delete { ids: Vec<&'static str> },
    Get { ids: Vec<&'static str> },
    Query { values: Vec<f32>, top_k: usize, namespace: Option<&'static str>, filter: Option<&'static str> },
    Describe,
    Reopen,
    Alternate,
}

#[derive(Default)]
struct Model(BTreeMap<String, Vector>);

impl Model {
    /// The best first; the scores in double precision.
    fn query(&self, query: &Query, metric: Metric) -> Vec<(f64, &Vector)> {
        let mut found: Vec<_> = self
            .0
            .values()
            .filter(|vector| query.namespace.is_none() || vector.namespace == query.namespace)
            .filter(|vector| {
                let metadata = vector.metadata.as_deref().map(|json| serde_json::from_str(json).expect("valid JSON"));
                query.filter.as_ref().is_none_or(|filter| filter.admits(metadata.as_ref()))
            })
            .map(|vector| (score(metric, &query.values, &vector.values), vector))
            .collect();
        found.sort_by(|one, other| {
            let ascending = one.0.total_cmp(&other.0);
            if metric == Metric::Euclidean { ascending } else { ascending.reverse() }
        });
        found
    }
}

fn score(metric: Metric, one: &[f32], other: &[f32]) -> f64 {
    let pairs = || one.iter().zip(other).map(|(one, other)| (f64::from(*one), f64::from(*other)));
    let dot: f64 = pairs().map(|(one, other)| one * other).sum();
    let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    match metric {
        Metric::DotProduct => dot,
        Metric::Euclidean => pairs().map(|(one, other)| (one - other).powi(2)).sum::<f64>().sqrt(),
        Metric::Cosine => {
            let lengths = length(one) * length(other);
            if lengths == 0.0 { 0.0 } else { dot / lengths }
        }
    }
}

pub(super) fn any_sequence_of_calls_behaves_like_a_map(place: &Place) -> Result<(), Failed> {
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let runs = Cell::new(0);
    let metric = prop::sample::select(&[Metric::Cosine, Metric::Euclidean, Metric::DotProduct][..]);
    TestRunner::new(config)
        .run(&(metric, prop::collection::vec(call(), 1..40)), |(metric, calls)| {
            runs.set(runs.get() + 1);
            block_on(play(&place.beside(runs.get()), metric, calls))
        })
        .map_err(|error| Failed::from(error.to_string()))
}

fn call() -> impl Strategy<Value = Call> {
    let id = || prop::sample::select(IDS);
    let writing = prop_oneof![Just(Writing::Insert), Just(Writing::Upsert)];
    let namespace = || prop::option::of(prop::sample::select(NAMESPACES));
    let vector = (id(), values(), namespace(), prop::option::of(prop::sample::select(METADATA))).prop_map(
        |(id, values, namespace, metadata)| Vector {
            id: id.to_owned(),
            values,
            namespace: namespace.map(str::to_owned),
            metadata: metadata.map(str::to_owned),
        },
    );
    prop_oneof![
        6 => (prop::collection::vec(vector, 1..8), writing).prop_map(|(vectors, writing)| Call::Write { vectors, writing }),
        2 => prop::collection::vec(id(), 1..4).prop_map(|ids| Call::Delete { ids }),
        2 => prop::collection::vec(id(), 1..6).prop_map(|ids| Call::Get { ids }),
        8 => (values(), 1..12_usize, namespace(), prop::option::of(prop::sample::select(FILTERS)))
            .prop_map(|(values, top_k, namespace, filter)| Call::Query { values, top_k, namespace, filter }),
        1 => Just(Call::Describe),
        1 => Just(Call::Reopen),
        2 => Just(Call::Alternate),
    ]
}

fn values() -> impl Strategy<Value = Vec<f32>> {
    let component = (-8..=8_i8).prop_map(|component| f32::from(component) / 4.0);
    prop::collection::vec(component, DIMENSIONS)
}

async fn play(place: &Place, metric: Metric, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let failed = |error: aerostack_bindings::Error| TestCaseError::fail(error.to_string());
    let open = || place.shaped(Shape { metric, dimensions: None });
    let mut model = Model::default();
    // Calls go now through the one, now through the other, as from two processes.
    let mut drivers = [open(), open()];
    for call in calls {
        let driver = &drivers[0];
        match call {
            Call::Write { vectors, writing } => {
                driver.write(vectors.clone(), writing).await.map_err(failed)?;
                for vector in vectors {
                    match writing {
                        Writing::Insert => model.0.entry(vector.id.clone()).or_insert(vector),
                        Writing::Upsert => model.0.entry(vector.id.clone()).insert_entry(vector).into_mut(),
                    };
                }
            }
            Call::Delete { ids } => {
                driver.delete(ids.iter().map(|id| (*id).to_owned()).collect()).await.map_err(failed)?;
                for id in ids {
                    model.0.remove(id);
                }
            }
            Call::Get { ids } => {
                let found = driver.get(ids.iter().map(|id| (*id).to_owned()).collect()).await.map_err(failed)?;
                let mut expected: Vec<Vector> = Vec::new();
                for id in ids {
                    if let Some(vector) = model.0.get(id)
                        && !expected.contains(vector)
                    {
                        expected.push(vector.clone());
                    }
                }
                prop_assert_eq!(found, expected);
            }
            Call::Query { values, top_k, namespace, filter } => {
                let filter = filter.map(|json| Filter::parse(json).expect("a valid filter"));
                let namespace = namespace.map(str::to_owned);
                let query = Query { values, top_k, namespace, filter, with_values: true, with_metadata: true };
                check_matches(&**driver, &model, query, metric).await?;
            }
            Call::Describe => {
                let told = driver.describe().await.map_err(failed)?;
                prop_assert_eq!(told.vector_count, model.0.len() as u64);
            }
            Call::Reopen => drivers = [open(), open()],
            Call::Alternate => drivers.swap(0, 1),
        }
    }
    Ok(())
}

/// The order of vectors that are equally near is the driver's, so ids are compared by what they score.
async fn check_matches(
    driver: &dyn VectorDriver,
    model: &Model,
    query: Query,
    metric: Metric,
) -> Result<(), TestCaseError> {
    let expected = model.query(&query, metric);
    let found: Vec<Match> =
        driver.query(query.clone()).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(found.len(), expected.len().min(query.top_k));
    for (place, found) in found.iter().enumerate() {
        prop_assert!((f64::from(found.score) - expected[place].0).abs() < 1e-4, "{:?} {:?}", found, expected);
        let Some((score, vector)) = expected.iter().find(|(_, vector)| vector.id == found.id) else {
            return Err(TestCaseError::fail(format!("{} should not be found", found.id)));
        };
        prop_assert!((f64::from(found.score) - score).abs() < 1e-4);
        prop_assert_eq!(found.values.as_ref(), Some(&vector.values));
        prop_assert_eq!((&found.namespace, &found.metadata), (&vector.namespace, &vector.metadata));
    }
    let mut ids: Vec<_> = found.iter().map(|found| &found.id).collect();
    ids.sort();
    ids.dedup();
    prop_assert_eq!(ids.len(), found.len(), "nothing is found twice");
    Ok(())
}
