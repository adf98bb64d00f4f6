//! Vectors.

use aerostack_bindings::Result;
use libtest_mimic::Failed;

use super::{Subject, block_on};
use crate::{Embeddings, EmbeddingsRequest, Pooling};

async fn embed(subject: &Subject, texts: &[&str], pooling: Option<Pooling>) -> Result<Embeddings> {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    subject.driver.embed(&subject.embeddings_model, EmbeddingsRequest { texts, pooling }).await
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

pub(super) fn each_text_has_its_vector_in_order(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let texts: Vec<String> =
            (0..70).map(|number| format!("number {number} {}", "again ".repeat(number % 7))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = embed(subject, &texts, None).await?;
        assert_eq!(all.vectors().len(), texts.len());
        assert_eq!(all.values.len(), texts.len() * all.dimensions);
        assert!(all.usage.prompt_tokens as usize > texts.len() && all.usage.completion_tokens == 0);
        for at in [0, 1, 33, 69] {
            let alone = embed(subject, &texts[at..=at], None).await?;
            let vector = all.vectors().nth(at).ok_or("there is no such vector")?;
            assert!(cosine(&alone.values, vector) > 0.9999, "{}", texts[at]);
        }
        Ok(())
    })
}

pub(super) fn a_vector_does_not_depend_on_its_neighbours(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let long = "a text that is much longer than the others ".repeat(20);
        for pooling in [Pooling::Mean, Pooling::Cls] {
            let together = embed(subject, &["short", &long, "short"], Some(pooling)).await?;
            assert_eq!(together.pooling, pooling);
            let alone = embed(subject, &["short"], Some(pooling)).await?;
            for vector in together.vectors().step_by(2) {
                assert!(cosine(&alone.values, vector) > 0.9999);
            }
        }
        Ok(())
    })
}

pub(super) fn like_texts_have_like_vectors(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let texts =
            ["A cat sleeps on the sofa.", "A kitten is napping on the couch.", "Interest rates rose by two percent."];
        let all = embed(subject, &texts, None).await?;
        let vectors: Vec<&[f32]> = all.vectors().collect();
        assert!(cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]));
        assert!(cosine(vectors[0], vectors[1]) > cosine(vectors[1], vectors[2]));
        Ok(())
    })
}

pub(super) fn any_text_has_a_vector_of_numbers(subject: &Subject) -> Result<(), Failed> {
    block_on(async {
        let long = "word ".repeat(20_000);
        let all = embed(subject, &["", " ", "\u{0}\u{fffd}\u{1f600}", &long], None).await?;
        assert_eq!(all.vectors().len(), 4);
        assert!(all.values.iter().all(|value| value.is_finite()));
        Ok(())
    })
}
