use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aerostack_bindings::ErrorKind;
use bytes::Bytes;

use super::{Case, Outcome, Place, START_MS, block_on};
use crate::{Backlog, BacklogLimit, ContentType, Message};

pub(super) const CASES: &[Case] = &[
    ("the_binding_chooses_the_delay_that_is_nearest", the_binding_chooses_the_delay_that_is_nearest),
    ("the_binding_refuses_what_queues_refuses", the_binding_refuses_what_queues_refuses),
    ("the_binding_tells_the_backlog", the_binding_tells_the_backlog),
    ("the_binding_refuses_what_the_backlog_has_no_room_for", the_binding_refuses_what_the_backlog_has_no_room_for),
];

fn message(length: usize, delay_seconds: Option<i32>) -> Message {
    Message { content_type: ContentType::Text, body: Bytes::from(vec![b'x'; length]), delay_seconds }
}

fn the_binding_chooses_the_delay_that_is_nearest(place: &Place) -> Outcome {
    block_on(async {
        let queue = place.binding(Duration::from_secs(30));
        queue.send(message(1, None)).await?;
        queue.send(message(2, Some(0))).await?;
        queue.send(message(3, Some(10))).await?;
        queue.send_batch(vec![message(4, None), message(5, Some(0)), message(6, Some(5))], Some(20)).await?;
        queue.send_batch(vec![message(7, None), message(8, Some(1))], Some(0)).await?;
        queue.send_batch(vec![message(9, None)], None).await?;
        let mut delays: Vec<_> = queue
            .driver
            .get()?
            .peek("jobs", 100)
            .await?
            .iter()
            .map(|message| (message.body.len(), (message.due_at_ms - START_MS) / 1000))
            .collect();
        delays.sort_unstable();
        assert_eq!(delays, [(1, 30), (2, 0), (3, 10), (4, 20), (5, 0), (6, 5), (7, 0), (8, 1), (9, 30)]);
        Ok(())
    })
}

fn the_binding_refuses_what_queues_refuses(place: &Place) -> Outcome {
    block_on(async {
        let queue = place.binding(Duration::ZERO);
        let refused = |outcome: aerostack_bindings::Result<Backlog>, text: &str| {
            let error = outcome.expect_err(text);
            assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, text));
        };
        refused(
            queue.send(message(128_001, None)).await,
            "Queue send failed: message length of 128001 bytes exceeds limit of 128000",
        );
        refused(
            queue.send(message(1, Some(-1))).await,
            "Queue send failed: message delay -1 is invalid: must be a whole number of seconds from 0 to 86400",
        );
        refused(
            queue.send_batch(vec![message(1, None), message(1, Some(86_401))], None).await,
            "Queue sendBatch failed: message delay 86401 is invalid: must be a whole number of seconds from 0 to 86400",
        );
        refused(
            queue.send_batch(vec![message(1, Some(1))], Some(86_402)).await,
            "Queue sendBatch failed: message delay 86402 is invalid: must be a whole number of seconds from 0 to 86400",
        );
        refused(queue.send_batch(Vec::new(), None).await, "sendBatch() requires at least one message");
        refused(
            queue.send_batch(vec![message(0, None); 101], None).await,
            "Queue sendBatch failed: batch message count of 101 exceeds limit of 100",
        );
        refused(
            queue.send_batch(vec![message(128_001, None)], None).await,
            "Queue sendBatch failed: message in batch has length 128001 bytes which exceeds single message size limit of 128000",
        );
        refused(
            queue.send_batch(vec![message(2881, None); 100], None).await,
            "Queue sendBatch failed: batch size of 288100 bytes exceeds limit of 288000",
        );
        assert_eq!(queue.metrics().await?, Backlog::default(), "what is refused is not sent");
        queue.send(message(128_000, Some(86_400))).await?;
        queue.send_batch(vec![message(2880, None); 100], Some(86_400)).await?;
        assert_eq!(queue.metrics().await?.messages, 101);
        Ok(())
    })
}

fn the_binding_tells_the_backlog(place: &Place) -> Outcome {
    block_on(async {
        let queue = place.binding(Duration::ZERO);
        assert_eq!(queue.metrics().await?, Backlog { messages: 0, bytes: 0, oldest_ms: None });
        let two = Backlog { messages: 2, bytes: 30, oldest_ms: Some(START_MS) };
        assert_eq!(queue.send_batch(vec![message(10, None), message(20, None)], None).await?, two);
        assert_eq!(queue.metrics().await?, two);
        place.clock.advance_ms(1);
        assert_eq!(queue.send(message(3, None)).await?, Backlog { messages: 3, bytes: 33, ..two });
        Ok(())
    })
}

fn the_binding_refuses_what_the_backlog_has_no_room_for(place: &Place) -> Outcome {
    block_on(async {
        let met = Arc::new(AtomicU64::new(0));
        let counted = met.clone();
        let count = Arc::new(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        let mut queue = place.binding(Duration::ZERO);
        queue.backlog = BacklogLimit::new(1024 * 1024, count);
        while queue.metrics().await?.bytes < 1024 * 1024 {
            queue.send(message(128_000, None)).await?;
        }
        let refused = queue.send(message(1, None)).await.expect_err("the queue is full");
        assert_eq!(
            (refused.kind(), refused.message()),
            (
                ErrorKind::RateLimited,
                "the backlog of jobs exceeds 1 MB: let its consumer catch up, or raise limits.queue_backlog_mb"
            )
        );
        queue.send_batch(vec![message(1, None)], None).await.expect_err("the queue is full");
        assert_eq!(met.load(Ordering::Relaxed), 2);
        // Whoever empties it: the next send looks again.
        queue.driver.get()?.purge("jobs").await?;
        assert_eq!(queue.send(message(1, None)).await?.messages, 1);
        Ok(())
    })
}
