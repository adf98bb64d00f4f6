//! What every driver must do, as tests that any driver's test binary can run.
//!
//! A suite gets a function that opens a *place* (a name, new for each test) with a [`Shape`] and a clock. Opening the same
//! place twice gives two drivers over the same vectors, as two processes or a restart would.

mod binding;
mod concurrency;
mod filters;
mod model;

use std::future::Future;
use std::sync::Arc;

use aerostack_bindings::{Clock, ErrorKind, ManualClock};
use libtest_mimic::{Failed, Trial};

use crate::{Match, Metric, NamedVectorIndex, Query, Vector, VectorDriver, Writing};

/// Milliseconds since the UNIX epoch at which every test begins.
const START_MS: u64 = 1_700_000_000_250;

/// Opens a place.
pub type Open = Arc<dyn Fn(&str, Shape, Arc<dyn Clock>) -> Arc<dyn VectorDriver> + Send + Sync>;

/// What the configuration says of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// The length of every vector; `None` takes that of the first one written.
    pub dimensions: Option<u32>,
    /// How nearness is measured.
    pub metric: Metric,
}

/// Every test of the suite, named `<driver>::<sentence>`.
pub fn trials(driver: &'static str, open: &Open) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: &'static str, test: fn(&Place) -> Result<(), Failed>| {
        let open = Arc::clone(open);
        trials.push(Trial::test(format!("{driver}::{name}"), move || test(&Place::new(name, open))));
    };
    add("an_empty_index_describes_itself_and_finds_nothing", an_empty_index_describes_itself_and_finds_nothing);
    add("a_vector_comes_back_as_it_was_written", a_vector_comes_back_as_it_was_written);
    add("an_insert_skips_ids_that_are_there", an_insert_skips_ids_that_are_there);
    add("an_upsert_replaces_everything", an_upsert_replaces_everything);
    add("of_one_id_twice_an_insert_takes_the_first", of_one_id_twice_an_insert_takes_the_first);
    add("a_write_is_all_or_nothing", a_write_is_all_or_nothing);
    add("a_deleted_vector_is_gone_and_its_id_free", a_deleted_vector_is_gone_and_its_id_free);
    add("the_first_write_fixes_the_dimensions", the_first_write_fixes_the_dimensions);
    add("configured_dimensions_hold_from_the_start", configured_dimensions_hold_from_the_start);
    add("the_nearest_come_first_by_cosine", the_nearest_come_first_by_cosine);
    add("the_nearest_come_first_by_distance", the_nearest_come_first_by_distance);
    add("the_nearest_come_first_by_inner_product", the_nearest_come_first_by_inner_product);
    add("equally_near_vectors_keep_their_order", equally_near_vectors_keep_their_order);
    add("a_namespace_is_searched_by_itself", a_namespace_is_searched_by_itself);
    add("a_match_has_only_what_was_asked_for", a_match_has_only_what_was_asked_for);
    add("get_leaves_out_what_is_not_there", get_leaves_out_what_is_not_there);
    add("describe_tells_the_last_write", describe_tells_the_last_write);
    add("everything_survives_a_restart", everything_survives_a_restart);
    add("a_thousand_vectors_of_the_longest_kind_are_one_write", a_thousand_vectors_of_the_longest_kind_are_one_write);
    add("the_example_of_the_documentation_has_its_results", filters::the_example_of_the_documentation_has_its_results);
    add("a_filter_comes_before_top_k", filters::a_filter_comes_before_top_k);
    add("a_filter_sees_every_change", filters::a_filter_sees_every_change);
    add("namespace_and_filter_narrow_together", filters::namespace_and_filter_narrow_together);
    add("many_filters_with_many_keys_are_answered", filters::many_filters_with_many_keys_are_answered);
    add("the_binding_refuses_what_vectorize_refuses", binding::the_binding_refuses_what_vectorize_refuses);
    add("the_binding_finds_by_a_stored_vector", binding::the_binding_finds_by_a_stored_vector);
    add("the_binding_returns_the_metadata_asked_for", binding::the_binding_returns_the_metadata_asked_for);
    add("two_drivers_see_each_others_writes", concurrency::two_drivers_see_each_others_writes);
    add("parallel_writers_all_get_through", concurrency::parallel_writers_all_get_through);
    add(
        "a_reader_finds_what_was_written_before_it_asked",
        concurrency::a_reader_finds_what_was_written_before_it_asked,
    );
    add("a_place_can_be_opened_by_many_at_once", concurrency::a_place_can_be_opened_by_many_at_once);
    add("any_sequence_of_calls_behaves_like_a_map", model::any_sequence_of_calls_behaves_like_a_map);
    trials
}

