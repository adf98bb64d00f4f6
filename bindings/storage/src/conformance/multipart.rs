use libtest_mimic::Failed;

use super::{
    Add, MIN_PART_BYTES, Place, START_MS, add_part, begin, block_on, bytes_of, pattern, plain, refused, store,
};
use crate::checksum::{Checksums, md5_of, to_hex};
use crate::{
    CustomMetadata, GetRequest, HttpMetadata, ListRequest, NewPart, NewUpload, Object, StorageClass, StorageDriver,
    UploadedPart,
};

pub(super) fn add(add: Add<'_>) {
    add("parts_become_an_object", parts_become_an_object);
    add("an_upload_is_not_there_before_it_is_completed", an_upload_is_not_there_before_it_is_completed);
    add("a_part_that_comes_again_replaces_the_one_before", a_part_that_comes_again_replaces_the_one_before);
    add("no_parts_become_an_empty_object", no_parts_become_an_empty_object);
    add("wrong_parts_are_refused_and_the_upload_goes_on", wrong_parts_are_refused_and_the_upload_goes_on);
    add("an_upload_that_is_over_takes_no_more", an_upload_that_is_over_takes_no_more);
    add("an_aborted_upload_leaves_nothing", an_aborted_upload_leaves_nothing);
    add("an_object_in_parts_is_replaced_and_deleted_like_any", an_object_in_parts_is_replaced_and_deleted_like_any);
    add("an_object_in_parts_is_read_on_while_it_is_deleted", an_object_in_parts_is_read_on_while_it_is_deleted);
    add("uploads_of_one_key_do_not_meet", uploads_of_one_key_do_not_meet);
    add("an_upload_survives_a_restart", an_upload_survives_a_restart);
    add("an_upload_is_given_up_after_a_week", an_upload_is_given_up_after_a_week);
    add("the_binding_refuses_wrong_part_numbers", the_binding_refuses_wrong_part_numbers);
}

const NO_SUCH_UPLOAD: &str = "The specified multipart upload does not exist.";
const INTERNAL: &str = "We encountered an internal error. Please try again.";
const INVALID_PART: &str = "One or more of the specified parts could not be found.";
const TOO_SMALL: &str = "Your proposed upload is smaller than the minimum allowed object size.";
const BAD_UPLOAD: &str = "There was a problem with the multipart upload.";

async fn complete(
    driver: &dyn StorageDriver,
    upload_id: &str,
    parts: &[UploadedPart],
) -> aerostack_bindings::Result<Object> {
    driver.complete_multipart_upload("key", upload_id, parts, MIN_PART_BYTES).await
}

fn parts_become_an_object(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let http_metadata = HttpMetadata { content_type: Some("video/mp4".to_owned()), ..HttpMetadata::default() };
        let custom_metadata = CustomMetadata(vec![("a".to_owned(), "b".to_owned())]);
        let upload = NewUpload {
            key: "key".to_owned(),
            http_metadata: http_metadata.clone(),
            custom_metadata: custom_metadata.clone(),
            storage_class: StorageClass::InfrequentAccess,
        };
        let upload_id = driver.create_multipart_upload(upload).await?;
        let pieces = [pattern(300_000, 1), pattern(300_000, 2), pattern(7, 3)];
        let last = add_part(&*driver, "key", &upload_id, 10_000, pieces[2].clone()).await?;
        let first = add_part(&*driver, "key", &upload_id, 1, pieces[0].clone()).await?;
        let second = add_part(&*driver, "key", &upload_id, 7, pieces[1].clone()).await?;
        assert_eq!((first.number, second.number, last.number), (1, 7, 10_000));
        place.clock.advance_ms(9);
        let object = complete(&*driver, &upload_id, &[second, first, last]).await?;
        let digests = pieces.iter().flat_map(|piece| md5_of(piece)).collect::<Vec<_>>();
        assert_eq!(object.etag, format!("{}-3", to_hex(&md5_of(&digests))));
        assert_eq!((object.size, object.uploaded_ms), (600_007, START_MS + 9));
        assert_eq!(object.checksums, Checksums::default(), "there is no MD5 of the whole");
        assert_eq!(object.http_metadata, Some(http_metadata));
        assert_eq!(object.custom_metadata, Some(custom_metadata));
        assert_eq!(object.storage_class, StorageClass::InfrequentAccess);
        assert_eq!(object.version.len(), 32);
        assert_eq!(driver.head("key").await?, Some(object));
        assert!(bytes_of(&*driver, "key").await? == pieces.concat());
        Ok(())
    })
}

fn an_upload_is_not_there_before_it_is_completed(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let part = add_part(&*driver, "key", &upload_id, 1, "part").await?;
        assert_eq!(driver.head("key").await?, None);
        assert_eq!(driver.list(&ListRequest { limit: 10, ..ListRequest::default() }).await?.objects, []);
        driver.delete(&["key".to_owned()]).await?;
        store(&*driver, "key", "by a put").await?;
        driver.delete(&["key".to_owned()]).await?;
        complete(&*driver, &upload_id, &[part]).await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "part", "neither put nor delete touches an upload");
        Ok(())
    })
}

