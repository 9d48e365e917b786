//! References: what is printed names the same image, and nothing in it moves a terminal's cursor.
#![no_main]

use cnister::model::{Location, Reference, visible};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Reference>() {
        Ok(reference) => {
            let printed = reference.to_string();
            assert!(!printed.contains(char::is_control), "{printed:?}");
            // A path may be any; one that would hide something is shown another way than it is
            // written.
            let path = match &reference.location {
                Location::Layout(path) | Location::Archive(path) => {
                    path.to_str().expect("it came from a text")
                }
                Location::Registry(_) => "",
            };
            if visible(path) == path {
                assert_eq!(printed.parse::<Reference>().expect("was accepted before"), reference);
            }
            if let Some(registry) = reference.as_registry() {
                assert_eq!(registry.to_string(), printed);
                let _ = registry.repository.is_loopback();
            }
        }
        Err(error) => check_words(&error),
    }
});
