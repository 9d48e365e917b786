//! Manifests and indexes: no document is both.
#![no_main]

use cnister::model::{Document, document, media_type};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let index = Document::new(media_type::INDEX, bytes.to_vec()).index();
    let manifest = Document::new(media_type::MANIFEST, bytes.to_vec()).manifest();
    assert!(index.is_err() || manifest.is_err());
    for error in [index.as_ref().err(), manifest.as_ref().err()].into_iter().flatten() {
        check_words(error);
    }
    for entry in index.iter().flat_map(|index| index.manifests()) {
        assert!(document::sha256(entry).is_some());
        let _ = document::platform(entry);
    }
    for entry in
        manifest.iter().flat_map(|manifest| manifest.layers().iter().chain([manifest.config()]))
    {
        assert!(document::sha256(entry).is_some());
    }
});
