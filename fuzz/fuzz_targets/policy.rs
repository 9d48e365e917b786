//! Policies: the text that a node keeps says the same as the text that its owner wrote.
#![no_main]

use std::io;

use cnister::trust::Policy;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../tests/data/cosign.pub");

fuzz_target!(|text: &str| {
    match Policy::parse("fuzz.yaml", text, &mut |_| Ok(KEY.to_owned())) {
        Ok(policy) => {
            assert!(!policy.is_standalone() || policy.text() == text);
            assert!(policy.text().starts_with(text.trim_end()));
            let again = Policy::parse("fuzz.yaml", policy.text(), &mut |_| {
                Err(io::ErrorKind::NotFound.into())
            });
            let again = again.expect("it holds its keys itself");
            assert!(again.is_standalone());
            assert_eq!((again.text(), again.digest()), (policy.text(), policy.digest()));
            assert_eq!(again.needs(None), policy.needs(None));
            assert!(again.rules().eq(policy.rules()));
        }
        Err(error) => check_words(&error),
    }
});