fn a_part_that_comes_again_replaces_the_one_before(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let old = add_part(&*driver, "key", &upload_id, 1, "old").await?;
        let new = add_part(&*driver, "key", &upload_id, 1, "new").await?;
        assert_ne!(old.etag, new.etag);
        assert_eq!(refused(complete(&*driver, &upload_id, &[old]).await), INVALID_PART);
        complete(&*driver, &upload_id, &[new]).await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "new");
        Ok(())
    })
}

fn no_parts_become_an_empty_object(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        add_part(&*driver, "key", &upload_id, 1, "not selected").await?;
        let object = complete(&*driver, &upload_id, &[]).await?;
        assert_eq!((object.size, object.etag.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e-0"));
        assert_eq!(bytes_of(&*driver, "key").await?, "");
        store(&*driver, "key", "over it").await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "over it");
        Ok(())
    })
}

fn wrong_parts_are_refused_and_the_upload_goes_on(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let mut parts = Vec::new();
        for (number, length) in [(1, 10), (2, 10), (3, 11), (4, 9)] {
            parts.push(add_part(&*driver, "key", &upload_id, number, pattern(length, 1)).await?);
        }
        let pick = |numbers: &[usize]| numbers.iter().map(|number| parts[number - 1].clone()).collect::<Vec<_>>();
        assert_eq!(refused(complete(&*driver, &upload_id, &pick(&[1, 1])).await), INTERNAL);
        assert_eq!(refused(complete(&*driver, &upload_id, &pick(&[4, 1])).await), TOO_SMALL);
        assert_eq!(refused(complete(&*driver, &upload_id, &pick(&[1, 3, 4])).await), BAD_UPLOAD);
        assert_eq!(refused(complete(&*driver, &upload_id, &pick(&[1, 2, 3])).await), BAD_UPLOAD);
        let unknown = UploadedPart { number: 5, etag: "etag".to_owned() };
        assert_eq!(refused(complete(&*driver, &upload_id, &[unknown]).await), INVALID_PART);
        assert_eq!(driver.head("key").await?, None);
        complete(&*driver, &upload_id, &pick(&[1, 2, 4])).await?;
        assert_eq!(bytes_of(&*driver, "key").await?.len(), 29);
        Ok(())
    })
}

fn an_upload_that_is_over_takes_no_more(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let part = add_part(&*driver, "key", &upload_id, 1, "part").await?;
        assert_eq!(refused(add_part(&*driver, "other", &upload_id, 1, "x").await), NO_SUCH_UPLOAD);
        assert_eq!(refused(add_part(&*driver, "key", "unknown", 1, "x").await), NO_SUCH_UPLOAD);
        assert_eq!(refused(complete(&*driver, "unknown", std::slice::from_ref(&part)).await), INTERNAL);
        assert_eq!(refused(driver.abort_multipart_upload("key", "unknown").await), INTERNAL);
        assert_eq!(refused(driver.abort_multipart_upload("other", &upload_id).await), INTERNAL);
        complete(&*driver, &upload_id, std::slice::from_ref(&part)).await?;
        assert_eq!(refused(add_part(&*driver, "key", &upload_id, 2, "x").await), NO_SUCH_UPLOAD);
        assert_eq!(refused(complete(&*driver, &upload_id, &[part]).await), NO_SUCH_UPLOAD);
        driver.abort_multipart_upload("key", &upload_id).await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "part", "an abort after the end changes nothing");
        Ok(())
    })
}

fn an_aborted_upload_leaves_nothing(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let mut parts = Vec::new();
        for number in 1..=3 {
            parts.push(add_part(&*driver, "key", &upload_id, number, pattern(10, 1)).await?);
        }
        // One that has begun before the abort and ends after it.
        let part = NewPart { key: "key".to_owned(), upload_id: upload_id.clone(), number: 4, size: 4 };
        let mut late = driver.upload_part(part).await?;
        late.write("late".into()).await?;
        driver.abort_multipart_upload("key", &upload_id).await?;
        driver.abort_multipart_upload("key", &upload_id).await?;
        assert_eq!(refused(late.finish().await), NO_SUCH_UPLOAD);
        assert_eq!(refused(complete(&*driver, &upload_id, &parts).await), NO_SUCH_UPLOAD);
        assert_eq!(driver.head("key").await?, None);
        Ok(())
    })
}

async fn three_parts(driver: &dyn StorageDriver, seed: usize, part_size: usize) -> Result<Vec<u8>, Failed> {
    let upload_id = begin(driver, "key").await?;
    let mut parts = Vec::new();
    let mut whole = Vec::new();
    for number in 1..=3 {
        let bytes = pattern(part_size, seed + number as usize);
        whole.extend_from_slice(&bytes);
        parts.push(add_part(driver, "key", &upload_id, number, bytes).await?);
    }
    complete(driver, &upload_id, &parts).await?;
    Ok(whole)
}

