//! Layers: the same files make the same bytes.
//!
//! The archive is a plain ustar one: each parent directory once, sorted by the bytes of the paths,
//! then the files by size, since programs of one kind have much in common and are about as long;
//! owner 0, one time for everything, two zero blocks at the end, and nothing that some unpackers do
//! not know (long names, links, pax records). Content streams through; its digest is checked on the
//! way, so a file that changes between being described and being packed is an error and not a
//! surprise on a node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{self, SyncSender};

use oci_spec::image::Descriptor;

use super::Encoding;
use super::tar::check_path;
use crate::model::{Digest, Hasher, document, media_type};

/// One file of a layer.
pub struct Entry<'a> {
    /// Its path in the image, without a leading slash.
    pub path: String,
    /// What it is, which decides its permissions.
    pub kind: EntryKind,
    /// The digest that its content must have.
    pub digest: Digest,
    /// The size that its content must have.
    pub size: u64,
    /// Its content.
    pub content: Box<dyn Read + Send + 'a>,
}

/// What a file of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Something to execute, mode 0755.
    Program,
    /// Something to read, mode 0644.
    Document,
}

/// What a layer became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its compressed bytes.
    pub digest: Digest,
    /// How many compressed bytes there are.
    pub size: u64,
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// The media type of the compressed layer.
    pub media_type: String,
    /// What made the compressed bytes, as [`Encoding::encoder_id`] says it.
    pub encoder: String,
}

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A path that would not come out the same everywhere.
    #[error("cannot pack `{path}`: {reason}")]
    Path {
        /// The path in the archive.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A time that a tar header cannot hold.
    #[error("cannot pack files with the time {0}: the largest is {LATEST}, in the year 2242")]
    Time(u64),
    /// A file that is not as long as its description.
    #[error(
        "`{path}` is {found} bytes, its description says {expected}; was it changed in the meantime?"
    )]
    Size {
        /// The path in the archive.
        path: String,
        /// The size that was described.
        expected: u64,
        /// The size of the content; one more than expected if reading stopped there.
        found: u64,
    },
    /// A file that is not the one described.
    #[error(
        "`{path}` has digest {found}, its description says {expected}; was it changed in the meantime?"
    )]
    Digest {
        /// The path in the archive.
        path: String,
        /// The digest that was described.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// Content that could not be read.
    #[error("cannot read the content of `{path}`")]
    Read {
        /// The path in the archive.
        path: String,
        /// The error of the reader of the content.
        source: io::Error,
    },
    /// The layer could not be written.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
}

/// The latest time of a tar header: eleven octal digits.
const LATEST: u64 = 0o777_7777_7777;
const BLOCK: usize = 512;
/// How many bytes of an archive are handed to the encoder at a time.
const PORTION: usize = 64 * 1024;
/// How many portions may wait for it: 1 MiB.
const AHEAD: usize = 16;

/// Writes a layer of these files, all of the time `epoch` (seconds since 1970).
pub fn write(
    entries: Vec<Entry<'_>>,
    encoding: Encoding,
    epoch: u64,
    output: impl Write,
) -> Result<Layer, LayerError> {
    check_time(epoch)?;
    let (directories, files) = members(entries)?;
    let mut encoder = encoding.encoder(Hasher::new(output)).map_err(LayerError::Write)?;
    let (sender, portions) = mpsc::sync_channel(AHEAD);
    let diff_id = std::thread::scope(|scope| {
        let archive =
            scope.spawn(|| write_archive(&directories, files, epoch, Portions::new(sender)));
        let encoded = portions.iter().try_for_each(|portion| encoder.write_all(&portion));
        // Whoever fails, the other one stops: nobody takes portions, or none come any more.
        drop(portions);
        let archived = archive.join().unwrap_or_else(|panic| resume_unwind(panic));
        encoded.map_err(LayerError::Write).and(archived)
    })?;
    let (digest, size, mut output) = encoder.finish().map_err(LayerError::Write)?.finish();
    output.flush().map_err(LayerError::Write)?;
    Ok(Layer::encoded(encoding, digest, size, diff_id))
}

