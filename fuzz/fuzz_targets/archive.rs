//! Layers: what is read has plain paths, each once, and no more bytes than were allowed.
#![no_main]

use std::collections::BTreeSet;

use cnister::bundle::{Compression, archive};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let compression = match choice % 3 {
        0 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    let (mut seen, mut total) = (BTreeSet::new(), 0);
    let _ = archive::read(compression, bytes, LIMIT, |file| {
        assert!(!file.path.starts_with('/') && file.path.split('/').all(|part| part != ".." && part != ""));
        assert!(seen.insert(file.path.to_owned()));
        total += std::io::copy(file.content, &mut std::io::sink())?;
        assert!(total <= LIMIT);
        Ok(())
    });
});
