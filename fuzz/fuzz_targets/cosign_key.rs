//! Key files up to the password; scrypt is left out, since it takes a tenth of a second by design.
#![no_main]

use cnister::publish::keys::KeyFile;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = KeyFile::parse(bytes) {
        check_words(&error);
    }
});
