//! Reading the plugin layer: regular files and directories with plain paths, each once, and nothing
//! else.
//!
//! The one reader of this format; `tar.rs` reads the archive, under the strictest of its rules.
//! What it refuses are the ways in which two unpackers read one archive differently: links,
//! devices, long-name and pax records, absolute and parent paths, a path twice, a directory with
//! content, bytes after the end. It writes nothing, and the installer decides permissions and
//! owners.

pub(super) mod ahead;

use std::io::{self, BufRead, Read};

use ahead::Ahead;

use super::tar::{
    Extensions, Kind, MAX_EXTENSIONS, Member, Paths, Rest, Rules, Stop, TarError, walk,
};
use super::{Compression, FileManifest};
use crate::model::{Digest, Hasher};

/// One entry of a layer. Its path is relative and has no slash at the end.
pub enum ArchiveEntry<'a> {
    /// A directory.
    Directory {
        /// Its path in the image.
        path: &'a str,
    },
    /// A regular file.
    File {
        /// Its path in the image.
        path: &'a str,
        /// Its content: as long as its header says, or reading fails.
        content: &'a mut dyn Read,
    },
}

/// Why a layer cannot be read, or is not the one that was signed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not what the compression or tar make.
    #[error("the plugin layer cannot be read")]
    Read(#[source] io::Error),
    /// An entry that is neither a file nor a directory.
    #[error(
        "the plugin layer has `{path}`, a tar entry of type `{}`; only files and directories are accepted",
        kind.letter()
    )]
    Kind {
        /// The entry's path, as the message shows it.
        path: String,
        /// Its kind, of which the message has the letter.
        kind: Kind,
    },
    /// A path that would not come out the same everywhere.
    #[error("the plugin layer has `{path}`: {reason}")]
    Path {
        /// The entry's path, as the message shows it.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory with content: some readers pass over it, others take it for the next entry.
    #[error("the plugin layer has the directory `{0}` with content")]
    Content(String),
    /// A path twice.
    #[error("the plugin layer has `{0}` twice")]
    Repeated(String),
    /// More entries than any bundle has.
    #[error("the plugin layer has more than {MAX_ENTRIES} entries")]
    TooMany,
    /// More bytes than it should have.
    #[error(
        "the plugin layer is longer than {0} bytes, the most that the files in bundle.json can take up"
    )]
    TooLong(u64),
    /// Bytes after the block of zeros that ends an archive: some readers go on there.
    #[error("the plugin layer continues after the end of its archive")]
    Trailing,
    /// Not the bytes that were signed.
    #[error("the plugin layer has the uncompressed digest {found}, bundle.json says {expected}")]
    DiffId {
        /// The digest in `bundle.json`.
        expected: Digest,
        /// The digest of the uncompressed bytes.
        found: Digest,
    },
}

/// The most entries of a layer: the most plugins of a bundle, and directories.
const MAX_ENTRIES: usize = 512;
/// What a layer may hold. Extensions are entries like any other and refused as such, so that none
/// gives another entry a second name or size.
fn rules(limit: u64) -> Rules {
    Rules {
        members: MAX_ENTRIES,
        bytes: limit,
        kinds: &[Kind::File, Kind::Directory],
        extensions: Extensions::Refused,
        paths: Paths::Plain,
        rest: Rest::Zeros,
        extension_bytes: MAX_EXTENSIONS,
    }
}
/// One block of a tar archive (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: u64 = 512;
/// What writers append: two blocks of zeros, rounded up to a record of twenty.
const PADDING: u64 = 20 * BLOCK;
/// The directories above the plugins, and one to spare.
const DIRECTORIES: u64 = 4;

/// The most bytes that an archive of these files and their directories has, ours or another
/// writer's.
pub fn longest(files: &FileManifest) -> u64 {
    let padded = |size: u64| size.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
    let contents = files.plugins.iter().map(|file| padded(file.size).saturating_add(BLOCK));
    contents.fold(DIRECTORIES * BLOCK + PADDING, u64::saturating_add)
}

