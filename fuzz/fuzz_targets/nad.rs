//! NetworkAttachmentDefinitions as kubectl prints them.
#![no_main]

use cnister::cni::parse_definitions;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match parse_definitions("it", bytes) {
        Ok(definitions) => {
            for definition in definitions {
                check_words(&definition.shown);
                match definition.network {
                    Ok(network) => {
                        network.iter().flat_map(|network| &network.problems).for_each(check_words)
                    }
                    Err(error) => check_words(&error),
                }
            }
        }
        Err(error) => check_words(&error),
    }
});
