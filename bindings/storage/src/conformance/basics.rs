use aerostack_bindings::ErrorKind;
use libtest_mimic::Failed;

use super::{Add, Place, START_MS, block_on, bytes_of, drain, fill, pattern, plain, read, refused, store};
use crate::checksum::{Algorithm, Checksum, Hashes, to_hex};
use crate::conditional::{Conditional, Etag};
use crate::limits::{Action, MAX_VALUE_BYTES, framed};
use crate::{CustomMetadata, GetRequest, HttpMetadata, NewObject, StorageClass};

pub(super) fn add(add: Add<'_>) {
    add("an_object_comes_back_as_it_was_stored", an_object_comes_back_as_it_was_stored);
    add("metadata_comes_back_as_it_was_stored", metadata_comes_back_as_it_was_stored);
    add("an_empty_object_is_an_object", an_empty_object_is_an_object);
    add("any_key_is_only_a_key", any_key_is_only_a_key);
    add("a_put_replaces_everything", a_put_replaces_everything);
    add("a_large_object_goes_through_piece_by_piece", a_large_object_goes_through_piece_by_piece);
    add("a_delete_is_idempotent_and_takes_several_keys", a_delete_is_idempotent_and_takes_several_keys);
    add("what_is_not_finished_is_not_there", what_is_not_finished_is_not_there);
    add("a_length_that_was_not_announced_is_refused", a_length_that_was_not_announced_is_refused);
    add("checksums_are_compared_and_kept", checksums_are_compared_and_kept);
    add("conditions_are_judged_by_the_object_that_is_there", conditions_are_judged_by_the_object_that_is_there);
    add("a_get_whose_condition_fails_has_no_body", a_get_whose_condition_fails_has_no_body);
    add("everything_survives_a_restart", everything_survives_a_restart);
    add("the_binding_refuses_what_r2_refuses", the_binding_refuses_what_r2_refuses);
}

fn full_metadata() -> (HttpMetadata, CustomMetadata) {
    let http = HttpMetadata {
        content_type: Some("text/plain; charset=utf-8".to_owned()),
        content_language: Some("de-CH".to_owned()),
        content_disposition: Some("attachment; filename=\"a.txt\"".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        cache_control: Some("max-age=60".to_owned()),
        cache_expiry: Some(1_800_000_000_001),
    };
    let text = |text: &str| text.to_owned();
    let custom =
        CustomMetadata(vec![(text("zoo"), text("1")), (text("a"), text("")), (text("ü\u{0}\""), text("\u{1f600}"))]);
    (http, custom)
}

fn an_object_comes_back_as_it_was_stored(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.head("key").await?, None);
        assert!(driver.get("key", &GetRequest::default()).await?.is_none());
        let stored = store(&*driver, "key", "hello").await?;
        assert_eq!((stored.key.as_str(), stored.size), ("key", 5));
        assert_eq!(stored.etag, "5d41402abc4b2a76b9719d911017c592", "the MD5 of hello");
        assert_eq!(stored.checksums.get(Algorithm::Md5).map(to_hex).as_deref(), Some(stored.etag.as_str()));
        assert_eq!(stored.uploaded_ms, START_MS);
        assert_eq!(stored.version.len(), 32);
        assert!(stored.version.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(stored.http_metadata, Some(HttpMetadata::default()));
        assert_eq!(stored.custom_metadata, Some(CustomMetadata::default()));
        assert_eq!(stored.storage_class, StorageClass::Standard);
        assert_eq!(driver.head("key").await?.as_ref(), Some(&stored));
        let (found, range, bytes) = read(&*driver, "key", &GetRequest::default()).await?.ok_or("it is there")?;
        assert_eq!((found, range.offset, range.length), (stored, 0, 5));
        assert_eq!(bytes.as_deref(), Some(&b"hello"[..]));
        Ok(())
    })
}

