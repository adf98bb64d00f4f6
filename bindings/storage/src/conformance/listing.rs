use libtest_mimic::Failed;

use super::{Add, Place, block_on, fill, plain, refused, store};
use crate::{
    CustomMetadata, HttpMetadata, Include, ListOptions, ListRequest, Listing, NamedStorage, NewObject, StorageDriver,
};

pub(super) fn add(add: Add<'_>) {
    add("a_listing_is_in_the_order_of_bytes", a_listing_is_in_the_order_of_bytes);
    add("a_prefix_is_literal_and_case_sensitive", a_prefix_is_literal_and_case_sensitive);
    add("a_delimiter_groups_keys", a_delimiter_groups_keys);
    add("groups_count_toward_the_limit", groups_count_toward_the_limit);
    add("a_listing_tells_metadata_where_asked", a_listing_tells_metadata_where_asked);
    add("objects_stored_while_paging_show_only_ahead", objects_stored_while_paging_show_only_ahead);
    add("the_binding_pages_through_a_thousand_keys_at_a_time", the_binding_pages_through_a_thousand_keys_at_a_time);
    add("the_binding_understands_cursors_and_start_after", the_binding_understands_cursors_and_start_after);
}

async fn store_all(driver: &dyn StorageDriver, keys: &[&str]) -> Result<(), Failed> {
    for key in keys.iter().rev() {
        store(driver, key, (*key).to_owned()).await?;
    }
    Ok(())
}

fn request(prefix: &str, delimiter: Option<&str>, limit: usize) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), delimiter: delimiter.map(str::to_owned), limit, ..ListRequest::default() }
}

fn keys(listing: &Listing) -> Vec<&str> {
    listing.objects.iter().map(|object| object.key.as_str()).collect()
}

/// The keys and prefixes of all pages, each page's in its own order.
async fn all_pages(driver: &dyn StorageDriver, mut request: ListRequest) -> Result<(Vec<String>, Vec<String>), Failed> {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = driver.list(&request).await?;
        let count = page.objects.len() + page.delimited_prefixes.len();
        assert!(count <= request.limit);
        objects.extend(page.objects.into_iter().map(|object| object.key));
        prefixes.extend(page.delimited_prefixes);
        match page.next {
            None => return Ok((objects, prefixes)),
            Some(next) => {
                assert_eq!(count, request.limit, "a page that is not the last is full");
                request.from = next;
            }
        }
    }
}

fn a_listing_is_in_the_order_of_bytes(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        // U+FFFD comes before U+1F600 in UTF-8 and after it in UTF-16.
        let sorted = [
            "",
            "!",
            ", ",
            "A",
            "B",
            "a",
            "a\u{0}",
            "a!",
            "a/",
            "aa",
            "b",
            "\u{e9}",
            "\u{4e2d}",
            "\u{fffd}",
            "\u{1f600}",
            "\u{10ffff}",
        ];
        store_all(&*driver, &sorted).await?;
        let whole = driver.list(&request("", None, 1000)).await?;
        assert_eq!(keys(&whole), sorted);
        assert_eq!(whole.next, None);
        for limit in 1..=sorted.len() {
            assert_eq!(
                all_pages(&*driver, request("", None, limit)).await?,
                (sorted.map(str::to_owned).to_vec(), vec![])
            );
        }
        Ok(())
    })
}

fn a_prefix_is_literal_and_case_sensitive(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store_all(
            &*driver,
            &["KEY1", "k", "key1", "key\\_%1", "key\\_%2", "key\\a", "\u{d7ff}a", "\u{e000}", "\u{10ffff}a"],
        )
        .await?;
        for (prefix, expected) in [
            ("key\\_%", &["key\\_%1", "key\\_%2"][..]),
            ("KEY", &["KEY1"]),
            ("key1", &["key1"]),
            ("none", &[]),
            ("\u{10ffff}", &["\u{10ffff}a"]),
            ("\u{d7ff}", &["\u{d7ff}a"]),
        ] {
            assert_eq!(keys(&driver.list(&request(prefix, None, 1000)).await?), expected, "{prefix}");
        }
        Ok(())
    })
}

