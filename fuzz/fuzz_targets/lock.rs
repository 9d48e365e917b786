//! Locks: one that was accepted is read again as it is written, and levels follow from evidence.
#![no_main]

use cnister::bundle::lock::{LockChange, KeptEvidence, BundleLock};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match BundleLock::parse("fuzz.lock.json", bytes) {
        Ok(lock) => {
            let written = lock.to_text();
            let again = BundleLock::parse("fuzz.lock.json", written.as_bytes());
            assert_eq!(again.expect("was accepted before"), lock);
            assert!(LockChange::between(Some(&lock), &lock).is_empty());
            lock.unsupported(&KeptEvidence::new()).iter().for_each(check_words);
        }
        Err(error) => check_words(&error),
    }
});