fn an_object_in_parts_is_replaced_and_deleted_like_any(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store(&*driver, "key", "by a put").await?;
        let whole = three_parts(&*driver, 1, 100_000).await?;
        assert!(bytes_of(&*driver, "key").await? == whole);
        let whole = three_parts(&*driver, 2, 50).await?;
        assert!(bytes_of(&*driver, "key").await? == whole);
        store(&*driver, "key", "by a put").await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "by a put");
        three_parts(&*driver, 3, 50).await?;
        driver.delete(&["key".to_owned()]).await?;
        assert_eq!(driver.head("key").await?, None);
        Ok(())
    })
}

fn an_object_in_parts_is_read_on_while_it_is_deleted(place: &Place) -> Result<(), Failed> {
    block_on(async {
        // One driver is another isolate, two are two processes.
        for (reader, writer) in [(place.driver(), None), (place.driver(), Some(place.driver()))] {
            let writer = writer.unwrap_or_else(|| reader.clone());
            let old = three_parts(&*writer, 1, 300_000).await?;
            let mut slow =
                reader.get("key", &GetRequest::default()).await?.and_then(|found| found.body).ok_or("a body")?;
            let mut begun = slow.read().await?.to_vec();
            let new = three_parts(&*writer, 5, 300_000).await?;
            assert!(bytes_of(&*reader, "key").await? == new);
            writer.delete(&["key".to_owned()]).await?;
            assert_eq!(reader.head("key").await?, None);
            begun.extend_from_slice(&super::drain(slow).await?);
            assert!(begun == old, "a reader gets the object that it found, to the end");
            store(&*writer, "other", "what follows").await?;
        }
        Ok(())
    })
}

fn uploads_of_one_key_do_not_meet(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let (one, two) = (begin(&*driver, "key").await?, begin(&*driver, "key").await?);
        assert_ne!(one, two);
        let part_of_one = add_part(&*driver, "key", &one, 1, "one").await?;
        let part_of_two = add_part(&*driver, "key", &two, 1, "two").await?;
        assert_eq!(refused(complete(&*driver, &one, std::slice::from_ref(&part_of_two)).await), INVALID_PART);
        complete(&*driver, &one, &[part_of_one]).await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "one");
        complete(&*driver, &two, &[part_of_two]).await?;
        assert_eq!(bytes_of(&*driver, "key").await?, "two");
        Ok(())
    })
}

fn an_upload_survives_a_restart(place: &Place) -> Result<(), Failed> {
    let (upload_id, part) = block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let part = add_part(&*driver, "key", &upload_id, 1, pattern(100_000, 1)).await?;
        Ok::<_, Failed>((upload_id, part))
    })?;
    block_on(async {
        let driver = place.driver();
        let last = add_part(&*driver, "key", &upload_id, 2, "end").await?;
        complete(&*driver, &upload_id, &[part, last]).await?;
        assert_eq!(bytes_of(&*driver, "key").await?.len(), 100_003);
        Ok(())
    })
}

fn an_upload_is_given_up_after_a_week(place: &Place) -> Result<(), Failed> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let begun = block_on(async {
        let driver = place.driver();
        let upload_id = begin(&*driver, "key").await?;
        let part = add_part(&*driver, "key", &upload_id, 1, "part").await?;
        let object = three_parts(&*driver, 1, 20).await?;
        Ok::<_, Failed>((upload_id, part, object))
    })?;
    place.clock.advance_ms(7 * DAY_MS - 1);
    block_on(async { add_part(&*place.driver(), "key", &begun.0, 2, "part").await })?;
    place.clock.advance_ms(2);
    block_on(async {
        let driver = place.driver();
        assert_eq!(refused(add_part(&*driver, "key", &begun.0, 3, "x").await), NO_SUCH_UPLOAD);
        assert_eq!(refused(complete(&*driver, &begun.0, &[begun.1]).await), INTERNAL);
        assert!(bytes_of(&*driver, "key").await? == begun.2, "an object that was completed stays");
        Ok(())
    })
}

fn the_binding_refuses_wrong_part_numbers(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let bucket = place.binding();
        let upload_id = begin(&**bucket.driver.get()?, "key").await?;
        for number in [0, 10_001] {
            let part = NewPart { key: "key".to_owned(), upload_id: upload_id.clone(), number, size: 0 };
            let text = format!("Part number must be between 1 and 10000 (inclusive). Actual value was: {number}");
            assert_eq!(refused(bucket.upload_part(part).await), text);
            let part = UploadedPart { number, etag: String::new() };
            assert_eq!(refused(bucket.complete_multipart_upload("key", &upload_id, &[part]).await), text);
        }
        assert!(bucket.put(plain("key", 0)).await.is_ok());
        Ok(())
    })
}