/// Where one test has its vectors.
struct Place {
    name: String,
    clock: Arc<ManualClock>,
    open: Open,
}

impl Place {
    fn new(name: &str, open: Open) -> Self {
        Self { name: name.to_owned(), clock: Arc::new(ManualClock::new(START_MS)), open }
    }

    /// Another place, for one of several runs of the same test.
    fn beside(&self, number: usize) -> Self {
        Self::new(&format!("{}-{number}", self.name), Arc::clone(&self.open))
    }

    fn driver(&self) -> Arc<dyn VectorDriver> {
        self.shaped(Shape::default())
    }

    fn shaped(&self, shape: Shape) -> Arc<dyn VectorDriver> {
        (self.open)(&self.name, shape, self.clock.clone())
    }

    fn measured(&self, metric: Metric) -> Arc<dyn VectorDriver> {
        self.shaped(Shape { metric, ..Shape::default() })
    }

    fn binding(&self) -> NamedVectorIndex {
        NamedVectorIndex { name: "VECTORIZE".to_owned(), driver: Arc::new(self.driver().into()) }
    }
}

/// Runs a test on a current-thread runtime, as an isolate would.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

fn vector(id: &str, values: &[f32]) -> Vector {
    Vector { id: id.to_owned(), values: values.to_vec(), namespace: None, metadata: None }
}

fn with_metadata(id: &str, values: &[f32], metadata: &str) -> Vector {
    Vector { metadata: Some(metadata.to_owned()), ..vector(id, values) }
}

fn nearest_to(values: &[f32], top_k: usize) -> Query {
    Query { values: values.to_vec(), top_k, namespace: None, filter: None, with_values: false, with_metadata: false }
}

fn ids(matches: &[Match]) -> Vec<&str> {
    matches.iter().map(|found| found.id.as_str()).collect()
}

fn strings(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn assert_scores(matches: &[Match], expected: &[f32]) {
    assert_eq!(matches.len(), expected.len(), "{matches:?}");
    for (found, expected) in matches.iter().zip(expected) {
        assert!((found.score - expected).abs() < 1e-5, "{} scores {}, not {expected}", found.id, found.score);
    }
}

fn an_empty_index_describes_itself_and_finds_nothing(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let state = driver.describe().await?;
        assert_eq!((state.vector_count, state.dimensions), (0, 0));
        assert_eq!((state.processed_up_to_ms, state.processed_up_to_mutation), (None, None));
        assert_eq!(driver.query(nearest_to(&[1.0, 2.0], 5)).await?, []);
        assert_eq!(driver.get(strings(&["a"])).await?, []);
        driver.delete(strings(&["a"])).await?;
        assert_eq!(driver.query(nearest_to(&[1.0, 2.0, 3.0], 5)).await?, [], "nothing has fixed the length yet");
        Ok(())
    })
}

fn a_vector_comes_back_as_it_was_written(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let written = Vector {
            id: "k\u{0}\u{e9}y/\u{1f600}".to_owned(),
            values: vec![32.4, -0.0, f32::MIN_POSITIVE, 1e-40, f32::MAX],
            namespace: Some("n\u{e9}".to_owned()),
            metadata: Some("{\"b\":1,\"a\":{\"c\":[null,\"\u{1f600}\"]}}".to_owned()),
        };
        let bare = vector("bare", &[0.0; 5]);
        driver.write(vec![written.clone(), bare.clone()], Writing::Insert).await?;
        let found = driver.get(vec![written.id.clone(), bare.id.clone()]).await?;
        assert_eq!(found, [written.clone(), bare.clone()]);
        assert_eq!(found[0].values[1].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(place.driver().get(vec![bare.id.clone(), written.id.clone()]).await?, [bare, written]);
        Ok(())
    })
}

fn an_insert_skips_ids_that_are_there(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let first = with_metadata("a", &[1.0, 0.0], "{\"n\":1}");
        driver.write(vec![first.clone()], Writing::Insert).await?;
        driver.write(vec![vector("a", &[0.0, 1.0]), vector("b", &[0.0, 1.0])], Writing::Insert).await?;
        assert_eq!(driver.get(strings(&["a"])).await?, [first]);
        assert_eq!(ids(&driver.query(nearest_to(&[0.0, 1.0], 2)).await?), ["b", "a"]);
        assert_eq!(driver.describe().await?.vector_count, 2);
        Ok(())
    })
}

