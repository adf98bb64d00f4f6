use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;

use super::{Add, MIN_PART_BYTES, Place, add_part, begin, block_on, bytes_of, fill, pattern, plain, read, store};
use crate::checksum::{md5_of, to_hex};
use crate::conditional::{Conditional, Etag};
use crate::{GetRequest, ListRequest, NewObject, StorageDriver};

const THREADS: usize = 4;
const ROUNDS: usize = 20;

pub(super) fn add(add: Add<'_>) {
    add("two_drivers_see_each_others_writes", two_drivers_see_each_others_writes);
    add("parallel_writers_all_get_through", parallel_writers_all_get_through);
    add("a_reader_sees_one_object_or_the_other", a_reader_sees_one_object_or_the_other);
    add("a_slow_reader_keeps_the_object_it_found", a_slow_reader_keeps_the_object_it_found);
    add("a_condition_makes_an_update_atomic", a_condition_makes_an_update_atomic);
    add("parts_can_be_uploaded_at_once", parts_can_be_uploaded_at_once);
    add("a_place_can_be_opened_by_many_at_once", a_place_can_be_opened_by_many_at_once);
}

fn two_drivers_see_each_others_writes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let (one, two) = (place.driver(), place.driver());
        assert_eq!(two.head("key").await?, None);
        store(&*one, "key", "first").await?;
        assert_eq!(bytes_of(&*two, "key").await?, "first");
        store(&*two, "key", "second").await?;
        assert_eq!(bytes_of(&*one, "key").await?, "second");
        two.delete(&["key".to_owned()]).await?;
        assert_eq!(one.head("key").await?, None);
        Ok(())
    })
}

/// Half of the threads share one driver, as isolates do; the others stand for other processes.
fn on_threads(
    place: &Place,
    work: impl Fn(&dyn StorageDriver, usize) -> Result<(), Failed> + Sync,
) -> Result<(), Failed> {
    let shared = place.driver();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let driver = if thread % 2 == 0 { shared.clone() } else { place.driver() };
                let work = &work;
                scope.spawn(move || work(&*driver, thread))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
    })
}

fn parallel_writers_all_get_through(place: &Place) -> Result<(), Failed> {
    on_threads(place, |driver, thread| {
        block_on(async {
            for round in 0..ROUNDS {
                store(driver, &format!("{thread}/{round}"), pattern(100, thread)).await?;
                store(driver, "passing", pattern(1000, thread)).await?;
                driver.delete(&["passing".to_owned()]).await?;
            }
            Ok(())
        })
    })?;
    block_on(async {
        let driver = place.driver();
        let listing = driver.list(&ListRequest { limit: 1000, ..ListRequest::default() }).await?;
        assert_eq!(listing.objects.len(), THREADS * ROUNDS);
        for thread in 0..THREADS {
            assert!(bytes_of(&*driver, &format!("{thread}/{}", ROUNDS - 1)).await? == pattern(100, thread));
        }
        Ok(())
    })
}

/// Objects of one put and in parts replace each other; what is read always belongs together.
fn a_reader_sees_one_object_or_the_other(place: &Place) -> Result<(), Failed> {
    let (one, two) = (place.driver(), place.driver());
    block_on(store(&*one, "key", pattern(300_000, 0)))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            [&one, &two].into_iter().map(|driver| scope.spawn(|| block_on(watch(&**driver, &done)))).collect();
        let writers: Vec<_> = [(&one, 1), (&two, 100)]
            .into_iter()
            .map(|(driver, seed)| scope.spawn(move || block_on(keep_replacing(&**driver, seed))))
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Ahead of any judgement, or the readers would go on for ever.
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().expect("no reader panics")?;
        }
        outcomes.into_iter().try_for_each(|outcome| outcome.expect("no writer panics"))
    })
}

async fn keep_replacing(driver: &dyn StorageDriver, seed: usize) -> Result<(), Failed> {
    for round in 0..ROUNDS {
        store(driver, "key", pattern(300_000 + round, seed + round)).await?;
        let upload_id = begin(driver, "key").await?;
        let mut parts = Vec::new();
        for number in 1..=3 {
            parts.push(add_part(driver, "key", &upload_id, number, pattern(100_000, seed + round)).await?);
        }
        driver.complete_multipart_upload("key", &upload_id, &parts, MIN_PART_BYTES).await?;
    }
    Ok(())
}

