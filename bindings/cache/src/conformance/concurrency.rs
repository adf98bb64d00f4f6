use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Failed;

use super::{Place, block_on, names};
use crate::{CacheDriver, Entry};

const THREADS: usize = 4;
const ROUNDS: usize = 100;

pub(super) fn two_drivers_see_each_others_writes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let (one, two) = (place.driver(), place.driver());
        let entry = |text: &str| Entry::lasting(text.to_owned());
        assert_eq!(two.get("key").await?, None);
        one.put("key", entry("first")).await?;
        assert_eq!(two.get("key").await?, Some(entry("first")), "that there was nothing must not be remembered");
        two.put("key", entry("second")).await?;
        assert_eq!(one.get("key").await?, Some(entry("second")), "the own write must not be remembered for ever");
        one.put("other", entry("value")).await?;
        two.delete("key").await?;
        assert_eq!(one.get("key").await?, None);
        assert_eq!(names(&*two, "").await?, ["other"]);
        Ok(())
    })
}

pub(super) fn parallel_writers_all_get_through(place: &Place) -> Result<(), Failed> {
    let shared = place.driver();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                // Half of the threads share one driver, as isolates do; the others stand for other processes.
                let driver = if thread % 2 == 0 { shared.clone() } else { place.driver() };
                scope.spawn(move || block_on(write_rounds(&*driver, thread)))
            })
            .collect();
        for writer in writers {
            writer.join().expect("no writer panics")?;
        }
        Ok::<_, Failed>(())
    })?;
    block_on(async {
        assert_eq!(names(&*place.driver(), "").await?.len(), THREADS * ROUNDS);
        for thread in 0..THREADS {
            assert!(shared.get(&format!("{thread}/{}", ROUNDS - 1)).await?.is_some());
        }
        Ok(())
    })
}

async fn write_rounds(driver: &dyn CacheDriver, thread: usize) -> Result<(), Failed> {
    for round in 0..ROUNDS {
        driver.put(&format!("{thread}/{round}"), Entry::lasting(vec![1; 100])).await?;
        driver.put("passing", Entry::lasting("value")).await?;
        driver.delete("passing").await?;
    }
    Ok(())
}

/// One writer a key counts upwards; whoever reads that key, through whichever driver, never sees the count fall, and the
/// writer itself always reads what it wrote last.
pub(super) fn a_reader_never_goes_back_in_time(place: &Place) -> Result<(), Failed> {
    let (one, two) = (place.driver(), place.driver());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> =
            [&one, &two, &one].into_iter().map(|driver| scope.spawn(|| block_on(watch(&**driver, &done)))).collect();
        let writers: Vec<_> = [(&one, "key0"), (&one, "key1"), (&two, "key2")]
            .into_iter()
            .map(|(driver, key)| scope.spawn(move || block_on(count_up(&**driver, key))))
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

async fn count_up(driver: &dyn CacheDriver, key: &str) -> Result<(), Failed> {
    for count in 1..=200_u32 {
        driver.put(key, Entry::lasting(count.to_string())).await?;
        assert_eq!(count_of(driver, key).await?, count, "a writer reads what it wrote");
    }
    Ok(())
}

async fn watch(driver: &dyn CacheDriver, done: &AtomicBool) -> Result<(), Failed> {
    let mut seen = [0; 3];
    while !done.load(Ordering::Acquire) {
        for (number, last) in seen.iter_mut().enumerate() {
            let count = count_of(driver, &format!("key{number}")).await?;
            assert!(count >= *last, "key{number} fell from {last} to {count}");
            *last = count;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn count_of(driver: &dyn CacheDriver, key: &str) -> Result<u32, Failed> {
    match driver.get(key).await? {
        None => Ok(0),
        Some(entry) => Ok(std::str::from_utf8(&entry.value)?.parse()?),
    }
}

pub(super) fn a_place_can_be_opened_by_many_at_once(place: &Place) -> Result<(), Failed> {
    for round in 0..10 {
        let place = place.beside(round);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let place = &place;
                scope.spawn(move || {
                    let driver = place.driver();
                    block_on(driver.put(&thread.to_string(), Entry::lasting("value"))).expect("the put goes through");
                });
            }
        });
        assert_eq!(block_on(names(&*place.driver(), ""))?.len(), THREADS);
    }
    Ok(())
}

pub(super) fn threads_that_write_at_once_lose_nothing(place: &Place) -> Result<(), Failed> {
    let (one, two) = (place.driver(), place.driver());
    std::thread::scope(|scope| {
        let writers: Vec<_> = [&one, &one, &two]
            .into_iter()
            .enumerate()
            .map(|(thread, driver)| scope.spawn(move || block_on(write_at_once(driver, thread))))
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("no writer panics"))
    })?;
    block_on(async {
        assert_eq!(names(&*place.driver(), "").await?.len(), 3 * 10 * 30);
        Ok(())
    })
}

/// What was put is there for whoever asks after it, also where it was put together with others.
async fn write_at_once(driver: &Arc<dyn CacheDriver>, thread: usize) -> Result<(), Failed> {
    for round in 0..10 {
        let puts: Vec<_> = (0..30)
            .map(|number| {
                let driver = Arc::clone(driver);
                let key = format!("{thread}/{round}/{number}");
                tokio::spawn(async move {
                    driver.put(&key, Entry::lasting(key.clone())).await?;
                    driver.get(&key).await.map(|entry| entry == Some(Entry::lasting(key)))
                })
            })
            .collect();
        for put in puts {
            assert!(put.await??, "who has put it reads it");
        }
    }
    Ok(())
}
