//! Statements, in a bundle around them; the bundle is put there, so that all of the input is used.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cnister::model::{json, media_type, rfc3339};
use cnister::trust::{SIGNED_AT, SignedAt, SigstoreBundle};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|payload: &[u8]| {
    let bundle = serde_json::json!({
        "mediaType": media_type::SIGSTORE_BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": "hint" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": media_type::IN_TOTO,
            "signatures": [{ "sig": STANDARD.encode(b"signature") }],
        },
    });
    if let Some(claim) = SigstoreBundle::claim_of(&json::canonical(&bundle)) {
        let limit = media_type::SIGSTORE_BUNDLE_LIMIT;
        let value: Value = json::parse("statement", payload, limit).expect("was accepted before");
        assert_eq!(value["predicateType"], claim.predicate_type.as_str());
        let named = value["subject"].as_array().expect("subjects are a list");
        let named: Vec<_> =
            named.iter().filter_map(|subject| subject["digest"]["sha256"].as_str()).collect();
        assert!(
            claim.subjects.iter().all(|subject| named.contains(&subject.digest.hex().as_str()))
        );
        let subjects = value["subject"].as_array().into_iter().flatten();
        let said: Vec<_> =
            subjects.filter_map(|subject| subject["annotations"][SIGNED_AT].as_str()).collect();
        for subject in &claim.subjects {
            if let Some(SignedAt::Seconds(seconds)) = subject.signed_at {
                assert!(said.contains(&rfc3339(seconds).as_str()));
            }
        }
    }
});
