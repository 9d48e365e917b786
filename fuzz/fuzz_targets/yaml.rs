//! YAML: what is accepted means the same when it is written as JSON, a text in JSON's quotes is
//! that text, and a mistake has a place.
#![no_main]

use cnister::model::yaml;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    // A policy's key files are written so below it.
    let quoted = Value::from(text).to_string();
    if let Ok(read) = yaml::parse::<String>("fuzz.yaml", &quoted) {
        assert_eq!(read, text);
    }
    match yaml::parse::<Value>("fuzz.yaml", text) {
        Ok(value) => {
            let written = value.to_string();
            if let Ok(again) = yaml::parse::<Value>("fuzz.yaml", &written) {
                assert_eq!(again, value, "{written}");
            }
        }
        Err(error) => {
            check_words(&error);
            assert!(error.line > 0 || error.column == 0);
        }
    }
});
