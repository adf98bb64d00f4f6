use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use aerostack_bindings::Clock as _;
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Place, block_on, entry};
use crate::{CacheDriver, Entry, ListedKey, Listing};

/// Few enough that a sequence meets the same key again, and chosen so that their orders in UTF-8, in UTF-16 and without case
/// differ.
const KEYS: &[&str] = &["a", "A", "ab", "a/b", "a\u{0}", "b", "\u{e9}", "\u{ffff}", "\u{1f600}", "\u{1f600}x"];
const PREFIXES: &[&str] = &["", "a", "A", "a/", "\u{e9}", "\u{1f600}", "\u{ffff}", "zz"];

#[derive(Debug, Clone)]
enum Call {
    Put { key: &'static str, value: String, metadata: Option<&'static str>, ttl: Option<u64> },
    Delete { key: &'static str },
    Get { key: &'static str },
    GetMany { keys: Vec<&'static str> },
    List { prefix: &'static str, limit: usize, start_after: Option<&'static str> },
    Wait { ms: u64 },
    Reopen,
}

#[derive(Default)]
struct Model(BTreeMap<String, Entry>);

impl Model {
    fn get(&self, key: &str, now: u64) -> Option<Entry> {
        self.0.get(key).filter(|entry| entry.expires_at.is_none_or(|second| second > now)).cloned()
    }

    fn list(&self, prefix: &str, limit: usize, start_after: Option<&str>, now: u64) -> Listing {
        let mut keys: Vec<_> = self
            .0
            .keys()
            .filter(|key| key.starts_with(prefix) && start_after.is_none_or(|after| key.as_str() > after))
            .filter_map(|key| {
                let Entry { metadata, expires_at, .. } = self.get(key, now)?;
                Some(ListedKey { name: key.clone(), metadata, expires_at })
            })
            .collect();
        let complete = keys.len() <= limit;
        keys.truncate(limit);
        Listing { keys, complete }
    }
}

pub(super) fn any_sequence_of_calls_behaves_like_a_sorted_map(place: &Place) -> Result<(), Failed> {
    play_random_calls(place, &play)
}

/// As those of many requests are: none waits for the one before.
pub(super) fn calls_at_once_behave_as_one_after_the_other(place: &Place) -> Result<(), Failed> {
    play_random_calls(place, &play_at_once)
}

fn play_random_calls(
    place: &Place,
    play: &impl AsyncFn(&Place, Vec<Call>) -> Result<(), TestCaseError>,
) -> Result<(), Failed> {
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let runs = Cell::new(0);
    TestRunner::new(config)
        .run(&prop::collection::vec(call(), 1..60), |calls| {
            runs.set(runs.get() + 1);
            block_on(play(&place.beside(runs.get()), calls))
        })
        .map_err(|error| Failed::from(error.to_string()))
}

fn call() -> impl Strategy<Value = Call> {
    let key = || prop::sample::select(KEYS);
    prop_oneof![
        4 => (key(), "[a-z]{0,8}", prop::option::of(prop::sample::select(&["0", "null", "{}"][..])), prop::option::of(1..5_u64))
            .prop_map(|(key, value, metadata, ttl)| Call::Put { key, value, metadata, ttl }),
        2 => key().prop_map(|key| Call::Delete { key }),
        6 => key().prop_map(|key| Call::Get { key }),
        1 => prop::collection::vec(key(), 1..5).prop_map(|keys| Call::GetMany { keys }),
        3 => (prop::sample::select(PREFIXES), 1..6_usize, prop::option::of(key()))
            .prop_map(|(prefix, limit, start_after)| Call::List { prefix, limit, start_after }),
        2 => (1..2500_u64).prop_map(|ms| Call::Wait { ms }),
        1 => Just(Call::Reopen),
    ]
}

async fn play(place: &Place, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let failed = |error: aerostack_bindings::Error| TestCaseError::fail(error.to_string());
    let mut model = Model::default();
    let mut driver = place.driver();
    for call in calls {
        let now = place.clock.now_ms() / 1000;
        match call {
            Call::Put { key, value, metadata, ttl } => {
                let entry = entry(&value, metadata, ttl.map(|seconds| now + seconds));
                driver.put(key, entry.clone()).await.map_err(failed)?;
                model.0.insert(key.to_owned(), entry);
            }
            Call::Delete { key } => {
                driver.delete(key).await.map_err(failed)?;
                model.0.remove(key);
            }
            Call::Get { key } => {
                prop_assert_eq!(driver.get(key).await.map_err(failed)?, model.get(key, now));
            }
            Call::GetMany { keys } => {
                let keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
                let expected: Vec<_> = keys.iter().map(|key| model.get(key, now)).collect();
                prop_assert_eq!(driver.get_many(&keys).await.map_err(failed)?, expected);
            }
            Call::List { prefix, limit, start_after } => {
                let listing = driver.list(prefix, limit, start_after).await.map_err(failed)?;
                prop_assert_eq!(listing, model.list(prefix, limit, start_after, now));
            }
            Call::Wait { ms } => place.clock.advance_ms(ms),
            Call::Reopen => {
                drop(driver);
                driver = place.driver();
            }
        }
    }
    Ok(())
}

/// What a call that reads has found.
#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    One(Option<Entry>),
    Many(Vec<Option<Entry>>),
    Keys(Listing),
}

async fn play_at_once(place: &Place, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let driver = place.driver();
    let now = place.clock.now_ms() / 1000;
    let mut running = Vec::new();
    for call in calls {
        let expected = match &call {
            Call::Put { key, value, metadata, ttl } => {
                model.0.insert((*key).to_owned(), entry(value, *metadata, ttl.map(|seconds| now + seconds)));
                Found::Nothing
            }
            Call::Delete { key } => {
                model.0.remove(*key);
                Found::Nothing
            }
            Call::Get { key } => Found::One(model.get(key, now)),
            Call::GetMany { keys } => Found::Many(keys.iter().map(|key| model.get(key, now)).collect()),
            Call::List { prefix, limit, start_after } => Found::Keys(model.list(prefix, *limit, *start_after, now)),
            Call::Wait { .. } | Call::Reopen => continue,
        };
        running.push((expected, tokio::spawn(make(Arc::clone(&driver), call, now))));
    }
    for (expected, call) in running {
        let found = call.await.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(found.map_err(|error| TestCaseError::fail(error.to_string()))?, expected);
    }
    Ok(())
}

async fn make(driver: Arc<dyn CacheDriver>, call: Call, now: u64) -> aerostack_bindings::Result<Found> {
    Ok(match call {
        Call::Put { key, value, metadata, ttl } => {
            driver.put(key, entry(&value, metadata, ttl.map(|seconds| now + seconds))).await?;
            Found::Nothing
        }
        Call::Delete { key } => {
            driver.delete(key).await?;
            Found::Nothing
        }
        Call::Get { key } => Found::One(driver.get(key).await?),
        Call::GetMany { keys } => {
            let keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
            Found::Many(driver.get_many(&keys).await?)
        }
        Call::List { prefix, limit, start_after } => Found::Keys(driver.list(prefix, limit, start_after).await?),
        Call::Wait { .. } | Call::Reopen => Found::Nothing,
    })
}
