use libtest_mimic::Failed;

use super::{Place, assert_scores, block_on, ids, nearest_to, strings, vector, with_metadata};
use crate::filter::Filter;
use crate::{Match, Query, VectorDriver, Writing};

async fn search(driver: &dyn VectorDriver, values: &[f32], top_k: usize, filter: &str) -> Result<Vec<Match>, Failed> {
    let query = Query { filter: Some(Filter::parse(filter)?), with_values: true, ..nearest_to(values, top_k) };
    Ok(driver.query(query).await?)
}

/// Cloudflare's page on metadata filtering, with the vectors and scores it lists.
pub(super) fn the_example_of_the_documentation_has_its_results(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let of = |id: &str, values: [f32; 3], url: &str, platform: &str| {
            let url = format!("/products/sku/{url}");
            with_metadata(id, &values, &format!("{{\"url\":\"{url}\",\"streaming_platform\":\"{platform}\"}}"))
        };
        let vectors = vec![
            of("1", [32.4, 74.1, 3.2], "13913913", "netflix"),
            of("2", [15.1, 19.2, 15.8], "10148191", "hbo"),
            of("3", [0.16, 1.2, 3.8], "97913813", "amazon"),
            of("4", [75.1, 67.1, 29.9], "418313", "netflix"),
            of("5", [58.8, 6.7, 3.4], "55519183", "hbo"),
        ];
        driver.write(vectors, Writing::Upsert).await?;
        let query = [54.8, 5.5, 3.1];
        let found = driver.query(nearest_to(&query, 3)).await?;
        assert_eq!(ids(&found), ["5", "4", "2"]);
        assert_scores(&found, &[0.999_909_5, 0.789_848_2, 0.611_976_3]);
        let found = search(&*driver, &query, 3, "{\"streaming_platform\":\"netflix\"}").await?;
        assert_eq!(ids(&found), ["4", "1"]);
        assert_scores(&found, &[0.789_848_2, 0.491_185_26]);
        let values: Vec<f64> = found[1].values.iter().flatten().map(|value| f64::from(*value)).collect();
        assert_eq!(values, [32.400_001_525_878_906, 74.099_998_474_121_1, 3.200_000_047_683_716]);
        for (filter, expected) in [
            ("{\"streaming_platform\":{\"$ne\":\"netflix\"}}", &["5", "2", "3"][..]),
            ("{\"streaming_platform\":{\"$in\":[\"amazon\",\"hbo\"]}}", &["5", "2", "3"]),
            ("{\"streaming_platform\":{\"$nin\":[\"amazon\",\"hbo\"]}}", &["4", "1"]),
            ("{\"streaming_platform\":{\"$gte\":\"b\",\"$lt\":\"n\"}}", &["5", "2"]),
            ("{\"streaming_platform\":\"hbo\",\"url\":\"/products/sku/10148191\"}", &["2"]),
            ("{\"streaming_platform\":\"disney\"}", &[]),
        ] {
            assert_eq!(ids(&search(&*driver, &query, 3, filter).await?), expected, "{filter}");
        }
        Ok(())
    })
}

pub(super) fn a_filter_comes_before_top_k(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let vectors = (0..1000)
            .map(|number| {
                let metadata =
                    format!("{{\"n\":{number},\"rare\":{},\"deep\":{{\"er\":{}}}}}", number >= 990, number % 10);
                with_metadata(&format!("v{number}"), &[1000.0 - number as f32, number as f32], &metadata)
            })
            .collect();
        driver.write(vectors, Writing::Insert).await?;
        let east = [1.0, 0.0];
        assert_eq!(ids(&search(&*driver, &east, 3, "{\"rare\":true}").await?), ["v990", "v991", "v992"]);
        assert_eq!(search(&*driver, &east, 100, "{\"rare\":true}").await?.len(), 10);
        assert_eq!(ids(&search(&*driver, &east, 2, "{\"n\":{\"$gte\":500,\"$lt\":502}}").await?), ["v500", "v501"]);
        assert_eq!(ids(&search(&*driver, &east, 2, "{\"n\":{\"$gt\":500},\"deep.er\":3}").await?), ["v503", "v513"]);
        assert_eq!(ids(&search(&*driver, &east, 5, "{\"n\":{\"$lte\":0}}").await?), ["v0"]);
        Ok(())
    })
}

pub(super) fn a_filter_sees_every_change(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let filter = "{\"k\":{\"$eq\":1}}";
        let opposite = "{\"k\":{\"$ne\":1}}";
        let north = [0.0, 1.0];
        assert_eq!(ids(&search(&*driver, &north, 5, filter).await?), Vec::<&str>::new());
        driver.write(vec![with_metadata("a", &north, "{\"k\":1}"), vector("b", &north)], Writing::Insert).await?;
        assert_eq!(ids(&search(&*driver, &north, 5, filter).await?), ["a"]);
        assert_eq!(ids(&search(&*driver, &north, 5, opposite).await?), ["b"]);
        driver.write(vec![with_metadata("b", &north, "{\"k\":1}"), vector("a", &north)], Writing::Upsert).await?;
        assert_eq!(ids(&search(&*driver, &north, 5, filter).await?), ["b"]);
        driver.delete(strings(&["b"])).await?;
        assert_eq!(ids(&search(&*driver, &north, 5, filter).await?), Vec::<&str>::new());
        driver.write(vec![vector("c", &north)], Writing::Insert).await?;
        assert_eq!(ids(&search(&*driver, &north, 5, opposite).await?), ["a", "c"]);
        assert_eq!(ids(&search(&*place.driver(), &north, 5, opposite).await?), ["a", "c"]);
        Ok(())
    })
}

pub(super) fn namespace_and_filter_narrow_together(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let vectors = (0..40)
            .map(|number| {
                let mut made =
                    with_metadata(&format!("v{number}"), &[1.0, number as f32], &format!("{{\"k\":{}}}", number % 4));
                made.namespace = (number % 2 == 0).then(|| format!("n{}", number % 3));
                made
            })
            .collect();
        driver.write(vectors, Writing::Insert).await?;
        let query = Query {
            namespace: Some("n0".to_owned()),
            filter: Some(Filter::parse("{\"k\":2}")?),
            ..nearest_to(&[1.0, 0.0], 50)
        };
        let found = driver.query(query).await?;
        assert_eq!(ids(&found), ["v6", "v18", "v30"]);
        Ok(())
    })
}

/// More keys than a driver may want to remember, in turn and in one filter.
pub(super) fn many_filters_with_many_keys_are_answered(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let driver = place.driver();
        let keys: Vec<String> = (0..40).map(|key| format!("\"k{key}\":{key}")).collect();
        let all = format!("{{{}}}", keys.join(","));
        driver.write(vec![with_metadata("a", &[1.0], &all), vector("b", &[1.0])], Writing::Insert).await?;
        for _ in 0..2 {
            for key in &keys {
                assert_eq!(ids(&search(&*driver, &[1.0], 5, &format!("{{{key}}}")).await?), ["a"]);
            }
            assert_eq!(ids(&search(&*driver, &[1.0], 5, &all).await?), ["a"]);
        }
        Ok(())
    })
}