fn an_upsert_replaces_everything(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let first = Vector {
            namespace: Some("n".to_owned()),
            metadata: Some("{\"old\":true,\"kept\":1}".to_owned()),
            ..vector("a", &[1.0, 0.0])
        };
        driver.write(vec![first], Writing::Upsert).await?;
        assert_eq!(driver.query(nearest_to(&[1.0, 0.0], 1)).await?.len(), 1);
        let second = with_metadata("a", &[0.0, 1.0], "{\"new\":1}");
        driver.write(vec![vector("a", &[5.0, 5.0]), second.clone()], Writing::Upsert).await?;
        assert_eq!(driver.get(strings(&["a"])).await?, [second]);
        assert_scores(&driver.query(nearest_to(&[0.0, 2.0], 5)).await?, &[1.0]);
        let in_namespace = Query { namespace: Some("n".to_owned()), ..nearest_to(&[0.0, 1.0], 5) };
        assert_eq!(driver.query(in_namespace).await?, []);
        assert_eq!(driver.describe().await?.vector_count, 1);
        Ok(())
    })
}

fn of_one_id_twice_an_insert_takes_the_first(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.write(vec![vector("a", &[1.0, 0.0]), vector("a", &[0.0, 1.0])], Writing::Insert).await?;
        assert_eq!(driver.get(strings(&["a", "a"])).await?, [vector("a", &[1.0, 0.0])]);
        assert_scores(&driver.query(nearest_to(&[1.0, 0.0], 5)).await?, &[1.0]);
        Ok(())
    })
}

fn a_write_is_all_or_nothing(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.write(vec![vector("a", &[1.0, 0.0])], Writing::Insert).await?;
        let before = driver.describe().await?;
        let vectors = vec![vector("b", &[1.0, 0.0]), vector("c", &[1.0])];
        let error = driver.write(vectors, Writing::Upsert).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.message(), "invalid vector for id=\"c\", expected 2 dimensions, and got 1 dimensions");
        assert_eq!(driver.describe().await?, before);
        assert_eq!(ids(&driver.query(nearest_to(&[1.0, 0.0], 5)).await?), ["a"]);
        Ok(())
    })
}

fn a_deleted_vector_is_gone_and_its_id_free(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.write(vec![vector("a", &[1.0, 0.0]), vector("b", &[1.0, 1.0])], Writing::Insert).await?;
        assert_eq!(driver.query(nearest_to(&[1.0, 0.0], 5)).await?.len(), 2);
        driver.delete(strings(&["a", "missing", "a"])).await?;
        assert_eq!(ids(&driver.query(nearest_to(&[1.0, 0.0], 5)).await?), ["b"]);
        assert_eq!(driver.get(strings(&["a"])).await?, []);
        assert_eq!(driver.describe().await?.vector_count, 1);
        driver.write(vec![vector("a", &[0.0, 1.0])], Writing::Insert).await?;
        assert_eq!(ids(&driver.query(nearest_to(&[0.0, 1.0], 5)).await?), ["a", "b"]);
        driver.delete(strings(&["a", "b"])).await?;
        assert_eq!(driver.query(nearest_to(&[0.0, 1.0], 5)).await?, []);
        let error = driver.write(vec![vector("c", &[1.0])], Writing::Insert).await.expect_err("the length stays");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        Ok(())
    })
}

fn the_first_write_fixes_the_dimensions(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let error = driver.write(vec![vector("a", &[])], Writing::Insert).await.expect_err("nothing to fix");
        assert!(error.message().contains("expected 1 to 1536 dimensions, and got 0 dimensions"), "{error}");
        let error = driver.write(vec![vector("a", &[0.5; 1537])], Writing::Insert).await.expect_err("too many");
        assert!(error.message().contains("expected 1 to 1536 dimensions, and got 1537 dimensions"), "{error}");
        assert_eq!(driver.describe().await?.dimensions, 0);
        driver.write(vec![vector("a", &[1.0, 2.0, 3.0])], Writing::Insert).await?;
        assert_eq!(driver.describe().await?.dimensions, 3);
        for driver in [driver, place.driver()] {
            let error = driver.query(nearest_to(&[1.0, 2.0], 1)).await.expect_err("refused");
            assert_eq!(error.message(), "invalid query vector, expected 3 dimensions, and got 2 dimensions");
        }
        Ok(())
    })
}

