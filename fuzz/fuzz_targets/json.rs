//! JSON: what is accepted survives being written, and a second key of one name is never accepted.
#![no_main]

use cnister::model::json;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const LIMIT: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    match json::parse::<Value>("it", bytes, LIMIT) {
        Ok(value) => {
            let written = json::canonical(&value);
            let again: Value =
                json::parse("it", &written, usize::MAX).expect("was accepted before");
            assert_eq!(json::canonical(&again), written);
            let readable: Value =
                json::parse("it", json::readable(&value).as_bytes(), usize::MAX).expect("as well");
            assert_eq!(readable, again);
            if let Value::Object(map) = &value {
                for key in map.keys() {
                    // The same text with one key again, at the end of the outermost object.
                    let text = String::from_utf8_lossy(bytes);
                    let (inner, _) = text.rsplit_once('}').expect("an object ends so");
                    let twice = format!("{inner},{}:0}}", Value::from(key.as_str()));
                    json::parse::<Value>("it", twice.as_bytes(), usize::MAX)
                        .expect_err("a key twice");
                }
            }
        }
        Err(error) => check_words(&error),
    }
});
