//! Layers: what is read has plain paths, each once, and no more bytes than were allowed; a whole
//! layer that is accepted looks the same to a reader that interprets extensions.
#![no_main]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use cnister::bundle::{ArchiveEntry, ArchiveError, Compression, archive};
use cnister::model::Digest;
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

#[derive(Debug)]
enum Stop {
    Archive(ArchiveError),
    Content,
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let compression = match choice % 3 {
        0 => Compression::None,
        1 => Compression::Gzip,
        _ => Compression::Zstd,
    };
    // Not the first use of a decoder on bytes from outside: it finds the digest that the layer
    // would be signed with.
    let mut plain = Vec::new();
    let decoder = compression.decoder(bytes).expect("decoders start");
    let decoded = decoder.take(LIMIT + 1).read_to_end(&mut plain);
    let (mut seen, mut total) = (BTreeMap::new(), 0);
    let result = archive::read(compression, bytes, LIMIT, Digest::of(&plain), |entry| {
        let (path, content) = match entry {
            ArchiveEntry::Directory { path } => (path, None),
            ArchiveEntry::File { path, content } => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(|_| Stop::Content)?;
                (path, Some(bytes))
            }
        };
        assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")));
        total += content.as_ref().map_or(0, Vec::len) as u64;
        assert!(total <= LIMIT);
        assert!(seen.insert(path.to_owned(), content).is_none());
        Ok(())
    });
    match result {
        Err(Stop::Archive(error)) => check_words(&error),
        Err(Stop::Content) => {}
        Ok(()) => {
            assert!(decoded.is_ok() && plain.len() as u64 <= LIMIT);
            assert_eq!(seen, cooked(&plain));
        }
    }
});

/// Every entry as a reader sees it that follows long names and pax records.
fn cooked(plain: &[u8]) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(Cursor::new(plain));
    let entries = archive.entries().expect("was read before").map(|entry| {
        let mut entry = entry.expect("was read before");
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("was read before");
        (path, entry.header().entry_type().is_file().then_some(content))
    });
    entries.collect()
}