fn metadata_comes_back_as_it_was_stored(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let (http, custom) = full_metadata();
        let object = NewObject {
            http_metadata: http.clone(),
            custom_metadata: custom.clone(),
            storage_class: StorageClass::InfrequentAccess,
            ..plain("key", 1)
        };
        let stored = fill(driver.put(object).await?, "x").await?.ok_or("stored")?;
        assert_eq!(stored.http_metadata.as_ref(), Some(&http));
        assert_eq!(stored.custom_metadata.as_ref(), Some(&custom));
        assert_eq!(place.driver().head("key").await?, Some(stored));
        Ok(())
    })
}

fn an_empty_object_is_an_object(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let stored = driver.put(plain("key", 0)).await?.finish().await?.ok_or("stored")?;
        assert_eq!((stored.size, stored.etag.as_str()), (0, "d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(bytes_of(&*driver, "key").await?, "");
        store(&*driver, "other", "").await?;
        assert_eq!(bytes_of(&*driver, "other").await?, "");
        Ok(())
    })
}

fn any_key_is_only_a_key(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let keys = [
            "",
            ".",
            "..",
            "/",
            "../../../../tmp/escaped",
            "/etc/passwd",
            "a/../../b",
            "a\u{0}b",
            "a\\b",
            "C:\\x",
            "%2e%2e",
            "objects/00",
            "metadata.sqlite",
            "lock",
            "KEY",
            "key",
            "\u{e9}",
            "e\u{301}",
            "\u{1f600}",
            "a//b",
            "a/",
            "*?[]",
        ];
        let long = "é".repeat(512);
        for (number, key) in keys.iter().copied().chain([long.as_str()]).enumerate() {
            store(&*driver, key, number.to_string()).await?;
        }
        for (number, key) in keys.iter().copied().chain([long.as_str()]).enumerate() {
            assert_eq!(bytes_of(&*driver, key).await?, number.to_string(), "{key:?}");
        }
        Ok(())
    })
}

fn a_put_replaces_everything(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let (http_metadata, custom_metadata) = full_metadata();
        let first = NewObject { http_metadata, custom_metadata, ..plain("key", 200_000) };
        let first = fill(driver.put(first).await?, pattern(200_000, 1)).await?.ok_or("stored")?;
        place.clock.advance_ms(5);
        let second = store(&*driver, "key", "short").await?;
        assert_ne!(first.version, second.version);
        assert_eq!(second.uploaded_ms, START_MS + 5);
        assert_eq!(second.custom_metadata, Some(CustomMetadata::default()));
        assert_eq!(driver.head("key").await?, Some(second.clone()));
        assert_eq!(bytes_of(&*driver, "key").await?, "short");
        let third = store(&*driver, "key", "short").await?;
        assert_eq!(third.etag, second.etag);
        assert_ne!(third.version, second.version, "a version is new each time");
        Ok(())
    })
}

fn a_large_object_goes_through_piece_by_piece(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let all = pattern(3 * 1024 * 1024 + 17, 3);
        let mut upload = driver.put(plain("key", all.len())).await?;
        let mut rest = all.clone();
        for length in [1, 0, 70_000, 300_000, 5, 1_000_000].into_iter().cycle() {
            let piece = rest.split_to(length.min(rest.len()));
            upload.write(piece).await?;
            if rest.is_empty() {
                break;
            }
        }
        let stored = upload.finish().await?.ok_or("stored")?;
        assert_eq!(stored.size, all.len() as u64);
        assert_eq!(stored.etag, to_hex(&crate::checksum::md5_of(&all)));
        assert!(bytes_of(&*driver, "key").await? == all);
        Ok(())
    })
}

fn a_delete_is_idempotent_and_takes_several_keys(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        for key in ["a", "b", "c"] {
            store(&*driver, key, key).await?;
        }
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        driver.delete(&keys(&["a", "missing", "c", "a"])).await?;
        assert_eq!(driver.head("a").await?, None);
        assert_eq!(driver.head("c").await?, None);
        assert_eq!(bytes_of(&*driver, "b").await?, "b");
        driver.delete(&keys(&["a"])).await?;
        driver.delete(&[]).await?;
        assert_eq!(bytes_of(&*driver, "b").await?, "b");
        Ok(())
    })
}

