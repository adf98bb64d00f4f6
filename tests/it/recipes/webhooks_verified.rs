//! `examples/webhooks-verified`, with signatures as Stripe and GitHub make them.

use std::fmt::Write as _;
use std::time::SystemTime;

use aerostack_tests::{Binary, HttpAnswer, TestProject, send, test};
use libtest_mimic::Trial;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::example;

const STRIPE_SECRET: &str = "whsec_of_the_test";
const GITHUB_SECRET: &str =
    "a secret of any length: it may be longer than the block of SHA-256, which has sixty-four bytes";
const EVENT: &str = r#"{"id":"evt_1","type":"charge.succeeded","note":"漢字"}"#;

pub(super) fn trials(trials: &mut Vec<Trial>) {
    trials.push(test("HMAC-SHA256 of the tests is that of RFC 4231", async || {
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac("Jefe", "what do ya want for nothing?"), expected);
    }));

    trials.push(test("a verified event of Stripe is taken, worked off, and written once", async || {
        let (project, served) = verified();
        for _ in 0..2 {
            let taken = stripe(&served, EVENT, &stripe_signature(now(), EVENT, STRIPE_SECRET)).await;
            assert_eq!((taken.status, taken.json()), (200, json!({ "received": true })));
        }
        served.wait_for("  log queue webhooks stripe charge.succeeded evt_1");
        served.wait_for("  log queue webhooks stripe evt_1 was here before");
        let payload: serde_json::Value = serde_json::from_str(EVENT).expect("JSON");
        let row = json!([{ "source": "stripe", "event_id": "evt_1", "type": "charge.succeeded", "payload": payload.to_string() }]);
        let mut rows = project.rows("SELECT source, event_id, type, payload FROM webhook_events");
        let written: serde_json::Value = serde_json::from_str(rows[0]["payload"].as_str().expect("text")).expect("JSON");
        rows[0]["payload"] = written.to_string().into();
        assert_eq!(rows, row);
        assert_eq!(project.queued("webhooks").len(), 0);
    }));

    trials.push(test("a verified event of GitHub is taken under its delivery's id", async || {
        let (project, served) = verified();
        let body = r#"{"ref":"main"}"#;
        let signature = format!("sha256={}", hmac(GITHUB_SECRET, body));
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
            ("x-github-delivery", "delivery-1"),
        ];
        let taken = send(served.address, "POST", "/webhooks/github", &headers, body.as_bytes()).await;
        assert_eq!((taken.status, taken.json()), (200, json!({ "received": true })));
        let upper = format!("sha256={}", hmac(GITHUB_SECRET, body).to_uppercase());
        let headers =
            [("x-hub-signature-256", upper.as_str()), ("x-github-event", "push"), ("x-github-delivery", "delivery-2")];
        assert_eq!(send(served.address, "POST", "/webhooks/github", &headers, body.as_bytes()).await.status, 200);
        served.wait_for("github push delivery-1");
        served.wait_for("github push delivery-2");
        let rows = project.rows("SELECT source, event_id, type, payload FROM webhook_events ORDER BY event_id");
        assert_eq!(rows[0], json!({ "source": "github", "event_id": "delivery-1", "type": "push", "payload": body }));
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
    }));

    trials.push(test("a signature of Stripe must be over these bytes, with this secret, and not old", async || {
        let (project, served) = verified();
        let good = stripe_signature(now(), EVENT, STRIPE_SECRET);
        let over = |time: u64| stripe_signature(time, EVENT, STRIPE_SECRET);
        for (what, signature) in [
            ("another body", stripe_signature(now(), &EVENT.replace('1', "2"), STRIPE_SECRET)),
            ("another secret", stripe_signature(now(), EVENT, "whsec_of_another")),
            ("of ten minutes ago", over(now() - 600)),
            ("of a time to come", over(now() + 600)),
            (
                "another time than was signed",
                over(now() - 1).replace(&format!("t={}", now() - 1), &format!("t={}", now())),
            ),
            ("no time", good.split_once(',').expect("two fields").1.to_owned()),
            ("a time that is none", good.replacen("t=", "t=-", 1)),
            ("no signature", format!("t={}", now())),
            ("half a signature", good[..good.len() - 1].to_owned()),
            ("another scheme", good.replace("v1=", "v0=")),
            ("no fields", "any".to_owned()),
        ] {
            let refused = stripe(&served, EVENT, &signature).await;
            assert_eq!((refused.status, refused.text().as_str()), (401, "Invalid signature"), "{what}: {signature}");
        }
        let changed = stripe(&served, &EVENT.replace("succeeded", "refunded!"), &good).await;
        assert_eq!((changed.status, changed.text().as_str()), (401, "Invalid signature"));
        let missing = send(served.address, "POST", "/webhooks/stripe", &[], EVENT.as_bytes()).await;
        assert_eq!((missing.status, missing.text().as_str()), (401, "Missing signature"));
        assert_eq!(project.queued("webhooks").len(), 0);
        // While a secret is rolled, Stripe signs with both.
        let both = format!(
            "{},v1={}",
            stripe_signature(now(), EVENT, "whsec_of_before"),
            good.split_once("v1=").expect("a signature").1
        );
        assert_eq!(stripe(&served, EVENT, &both).await.status, 200);
    }));

    trials.push(test("a signature of GitHub must be over these bytes, with this secret", async || {
        let (project, served) = verified();
        for (what, signature) in [
            ("another body", format!("sha256={}", hmac(GITHUB_SECRET, "{} "))),
            ("another secret", format!("sha256={}", hmac("another", "{}"))),
            ("no scheme", hmac(GITHUB_SECRET, "{}")),
            ("another scheme", format!("sha1={}", hmac(GITHUB_SECRET, "{}"))),
            ("nothing", "sha256=".to_owned()),
            ("no hexadecimal digits", format!("sha256={}", "zz".repeat(32))),
        ] {
            let headers = [("x-hub-signature-256", signature.as_str())];
            let refused = send(served.address, "POST", "/webhooks/github", &headers, b"{}").await;
            assert_eq!((refused.status, refused.text().as_str()), (401, "Invalid signature"), "{what}");
        }
        let missing = send(served.address, "POST", "/webhooks/github", &[], b"{}").await;
        assert_eq!((missing.status, missing.text().as_str()), (401, "Missing signature"));
        assert_eq!(project.queued("webhooks").len(), 0);
    }));

    trials.push(test("verified webhooks take POST on two paths, and JSON once it is verified", async || {
        let (_project, served) = verified();
        assert_eq!(send(served.address, "GET", "/webhooks/stripe", &[], b"").await.status, 405);
        assert_eq!(send(served.address, "POST", "/webhooks/other", &[], b"{}").await.status, 404);
        assert_eq!(
            stripe(&served, "{not json", &stripe_signature(now(), "{not json", STRIPE_SECRET)).await.status,
            500
        );
    }));

    trials.push(test("verified webhooks name the secrets they miss", async || {
        let project = example("webhooks-verified");
        let served = project.dev();
        let output = served.output();
        assert!(output.contains("STRIPE_WEBHOOK_SECRET") && output.contains(".dev.vars"), "{output}");
    }));
}

fn verified() -> (TestProject, Binary) {
    let project = example("webhooks-verified");
    project.write(
        ".dev.vars",
        &format!("STRIPE_WEBHOOK_SECRET={STRIPE_SECRET}\nGITHUB_WEBHOOK_SECRET=\"{GITHUB_SECRET}\"\n"),
    );
    let served = project.dev();
    (project, served)
}

async fn stripe(served: &Binary, body: &str, signature: &str) -> HttpAnswer {
    send(served.address, "POST", "/webhooks/stripe", &[("stripe-signature", signature)], body.as_bytes()).await
}

fn stripe_signature(time: u64, body: &str, secret: &str) -> String {
    format!("t={time},v1={}", hmac(secret, &format!("{time}.{body}")))
}

/// Seconds since the UNIX epoch.
fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs()
}

/// HMAC-SHA256 in hexadecimal digits (RFC 2104).
fn hmac(secret: &str, message: &str) -> String {
    let mut key = [0; 64];
    if secret.len() > key.len() {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret.as_bytes());
    }
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