fn configured_dimensions_hold_from_the_start(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.shaped(Shape { dimensions: Some(2000), ..Shape::default() });
        assert_eq!(driver.describe().await?.dimensions, 2000);
        let error = driver.query(nearest_to(&[1.0], 1)).await.expect_err("refused");
        assert_eq!(error.message(), "invalid query vector, expected 2000 dimensions, and got 1 dimensions");
        let error = driver.write(vec![vector("a", &[1.0])], Writing::Insert).await.expect_err("refused");
        assert_eq!(error.message(), "invalid vector for id=\"a\", expected 2000 dimensions, and got 1 dimensions");
        driver.write(vec![vector("a", &[0.5; 2000])], Writing::Insert).await?;
        assert_scores(&driver.query(nearest_to(&[0.25; 2000], 1)).await?, &[1.0]);
        Ok(())
    })
}

async fn write_four(driver: &dyn VectorDriver) -> Result<(), Failed> {
    let vectors = vec![
        vector("east", &[3.0, 0.0]),
        vector("north", &[0.0, 1.0]),
        vector("north-east", &[0.5, 0.5]),
        vector("west", &[-1.0, 0.0]),
    ];
    driver.write(vectors, Writing::Insert).await?;
    Ok(())
}

fn the_nearest_come_first_by_cosine(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.measured(Metric::Cosine);
        write_four(&*driver).await?;
        driver.write(vec![vector("nowhere", &[0.0, 0.0])], Writing::Insert).await?;
        let found = driver.query(nearest_to(&[2.0, 0.0], 10)).await?;
        assert_eq!(ids(&found), ["east", "north-east", "north", "nowhere", "west"]);
        assert_scores(&found, &[1.0, 0.707_106_77, 0.0, 0.0, -1.0]);
        Ok(())
    })
}

fn the_nearest_come_first_by_distance(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.measured(Metric::Euclidean);
        write_four(&*driver).await?;
        let found = driver.query(nearest_to(&[3.0, 0.0], 3)).await?;
        assert_eq!(ids(&found), ["east", "north-east", "north"]);
        assert_scores(&found, &[0.0, 2.549_509_8, 3.162_277_7]);
        assert_eq!(found[0].score.to_bits(), 0.0_f32.to_bits(), "identical is exactly zero");
        Ok(())
    })
}

fn the_nearest_come_first_by_inner_product(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.measured(Metric::DotProduct);
        write_four(&*driver).await?;
        let found = driver.query(nearest_to(&[2.0, 1.0], 10)).await?;
        assert_eq!(ids(&found), ["east", "north-east", "north", "west"]);
        assert_scores(&found, &[6.0, 1.5, 1.0, -2.0]);
        Ok(())
    })
}

fn equally_near_vectors_keep_their_order(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let vectors = (0..200).map(|number| vector(&format!("v{number}"), &[1.0, (number % 2) as f32])).collect();
        driver.write(vectors, Writing::Insert).await?;
        let found = driver.query(nearest_to(&[1.0, 0.0], 100)).await?;
        for _ in 0..3 {
            assert_eq!(driver.query(nearest_to(&[1.0, 0.0], 100)).await?, found);
            assert_eq!(place.driver().query(nearest_to(&[1.0, 0.0], 100)).await?, found);
        }
        assert_eq!(ids(&driver.query(nearest_to(&[1.0, 0.0], 7)).await?), ids(&found[..7]));
        Ok(())
    })
}

fn a_namespace_is_searched_by_itself(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let in_namespace = |id: &str, namespace: Option<&str>| Vector {
            namespace: namespace.map(str::to_owned),
            ..vector(id, &[1.0, 1.0])
        };
        let vectors = vec![
            in_namespace("one", Some("a")),
            in_namespace("two", Some("b")),
            in_namespace("three", Some("a")),
            in_namespace("four", None),
        ];
        driver.write(vectors, Writing::Insert).await?;
        let search = async |namespace: Option<&str>, top_k| {
            let query = Query { namespace: namespace.map(str::to_owned), ..nearest_to(&[1.0, 0.0], top_k) };
            driver.query(query).await
        };
        assert_eq!(search(None, 10).await?.len(), 4, "without a namespace everything is searched");
        let found = search(Some("a"), 10).await?;
        assert_eq!(ids(&found), ["one", "three"]);
        assert!(found.iter().all(|found| found.namespace.as_deref() == Some("a")));
        assert_eq!(ids(&search(Some("a"), 1).await?), ["one"]);
        assert_eq!(search(Some("A"), 10).await?, []);
        driver.write(vec![in_namespace("one", Some("b"))], Writing::Upsert).await?;
        assert_eq!(ids(&search(Some("a"), 10).await?), ["three"]);
        assert_eq!(ids(&search(Some("b"), 10).await?), ["one", "two"]);
        driver.delete(strings(&["three"])).await?;
        assert_eq!(search(Some("a"), 10).await?, []);
        Ok(())
    })
}

