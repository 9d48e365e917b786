//! The inputs that decide the bytes of a layer, as one digest: its files with their paths and
//! permissions, the time, the encoder with its version and parameters, and the version of the
//! crate, which decides how the archive is written.

use super::{Encoding, Entry, EntryKind};
use crate::model::{Digest, json};

/// The digest of all that decides the bytes of a layer of these files, in whatever order they are.
pub fn composition(entries: &[Entry<'_>], encoding: Encoding, epoch: u64) -> Digest {
    let files = entries.iter().map(|Entry { path, kind, digest, size, .. }| {
        (path.as_str(), *kind == EntryKind::Program, *digest, *size)
    });
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    let (version, encoder) = (env!("CARGO_PKG_VERSION"), encoding.encoder_id());
    let compression = encoding.compression().media_type();
    Digest::of(&json::canonical(&(version, encoder, compression, epoch, files)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_that_decides_the_bytes_decides_the_digest() {
        let program = |path, bytes| Entry::of_bytes(path, EntryKind::Program, bytes);
        let two = || vec![program("a", &b"one"[..]), program("b", &b"two"[..])];
        let first = composition(&two(), Encoding::Balanced, 0);
        let backwards: Vec<_> = two().into_iter().rev().collect();
        assert_eq!(composition(&backwards, Encoding::Balanced, 0), first);
        let others = [
            composition(&two(), Encoding::Balanced, 1),
            composition(&two()[..1], Encoding::Balanced, 0),
            composition(&[program("a", b"two"), program("b", b"one")], Encoding::Balanced, 0),
            composition(
                &[program("a", b"one"), Entry::of_bytes("b", EntryKind::Document, b"two")],
                Encoding::Balanced,
                0,
            ),
            composition(&two(), Encoding::Best, 0),
            composition(&two(), Encoding::Gzip, 0),
            composition(&two(), Encoding::None, 0),
            first,
        ];
        assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
    }
}
