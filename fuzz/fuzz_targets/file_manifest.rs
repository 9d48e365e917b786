//! `bundle.json`: what is accepted survives being written.
#![no_main]

use cnister::bundle::FileManifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = FileManifest::parse(bytes) {
        let written = manifest.to_bytes();
        assert_eq!(FileManifest::parse(&written).expect("was accepted before"), manifest);
    }
});
