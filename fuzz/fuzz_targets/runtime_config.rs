//! Configuration of container runtimes: what a later file says takes the place of what was said
//! before.
#![no_main]

use cnister::cni::runtime::{Containerd, Crio, data_dir};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Containerd::parse(bytes) {
        Ok(file) => {
            let mut merged = Containerd::default();
            merged.merge(file.clone());
            assert!(merged.directories().eq(file.directories()));
            assert_eq!(
                (&merged.conf_dir, merged.is_without_pods),
                (&file.conf_dir, file.is_without_pods)
            );
            merged.merge(file.clone());
            assert!(merged.directories().eq(file.directories()));
        }
        Err(error) => check_words(&error),
    }
    match Crio::parse(bytes) {
        Ok(file) => {
            let mut merged = Crio::default();
            merged.merge(file.clone());
            assert_eq!(merged, file);
        }
        Err(error) => check_words(&error),
    }
    if let Some(path) = data_dir(bytes) {
        assert!(!path.is_empty() && !path.contains('\n'));
    }
});
