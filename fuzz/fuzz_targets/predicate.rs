//! Documents beside an image: what one is about is the same however it is written, and no document
//! is about two images.
#![no_main]

use cnister::attest::Described;
use cnister::model::{Digest, json};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match Described::parse(bytes) {
    Err(error) => check_words(&error),
    Ok(described) => {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("it was read");
        let again = Described::parse(&json::canonical(&value));
        assert_eq!(again.expect("was accepted before"), described);
        let other = Digest::of(described.subject.hex().as_bytes());
        check_words(&described.check(other, &[]).expect_err("about another image"));
        // An image without files is described by a document without files only.
        assert_eq!(described.check(described.subject, &[]).is_ok(), described.files.is_empty());
    }
});