fn what_is_not_finished_is_not_there(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store(&*driver, "old", "as it was").await?;
        for key in ["old", "new"] {
            let mut upload = driver.put(plain(key, 2_000_000)).await?;
            upload.write(pattern(1_000_000, 1)).await?;
            assert_eq!(driver.head("new").await?, None);
            assert_eq!(bytes_of(&*driver, "old").await?, "as it was");
            drop(upload);
        }
        assert_eq!(driver.head("new").await?, None);
        assert_eq!(bytes_of(&*driver, "old").await?, "as it was");
        Ok(())
    })
}

fn a_length_that_was_not_announced_is_refused(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let upload = driver.put(plain("key", 6)).await?;
        assert_eq!(refused(fill(upload, "short").await), "there were 5 of 6 announced bytes");
        let upload = driver.put(plain("key", 4)).await?;
        assert_eq!(refused(fill(upload, "long!").await), "there were more than the 4 announced bytes");
        let upload = driver.put(plain("key", 2_000_000)).await?;
        assert_eq!(refused(fill(upload, pattern(1_000_000, 1)).await), "there were 1000000 of 2000000 announced bytes");
        assert_eq!(driver.head("key").await?, None);
        Ok(())
    })
}

fn checksums_are_compared_and_kept(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        for algorithm in Algorithm::ALL {
            let bytes = pattern(300_000, 5);
            // What the right one is, the refusal of a wrong one tells; here it is computed the way the driver should.
            let probe = Checksum { algorithm, digest: vec![0] };
            let mut hashes = Hashes::new(Some(probe.clone()));
            hashes.update(&bytes);
            let told = refused(hashes.finish());
            let hex = told.rsplit(": ").next().ok_or("the actual digest")?.to_owned();
            let digest = crate::checksum::from_hex(&hex).ok_or("hex")?;

            let wrong = NewObject { checksum: Some(probe), ..plain("key", bytes.len()) };
            assert_eq!(refused(fill(driver.put(wrong).await?, bytes.clone()).await), told);
            assert_eq!(driver.head("key").await?, None, "what is refused is not stored");

            let right = NewObject {
                checksum: Some(Checksum { algorithm, digest: digest.clone() }),
                ..plain("key", bytes.len())
            };
            let stored = fill(driver.put(right).await?, bytes).await?.ok_or("stored")?;
            assert_eq!(stored.checksums.get(algorithm), Some(&digest[..]));
            let head = driver.head("key").await?.ok_or("it is there")?;
            assert_eq!(head.checksums, stored.checksums);
            assert_eq!(head.checksums.get(Algorithm::Md5).map(to_hex), Some(head.etag));
            driver.delete(&["key".to_owned()]).await?;
        }
        Ok(())
    })
}

fn conditions_are_judged_by_the_object_that_is_there(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let put = async |only_if: Conditional, text: &'static str| {
            let object = NewObject { only_if: Some(only_if), ..plain("key", text.len()) };
            fill(driver.put(object).await?, text).await
        };
        let matches =
            |etag: &str| Conditional { etag_matches: Some(vec![Etag::unquoted(etag)]), ..Conditional::default() };
        let nothing_there =
            || Conditional { etag_does_not_match: Some(vec![Etag::Wildcard]), ..Conditional::default() };
        assert_eq!(put(matches("*"), "never").await?, None);
        let first = put(nothing_there(), "first").await?.ok_or("stored")?;
        assert_eq!(put(nothing_there(), "never").await?, None);
        assert_eq!(bytes_of(&*driver, "key").await?, "first");
        assert_eq!(put(matches("0000"), "never").await?, None);
        assert!(put(matches(&first.etag), "second").await?.is_some());
        assert_eq!(put(matches(&first.etag), "never").await?, None);
        let after = Conditional { uploaded_after: Some(START_MS as i64), ..Conditional::default() };
        assert_eq!(put(after.clone(), "never").await?, None);
        let before = Conditional { uploaded_before: Some(START_MS as i64 + 1), ..Conditional::default() };
        assert!(put(before, "third").await?.is_some());
        assert_eq!(bytes_of(&*driver, "key").await?, "third");

        // Judged when the object is finished, not when it is begun.
        let object = NewObject { only_if: Some(nothing_there()), ..plain("raced", 4) };
        let mut upload = driver.put(object).await?;
        upload.write("late".into()).await?;
        store(&*driver, "raced", "early").await?;
        assert_eq!(upload.finish().await?, None);
        assert_eq!(bytes_of(&*driver, "raced").await?, "early");
        Ok(())
    })
}