/// Writes the archive and returns its digest. It is written ahead of the encoder, in a thread of
/// its own: reading and hashing take about as long as the fast encoder.
fn write_archive(
    directories: &BTreeSet<String>,
    files: Vec<Entry<'_>>,
    epoch: u64,
    output: Portions,
) -> Result<Digest, LayerError> {
    let mut archive = Hasher::new(output);
    for path in directories {
        let header = header(path, tar::EntryType::Directory, 0o755, 0, epoch)?;
        archive.write_all(header.as_bytes()).map_err(LayerError::Write)?;
    }
    for file in files {
        write_file(file, epoch, &mut archive)?;
    }
    archive.write_all(&[0; 2 * BLOCK]).map_err(LayerError::Write)?;
    archive.flush().map_err(LayerError::Write)?;
    Ok(archive.finish().0)
}

/// Hands over what is written to it in portions.
struct Portions {
    portion: Vec<u8>,
    sender: SyncSender<Vec<u8>>,
}

impl Portions {
    fn new(sender: SyncSender<Vec<u8>>) -> Self {
        Self { portion: Vec::with_capacity(PORTION), sender }
    }
}

impl Write for Portions {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PORTION.saturating_sub(self.portion.len());
        let (now, _) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.portion.extend_from_slice(now);
        if self.portion.len() == PORTION {
            self.flush()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let portion = std::mem::replace(&mut self.portion, Vec::with_capacity(PORTION));
        self.sender.send(portion).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Refuses a time that no header of a layer can hold.
pub fn check_time(epoch: u64) -> Result<(), LayerError> {
    if epoch > LATEST { Err(LayerError::Time(epoch)) } else { Ok(()) }
}

/// The parent directories (which end with a slash) in the order of their bytes, and the files by
/// size and path.
fn members(entries: Vec<Entry<'_>>) -> Result<(BTreeSet<String>, Vec<Entry<'_>>), LayerError> {
    let (mut directories, mut files) = (BTreeSet::new(), BTreeMap::new());
    for entry in entries {
        let error = |reason| LayerError::Path {
            path: crate::model::visible(&entry.path).into_owned(),
            reason,
        };
        check_path(&entry.path).map_err(error)?;
        for (index, _) in entry.path.match_indices('/') {
            directories.insert(entry.path.get(..=index).unwrap_or_default().to_owned());
        }
        if files.contains_key(&entry.path) {
            return Err(error("two files have this path"));
        }
        files.insert(entry.path.clone(), entry);
    }
    if let Some(path) = files.keys().find(|path| directories.contains(&format!("{path}/"))) {
        return Err(LayerError::Path {
            path: path.clone(),
            reason: "it is a file and a directory",
        });
    }
    let mut files: Vec<_> = files.into_values().collect();
    // A stable sort: files of one size stay in the order of their paths.
    files.sort_by_key(|file| file.size);
    Ok((directories, files))
}

fn header(
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    size: u64,
    epoch: u64,
) -> Result<tar::Header, LayerError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).map_err(|_| LayerError::Path {
        path: path.to_owned(),
        reason: "it does not fit into a tar header",
    })?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}

fn write_file(
    mut entry: Entry<'_>,
    epoch: u64,
    archive: &mut impl Write,
) -> Result<(), LayerError> {
    let mode = match entry.kind {
        EntryKind::Program => 0o755,
        EntryKind::Document => 0o644,
    };
    let header = header(&entry.path, tar::EntryType::Regular, mode, entry.size, epoch)?;
    archive.write_all(header.as_bytes()).map_err(LayerError::Write)?;
    // One byte past the size, so that a file that grew is noticed and not cut.
    let mut content = entry.content.take(entry.size.saturating_add(1));
    let mut hasher = Hasher::new(archive);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hasher
                .write_all(buffer.get(..length).unwrap_or_default())
                .map_err(LayerError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(LayerError::Read { path: std::mem::take(&mut entry.path), source });
            }
        }
    }
    let (found, size, archive) = hasher.finish();
    if size != entry.size {
        return Err(LayerError::Size { path: entry.path, expected: entry.size, found: size });
    }
    if found != entry.digest {
        return Err(LayerError::Digest { path: entry.path, expected: entry.digest, found });
    }
    let padding = entry.size.next_multiple_of(BLOCK as u64) - entry.size;
    io::copy(&mut io::repeat(0).take(padding), archive).map_err(LayerError::Write)?;
    Ok(())
}

impl Layer {
    /// The layer of these digests and this size that `encoding` made.
    pub fn encoded(encoding: Encoding, digest: Digest, size: u64, diff_id: Digest) -> Self {
        let media_type = encoding.compression().media_type();
        Self { digest, size, diff_id, media_type, encoder: encoding.encoder_id() }
    }

