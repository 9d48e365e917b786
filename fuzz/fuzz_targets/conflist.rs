//! CNI configuration: every need is a plugin's name, what is said about the rest is harmless, and
//! neither is without end.
#![no_main]

use cnister::cni::{Form, advice, parse_config};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for form in [Form::List, Form::Single, Form::Plugin, Form::Either] {
        match parse_config("it", bytes, form) {
            Ok(network) => {
                assert!(
                    network.needs.len() + network.problems.len() <= 1024 + 16,
                    "a list without end"
                );
                for need in network.needs {
                    assert!(
                        !need.plugin.as_str().contains('/')
                            && !need.plugin.as_str().starts_with('.')
                    );
                    assert!(need.version.len() <= 32 * 10);
                    check_words(&advice(&need.plugin));
                }
                network.problems.iter().for_each(check_words);
            }
            Err(error) => check_words(&error),
        }
    }
});
