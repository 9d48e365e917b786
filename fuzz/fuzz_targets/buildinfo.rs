//! Go's build information from its magic on; the magic is put there, so that all of the input is
//! used.
#![no_main]

use cnister::binary::GoBuild;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = b"\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    whole.extend_from_slice(bytes);
    if let Some(GoBuild { go, path, version }) = GoBuild::parse(&whole) {
        for text in [Some(go), Some(path), version].into_iter().flatten() {
            assert!(!text.is_empty() && text.len() <= 512 && !text.contains(char::is_control));
        }
    }
});