fn a_delimiter_groups_keys(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store_all(
            &*driver,
            &["/", "/x", "a", "a/1", "a/2", "a/b/1", "a/b/2", "aXXb", "aXXc", "b", "c/1", "\u{10ffff}/1"],
        )
        .await?;
        let list = async |prefix: &str, delimiter: &str| {
            let listing = driver.list(&request(prefix, Some(delimiter), 1000)).await?;
            assert_eq!(listing.next, None);
            let keys = listing.objects.iter().map(|object| object.key.clone()).collect::<Vec<_>>();
            Ok::<_, Failed>((keys.join(" "), listing.delimited_prefixes.join(" ")))
        };
        let pair = |objects: &str, prefixes: &str| (objects.to_owned(), prefixes.to_owned());
        assert_eq!(list("", "/").await?, pair("a aXXb aXXc b", "/ a/ c/ \u{10ffff}/"));
        assert_eq!(list("a/", "/").await?, pair("a/1 a/2", "a/b/"));
        assert_eq!(list("a", "/").await?, pair("a aXXb aXXc", "a/"));
        assert_eq!(list("a/b/", "/").await?, pair("a/b/1 a/b/2", ""));
        assert_eq!(list("a", "XX").await?, pair("a a/1 a/2 a/b/1 a/b/2", "aXX"));
        assert_eq!(list("", "none").await?.1, "");
        Ok(())
    })
}

fn groups_count_toward_the_limit(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store_all(&*driver, &["a", "b/1", "b/2", "b/3", "c", "d/1", "e/1", "e/2"]).await?;
        for limit in 1..=6 {
            let (objects, prefixes) = all_pages(&*driver, request("", Some("/"), limit)).await?;
            assert_eq!((objects.join(" "), prefixes.join(" ")), ("a c".to_owned(), "b/ d/ e/".to_owned()));
        }
        let page = driver.list(&request("", Some("/"), 2)).await?;
        assert_eq!((keys(&page), page.delimited_prefixes.join(" ")), (vec!["a"], "b/".to_owned()));
        let page = driver.list(&request("", Some("/"), 5)).await?;
        assert_eq!(page.next, None, "what is left of a group that was told is no further page");
        Ok(())
    })
}

fn a_listing_tells_metadata_where_asked(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let http = HttpMetadata { content_type: Some("text/css".to_owned()), ..HttpMetadata::default() };
        let custom = CustomMetadata(vec![("a".to_owned(), "b".to_owned())]);
        let object = NewObject { http_metadata: http.clone(), custom_metadata: custom.clone(), ..plain("key", 1) };
        let stored = fill(driver.put(object).await?, "x").await?.ok_or("stored")?;
        for (http_metadata, custom_metadata) in [(false, false), (true, false), (false, true), (true, true)] {
            let include = Include { http_metadata, custom_metadata };
            let listing = driver.list(&ListRequest { include, ..request("", None, 10) }).await?;
            let mut expected = stored.clone();
            expected.http_metadata = http_metadata.then(|| http.clone());
            expected.custom_metadata = custom_metadata.then(|| custom.clone());
            assert_eq!(listing.objects, [expected]);
        }
        Ok(())
    })
}

