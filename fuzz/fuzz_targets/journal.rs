//! A journal survives being written, and holds no path.
#![no_main]

use cnister::node::Journal;
use cnister_fuzz::written_and_read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(journal) = written_and_read(bytes, Journal::parse) {
        assert!(journal.entries.iter().all(|entry| !entry.name.as_str().contains('/')));
    }
});
