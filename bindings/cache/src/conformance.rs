//! What every driver must do, as tests that any driver's test binary can run.
//!
//! A suite gets a function that opens a *place* (a name, new for each test) with a clock. Opening the same place twice gives
//! two drivers over the same entries, as two processes or a restart would.

mod concurrency;
mod model;

use std::future::Future;
use std::sync::Arc;

use aerostack_bindings::{Clock, ErrorKind, ManualClock};
use bytes::Bytes;
use libtest_mimic::{Failed, Trial};

use crate::limits::{Expiry, MAX_VALUE_BYTES};
use crate::{CacheDriver, Entry, NamedCache};

/// Milliseconds since the UNIX epoch at which every test begins: within a second, not at its edge.
const START_MS: u64 = 1_700_000_000_250;
/// The second of [`START_MS`].
const START: u64 = START_MS / 1000;

/// Opens a place.
pub type Open = Arc<dyn Fn(&str, Arc<dyn Clock>) -> Arc<dyn CacheDriver> + Send + Sync>;

/// Every test of the suite, named `<driver>::<sentence>`.
pub fn trials(driver: &'static str, open: &Open) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut add = |name: &'static str, test: fn(&Place) -> Result<(), Failed>| {
        let open = Arc::clone(open);
        trials.push(Trial::test(format!("{driver}::{name}"), move || test(&Place::new(name, open))));
    };
    add("a_value_comes_back_as_it_was_written", a_value_comes_back_as_it_was_written);
    add("an_empty_value_is_a_value", an_empty_value_is_a_value);
    add("a_large_value_comes_back_whole", a_large_value_comes_back_whole);
    add("a_put_replaces_value_metadata_and_expiry", a_put_replaces_value_metadata_and_expiry);
    add("a_delete_is_idempotent", a_delete_is_idempotent);
    add("keys_are_case_sensitive", keys_are_case_sensitive);
    add("several_keys_come_back_in_their_order", several_keys_come_back_in_their_order);
    add("an_entry_is_gone_at_its_second_and_not_before", an_entry_is_gone_at_its_second_and_not_before);
    add("an_expired_key_can_be_written_again", an_expired_key_can_be_written_again);
    add("a_listing_is_in_the_order_of_bytes", a_listing_is_in_the_order_of_bytes);
    add("a_prefix_is_literal_and_case_sensitive", a_prefix_is_literal_and_case_sensitive);
    add("a_listing_tells_metadata_and_expiry", a_listing_tells_metadata_and_expiry);
    add("a_page_that_ends_with_the_last_key_is_complete", a_page_that_ends_with_the_last_key_is_complete);
    add("keys_inserted_while_paging_show_only_ahead", keys_inserted_while_paging_show_only_ahead);
    add("everything_survives_a_restart", everything_survives_a_restart);
    add("the_binding_refuses_what_kv_refuses", the_binding_refuses_what_kv_refuses);
    add("the_binding_pages_through_a_thousand_keys_at_a_time", the_binding_pages_through_a_thousand_keys_at_a_time);
    add("two_drivers_see_each_others_writes", concurrency::two_drivers_see_each_others_writes);
    add("parallel_writers_all_get_through", concurrency::parallel_writers_all_get_through);
    add("a_reader_never_goes_back_in_time", concurrency::a_reader_never_goes_back_in_time);
    add("a_place_can_be_opened_by_many_at_once", concurrency::a_place_can_be_opened_by_many_at_once);
    add("any_sequence_of_calls_behaves_like_a_sorted_map", model::any_sequence_of_calls_behaves_like_a_sorted_map);
    add("calls_at_once_behave_as_one_after_the_other", model::calls_at_once_behave_as_one_after_the_other);
    add("threads_that_write_at_once_lose_nothing", concurrency::threads_that_write_at_once_lose_nothing);
    trials
}

/// Where one test has its entries.
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

    fn driver(&self) -> Arc<dyn CacheDriver> {
        (self.open)(&self.name, self.clock.clone())
    }

    fn binding(&self) -> NamedCache {
        NamedCache {
            name: "CACHE".to_owned(),
            driver: Arc::new(self.driver().into()),
            clock: self.clock.clone(),
            min_ttl_seconds: 60,
        }
    }
}

