//! Go's build information from its magic on; the magic is put there, so that all of the input is
//! used.
#![no_main]

use cnister::binary::{BuildInfo, GoBuild};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = b"\xff Go buildinf:\x08\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    whole.extend_from_slice(bytes);
    let summary = GoBuild::parse(&whole);
    if let Some(info) = BuildInfo::parse(&whole) {
        assert_eq!(summary, Some(GoBuild::from(&info)));
        assert!(info.modules.len() <= 4096 && info.settings.len() <= 128);
        for (key, value) in &info.settings {
            assert!(!key.contains(char::is_control) && !value.contains(char::is_control));
        }
        for module in info.main.iter().chain(&info.modules) {
            assert!(!module.path.is_empty() && !module.path.contains(char::is_control));
        }
    }
    if let Some(GoBuild { go, path, version }) = summary {
        for text in [Some(go), Some(path), version].into_iter().flatten() {
            assert!(!text.is_empty() && text.len() <= 512 && !text.contains(char::is_control));
        }
    }
});
