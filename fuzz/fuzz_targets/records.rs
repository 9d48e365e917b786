//! What a node remembers: receipt, journal and refusal survive being written.
#![no_main]

use std::fmt::Debug;

use cnister::model::{JsonError, json};
use cnister::node::{Journal, Receipt, Refusal};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;

fn round<T: Serialize + PartialEq + Debug>(bytes: &[u8], parse: fn(&[u8]) -> Result<T, JsonError>) -> Option<T> {
    match parse(bytes) {
        Ok(record) => {
            let written = json::readable(&record);
            assert_eq!(parse(written.as_bytes()).expect("was accepted before"), record);
            Some(record)
        }
        Err(error) => {
            check_words(&error);
            None
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    round(bytes, Journal::parse);
    round(bytes, Refusal::parse);
    if let Some(receipt) = round(bytes, Receipt::parse) {
        let journal = Journal::of(&receipt);
        assert_eq!(round(json::readable(&journal).as_bytes(), Journal::parse), Some(journal));
    }
});
