use std::cell::Cell;
use std::collections::BTreeMap;

use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{MIN_PART_BYTES, Place, add_part, begin, block_on, fill, pattern, plain, read};
use crate::checksum::{md5_of, to_hex};
use crate::conditional::{Conditional, Etag};
use crate::listing::{beyond, group_of};
use crate::range::RangeRequest;
use crate::{GetRequest, ListRequest, NewObject, StorageDriver, UploadedPart};

/// Few enough that a sequence meets the same key again, and chosen so that their orders in UTF-8, in UTF-16 and without case
/// differ.
const KEYS: &[&str] =
    &["", "a", "A", "ab", "a/b", "a/b/c", "a/c", "a\u{0}", "b", "b/", "\u{e9}", "\u{ffff}", "\u{1f600}", "\u{1f600}/x"];
const PREFIXES: &[&str] = &["", "a", "A", "a/", "a/b", "\u{e9}", "\u{1f600}", "\u{ffff}", "zz"];

#[derive(Debug, Clone)]
enum Call {
    Put { key: &'static str, size: usize, seed: usize, condition: Condition },
    Delete { keys: Vec<&'static str> },
    Get { key: &'static str, range: RangeRequest, condition: Condition },
    Head { key: &'static str },
    List { prefix: &'static str, limit: usize, from: String, delimiter: Option<&'static str> },
    Begin { key: &'static str },
    Part { upload: usize, number: u32, size: usize, seed: usize },
    Complete { upload: usize, numbers: Vec<u32> },
    Abort { upload: usize },
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    None,
    Exists,
    Missing,
    /// The etag that the object has.
    Same,
    Other,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    bytes: Vec<u8>,
    etag: String,
}

struct Upload {
    id: String,
    key: &'static str,
    parts: BTreeMap<u32, (UploadedPart, Vec<u8>)>,
    is_open: bool,
}

#[derive(Default)]
struct Model {
    objects: BTreeMap<String, Stored>,
    uploads: Vec<Upload>,
}

impl Condition {
    fn holds(self, stored: Option<&Stored>) -> bool {
        match self {
            Self::None => true,
            Self::Exists | Self::Same => stored.is_some(),
            Self::Missing => stored.is_none(),
            Self::Other => false,
        }
    }

    fn conditional(self, stored: Option<&Stored>) -> Option<Conditional> {
        let matches = |etag: &str| Some(vec![Etag::unquoted(etag)]);
        let conditional = Conditional::default();
        match self {
            Self::None => None,
            Self::Exists => Some(Conditional { etag_matches: matches("*"), ..conditional }),
            Self::Missing => Some(Conditional { etag_does_not_match: matches("*"), ..conditional }),
            Self::Same => {
                Some(Conditional { etag_matches: matches(stored.map_or("none", |stored| &stored.etag)), ..conditional })
            }
            Self::Other => Some(Conditional { etag_matches: matches("other"), ..conditional }),
        }
    }
}

impl Model {
    /// Keys, prefixes, and where the next page begins.
    fn list(
        &self,
        prefix: &str,
        limit: usize,
        from: &str,
        delimiter: Option<&str>,
    ) -> (Vec<String>, Vec<String>, bool) {
        let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
        let mut skip_below: Option<String> = None;
        for key in self.objects.keys().filter(|key| key.starts_with(prefix) && key.as_str() >= from) {
            if skip_below.as_ref().is_some_and(|below| key < below) {
                continue;
            }
            if keys.len() + prefixes.len() == limit {
                return (keys, prefixes, true);
            }
            match delimiter.and_then(|delimiter| group_of(key, prefix, delimiter)) {
                None => keys.push(key.clone()),
                Some(group) => {
                    skip_below = beyond(group);
                    prefixes.push(group.to_owned());
                }
            }
        }
        (keys, prefixes, false)
    }
}

pub(super) fn any_sequence_of_calls_behaves_like_a_sorted_map(place: &Place) -> Result<(), Failed> {
    let config = Config { cases: 60, failure_persistence: None, ..Config::default() };
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
    let size = || prop_oneof![4 => 0..30_usize, 1 => Just(70_000), 1 => Just(300_000)];
    let condition = || {
        prop_oneof![
            4 => Just(Condition::None),
            1 => Just(Condition::Exists),
            1 => Just(Condition::Missing),
            1 => Just(Condition::Same),
            1 => Just(Condition::Other),
        ]
    };
    let number = || 1..5_u32;
    prop_oneof![
        6 => (key(), size(), 0..9_usize, condition())
            .prop_map(|(key, size, seed, condition)| Call::Put { key, size, seed, condition }),
        2 => prop::collection::vec(key(), 0..4).prop_map(|keys| Call::Delete { keys }),
        6 => (key(), range(), condition()).prop_map(|(key, range, condition)| Call::Get { key, range, condition }),
        1 => key().prop_map(|key| Call::Head { key }),
        4 => (prop::sample::select(PREFIXES), 1..6_usize, key(), prop::option::of(prop::sample::select(&["/", "b"][..])))
            .prop_map(|(prefix, limit, from, delimiter)| Call::List { prefix, limit, from: from.to_owned(), delimiter }),
        2 => key().prop_map(|key| Call::Begin { key }),
        6 => (0..3_usize, number(), prop_oneof![5 => Just(10_usize), 1 => 0..12_usize], 0..9_usize)
            .prop_map(|(upload, number, size, seed)| Call::Part { upload, number, size, seed }),
        3 => (0..3_usize, prop::collection::vec(number(), 0..4))
            .prop_map(|(upload, numbers)| Call::Complete { upload, numbers }),
        1 => (0..3_usize).prop_map(|upload| Call::Abort { upload }),
        1 => Just(Call::Reopen),
    ]
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let number = || prop::option::of(0..40_u64);
    prop_oneof![
        3 => Just(RangeRequest::Whole),
        2 => (number(), number()).prop_map(|(offset, length)| RangeRequest::Span { offset, length }),
        1 => (0..40_u64).prop_map(RangeRequest::Suffix),
        1 => (0..40_u64, 0..40_u64).prop_map(|(first, last)| RangeRequest::Header(format!("bytes={first}-{last}"))),
    ]
}

async fn play(place: &Place, calls: Vec<Call>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut driver = place.driver();
    for call in calls {
        if let Call::Reopen = call {
            drop(driver);
            driver = place.driver();
            continue;
        }
        apply(&*driver, &mut model, call).await?;
    }
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

async fn apply(driver: &dyn StorageDriver, model: &mut Model, call: Call) -> Result<(), TestCaseError> {
    match call {
        Call::Put { key, size, seed, condition } => {
            let bytes = pattern(size, seed);
            let existing = model.objects.get(key);
            let holds = condition.holds(existing);
            let object = NewObject { only_if: condition.conditional(existing), ..plain(key, size) };
            let stored = fill(driver.put(object).await.map_err(failed)?, bytes.clone()).await.map_err(failed)?;
            prop_assert_eq!(stored.is_some(), holds);
            if holds {
                let stored = Stored { bytes: bytes.to_vec(), etag: to_hex(&md5_of(&bytes)) };
                model.objects.insert(key.to_owned(), stored);
            }
        }
        Call::Delete { keys } => {
            let keys: Vec<_> = keys.into_iter().map(str::to_owned).collect();
            driver.delete(&keys).await.map_err(failed)?;
            for key in keys {
                model.objects.remove(&key);
            }
        }
        Call::Get { key, range, condition } => {
            let stored = model.objects.get(key);
            let request = GetRequest { range: range.clone(), only_if: condition.conditional(stored) };
            let found = read(driver, key, &request).await;
            let Some(stored) = stored else {
                prop_assert!(found.map_err(failed)?.is_none());
                return Ok(());
            };
            let expected = range.resolve(stored.bytes.len() as u64);
            match (condition.holds(Some(stored)), expected) {
                (true, Err(error)) => {
                    prop_assert_eq!(found.err().map(|error| error.to_string()), Some(error.to_string()));
                }
                (true, Ok(expected)) => {
                    let (object, range, bytes) = found.map_err(failed)?.ok_or_else(|| failed("it is there"))?;
                    let end = (expected.offset + expected.length) as usize;
                    prop_assert_eq!(range, expected);
                    prop_assert_eq!(object.etag.as_str(), stored.etag.as_str());
                    prop_assert!(bytes.as_deref() == Some(&stored.bytes[expected.offset as usize..end]));
                }
                (false, _) => {
                    let (object, _, bytes) = found.map_err(failed)?.ok_or_else(|| failed("it is there"))?;
                    prop_assert_eq!((object.etag.as_str(), bytes), (stored.etag.as_str(), None));
                }
            }
        }
        Call::Head { key } => {
            let object = driver.head(key).await.map_err(failed)?;
            let told = object.map(|object| (object.etag, object.size));
            let expected = model.objects.get(key).map(|stored| (stored.etag.clone(), stored.bytes.len() as u64));
            prop_assert_eq!(told, expected);
        }
        Call::List { prefix, limit, from, delimiter } => {
            let (keys, prefixes, is_more) = model.list(prefix, limit, &from, delimiter);
            let prefix = prefix.to_owned();
            let delimiter = delimiter.map(str::to_owned);
            let request = ListRequest { prefix, delimiter, from, limit, ..ListRequest::default() };
            let page = driver.list(&request).await.map_err(failed)?;
            let told: Vec<_> = page.objects.into_iter().map(|object| object.key).collect();
            prop_assert_eq!((told, page.delimited_prefixes, page.next.is_some()), (keys, prefixes, is_more));
        }
        Call::Begin { key } => {
            let id = begin(driver, key).await.map_err(failed)?;
            model.uploads.push(Upload { id, key, parts: BTreeMap::new(), is_open: true });
        }
        Call::Part { upload, number, size, seed } => {
            let Some(upload) = model.uploads.get_mut(upload) else { return Ok(()) };
            let bytes = pattern(size, seed);
            let outcome = add_part(driver, upload.key, &upload.id, number, bytes.clone()).await;
            prop_assert_eq!(outcome.is_ok(), upload.is_open);
            if let Ok(part) = outcome {
                upload.parts.insert(number, (part, bytes.to_vec()));
            }
        }
        Call::Complete { upload, numbers } => {
            let Some(upload) = model.uploads.get_mut(upload) else { return Ok(()) };
            let unknown = |number| UploadedPart { number, etag: "unknown".to_owned() };
            let part_of =
                |number: &u32| upload.parts.get(number).map_or_else(|| unknown(*number), |(part, _)| part.clone());
            let selected: Vec<_> = numbers.iter().map(part_of).collect();
            let outcome = driver.complete_multipart_upload(upload.key, &upload.id, &selected, MIN_PART_BYTES).await;
            let expected = upload.is_open.then(|| assemble(&upload.parts, &numbers)).flatten();
            prop_assert_eq!(
                outcome.ok().map(|object| object.etag),
                expected.as_ref().map(|stored| stored.etag.clone())
            );
            if let Some(stored) = expected {
                upload.is_open = false;
                model.objects.insert(upload.key.to_owned(), stored);
            }
        }
        Call::Abort { upload } => {
            let Some(upload) = model.uploads.get_mut(upload) else { return Ok(()) };
            driver.abort_multipart_upload(upload.key, &upload.id).await.map_err(failed)?;
            upload.is_open = false;
        }
        Call::Reopen => {}
    }
    Ok(())
}

/// What the parts make, by the rules of the contract read once more: `None` where R2 refuses them.
fn assemble(parts: &BTreeMap<u32, (UploadedPart, Vec<u8>)>, numbers: &[u32]) -> Option<Stored> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != numbers.len() {
        return None;
    }
    let pieces: Vec<&Vec<u8>> =
        sorted.iter().map(|number| parts.get(number).map(|(_, bytes)| bytes)).collect::<Option<_>>()?;
    if let [first, others @ ..] = &pieces[..]
        && let Some((last, middle)) = others.split_last()
        && ((first.len() as u64) < MIN_PART_BYTES
            || middle.iter().any(|piece| piece.len() != first.len())
            || last.len() > first.len()
            // The order of the caller counts too: only the part that is named last may be small.
            || numbers[..numbers.len() - 1].iter().any(|number| (parts[number].1.len() as u64) < MIN_PART_BYTES))
    {
        return None;
    }
    let digests: Vec<u8> = pieces.iter().flat_map(|piece| md5_of(piece)).collect();
    Some(Stored {
        bytes: pieces.into_iter().flatten().copied().collect(),
        etag: format!("{}-{}", to_hex(&md5_of(&digests)), sorted.len()),
    })
}