/// Calls `visit` for each entry of a layer, in the order of the archive. At most `limit`
/// uncompressed bytes are read, and all of them together must have the digest `diff_id`. The digest
/// of `input` must have been checked before.
///
/// Only when this returns is the layer known to be the one that was signed: what was visited before
/// may have to be thrown away.
///
/// A second thread decodes and hashes; `visit` is called in the caller's.
pub fn read<E: From<ArchiveError>>(
    compression: Compression,
    input: impl BufRead + Send,
    limit: u64,
    diff_id: Digest,
    visit: impl FnMut(ArchiveEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let decoder = compression.decoder(input).map_err(ArchiveError::Read)?;
    // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
    let decoder = decoder.take(limit.saturating_add(1));
    std::thread::scope(|scope| {
        let (mut decoded, tally) =
            Ahead::start(scope, decoder, Hasher::new(io::sink())).map_err(ArchiveError::Read)?;
        read_entries(&mut decoded, limit, visit)?;
        let tally = tally.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (found, ..) = tally.finish();
        if found == diff_id {
            Ok(())
        } else {
            Err(ArchiveError::DiffId { expected: diff_id, found }.into())
        }
    })
}

/// Reads to the end of what was decoded.
fn read_entries<E: From<ArchiveError>>(
    decoded: &mut Ahead,
    limit: u64,
    mut visit: impl FnMut(ArchiveEntry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let result = walk(decoded, &rules(limit), |Member { path, kind, content, .. }| {
        visit(match kind {
            Kind::Directory => ArchiveEntry::Directory { path },
            _ => ArchiveEntry::File { path, content },
        })
        .map_err(Stop::Visitor)
    });
    result.map_err(Stop::into_error::<ArchiveError>)
}

impl From<TarError> for ArchiveError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Kind { path, kind } => Self::Kind { path, kind },
            TarError::Path { path, reason } => Self::Path { path, reason },
            TarError::Content { path, .. } => Self::Content(path),
            TarError::Repeated(path) => Self::Repeated(path),
            TarError::TooMany(_) => Self::TooMany,
            TarError::TooLong(limit) => Self::TooLong(limit),
            TarError::Trailing => Self::Trailing,
            error => Self::Read(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::bundle::{Encoding, Entry, EntryKind, Linkage, PluginFile, layer};

    const LIMIT: u64 = 1 << 20;

    /// What a visitor that reads every file can meet.
    #[derive(Debug)]
    enum Failure {
        Archive(ArchiveError),
        Content(io::Error),
    }

    impl From<ArchiveError> for Failure {
        fn from(error: ArchiveError) -> Self {
            Self::Archive(error)
        }
    }

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

    /// Every file of `input`, which decodes to `decoded`.
    fn decode(
        compression: Compression,
        input: &[u8],
        limit: u64,
        decoded: &[u8],
    ) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let mut found = Vec::new();
        read(compression, input, limit, Digest::of(decoded), |entry| {
            let (path, bytes) = match entry {
                ArchiveEntry::Directory { path } => (format!("{path}/"), Vec::new()),
                ArchiveEntry::File { path, content } => {
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes).map_err(Failure::Content)?;
                    (path.to_owned(), bytes)
                }
            };
            found.push((path, bytes));
            Ok::<_, Failure>(())
        })?;
        Ok(found)
    }

    fn files(bytes: &[u8], limit: u64) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        decode(Compression::None, bytes, limit, bytes)
    }

    fn refusal(result: Result<Vec<(String, Vec<u8>)>, Failure>) -> ArchiveError {
        match result {
            Err(Failure::Archive(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn pack(compression: Compression, archive: &[u8]) -> Vec<u8> {
        let encoding = Encoding::ALL.into_iter().find(|it| it.compression() == compression);
        let mut encoder = encoding.unwrap().encoder(Vec::new()).unwrap();
        encoder.write_all(archive).unwrap();
        encoder.finish().unwrap()
    }

    const ALL: [Compression; 3] = [Compression::Zstd, Compression::Gzip, Compression::None];

    #[test]
    fn reads_what_the_layer_writer_writes() {
        for encoding in Encoding::ALL {
            let mut bytes = Vec::new();
            let entries = vec![
                Entry::of_bytes("a/b", EntryKind::Program, b"1"),
                Entry::of_bytes("c", EntryKind::Document, b""),
            ];
            let diff_id = layer::write(entries, encoding, 0, &mut bytes).unwrap().diff_id;
            let mut found = Vec::new();
            read(encoding.compression(), bytes.as_slice(), LIMIT, diff_id, |entry| {
                let (ArchiveEntry::Directory { path } | ArchiveEntry::File { path, .. }) = entry;
                found.push(path.to_owned());
                Ok::<_, ArchiveError>(())
            })
            .unwrap();
            assert_eq!(found, ["a", "c", "a/b"], "{encoding:?}");
        }
    }

    #[test]
    fn refuses_what_unpackers_read_differently() {
        use tar::EntryType as T;
        let long = "a".repeat(100);
        let has = "the plugin layer has";
        let kind = |path: &str, kind| {
            format!(
                "{has} `{path}`, a tar entry of type `{kind}`; only files and directories are accepted"
            )
        };
        let path = |path: &str| format!("{has} `{path}`: it is not a relative path of plain names");
        let cases = [
            (archive(&[("a", T::Symlink, b"")]), kind("a", '2')),
            (archive(&[("a", T::Link, b"")]), kind("a", '1')),
            (archive(&[("a", T::Char, b"")]), kind("a", '3')),
            (archive(&[("a", T::Fifo, b"")]), kind("a", '6')),
            (archive(&[("a", T::Continuous, b"")]), kind("a", '7')),
            (archive(&[("././@LongLink", T::GNULongName, b"b\0")]), kind("././@LongLink", 'L')),
            (archive(&[("pax", T::XHeader, b"9 path=b\n")]), kind("pax", 'x')),
            (archive(&[("pax", T::XGlobalHeader, b"9 path=b\n")]), kind("pax", 'g')),
            (archive(&[("a", T::GNUSparse, b"")]), kind("a", 'S')),
            (archive(&[("../a", T::Regular, b"")]), path("../a")),
            (archive(&[("/a", T::Regular, b"")]), path("/a")),
            (archive(&[("./a", T::Regular, b"")]), path("./a")),
            (archive(&[("a/", T::Regular, b"")]), path("a/")),
            (archive(&[("", T::Regular, b"")]), path("")),
            (
                archive(&[("a\x1b", T::Regular, b"")]),
                format!("{has} `a\\u{{1b}}`: it has a character other than printable ASCII"),
            ),
            (
                archive(&[(&long, T::Regular, b"")]),
                format!("{has} `{long}`: it is longer than 99 bytes"),
            ),
            (
                archive(&[("a", T::Regular, b"1"), ("a", T::Regular, b"2")]),
                format!("{has} `a` twice"),
            ),
            (
                archive(&[("a", T::Regular, b"1"), ("a/", T::Directory, b"")]),
                format!("{has} `a` twice"),
            ),
            (
                archive(&[("a/", T::Directory, b"b")]),
                format!("{has} the directory `a` with content"),
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(refusal(files(&bytes, LIMIT)).to_string(), expected);
        }
        let good = archive(&[("a/", T::Directory, b""), ("a/b", T::Regular, b"1")]);
        assert_eq!(
            files(&good, LIMIT).unwrap(),
            [("a/".to_owned(), Vec::new()), ("a/b".to_owned(), b"1".to_vec())]
        );
    }

    #[test]
    fn refuses_what_follows_the_end_of_the_archive() {
        let good = archive(&[("a", tar::EntryType::Regular, b"1")]);
        let second = archive(&[("b", tar::EntryType::Regular, b"2")]);
        // After one block of zeros, after two, and within a block: some readers go on in each of
        // these places.
        let rest = [b"x".as_slice(), &second];
        for (length, rest) in
            [good.len() - 512, good.len()].into_iter().flat_map(|l| rest.map(|rest| (l, rest)))
        {
            let bytes = [&good[..length], rest].concat();
            for compression in ALL {
                let error = refusal(decode(compression, &pack(compression, &bytes), LIMIT, &bytes));
                assert!(
                    matches!(error, ArchiveError::Trailing),
                    "{compression} {length}: {error:?}"
                );
            }
        }
        for zeros in [0, 1, 511, 512, 20 * 512] {
            let bytes = [good.clone(), vec![0; zeros]].concat();
            assert_eq!(files(&bytes, LIMIT).unwrap().len(), 1, "{zeros}");
        }
    }

    #[test]
    fn reads_every_member_of_a_compressed_layer_and_nothing_else() {
        let bytes = archive(&[
            ("a", tar::EntryType::Regular, b"1"),
            ("b", tar::EntryType::Regular, &[2; 2000]),
        ]);
        for compression in [Compression::Zstd, Compression::Gzip] {
            // Cut anywhere, members are one stream (RFC 1952, 2.2; RFC 8878, 3); a layer that ends
            // with the first would be another one.
            for at in [0, 100, 512, 1536, bytes.len()] {
                let members =
                    [pack(compression, &bytes[..at]), pack(compression, &bytes[at..])].concat();
                assert_eq!(
                    decode(compression, &members, LIMIT, &bytes).unwrap().len(),
                    2,
                    "{compression} {at}"
                );
            }
            let whole = pack(compression, &bytes);
            let second = archive(&[("c", tar::EntryType::Regular, b"3")]);
            let hidden = [whole.clone(), pack(compression, &second)].concat();
            let error = refusal(decode(compression, &hidden, LIMIT, &bytes));
            assert!(matches!(error, ArchiveError::Trailing), "{compression}: {error:?}");
            for garbage in [b"garbage".as_slice(), &[0; 512]] {
                let followed = [whole.as_slice(), garbage].concat();
                let error = refusal(decode(compression, &followed, LIMIT, &bytes));
                assert!(matches!(error, ArchiveError::Read(_)), "{compression}: {error:?}");
            }
            for length in [whole.len() - 1, whole.len() / 2, 0] {
                let result = decode(compression, &whole[..length], LIMIT, &bytes);
                assert!(
                    matches!(
                        result,
                        Err(Failure::Content(_)
                            | Failure::Archive(
                                ArchiveError::Read(_) | ArchiveError::DiffId { .. }
                            ))
                    ),
                    "{compression} {length}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn refuses_other_bytes_than_the_ones_that_were_signed() {
        let bytes = archive(&[("a", tar::EntryType::Regular, b"1")]);
        let padded = [bytes.as_slice(), &[0; 512]].concat();
        for (bytes, signed) in [(&bytes, &padded), (&padded, &bytes)] {
            let error = refusal(decode(Compression::None, bytes, LIMIT, signed)).to_string();
            let (expected, found) = (Digest::of(signed), Digest::of(bytes));
            assert_eq!(
                error,
                format!(
                    "the plugin layer has the uncompressed digest {found}, bundle.json says {expected}"
                )
            );
        }
        // Content that is not read counts as well.
        let visit = |_: ArchiveEntry<'_>| Ok::<_, ArchiveError>(());
        read(Compression::None, bytes.as_slice(), LIMIT, Digest::of(&bytes), visit).unwrap();
    }

    #[test]
    fn stops_at_its_limits() {
        let names: Vec<String> = (0..=MAX_ENTRIES).map(|number| format!("f{number}")).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), tar::EntryType::Regular, b"".as_slice()))
            .collect();
        assert!(matches!(refusal(files(&archive(&entries), LIMIT)), ArchiveError::TooMany));
        assert_eq!(files(&archive(&entries[1..]), LIMIT).unwrap().len(), MAX_ENTRIES);

        let bytes = archive(&[("a", tar::EntryType::Regular, b"content")]);
        let limit = bytes.len() as u64;
        assert!(files(&bytes, limit).is_ok());
        for limit in [0, 1, 512, 513, 519, limit - 1] {
            let error = refusal(files(&bytes, limit));
            assert!(
                matches!(error, ArchiveError::TooLong(_) | ArchiveError::Read(_)),
                "{limit}: {error:?}"
            );
        }
        // A header that claims more than there is.
        let mut claims = header("a", tar::EntryType::Regular, 1 << 40).as_bytes().to_vec();
        claims.resize(4096, 0);
        assert!(matches!(refusal(files(&claims, LIMIT)), ArchiveError::TooLong(_)));
        // Zeros without end, after an archive or in place of one.
        for start in [bytes.as_slice(), b""] {
            let bomb = [start, &[0; 2 << 20]].concat();
            for compression in ALL {
                let error = refusal(decode(compression, &pack(compression, &bomb), LIMIT, &bomb));
                assert!(matches!(error, ArchiveError::TooLong(LIMIT)), "{compression}: {error:?}");
            }
        }
    }

    #[test]
    fn the_limit_leaves_room_for_other_writers() {
        let plugin = |name: &str, size| PluginFile {
            name: name.parse().unwrap(),
            digest: Digest::of(b""),
            size,
            linkage: Linkage::Static,
            go: None,
            facts: crate::bundle::Facts::default(),
        };
        let files = |plugins| FileManifest {
            media_type: String::new(),
            name: "test".parse().unwrap(),
            version: semver::Version::new(1, 2, 3),
            platform: "linux/amd64".parse().unwrap(),
            diff_id: Digest::of(b""),
            plugins,
            tool: None,
        };
        let other = 4 * 512 + 20 * 512;
        for (sizes, expected) in [
            ([0, 0], 2 * 512),
            ([1, 512], 2 * 512 + 2 * 512),
            ([513, 0], 2 * 512 + 2 * 512),
            ([u64::MAX, 1], u64::MAX - other),
        ] {
            let plugins = vec![plugin("a", sizes[0]), plugin("b", sizes[1])];
            assert_eq!(longest(&files(plugins)), other.saturating_add(expected), "{sizes:?}");
        }
    }

    #[test]
    fn a_content_that_is_cut_short_is_an_error() {
        let bytes = archive(&[("a", tar::EntryType::Regular, &[7; 2000])]);
        for length in [600, 1024, 2511] {
            let error = files(&bytes[..length], LIMIT).expect_err("cut");
            let Failure::Content(error) = error else { panic!("{error:?}") };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }
}
