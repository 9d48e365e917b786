//! What a publisher may have signed: no evidence holds that the key did not sign, in any format.
#![no_main]

use cnister::bundle::{Claim, SignedAsset};
use cnister::model::Digest;
use cnister::trust::{Key, verify_upstream};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../tests/data/cosign.pub");

fuzz_target!(|evidence: &[u8]| {
    let fingerprint = Key::parse(KEY).expect("a key").fingerprint();
    let subjects = [Digest::of(b"hello\n")];
    for (claim, is_image) in
        [(Claim::Signature, false), (Claim::Signature, true), (Claim::Provenance, false)]
    {
        let key = KEY;
        let asset =
            SignedAsset { key, fingerprint, claim, evidence, subjects: &subjects, is_image };
        check_words(&verify_upstream(&asset).expect_err("the key signed nothing"));
    }
});