/// Runs a test on a current-thread runtime, as an isolate would.
fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

fn entry(value: &str, metadata: Option<&str>, expires_at: Option<u64>) -> Entry {
    Entry { value: Bytes::copy_from_slice(value.as_bytes()), metadata: metadata.map(Arc::from), expires_at }
}

async fn names(driver: &dyn CacheDriver, prefix: &str) -> Result<Vec<String>, Failed> {
    let listing = driver.list(prefix, 1000, None).await?;
    Ok(listing.keys.into_iter().map(|key| key.name).collect())
}

fn a_value_comes_back_as_it_was_written(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.get("key").await?, None);
        let written = Entry { value: Bytes::from_static(b"\x00\xff\xfe bytes"), ..entry("", Some("{\"a\":1}"), None) };
        driver.put("key", written.clone()).await?;
        assert_eq!(driver.get("key").await?, Some(written));
        let odd = "k\u{0}\u{e9}y/\u{1f600} %_*?[";
        driver.put(odd, Entry::lasting("odd")).await?;
        assert_eq!(driver.get(odd).await?, Some(Entry::lasting("odd")));
        assert_eq!(driver.get("k").await?, None);
        Ok(())
    })
}

fn an_empty_value_is_a_value(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("key", Entry::lasting("")).await?;
        assert_eq!(driver.get("key").await?, Some(Entry::lasting("")));
        assert_eq!(place.driver().get("key").await?, Some(Entry::lasting("")));
        Ok(())
    })
}

fn a_large_value_comes_back_whole(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let value: Vec<u8> = (0..MAX_VALUE_BYTES).map(|position| (position % 251) as u8).collect();
        driver.put("key", Entry::lasting(value.clone())).await?;
        assert!(driver.get("key").await? == Some(Entry::lasting(value)));
        driver.put("key", Entry::lasting("small again")).await?;
        assert_eq!(driver.get("key").await?, Some(Entry::lasting("small again")));
        Ok(())
    })
}

fn a_put_replaces_value_metadata_and_expiry(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("key", entry("first", Some("1"), Some(START + 100))).await?;
        driver.put("key", Entry::lasting("second")).await?;
        assert_eq!(driver.get("key").await?, Some(Entry::lasting("second")));
        assert_eq!(place.driver().get("key").await?, Some(Entry::lasting("second")));
        Ok(())
    })
}

fn a_delete_is_idempotent(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.delete("key").await?;
        driver.put("key", Entry::lasting("value")).await?;
        driver.delete("key").await?;
        assert_eq!(driver.get("key").await?, None);
        driver.delete("key").await?;
        assert_eq!(names(&*driver, "").await?, Vec::<String>::new());
        Ok(())
    })
}

fn keys_are_case_sensitive(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("key", Entry::lasting("lower")).await?;
        driver.put("KEY", Entry::lasting("upper")).await?;
        assert_eq!(driver.get("key").await?, Some(Entry::lasting("lower")));
        assert_eq!(driver.get("KEY").await?, Some(Entry::lasting("upper")));
        assert_eq!(driver.get("Key").await?, None);
        Ok(())
    })
}

fn several_keys_come_back_in_their_order(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("b", Entry::lasting("2")).await?;
        driver.put("a", entry("1", Some("true"), None)).await?;
        let keys = ["b", "missing", "a", "b"].map(str::to_owned);
        let found = driver.get_many(&keys).await?;
        let second = Some(Entry::lasting("2"));
        assert_eq!(found, [second.clone(), None, Some(entry("1", Some("true"), None)), second]);
        Ok(())
    })
}

fn an_entry_is_gone_at_its_second_and_not_before(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let expiring = entry("value", None, Some(START + 60));
        driver.put("key", expiring.clone()).await?;
        place.clock.advance_ms(59_749);
        assert_eq!(driver.get("key").await?, Some(expiring.clone()));
        assert_eq!(place.driver().get("key").await?, Some(expiring));
        assert_eq!(names(&*driver, "").await?, ["key"]);
        place.clock.advance_ms(1);
        assert_eq!(driver.get("key").await?, None);
        assert_eq!(place.driver().get("key").await?, None);
        assert_eq!(driver.get_many(&["key".to_owned()]).await?, [None]);
        assert_eq!(names(&*driver, "").await?, Vec::<String>::new());
        Ok(())
    })
}

