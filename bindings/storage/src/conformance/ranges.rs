use libtest_mimic::Failed;

use super::{Add, MIN_PART_BYTES, Place, add_part, begin, block_on, pattern, read, refused, store};
use crate::range::RangeRequest;
use crate::{GetRequest, StorageDriver};

pub(super) fn add(add: Add<'_>) {
    add("a_range_of_an_object_has_those_bytes", a_range_of_an_object_has_those_bytes);
    add("a_range_crosses_the_borders_of_parts", a_range_crosses_the_borders_of_parts);
    add("a_range_of_nothing_is_refused", a_range_of_nothing_is_refused);
}

fn span(offset: u64, length: u64) -> RangeRequest {
    RangeRequest::Span { offset: Some(offset), length: Some(length) }
}

async fn check(driver: &dyn StorageDriver, whole: &[u8], requests: &[RangeRequest]) -> Result<(), Failed> {
    for range in requests {
        let expected = range.resolve(whole.len() as u64)?;
        let request = GetRequest { range: range.clone(), only_if: None };
        let (object, found, bytes) = read(driver, "key", &request).await?.ok_or("it is there")?;
        assert_eq!(object.size, whole.len() as u64, "the size is that of the object, not of the range");
        assert_eq!(found, expected, "{range:?}");
        let (first, last) = (expected.offset as usize, (expected.offset + expected.length) as usize);
        assert!(bytes.as_deref() == Some(&whole[first..last]), "{range:?}");
    }
    Ok(())
}

fn a_range_of_an_object_has_those_bytes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let header = |text: &str| RangeRequest::Header(text.to_owned());
        for size in [10, 70_000, 1_000_000] {
            let whole = pattern(size as usize, 2);
            store(&*driver, "key", whole.clone()).await?;
            let requests = [
                RangeRequest::Whole,
                span(0, 1),
                span(size - 1, 1),
                span(3, 4),
                span(3, size * 2),
                span(size, 1),
                span(1, size - 2),
                RangeRequest::Span { offset: Some(7), length: None },
                RangeRequest::Span { offset: None, length: Some(9) },
                RangeRequest::Suffix(3),
                RangeRequest::Suffix(size * 2),
                header("bytes=1-8"),
                header("bytes=4-"),
                header("bytes=-5"),
                header("bytes=0-1,4-5"),
                header("nonsense"),
            ];
            check(&*driver, &whole, &requests).await?;
        }
        Ok(())
    })
}

fn a_range_crosses_the_borders_of_parts(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        for part_size in [10_usize, 100_000] {
            let upload_id = begin(&*driver, "key").await?;
            let mut parts = Vec::new();
            let mut whole = Vec::new();
            for number in 1..=5_u32 {
                let length = if number == 5 { part_size / 2 } else { part_size };
                let bytes = pattern(length, number as usize);
                whole.extend_from_slice(&bytes);
                parts.push(add_part(&*driver, "key", &upload_id, number * 3, bytes).await?);
            }
            driver.complete_multipart_upload("key", &upload_id, &parts, MIN_PART_BYTES).await?;
            let size = part_size as u64;
            let requests = [
                RangeRequest::Whole,
                span(size - 1, 2),
                span(size, size),
                span(size - 1, 3 * size + 2),
                span(4 * size, 1),
                span(1, 4 * size),
                RangeRequest::Suffix(size / 2),
                RangeRequest::Suffix(size / 2 + 1),
                RangeRequest::Header(format!("bytes={}-{}", size + 1, 2 * size + 1)),
            ];
            check(&*driver, &whole, &requests).await?;
        }
        Ok(())
    })
}

fn a_range_of_nothing_is_refused(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store(&*driver, "key", "0123456789").await?;
        for range in [span(11, 1), span(0, 0), RangeRequest::Suffix(0)] {
            let request = GetRequest { range, only_if: None };
            assert_eq!(refused(driver.get("key", &request).await), "The requested range is not satisfiable");
            assert!(driver.get("missing", &request).await?.is_none());
        }
        Ok(())
    })
}