fn objects_stored_while_paging_show_only_ahead(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        store_all(&*driver, &["key1", "key3", "key5"]).await?;
        let first = driver.list(&request("key", None, 2)).await?;
        assert_eq!(keys(&first), ["key1", "key3"]);
        store_all(&*driver, &["key2", "key4"]).await?;
        driver.delete(&["key5".to_owned()]).await?;
        let from = first.next.ok_or("there is a next page")?;
        let second = driver.list(&ListRequest { from, ..request("key", None, 2) }).await?;
        assert_eq!(keys(&second), ["key4"], "what is ahead comes, and nothing behind comes again");
        store_all(&*driver, &["group/a/1", "group/b", "group/d"]).await?;
        let first = driver.list(&request("group/", Some("/"), 1)).await?;
        assert_eq!(first.delimited_prefixes, ["group/a/"]);
        store_all(&*driver, &["group/a/2", "group/aa", "group/c/1"]).await?;
        let from = first.next.ok_or("there is a next page")?;
        let second = driver.list(&ListRequest { from, ..request("group/", Some("/"), 2) }).await?;
        assert_eq!((keys(&second), second.delimited_prefixes.len()), (vec!["group/aa", "group/b"], 0));
        store_all(&*driver, &["group/b\u{0}"]).await?;
        let from = second.next.ok_or("there is a next page")?;
        let third = driver.list(&ListRequest { from, ..request("group/", Some("/"), 9) }).await?;
        assert_eq!(keys(&third), ["group/b\u{0}", "group/d"]);
        assert_eq!(third.delimited_prefixes, ["group/c/"]);
        Ok(())
    })
}

async fn fill_bucket(bucket: &NamedStorage, count: usize) -> Result<(), Failed> {
    for number in 0..count {
        store(&**bucket.driver.get()?, &format!("key{number:04}"), "").await?;
    }
    Ok(())
}

fn the_binding_pages_through_a_thousand_keys_at_a_time(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let bucket = place.binding();
        fill_bucket(&bucket, 1001).await?;
        let first = bucket.list(ListOptions::default()).await?;
        assert_eq!(first.objects.len(), 1000);
        let second = bucket.list(ListOptions { cursor: first.cursor, ..ListOptions::default() }).await?;
        assert_eq!(second.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["key1000"]);
        assert_eq!(second.cursor, None);
        let include = Include { http_metadata: true, custom_metadata: false };
        let told = bucket.list(ListOptions { include, ..ListOptions::default() }).await?;
        assert_eq!(told.objects.len(), 100, "a page that tells metadata is shorter");
        assert!(told.cursor.is_some());
        for limit in [0, -1, 1001] {
            let options = ListOptions { limit: Some(limit), ..ListOptions::default() };
            assert_eq!(refused(bucket.list(options).await), "MaxKeys params must be positive integer <= 1000.");
        }
        Ok(())
    })
}

fn the_binding_understands_cursors_and_start_after(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let bucket = place.binding();
        fill_bucket(&bucket, 6).await?;
        let list = async |options: ListOptions| {
            let page = bucket.list(options).await?;
            let keys = page.objects.iter().map(|object| object.key.replace("key000", "")).collect::<Vec<_>>();
            Ok::<_, Failed>((keys.join(" "), page.cursor))
        };
        let start_after = |key: &str| Some(key.to_owned());
        let options = ListOptions::default;
        let (keys, cursor) =
            list(ListOptions { limit: Some(2), start_after: start_after("key0000"), ..options() }).await?;
        assert_eq!(keys, "1 2");
        let next = |key: &str| ListOptions { cursor: cursor.clone(), start_after: start_after(key), ..options() };
        assert_eq!(list(next("key0000")).await?.0, "3 4 5", "the later of both counts");
        assert_eq!(list(next("key0004")).await?.0, "5", "the later of both counts");
        assert_eq!(list(ListOptions { start_after: start_after("key00025"), ..options() }).await?.0, "3 4 5");
        assert_eq!(list(ListOptions { start_after: start_after("zzz"), ..options() }).await?, (String::new(), None));
        for cursor in ["bad", "%%%"] {
            assert_eq!(
                list(ListOptions { cursor: Some(cursor.to_owned()), ..options() }).await?,
                (String::new(), None),
                "{cursor}"
            );
        }
        Ok(())
    })
}