    /// Its descriptor, which records the encoder.
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = document::descriptor(&self.media_type, self.digest, self.size);
        descriptor.set_annotations(Some(
            [(media_type::ENCODER_ANNOTATION.to_owned(), self.encoder.clone())].into(),
        ));
        descriptor
    }
}

impl<'a> Entry<'a> {
    /// A file whose content is in memory.
    pub fn of_bytes(path: impl Into<String>, kind: EntryKind, bytes: &'a [u8]) -> Self {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        Self { path: path.into(), kind, digest, size, content: Box::new(bytes) }
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, digest, size, content: _ } = self;
        f.debug_struct("Entry")
            .field("path", path)
            .field("kind", kind)
            .field("digest", digest)
            .field("size", size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress, with matches nearer and farther than 64 KiB.
    fn sample(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::new();
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [low, distance, count, ..] = state.to_le_bytes();
            let distance = 1 + usize::from(distance) * 700;
            if low & 1 == 0 && distance < bytes.len() {
                let start = bytes.len() - distance;
                bytes.extend_from_within(start..start + usize::from(count).min(distance));
            } else {
                bytes.extend_from_slice(&state.to_le_bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn written(entries: Vec<Entry<'_>>, encoding: Encoding) -> (Layer, Vec<u8>) {
        let mut bytes = Vec::new();
        let layer = write(entries, encoding, 0, &mut bytes).unwrap();
        assert_eq!((layer.digest, layer.size), (Digest::of(&bytes), bytes.len() as u64));
        (layer, bytes)
    }

    fn error(entries: Vec<Entry<'_>>) -> String {
        write(entries, Encoding::None, 0, io::sink()).expect_err("refused").to_string()
    }

    fn program<'a>(path: &str, bytes: &'a [u8]) -> Entry<'a> {
        Entry::of_bytes(path, EntryKind::Program, bytes)
    }

    #[test]
    fn the_bytes_of_a_layer_are_pinned() {
        // A change of these is a change of every digest that is ever published: raise the version
        // of the crate, and say so in the changelog.
        let (bridge, macvlan) = (sample(1, 300_000), sample(2, 200_001));
        let golden = [
            "sha256:5e0f6b798839305e6e9243d0e1ec679469d814bfac5f9184733335fd2fb3f7d8",
            "sha256:bdd074e69b735cb14ddd62f982c51751a18a68d045729ff32fa5b6871caf6a64",
            "sha256:1ff71af8de068aba2ea18b2e9dc8d320aecb6bcb383a08d6ec0e5ed225398b72",
            "sha256:cc34c43e7551d7d80905fcf518903aa0c0b88e5b95aff99e88e0e2d35b039409",
        ];
        for (encoding, digest) in Encoding::ALL.into_iter().zip(golden) {
            let entries = vec![
                program("opt/cni/bin/macvlan", &macvlan),
                program("opt/cni/bin/bridge", &bridge),
            ];
            let (layer, _) = written(entries, encoding);
            assert_eq!(layer.digest.to_string(), digest, "{encoding:?}");
            assert_eq!(layer.diff_id.to_string(), golden[3]);
        }
    }

    #[test]
    fn holds_parents_and_files_by_size_and_nothing_else() {
        let entries = vec![
            program("usr/bin/cnister", b"tool"),
            program("usr/bin/another", b"more"),
            Entry::of_bytes("usr/share/cnister/bundle.json", EntryKind::Document, b"{}"),
        ];
        let mut bytes = Vec::new();
        write(entries, Encoding::None, 1_700_000_000, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
                assert_eq!((header.username(), header.groupname()), (Ok(Some("")), Ok(Some(""))));
                assert_eq!(header.mtime().unwrap(), 1_700_000_000);
                (entry.path().unwrap().to_str().unwrap().to_owned(), header.mode().unwrap(), text)
            })
            .collect();
        let expected = [
            ("usr/", 0o755, ""),
            ("usr/bin/", 0o755, ""),
            ("usr/share/", 0o755, ""),
            ("usr/share/cnister/", 0o755, ""),
            ("usr/share/cnister/bundle.json", 0o644, "{}"),
            ("usr/bin/another", 0o755, "more"),
            ("usr/bin/cnister", 0o755, "tool"),
        ];
        assert_eq!(
            found,
            expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()))
        );
        // Seven headers, three contents, two zero blocks.
        assert_eq!(bytes.len(), (7 + 3 + 2) * BLOCK);
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let content = sample(3, 500_000);
        let (plain, archive) = written(vec![program("a", &content)], Encoding::None);
        for encoding in Encoding::ALL {
            let (layer, bytes) = written(vec![program("a", &content)], encoding);
            assert_eq!(layer.diff_id, plain.diff_id);
            let mut unpacked = Vec::new();
            encoding
                .compression()
                .decoder(bytes.as_slice())
                .unwrap()
                .read_to_end(&mut unpacked)
                .unwrap();
            assert!(unpacked == archive, "{encoding:?}");
        }
    }

    /// Gives at most `portion` bytes at a time, and is interrupted before each.
    struct Slow<'a> {
        rest: &'a [u8],
        portion: usize,
        interrupted: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = self.portion.min(buffer.len());
            self.rest.read(&mut buffer[..length])
        }
    }

    #[test]
    fn the_size_of_reads_does_not_change_the_bytes() {
        let content = sample(4, 400_000);
        for encoding in Encoding::ALL {
            let (whole, _) = written(vec![program("a", &content), program("b", b"b")], encoding);
            for portion in [1, 511, 513, 8191, 65_535, 65_537, 400_000] {
                let slow = Slow { rest: &content, portion, interrupted: false };
                let entry = Entry { content: Box::new(slow), ..program("a", &content) };
                let (layer, _) = written(vec![entry, program("b", b"b")], encoding);
                assert_eq!(layer, whole, "{encoding:?} {portion}");
            }
        }
    }

    #[test]
    fn refuses_content_that_is_not_the_one_described() {
        let changed = |content: &'static [u8]| {
            vec![Entry { content: Box::new(content), ..program("a", b"abc") }]
        };
        let (abc, abd) = (Digest::of(b"abc"), Digest::of(b"abd"));
        let cases: [(&'static [u8], String); 3] = [
            (
                b"ab",
                "`a` is 2 bytes, its description says 3; was it changed in the meantime?".into(),
            ),
            (
                b"abcd",
                "`a` is 4 bytes, its description says 3; was it changed in the meantime?".into(),
            ),
            (
                b"abd",
                format!(
                    "`a` has digest {abd}, its description says {abc}; was it changed in the meantime?"
                ),
            ),
        ];
        for (content, expected) in cases {
            assert_eq!(error(changed(content)), expected);
        }
        assert!(write(changed(b"abc"), Encoding::None, 0, io::sink()).is_ok());
    }

    #[test]
    fn refuses_paths_that_unpackers_read_differently() {
        let long = format!("{}/{}", "a".repeat(49), "b".repeat(50));
        for (path, reason) in [
            (long.as_str(), "it is longer than 99 bytes"),
            ("/a", "it is not a relative path of plain names"),
            ("a/../b", "it is not a relative path of plain names"),
            ("./a", "it is not a relative path of plain names"),
            ("a//b", "it is not a relative path of plain names"),
            ("", "it is not a relative path of plain names"),
            ("a b", "it has a character other than printable ASCII"),
            ("\u{e4}", "it has a character other than printable ASCII"),
        ] {
            assert_eq!(error(vec![program(path, b"")]), format!("cannot pack `{path}`: {reason}"));
        }
        let twice = vec![program("a", b"1"), program("a", b"2")];
        assert_eq!(error(twice), "cannot pack `a`: two files have this path");
        let both = vec![program("a/b", b"1"), program("a", b"2")];
        assert_eq!(error(both), "cannot pack `a`: it is a file and a directory");
        written(vec![program(&long[..99], b"")], Encoding::None);
    }

    #[test]
    fn refuses_a_time_that_no_header_holds() {
        let time = |epoch| {
            write(Vec::new(), Encoding::None, epoch, io::sink()).map_err(|error| error.to_string())
        };
        assert!(time(LATEST).is_ok());
        let expected = "cannot pack files with the time 8589934592: the largest is 8589934591, in the year 2242";
        assert_eq!(time(LATEST + 1), Err(expected.to_owned()));
    }

    #[test]
    fn records_its_encoder() {
        let (layer, _) = written(vec![program("a", b"a")], Encoding::Gzip);
        let descriptor = layer.descriptor();
        assert_eq!(
            descriptor.media_type().to_string(),
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let annotations = descriptor.annotations().clone().unwrap();
        assert_eq!(
            annotations[media_type::ENCODER_ANNOTATION],
            "zlib-rs 0.6.8 level=6 portion=65536"
        );
    }
}