fn an_expired_key_can_be_written_again(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("key", entry("first", None, Some(START + 60))).await?;
        place.clock.advance_ms(60_000);
        assert_eq!(driver.get("key").await?, None);
        driver.put("key", Entry::lasting("second")).await?;
        assert_eq!(driver.get("key").await?, Some(Entry::lasting("second")));
        assert_eq!(names(&*driver, "").await?, ["key"]);
        Ok(())
    })
}

fn a_listing_is_in_the_order_of_bytes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        // U+FFFD comes before U+1F600 in UTF-8 and after it in UTF-16.
        let sorted = [
            "!",
            "\", ",
            ", ",
            "A",
            "B",
            "a",
            "a!",
            "aa",
            "b",
            "\u{e9}",
            "\u{4e2d}",
            "\u{fffd}",
            "\u{1f600}",
            "\u{10ffff}",
        ];
        for name in sorted.iter().rev() {
            driver.put(name, Entry::lasting("value")).await?;
        }
        assert_eq!(names(&*driver, "").await?, sorted);
        let mut paged = Vec::new();
        let mut last: Option<String> = None;
        loop {
            let page = driver.list("", 4, last.as_deref()).await?;
            assert!(page.keys.len() <= 4);
            paged.extend(page.keys.into_iter().map(|key| key.name));
            last = paged.last().cloned();
            if page.complete {
                break;
            }
        }
        assert_eq!(paged, sorted);
        Ok(())
    })
}

fn a_prefix_is_literal_and_case_sensitive(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        for name in [
            "key\\_%1",
            "key\\_%2",
            "key\\a",
            "KEY1",
            "key1",
            "k",
            "\u{10ffff}",
            "\u{10ffff}a",
            "\u{d7ff}a",
            "\u{e000}",
        ] {
            driver.put(name, Entry::lasting("value")).await?;
        }
        assert_eq!(names(&*driver, "key\\_%").await?, ["key\\_%1", "key\\_%2"]);
        assert_eq!(names(&*driver, "KEY").await?, ["KEY1"]);
        assert_eq!(names(&*driver, "key1").await?, ["key1"]);
        assert_eq!(names(&*driver, "none").await?, Vec::<String>::new());
        assert_eq!(names(&*driver, "\u{10ffff}").await?, ["\u{10ffff}", "\u{10ffff}a"]);
        assert_eq!(names(&*driver, "\u{d7ff}").await?, ["\u{d7ff}a"]);
        Ok(())
    })
}

fn a_listing_tells_metadata_and_expiry(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("a", entry("1", Some("0"), Some(START + 500))).await?;
        driver.put("b", Entry::lasting("2")).await?;
        let listing = driver.list("", 10, None).await?;
        assert!(listing.complete);
        let told: Vec<_> =
            listing.keys.iter().map(|key| (key.name.as_str(), key.metadata.as_deref(), key.expires_at)).collect();
        assert_eq!(told, [("a", Some("0"), Some(START + 500)), ("b", None, None)]);
        Ok(())
    })
}

fn a_page_that_ends_with_the_last_key_is_complete(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        driver.put("a", Entry::lasting("1")).await?;
        driver.put("b", Entry::lasting("2")).await?;
        driver.put("c", entry("3", None, Some(START + 60))).await?;
        assert!(!driver.list("", 2, None).await?.complete);
        assert!(driver.list("", 3, None).await?.complete);
        place.clock.advance_ms(60_000);
        assert!(driver.list("", 2, None).await?.complete, "an expired key does not count as one more");
        assert!(driver.list("", 2, Some("b")).await?.keys.is_empty());
        Ok(())
    })
}

