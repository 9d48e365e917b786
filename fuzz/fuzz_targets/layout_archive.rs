//! Layouts in an archive: whatever is given out has the digest that was asked for.
//!
//! The archive is opened by its path, so it is a file in memory that has one.
#![no_main]

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use cnister::model::{Digest, Selector};
use cnister::oci::{Layout, Source};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

thread_local! {
    static MEMORY: RefCell<File> =
        RefCell::new(memfd_create("layout", MemfdFlags::CLOEXEC).expect("there is memory").into());
}

fn open(bytes: &[u8]) -> Option<impl Source + use<>> {
    MEMORY.with_borrow_mut(|file| {
        file.set_len(0).expect("a file in memory can be cut");
        io::Seek::rewind(file).expect("and rewound");
        file.write_all(bytes).expect("and written");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        match Layout::open_archive(Path::new(&path), 1 << 20) {
            Ok(layout) => Some(layout),
            Err(error) => {
                check_words(&error);
                None
            }
        }
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some(layout) = open(bytes) else { return };
    for tag in [None, Some("v1".to_owned())] {
        let Ok(document) = layout.manifest(&Selector { tag, digest: None }) else { continue };
        assert_eq!(Digest::of(&document.bytes), document.digest);
        let referrers = layout.referrers(&document.digest);
        let index = document.index().ok();
        let manifest = document.manifest().ok();
        let below = index.iter().flat_map(|index| index.manifests());
        let below = below.chain(
            manifest
                .iter()
                .flat_map(|manifest| manifest.layers().iter().chain([manifest.config()])),
        );
        for entry in below.chain(referrers.iter().flatten()) {
            let Ok(mut blob) = layout.blob(entry) else { continue };
            let mut content = Vec::new();
            if blob.read_to_end(&mut content).is_ok() {
                assert_eq!(content.len() as u64, entry.size());
                assert_eq!(Digest::of(&content).to_string(), entry.digest().to_string());
            }
        }
    }
});
