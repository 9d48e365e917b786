//! A receipt survives being written, and so does the journal of an installation that ends in it.
#![no_main]

use cnister::model::json;
use cnister::node::{Journal, Receipt};
use cnister_fuzz::written_and_read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(receipt) = written_and_read(bytes, Receipt::parse) {
        let journal = Journal::of(&receipt);
        assert_eq!(
            written_and_read(json::readable(&journal).as_bytes(), Journal::parse),
            Some(journal)
        );
    }
});
