//! Definitions: an error has a place and nothing that would move a terminal's cursor.
#![no_main]

use cnister::bundle::Definition;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Definition::parse("fuzz.yaml", text) {
        Ok(definition) => {
            for plugin in &definition.plugins {
                assert!(definition.source(&plugin.source).is_some());
            }
        }
        Err(error) => check_words(&error),
    }
});