fn a_get_whose_condition_fails_has_no_body(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let stored = store(&*driver, "key", "hello").await?;
        let request = |etag: &str| GetRequest {
            only_if: Some(Conditional { etag_matches: Some(vec![Etag::unquoted(etag)]), ..Conditional::default() }),
            ..GetRequest::default()
        };
        let (object, _, bytes) = read(&*driver, "key", &request("other")).await?.ok_or("it is there")?;
        assert_eq!((object, bytes), (stored.clone(), None));
        let (_, _, bytes) = read(&*driver, "key", &request(&stored.etag)).await?.ok_or("it is there")?;
        assert_eq!(bytes.as_deref(), Some(&b"hello"[..]));
        assert!(driver.get("missing", &request("*")).await?.is_none());
        Ok(())
    })
}

fn everything_survives_a_restart(place: &Place) -> Result<(), Failed> {
    let large = pattern(1_000_000, 9);
    let stored = block_on(async {
        let driver = place.driver();
        store(&*driver, "large", large.clone()).await?;
        store(&*driver, "deleted", "x").await?;
        driver.delete(&["deleted".to_owned()]).await?;
        store(&*driver, "kept", "value").await
    })?;
    block_on(async {
        let driver = place.driver();
        assert_eq!(driver.head("kept").await?, Some(stored));
        assert_eq!(bytes_of(&*driver, "kept").await?, "value");
        assert!(bytes_of(&*driver, "large").await? == large);
        assert_eq!(driver.head("deleted").await?, None);
        Ok(())
    })
}

fn the_binding_refuses_what_r2_refuses(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let bucket = place.binding();
        let long = "x".repeat(1025);
        let name = "The specified object name is not valid.";
        assert_eq!(refused(bucket.head(&long).await), name);
        assert_eq!(refused(bucket.get(&long, &GetRequest::default()).await), name);
        assert_eq!(refused(bucket.put(plain(&long, 0)).await), name);
        assert_eq!(refused(bucket.delete(&["a".to_owned(), long.clone()]).await), name);
        let too_large = plain("key", MAX_VALUE_BYTES as usize + 1);
        assert_eq!(
            refused(bucket.put(too_large).await),
            "Your proposed upload exceeds the maximum allowed object size."
        );
        let metadata = CustomMetadata(vec![("a".to_owned(), "x".repeat(2048))]);
        let object = NewObject { custom_metadata: metadata, ..plain("key", 0) };
        let Err(error) = bucket.put(object).await else { return Err("it must be refused".into()) };
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            framed(Action::Put, &error),
            "put: Your metadata headers exceed the maximum allowed metadata size. (10012)"
        );
        let keys = vec!["key".to_owned(); 1001];
        assert_eq!(refused(bucket.delete(&keys).await), "at most 1000 keys can be deleted at once, not 1001");

        let upload = bucket.put(plain("key", 5)).await?;
        fill(upload, "value").await?;
        let found = bucket.get("key", &GetRequest::default()).await?.ok_or("it is there")?;
        assert_eq!(drain(found.body.ok_or("a body")?).await?, "value");
        bucket.delete(&["key".to_owned()]).await?;
        assert_eq!(bucket.head("key").await?, None);
        Ok(())
    })
}
