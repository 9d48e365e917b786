//! Definitions: an error has a place and nothing that would move a terminal's cursor.
#![no_main]

use cnister::bundle::Definition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Definition::parse("fuzz.yaml", text) {
        Ok(definition) => {
            for plugin in &definition.plugins {
                assert!(definition.source(&plugin.source).is_some());
            }
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
});
