use aerostack_bindings::{ErrorKind, Result as BindingResult};
use libtest_mimic::Failed;

use super::{Place, assert_scores, block_on, ids, strings, vector, with_metadata};
use crate::limits::{Operation, framed};
use crate::{QueryOptions, ReturnMetadata, Vector, Writing};

fn refused<T: std::fmt::Debug>(operation: Operation, outcome: BindingResult<T>, expected: &str) {
    let error = outcome.expect_err(expected);
    assert_eq!((error.kind(), framed(operation, &error).as_str()), (ErrorKind::InvalidInput, expected));
}

pub(super) fn the_binding_refuses_what_vectorize_refuses(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let index = place.binding();
        index.write(vec![vector("a", &[1.0, 0.0])], Writing::Insert).await?;
        let write = async |vector: Vector| index.write(vec![vector], Writing::Upsert).await;
        let long = "x".repeat(65);
        refused(
            Operation::Upsert,
            write(vector(&long, &[1.0, 0.0])).await,
            "VECTOR_UPSERT_ERROR (code = 40008): id too long; max is 64 bytes, got 65 bytes",
        );
        refused(
            Operation::Upsert,
            write(vector("", &[1.0, 0.0])).await,
            "VECTOR_UPSERT_ERROR: id is empty; every vector needs one",
        );
        refused(
            Operation::Upsert,
            write(Vector { namespace: Some(long.clone()), ..vector("b", &[1.0, 0.0]) }).await,
            "VECTOR_UPSERT_ERROR (code = 40009): namespace too long; max is 64 bytes, got 65 bytes",
        );
        refused(
            Operation::Upsert,
            write(with_metadata("b", &[1.0, 0.0], &format!("{{\"k\":\"{}\"}}", "x".repeat(10_240)))).await,
            "VECTOR_UPSERT_ERROR: metadata of id=\"b\" too large; max is 10240 bytes of JSON, got 10248 bytes",
        );
        refused(
            Operation::Upsert,
            write(vector("b", &[1.0, f32::NAN])).await,
            "VECTOR_UPSERT_ERROR: invalid vector for id=\"b\": component 1 is not a finite number of 32 bits",
        );
        refused(
            Operation::Insert,
            index.write(vec![vector("b", &[1.0])], Writing::Insert).await,
            "VECTOR_INSERT_ERROR (code = 40012): invalid vector for id=\"b\", expected 2 dimensions, and got 1 dimensions",
        );
        refused(
            Operation::Insert,
            index.write(Vec::new(), Writing::Insert).await,
            "VECTOR_INSERT_ERROR: no vectors in payload; at least one is needed",
        );
        let many = (0..1001).map(|number| vector(&format!("v{number}"), &[1.0, 0.0])).collect();
        refused(
            Operation::Insert,
            index.write(many, Writing::Insert).await,
            "VECTOR_INSERT_ERROR: too many vectors in payload; max vector count is 1000, got 1001",
        );
        refused(
            Operation::Get,
            index.get((0..34).map(|number| number.to_string()).collect()).await,
            "VECTOR_GET_ERROR (code = 40007): too many ids in payload; max id count is 20, got 34",
        );
        refused(
            Operation::Delete,
            index.delete((0..105).map(|number| number.to_string()).collect()).await,
            "VECTOR_DELETE_ERROR (code = 40007): too many ids in payload; max id count is 100, got 105",
        );
        refused(
            Operation::Query,
            index.query(vec![1.0], QueryOptions::default()).await,
            "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 2 dimensions, and got 1 dimensions",
        );
        refused(
            Operation::Query,
            index.query(vec![1.0, f32::INFINITY], QueryOptions::default()).await,
            "VECTOR_QUERY_ERROR: invalid query vector: component 1 is not a finite number of 32 bits",
        );
        let filter = QueryOptions { filter: Some("{\"k\":{\"$like\":1}}".to_owned()), ..QueryOptions::default() };
        refused(
            Operation::Query,
            index.query(vec![1.0, 0.0], filter).await,
            "VECTOR_QUERY_ERROR: invalid filter: \"k\" has the unknown operator \"$like\"; there are $eq, $ne, $in, $nin, \
             $lt, $lte, $gt and $gte, and a dot in the key for nesting",
        );
        let top_k = QueryOptions { top_k: Some(101.0), ..QueryOptions::default() };
        refused(
            Operation::Query,
            index.query(vec![1.0, 0.0], top_k).await,
            "VECTOR_QUERY_ERROR (code = 40025): max top K is 100, but got 101",
        );
        refused(
            Operation::Query,
            index.query_by_id("missing", QueryOptions::default()).await,
            "VECTOR_QUERY_ERROR: no vector with id=\"missing\"",
        );
        assert_eq!(index.describe().await?.vector_count, 1, "nothing of what was refused was written");
        Ok(())
    })
}

pub(super) fn the_binding_finds_by_a_stored_vector(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let index = place.binding();
        let vectors =
            (0..10).map(|number| vector(&format!("v{number}"), &[10.0 - number as f32, number as f32])).collect();
        index.write(vectors, Writing::Insert).await?;
        let found = index.query_by_id("v4", QueryOptions::default()).await?;
        assert_eq!(found.len(), 5, "five is the default");
        assert_eq!(found[0].id, "v4", "the vector itself is among the matches");
        assert_scores(&found[..1], &[1.0]);
        assert_eq!(index.get(strings(&["v9"])).await?.len(), 1);
        Ok(())
    })
}

pub(super) fn the_binding_returns_the_metadata_asked_for(place: &Place) -> Result<(), Failed> {
    block_on(async {
        let index = place.binding();
        let json = format!("{{\"text\":\"{}\",\"list\":[1,2],\"n\":1}}", "x".repeat(100));
        index.write(vec![with_metadata("a", &[1.0], &json), vector("b", &[1.0])], Writing::Insert).await?;
        let told = async |return_metadata| {
            let found = index.query(vec![1.0], QueryOptions { return_metadata, ..QueryOptions::default() }).await?;
            assert_eq!(ids(&found), ["a", "b"]);
            assert_eq!(found[1].metadata, None);
            Ok::<_, Failed>(found[0].metadata.clone())
        };
        assert_eq!(told(ReturnMetadata::None).await?, None);
        assert_eq!(told(ReturnMetadata::All).await?.as_ref(), Some(&json));
        let indexed = format!("{{\"text\":\"{}\",\"n\":1}}", "x".repeat(64));
        assert_eq!(told(ReturnMetadata::Indexed).await?, Some(indexed));
        Ok(())
    })
}
