use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Failed;

use super::{Place, block_on, ids, nearest_to, strings, vector};
use crate::{VectorDriver, Writing};

const THREADS: usize = 4;
const ROUNDS: usize = 50;

pub(super) fn two_drivers_see_each_others_writes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let (one, two) = (place.driver(), place.driver());
        let found = async |driver: &dyn VectorDriver| {
            let found = driver.query(nearest_to(&[1.0, 0.0], 5)).await?;
            Ok::<_, Failed>(ids(&found).into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(found(&*two).await?, Vec::<String>::new());
        one.write(vec![vector("a", &[1.0, 0.0])], Writing::Insert).await?;
        assert_eq!(found(&*two).await?, ["a"]);
        two.write(vec![vector("b", &[1.0, 0.5]), vector("a", &[0.0, 1.0])], Writing::Upsert).await?;
        assert_eq!(found(&*one).await?, ["b", "a"]);
        one.delete(strings(&["b"])).await?;
        assert_eq!(found(&*two).await?, ["a"]);
        two.write(vec![vector("c", &[1.0, 0.0])], Writing::Insert).await?;
        assert_eq!(found(&*one).await?, ["c", "a"], "a slot that was freed and taken again is another vector's");
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
        for driver in [shared, place.driver()] {
            assert_eq!(driver.describe().await?.vector_count, (THREADS * ROUNDS) as u64);
            assert_eq!(driver.query(nearest_to(&[1.0, 1.0], 1000)).await?.len(), THREADS * ROUNDS);
        }
        Ok(())
    })
}

async fn write_rounds(driver: &dyn VectorDriver, thread: usize) -> Result<(), Failed> {
    for round in 0..ROUNDS {
        let id = format!("{thread}/{round}");
        let passing = format!("passing {thread}");
        let vectors = vec![vector(&id, &[thread as f32, round as f32 + 1.0]), vector(&passing, &[1.0, 1.0])];
        driver.write(vectors, Writing::Upsert).await?;
        driver.delete(vec![passing]).await?;
    }
    Ok(())
}

/// A writer announces each vector after it wrote it; a reader, through whichever driver, finds what was announced before.
pub(super) fn a_reader_finds_what_was_written_before_it_asked(place: &Place) -> Result<(), Failed> {
    const LAST: u32 = 100;
    let (one, two) = (place.driver(), place.driver());
    let announced = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = [&one, &two]
            .into_iter()
            .map(|driver| {
                let announced = &announced;
                scope.spawn(move || {
                    block_on(async {
                        loop {
                            let expected = announced.load(Ordering::Acquire);
                            let found = driver.query(nearest_to(&[1.0, 0.0], 1000)).await?;
                            assert!(found.len() >= expected as usize, "{} of {expected}", found.len());
                            if expected == LAST {
                                return Ok::<_, Failed>(());
                            }
                            tokio::task::yield_now().await;
                        }
                    })
                })
            })
            .collect();
        let outcome = block_on(async {
            for number in 1..=LAST {
                one.write(vec![vector(&number.to_string(), &[number as f32, 1.0])], Writing::Insert).await?;
                announced.store(number, Ordering::Release);
            }
            Ok::<_, Failed>(())
        });
        // Ahead of any judgement, or the readers would go on for ever.
        announced.store(LAST, Ordering::Release);
        for reader in readers {
            reader.join().expect("no reader panics")?;
        }
        outcome
    })
}

pub(super) fn a_place_can_be_opened_by_many_at_once(place: &Place) -> Result<(), Failed> {
    std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8)
            .map(|number: u16| {
                scope.spawn(move || {
                    block_on(
                        place
                            .driver()
                            .write(vec![vector(&number.to_string(), &[1.0, f32::from(number)])], Writing::Insert),
                    )
                })
            })
            .collect();
        for opener in openers {
            opener.join().expect("nobody panics")?;
        }
        Ok::<_, Failed>(())
    })?;
    assert_eq!(block_on(place.driver().describe())?.vector_count, 8);
    Ok(())
}