async fn watch(driver: &dyn StorageDriver, done: &AtomicBool) -> Result<(), Failed> {
    while !done.load(Ordering::Acquire) {
        let found = read(driver, "key", &GetRequest::default()).await?;
        let (object, _, bytes) = found.ok_or("there always is an object")?;
        let bytes = bytes.ok_or("there was no condition")?;
        let expected = if object.etag.ends_with("-3") {
            let digests: Vec<u8> = bytes.chunks(100_000).flat_map(md5_of).collect();
            format!("{}-3", to_hex(&md5_of(&digests)))
        } else {
            to_hex(&md5_of(&bytes))
        };
        assert_eq!(object.etag, expected, "the bytes are those of the object that was told");
    }
    Ok(())
}

fn a_slow_reader_keeps_the_object_it_found(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let (one, two) = (place.driver(), place.driver());
        let old = pattern(2_000_000, 1);
        store(&*one, "key", old.clone()).await?;
        let body = one.get("key", &GetRequest::default()).await?.and_then(|found| found.body).ok_or("a body")?;
        let unread = two.get("key", &GetRequest::default()).await?.and_then(|found| found.body).ok_or("a body")?;
        store(&*two, "key", pattern(2_000_000, 2)).await?;
        two.delete(&["key".to_owned()]).await?;
        assert!(super::drain(body).await? == old);
        assert!(super::drain(unread).await? == old);
        Ok(())
    })
}

fn a_condition_makes_an_update_atomic(place: &Place) -> Result<(), Failed> {
    block_on(store(&*place.driver(), "count", "0"))?;
    on_threads(place, |driver, _| {
        block_on(async {
            for _ in 0..ROUNDS {
                while !increment(driver).await? {}
            }
            Ok(())
        })
    })?;
    assert_eq!(block_on(bytes_of(&*place.driver(), "count"))?, (THREADS * ROUNDS).to_string());
    Ok(())
}

/// `false` where somebody was faster.
async fn increment(driver: &dyn StorageDriver) -> Result<bool, Failed> {
    let found = read(driver, "count", &GetRequest::default()).await?;
    let (object, _, bytes) = found.ok_or("it is there")?;
    let count: usize = std::str::from_utf8(&bytes.ok_or("there was no condition")?)?.parse()?;
    let text = (count + 1).to_string();
    let only_if = Conditional { etag_matches: Some(vec![Etag::Strong(object.etag)]), ..Conditional::default() };
    let upload = driver.put(NewObject { only_if: Some(only_if), ..plain("count", text.len()) }).await?;
    Ok(fill(upload, text).await?.is_some())
}

fn parts_can_be_uploaded_at_once(place: &Place) -> Result<(), Failed> {
    let upload_id = block_on(begin(&*place.driver(), "key"))?;
    let parts = std::sync::Mutex::new(Vec::new());
    on_threads(place, |driver, thread| {
        let number = thread as u32 + 1;
        let part = block_on(add_part(driver, "key", &upload_id, number, pattern(500_000, thread)))?;
        parts.lock().map_err(|error| error.to_string())?.push(part);
        Ok(())
    })?;
    block_on(async {
        let driver = place.driver();
        let parts = parts.into_inner()?;
        driver.complete_multipart_upload("key", &upload_id, &parts, MIN_PART_BYTES).await?;
        let whole: Vec<u8> = (0..THREADS).flat_map(|thread| pattern(500_000, thread)).collect();
        assert!(bytes_of(&*driver, "key").await? == whole);
        Ok(())
    })
}

fn a_place_can_be_opened_by_many_at_once(place: &Place) -> Result<(), Failed> {
    for round in 0..5 {
        let place = place.beside(round);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let place = &place;
                scope.spawn(move || {
                    let driver = place.driver();
                    block_on(store(&*driver, &thread.to_string(), "value")).expect("the put goes through");
                });
            }
        });
        let listing = block_on(place.driver().list(&ListRequest { limit: 1000, ..ListRequest::default() }))?;
        assert_eq!(listing.objects.len(), THREADS);
    }
    Ok(())
}