fn keys_inserted_while_paging_show_only_ahead(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let cache = place.binding();
        for key in ["key1", "key3", "key5"] {
            cache.driver.get()?.put(key, Entry::lasting("value")).await?;
        }
        let first = cache.list("key", 2, "").await?;
        let cursor = first.cursor.ok_or("the first page has a cursor")?;
        assert_eq!(first.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["key1", "key3"]);
        cache.driver.get()?.put("key2", Entry::lasting("behind")).await?;
        cache.driver.get()?.put("key4", Entry::lasting("ahead")).await?;
        cache.driver.get()?.delete("key3").await?;
        let second = cache.list("key", 2, &cursor).await?;
        assert_eq!(second.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["key4", "key5"]);
        assert_eq!(second.cursor, None);
        Ok(())
    })
}

fn everything_survives_a_restart(place: &Place) -> Result<(), Failed> {
    let stored = entry("value", Some("[1]"), Some(START + 100));
    block_on(async {
        let driver = place.driver();
        driver.put("kept", stored.clone()).await?;
        driver.put("deleted", Entry::lasting("value")).await?;
        driver.delete("deleted").await?;
        Ok::<_, Failed>(())
    })?;
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.get("kept").await?, Some(stored));
        assert_eq!(driver.get("deleted").await?, None);
        assert_eq!(names(&*driver, "").await?, ["kept"]);
        Ok(())
    })
}

fn the_binding_refuses_what_kv_refuses(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let cache = place.binding();
        let value = || Bytes::from_static(b"value");
        let long = "x".repeat(513);
        let too_long = "failed: 414 UTF-8 encoded length of 513 exceeds key length limit of 512.";
        let refused = |outcome: aerostack_bindings::Result<()>, text: String| {
            let error = outcome.expect_err(&text);
            assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, text.as_str()));
        };
        refused(cache.get(&long).await.map(drop), format!("KV GET {too_long}"));
        refused(cache.list(&long, 1, "").await.map(drop), format!("KV GET {too_long}"));
        refused(cache.delete(&long).await, format!("KV DELETE {too_long}"));
        refused(cache.put(&long, value(), Expiry::Never, None).await, format!("KV PUT {too_long}"));
        refused(
            cache.put("key", value(), Expiry::After(59), None).await,
            "KV PUT failed: 400 Invalid expiration_ttl of 59. Expiration TTL must be at least 60.".to_owned(),
        );
        refused(
            cache.put("key", value(), Expiry::At(START as i32 + 59), None).await,
            format!(
                "KV PUT failed: 400 Invalid expiration of {}. Expiration times must be at least 60 seconds in the future.",
                START + 59
            ),
        );
        refused(
            cache.put("key", value(), Expiry::Never, Some("x".repeat(1025).into())).await,
            "KV PUT failed: 413 Metadata length of 1025 exceeds limit of 1024.".to_owned(),
        );
        refused(
            cache.put("key", vec![0; MAX_VALUE_BYTES + 1].into(), Expiry::Never, None).await,
            "KV PUT failed: 413 Value length of 26214401 exceeds limit of 26214400.".to_owned(),
        );
        assert_eq!(cache.get("key").await?, None, "what is refused is not stored");

        cache.put("key", value(), Expiry::After(60), None).await?;
        assert_eq!(cache.get("key").await?.and_then(|entry| entry.expires_at), Some(START + 60));
        cache.put("key", value(), Expiry::At(START as i32 + 60), None).await?;
        assert_eq!(cache.get("key").await?.and_then(|entry| entry.expires_at), Some(START + 60));

        for key in ["a", "b", "c"] {
            cache.put(key, vec![0; 9 * 1024 * 1024].into(), Expiry::Never, None).await?;
        }
        let keys = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(cache.get_many(&keys[..2], "").await?.len(), 2);
        refused(
            cache.get_many(&keys, "text").await.map(drop),
            "KV GET_BULK failed: 413 Total size of request exceeds the limit of 25MB".to_owned(),
        );
        Ok(())
    })
}

fn the_binding_pages_through_a_thousand_keys_at_a_time(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let cache = place.binding();
        for number in 0..1001 {
            cache.driver.get()?.put(&format!("key{number:04}"), Entry::lasting("value")).await?;
        }
        let first = cache.list("", 0, "").await?;
        assert_eq!(first.keys.len(), 1000);
        let second = cache.list("", 0, &first.cursor.ok_or("the first page has a cursor")?).await?;
        assert_eq!(second.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["key1000"]);
        assert_eq!(second.cursor, None);
        Ok(())
    })
}
