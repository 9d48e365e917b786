//! Checksum files: what is accepted has one sum for each name, and it is in the file.
#![no_main]

use cnister::bundle::{ChecksumFile, Sum};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let found = ChecksumFile::parse(bytes).and_then(|file| file.sum_of("a.tgz"));
    match found {
        Err(error) => check_words(&error),
        Ok(sum) => {
            let hex = match sum {
                Sum::Sha256(digest) => digest.hex(),
                Sum::Sha512(digest) => digest.hex(),
            };
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
            assert!(text.contains(&hex), "a sum that the file does not have");
            // The same lines once more are two lines for each name.
            ChecksumFile::parse(&[bytes, b"\n", bytes].concat()).expect_err("two lines");
        }
    }
});
