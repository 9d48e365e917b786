//! Evidence: what is accepted survives being written, and is never longer than what it was read
//! from.
#![no_main]

use cnister::trust::{COSIGN_SIGN, Evidence, Needs};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Evidence::parse(bytes) {
        Ok(evidence) => {
            let written = evidence.to_bytes();
            assert!(written.len() <= bytes.len());
            assert_eq!(Evidence::parse(&written).expect("was accepted before"), evidence);
            let needs = Needs { predicate_types: [COSIGN_SIGN.to_owned()].into() };
            let needed = evidence.clone().needed(&needs);
            assert!(needed.signatures().len() <= evidence.signatures().len());
        }
        Err(error) => check_words(&error),
    }
});
