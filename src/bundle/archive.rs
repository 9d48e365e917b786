//! Reading a layer: regular files with plain paths, each once, and nothing else.
//!
//! What it refuses are the ways in which two unpackers read one archive differently: links, devices, long-name and pax
//! records, absolute and parent paths, a path twice. It writes nothing; permissions and owners in the archive are not
//! even shown, since they are for whoever installs a file to decide.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

use super::Compression;
use crate::model::visible;

/// One file of a layer.
pub struct ArchiveFile<'a> {
    /// Its path in the image, without a leading slash.
    pub path: &'a str,
    /// Its size, as its header says; the content is as long or reading fails.
    pub size: u64,
    /// Its content.
    pub content: &'a mut dyn Read,
}

/// Why a layer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not what the compression or tar make.
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
    /// An entry that is neither a file nor a directory.
    #[error("the layer has `{path}`, a tar entry of type `{kind}`; only files and directories are accepted")]
    Kind {
        /// Its path.
        path: String,
        /// The type's letter (POSIX ustar, `typeflag`).
        kind: char,
    },
    /// A path that would not come out the same everywhere.
    #[error("the layer has `{path}`: {reason}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path twice.
    #[error("the layer has `{0}` twice")]
    Repeated(String),
    /// More entries than any bundle has.
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooMany,
    /// More bytes than it should have.
    #[error("the layer is more than {0} bytes long")]
    TooLong(u64),
    /// A file that the caller could not use.
    #[error("cannot take `{path}` from the layer")]
    Visit {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// The most entries of a layer: the most plugins of a bundle, and directories.
const MAX_ENTRIES: usize = 512;
/// The longest path that every tar reader finds in one place.
const LONGEST_PATH: usize = 99;

/// Calls `visit` for each file of a layer, in the order of the archive. `limit` is the most uncompressed bytes that are
/// read. The digest of `input` must have been checked before.
pub fn read(
    compression: Compression,
    input: impl BufRead,
    limit: u64,
    mut visit: impl FnMut(ArchiveFile<'_>) -> io::Result<()>,
) -> Result<(), ArchiveError> {
    let decoder = compression.decoder(input).map_err(ArchiveError::Read)?;
    // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
    let mut archive = tar::Archive::new(decoder.take(limit.saturating_add(1)));
    let mut seen = BTreeSet::new();
    for entry in archive.entries().map_err(ArchiveError::Read)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        if seen.len() == MAX_ENTRIES {
            return Err(ArchiveError::TooMany);
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown = || visible(&path).into_owned();
        let kind = entry.header().entry_type();
        let plain = match kind {
            tar::EntryType::Regular => path.as_str(),
            tar::EntryType::Directory => path.strip_suffix('/').unwrap_or(&path),
            _ => return Err(ArchiveError::Kind { path: shown(), kind: char::from(kind.as_byte()) }),
        };
        check_path(plain).map_err(|reason| ArchiveError::Path { path: shown(), reason })?;
        if !seen.insert(plain.to_owned()) {
            return Err(ArchiveError::Repeated(plain.to_owned()));
        }
        let size = entry.size();
        if entry.raw_file_position().saturating_add(size) > limit {
            return Err(ArchiveError::TooLong(limit));
        }
        if kind == tar::EntryType::Regular {
            let mut content = Whole { inner: &mut entry, left: size };
            let file = ArchiveFile { path: plain, size, content: &mut content };
            visit(file).map_err(|source| ArchiveError::Visit { path: plain.to_owned(), source })?;
        }
    }
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(ArchiveError::Read)?;
    if rest.limit() == 0 { Err(ArchiveError::TooLong(limit)) } else { Ok(()) }
}

/// The content of one file of a layer that is at most `longest` bytes long, where the layer has it.
pub fn find(
    compression: Compression,
    input: impl BufRead,
    limit: u64,
    path: &str,
    longest: usize,
) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut found = None;
    read(compression, input, limit, |file| {
        if file.path != path {
            return Ok(());
        }
        if file.size > longest as u64 {
            return Err(io::Error::other(format!("it is {} bytes long, the limit is {longest}", file.size)));
        }
        let mut content = Vec::new();
        file.content.read_to_end(&mut content)?;
        found = Some(content);
        Ok(())
    })?;
    Ok(found)
}

/// Content that fails where it ends before its size.
struct Whole<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(length as u64);
        if length == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(length)
    }
}

