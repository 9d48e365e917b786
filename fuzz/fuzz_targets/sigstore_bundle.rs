//! Sigstore bundles: what one claims is what its payload says, which is JSON without a repeated
//! key.
#![no_main]

use cnister::model::{json, media_type};
use cnister::trust::SigstoreBundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(claim) = SigstoreBundle::claim_of(bytes) {
        assert!(claim.subjects.len() <= 1024);
        let limit = media_type::SIGSTORE_BUNDLE_LIMIT;
        let value: serde_json::Value =
            json::parse("bundle", bytes, limit).expect("was accepted before");
        let written = SigstoreBundle::claim_of(&json::canonical(&value));
        assert_eq!(written, Some(claim));
    }
});
