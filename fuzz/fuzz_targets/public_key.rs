//! Public keys, and the policy that is made of one.
#![no_main]

use cnister::trust::{Key, Policy};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Key::parse(text) {
        Ok(key) => assert_eq!(
            Key::parse(text).expect("was accepted before").fingerprint(),
            key.fingerprint()
        ),
        Err(error) => check_words(&error),
    }
    match Policy::of_key("fuzz.pub", text) {
        Ok(policy) => {
            // Whatever text surrounds the key, the policy has one rule and nothing beside it.
            assert!(policy.is_standalone() && policy.rules().eq(["key"]));
        }
        Err(error) => check_words(&error),
    }
});