/// Whether a path comes out the same everywhere; the reason where it does not.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > LONGEST_PATH {
        return Err("it is longer than 99 bytes");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("it is not a relative path of plain names");
    }
    if path.contains(|c: char| !c.is_ascii_graphic()) {
        return Err("it has a character other than printable ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Entry, EntryKind, layer};

    fn header(path: &str, kind: tar::EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        // Past the checks of `set_path`, as an attacker would write it.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o4777);
        header.set_cksum();
        header
    }

    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, kind, content) in entries {
            bytes.extend_from_slice(header(path, *kind, content.len() as u64).as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    fn files(bytes: &[u8], limit: u64) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let mut found = Vec::new();
        read(Compression::None, bytes, limit, |file| {
            let mut content = Vec::new();
            file.content.read_to_end(&mut content)?;
            found.push((file.path.to_owned(), content));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn reads_what_the_layer_writer_writes() {
        let entries = || {
            vec![
                Entry::of_bytes("usr/bin/cnister", EntryKind::Program, b"tool"),
                Entry::of_bytes("usr/share/cnister/bundle.json", EntryKind::Document, b"{}"),
            ]
        };
        for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
            let mut bytes = Vec::new();
            layer::write(entries(), compression, 0, &mut bytes).unwrap();
            let found = |path| find(compression, bytes.as_slice(), 1 << 20, path, 4).unwrap();
            assert_eq!(found("usr/share/cnister/bundle.json"), Some(b"{}".to_vec()));
            assert_eq!(found("usr/bin/cnister"), Some(b"tool".to_vec()));
            assert_eq!(found("usr/bin"), None);
        }
    }

    #[test]
    fn refuses_what_unpackers_read_differently() {
        use tar::EntryType as T;
        let long = "a".repeat(100);
        let kind = |path: &str, kind| {
            format!("the layer has `{path}`, a tar entry of type `{kind}`; only files and directories are accepted")
        };
        let cases = [
            (archive(&[("a", T::Symlink, b"")]), kind("a", '2')),
            (archive(&[("a", T::Link, b"")]), kind("a", '1')),
            (archive(&[("a", T::Char, b"")]), kind("a", '3')),
            (archive(&[("a", T::Fifo, b"")]), kind("a", '6')),
            (archive(&[("././@LongLink", T::GNULongName, b"b\0")]), kind("././@LongLink", 'L')),
            (archive(&[("pax", T::XHeader, b"9 path=b\n")]), kind("pax", 'x')),
            (archive(&[("pax", T::XGlobalHeader, b"9 path=b\n")]), kind("pax", 'g')),
            (archive(&[("a", T::GNUSparse, b"")]), kind("a", 'S')),
            (
                archive(&[("../a", T::Regular, b"")]),
                "the layer has `../a`: it is not a relative path of plain names".into(),
            ),
            (
                archive(&[("/a", T::Regular, b"")]),
                "the layer has `/a`: it is not a relative path of plain names".into(),
            ),
            (
                archive(&[("./a", T::Regular, b"")]),
                "the layer has `./a`: it is not a relative path of plain names".into(),
            ),
            (
                archive(&[("a\x1b", T::Regular, b"")]),
                "the layer has `a\\u{1b}`: it has a character other than printable ASCII".into(),
            ),
            (archive(&[(&long, T::Regular, b"")]), format!("the layer has `{long}`: it is longer than 99 bytes")),
            (archive(&[("a", T::Regular, b"1"), ("a", T::Regular, b"2")]), "the layer has `a` twice".into()),
            (archive(&[("a", T::Regular, b"1"), ("a/", T::Directory, b"")]), "the layer has `a` twice".into()),
        ];
        for (bytes, expected) in cases {
            assert_eq!(files(&bytes, 1 << 20).expect_err(&expected).to_string(), expected);
        }
        let good = archive(&[("a/", T::Directory, b""), ("a/b", T::Regular, b"1")]);
        assert_eq!(files(&good, 1 << 20).unwrap(), [("a/b".to_owned(), b"1".to_vec())]);
    }

    #[test]
    fn stops_at_its_limits() {
        let names: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("f{number}")).collect();
        let entries: Vec<_> =
            names.iter().map(|name| (name.as_str(), tar::EntryType::Regular, b"".as_slice())).collect();
        assert!(matches!(files(&archive(&entries), 1 << 20), Err(ArchiveError::TooMany)));
        assert_eq!(files(&archive(&entries[1..]), 1 << 20).unwrap().len(), MAX_ENTRIES);

        let bytes = archive(&[("a", tar::EntryType::Regular, b"content")]);
        let limit = bytes.len() as u64;
        assert!(files(&bytes, limit).is_ok());
        for limit in [0, 1, 512, 513, 519, limit - 1] {
            let error = files(&bytes, limit).expect_err("too long");
            assert!(matches!(error, ArchiveError::TooLong(_) | ArchiveError::Read(_)), "{limit}: {error:?}");
        }
        // A header that claims more than there is.
        let mut claims = header("a", tar::EntryType::Regular, 1 << 40).as_bytes().to_vec();
        claims.resize(4096, 0);
        assert!(matches!(files(&claims, 1 << 20), Err(ArchiveError::TooLong(_))));
    }

    #[test]
    fn a_content_that_is_cut_short_is_an_error() {
        let bytes = archive(&[("a", tar::EntryType::Regular, &[7; 2000])]);
        for length in [600, 1024, 2511] {
            let error = find(Compression::None, &bytes[..length], 1 << 20, "a", 2000).expect_err("cut");
            assert!(matches!(error, ArchiveError::Visit { .. }), "{length}: {error:?}");
            let error = files(&bytes[..length], 1 << 20).expect_err("cut");
            assert!(matches!(error, ArchiveError::Visit { .. }), "{length}: {error:?}");
        }
        let error = find(Compression::None, bytes.as_slice(), 1 << 20, "a", 1999).expect_err("too long");
        let ArchiveError::Visit { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), "it is 2000 bytes long, the limit is 1999");
    }
}
