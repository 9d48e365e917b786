//! What libcni and Multus remember of attachments.
#![no_main]

use cnister::cni::{parse_multus_cache, parse_result_cache};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse_result_cache("it", bytes) {
        Ok(entry) => assert!(!entry.container.is_empty() && !entry.network.is_empty()),
        Err(error) => check_words(&error),
    }
    match parse_multus_cache("it", "container", bytes) {
        Ok(entries) => assert!(entries.iter().all(|entry| entry.container == "container")),
        Err(error) => check_words(&error),
    }
});