fn a_match_has_only_what_was_asked_for(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.write(vec![with_metadata("a", &[32.4, 74.1, 3.2], "{\"k\":1}")], Writing::Insert).await?;
        driver.write(vec![vector("b", &[-1.0, 0.0, 0.0])], Writing::Insert).await?;
        for (with_values, with_metadata) in [(false, false), (true, false), (false, true), (true, true)] {
            let query = Query { with_values, with_metadata, ..nearest_to(&[32.4, 74.1, 3.2], 2) };
            let found = driver.query(query).await?;
            assert_eq!(found[0].values, with_values.then(|| vec![32.4, 74.1, 3.2]));
            assert_eq!(found[0].metadata.as_deref(), with_metadata.then_some("{\"k\":1}"));
            assert_eq!((&found[1].metadata, &found[1].namespace), (&None, &None));
        }
        Ok(())
    })
}

fn get_leaves_out_what_is_not_there(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.write(vec![vector("a", &[1.0]), vector("b", &[2.0]), vector("c", &[3.0])], Writing::Insert).await?;
        let found = driver.get(strings(&["c", "missing", "a", "c", "A"])).await?;
        assert_eq!(found, [vector("c", &[3.0]), vector("a", &[1.0])]);
        assert_eq!(driver.get(Vec::new()).await?, []);
        Ok(())
    })
}

fn describe_tells_the_last_write(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let first = driver.write(vec![vector("a", &[1.0])], Writing::Insert).await?;
        let told = driver.describe().await?;
        assert_eq!(told.processed_up_to_mutation.as_ref(), Some(&first.id));
        assert_eq!((told.processed_up_to_ms, told.vector_count, told.dimensions), (Some(START_MS), 1, 1));
        let groups: Vec<usize> = first.id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{} is a UUID", first.id);
        assert!(first.id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()));
        place.clock.advance_ms(500);
        let skipped = driver.write(vec![vector("a", &[2.0])], Writing::Insert).await?;
        assert_ne!(skipped.id, first.id);
        let told = driver.describe().await?;
        assert_eq!(told.processed_up_to_mutation, Some(skipped.id), "a write that changes nothing is one too");
        assert_eq!(told.processed_up_to_ms, Some(START_MS + 500));
        let deleted = driver.delete(strings(&["a"])).await?;
        assert_eq!(driver.describe().await?.processed_up_to_mutation, Some(deleted.id));
        Ok(())
    })
}

fn everything_survives_a_restart(place: &Place) -> Result<(), Failed> {
    let kept = Vector {
        namespace: Some("n".to_owned()),
        metadata: Some("{\"k\":1}".to_owned()),
        ..vector("kept", &[1.0, 2.0])
    };
    let told = block_on(async {
        let driver = place.driver();
        driver.write(vec![vector("gone", &[1.0, 2.0]), kept.clone()], Writing::Insert).await?;
        driver.delete(strings(&["gone"])).await?;
        Ok::<_, Failed>(driver.describe().await?)
    })?;
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.describe().await?, told);
        let query = Query {
            namespace: Some("n".to_owned()),
            with_values: true,
            with_metadata: true,
            ..nearest_to(&[1.0, 2.0], 5)
        };
        let found = driver.query(query).await?;
        assert_eq!(ids(&found), ["kept"]);
        assert_eq!((&found[0].values, &found[0].metadata), (&Some(kept.values.clone()), &kept.metadata));
        assert_eq!(driver.get(strings(&["kept", "gone"])).await?, [kept]);
        Ok(())
    })
}

fn a_thousand_vectors_of_the_longest_kind_are_one_write(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let of = |number: usize| {
            let values: Vec<f32> = (0..1536).map(|component| ((number * 31 + component * 7) % 97) as f32).collect();
            with_metadata(&format!("v{number:059}"), &values, &format!("{{\"k\":\"{}\"}}", "x".repeat(10_000)))
        };
        driver.write((0..1000).map(of).collect(), Writing::Upsert).await?;
        for number in [0, 499, 999] {
            let found = driver.query(nearest_to(&of(number).values, 100)).await?;
            assert_eq!(found.len(), 100);
            assert!((found[0].score - 1.0).abs() < 1e-5);
            assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
            assert_eq!(driver.get(vec![of(number).id]).await?, [of(number)]);
        }
        Ok(())
    })
}
