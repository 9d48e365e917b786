//! The plugin layer of an image as a payload.
//!
//! The compressed bytes are spooled to a file without a name and checked against their digest
//! before a decoder sees them. Nothing is unpacked: the reader of layers hands over each entry,
//! which is matched with the signed list; an entry that is not on it is refused. Nothing becomes
//! visible before the uncompressed digest is verified as well.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};

use oci_spec::image::Descriptor;

use super::staged::BIN;
use super::{Payload, Take};
use crate::bundle::{ArchiveEntry, ArchiveError, FileManifest, archive};
use crate::disk::Directory;
use crate::model::{Code, Finding, PluginName, visible};
use crate::node::error::NodeError;
use crate::node::host::{TransferError, copy};
use crate::oci::{OciError, Source};
use crate::trust::check_layer;

/// The plugin layer of an image in a registry, a layout or an archive.
pub struct Layer<'a> {
    source: &'a dyn Source,
    descriptor: &'a Descriptor,
    spool: &'a Directory,
    fetched: Option<File>,
}

impl<'a> Layer<'a> {
    /// Takes the layer that `descriptor` names in `source`; `spool` is a directory that no
    /// other user may write.
    pub fn new(source: &'a dyn Source, descriptor: &'a Descriptor, spool: &'a Directory) -> Self {
        Self { source, descriptor, spool, fetched: None }
    }

    /// Fetches the compressed layer now rather than when it is read.
    pub fn fetch(&mut self, files: &FileManifest) -> Result<(), NodeError> {
        check_layer(self.descriptor, files)?;
        self.fetched = Some(self.spool()?);
        Ok(())
    }

    /// Copies the compressed layer to an unnamed file and checks it.
    fn spool(&self) -> Result<File, NodeError> {
        let mut file = self.spool.create_unnamed()?;
        fetch(self.source, self.descriptor, &mut file)?;
        file.seek(SeekFrom::Start(0)).map_err(spool_error)?;
        Ok(file)
    }
}

/// A plugin layer that is compared with its descriptor and not decoded: nothing is written for it,
/// and a decoder sees no bytes that may still change.
pub(crate) struct EncodedLayer<'a> {
    source: &'a dyn Source,
    descriptor: &'a Descriptor,
}

impl<'a> EncodedLayer<'a> {
    pub(crate) fn new(source: &'a dyn Source, descriptor: &'a Descriptor) -> Self {
        Self { source, descriptor }
    }

    /// Refuses it for everything that [`Layer`] does before it decodes.
    pub(crate) fn check(&self, files: &FileManifest) -> Result<(), NodeError> {
        check_layer(self.descriptor, files)?;
        fetch(self.source, self.descriptor, &mut io::sink())
    }
}

/// It hands over nothing.
impl Payload for EncodedLayer<'_> {
    fn deliver(
        &mut self,
        files: &FileManifest,
        _: &BTreeSet<PluginName>,
        _: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        self.check(files)
    }
}

/// Copies a compressed layer.
fn fetch(
    source: &dyn Source,
    descriptor: &Descriptor,
    target: &mut dyn Write,
) -> Result<(), NodeError> {
    // The source compares size and digest. Were it wrong, a decoder would see what no one signed,
    // and nothing more: what is decoded is compared with what was signed, as a whole and file by
    // file.
    let mut blob = source.blob(descriptor)?;
    copy(&mut blob, target).map_err(|error| match error {
        TransferError::Altered(finding) => finding.into(),
        // Bytes that are not the promised ones are an answer, and anything else is not.
        TransferError::Read(error) | TransferError::Write(error) => {
            match error.downcast::<OciError>() {
                Ok(error) => NodeError::Oci(error),
                Err(error) => {
                    let action = format!("fetch the plugin layer from {}", source.origin());
                    NodeError::Transfer { action, source: error }
                }
            }
        }
    })
}

impl Payload for Layer<'_> {
    fn deliver(
        &mut self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        let compression = check_layer(self.descriptor, files)?;
        let fetched = self.fetched.take().map_or_else(|| self.spool(), Ok)?;
        let spooled = BufReader::with_capacity(64 * 1024, fetched);
        let origin = format!("the plugin layer from {}", self.source.origin());
        let mut seen = BTreeSet::new();
        archive::read(compression, spooled, archive::longest(files), files.diff_id, |entry| {
            match entry {
                ArchiveEntry::Directory { path } if is_parent(path) => Ok(()),
                ArchiveEntry::Directory { path } => Err(extra(path, &origin)),
                ArchiveEntry::File { path, content } => {
                    let name = path.strip_prefix(BIN).and_then(|name| name.strip_prefix('/'));
                    let listed = name.and_then(|name| {
                        files.plugins.iter().find(|file| file.name.as_str() == name)
                    });
                    let file = listed.ok_or_else(|| extra(path, &origin))?;
                    seen.insert(&file.name);
                    if wanted.contains(&file.name) { take(file, &origin, content) } else { Ok(()) }
                }
            }
        })?;
        match files.plugins.iter().find(|file| !seen.contains(&file.name)) {
            Some(file) => {
                let message =
                    format!("`{}` is listed in bundle.json but missing from {origin}", file.name);
                Err(Finding::refusal(Code::MissingEntry, message).into())
            }
            None => Ok(()),
        }
    }
}

/// Whether this is one of the directories above the plugins.
fn is_parent(path: &str) -> bool {
    std::path::Path::new(BIN).ancestors().any(|parent| parent.to_str() == Some(path))
}

fn extra(path: &str, origin: &str) -> NodeError {
    let message = format!("`{}` in {origin} is not listed in bundle.json", visible(path));
    Finding::refusal(Code::ExtraEntry, message).into()
}

fn spool_error(source: io::Error) -> NodeError {
    NodeError::Transfer { action: "read the spooled plugin layer".to_owned(), source }
}

/// An error of the system is a failure; everything else concerns signed bytes.
impl From<ArchiveError> for NodeError {
    fn from(error: ArchiveError) -> Self {
        let code = match &error {
            ArchiveError::Kind { .. } => Code::NotAPlainFile,
            ArchiveError::Path { .. }
            | ArchiveError::Content(_)
            | ArchiveError::Repeated(_)
            | ArchiveError::TooMany
            | ArchiveError::Trailing => Code::ExtraEntry,
            ArchiveError::Read(_) | ArchiveError::TooLong(_) | ArchiveError::DiffId { .. } => {
                Code::DiffIdMismatch
            }
        };
        match error {
            ArchiveError::Read(source) if source.raw_os_error().is_some() => spool_error(source),
            ArchiveError::Read(source) => {
                let text = source.to_string();
                let message = format!("the plugin layer cannot be decoded: {}", visible(&text));
                Finding::refusal(code, message).into()
            }
            ArchiveError::DiffId { expected, found } => {
                let message = "the plugin layer is not the one that bundle.json describes";
                Finding::refusal(code, message).mismatch(expected, found).into()
            }
            other => Finding::refusal(code, other.to_string()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tar::EntryType;

    use super::*;
    use crate::model::document::{descriptor, sha256};
    use crate::model::{Digest, Document, Selector, media_type};
    use crate::node::test_support::manifest;
    use crate::oci::VerifyReader;

    const FILES: [(&str, &[u8]); 2] = [("bridge", b"bridge bytes"), ("macvlan", b"macvlan bytes")];

    /// A source of one blob, whatever it is asked for.
    struct Blob(Vec<u8>);

    impl Source for Blob {
        fn origin(&self) -> String {
            "a test".to_owned()
        }
        fn manifest(&self, _: &Selector) -> Result<Document, OciError> {
            Err(OciError::NotFound { origin: self.origin(), what: "manifest".to_owned() })
        }
        fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
            let digest = sha256(descriptor).unwrap();
            Ok(Box::new(VerifyReader::new(
                self.0.as_slice(),
                self.origin(),
                digest,
                descriptor.size(),
            )))
        }
        fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>, OciError> {
            Ok(Vec::new())
        }
    }

    type Member<'a> = (&'a str, EntryType, &'a [u8]);

    fn members() -> Vec<Member<'static>> {
        let directories =
            ["opt/", "opt/cni/", "opt/cni/bin/"].map(|path| (path, EntryType::Directory, &b""[..]));
        let files = [("opt/cni/bin/bridge", FILES[0].1), ("opt/cni/bin/macvlan", FILES[1].1)];
        let files = files.map(|(path, bytes)| (path, EntryType::Regular, bytes));
        directories.into_iter().chain(files).collect()
    }

    fn archive(members: &[Member<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn compress(archive: &[u8], how: &str) -> Vec<u8> {
        match how {
            "+gzip" => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(archive).unwrap();
                encoder.finish().unwrap()
            }
            "+zstd" => zstd::encode_all(archive, 3).unwrap(),
            _ => archive.to_vec(),
        }
    }

    fn deliver_blob(
        blob: Vec<u8>,
        descriptor: &Descriptor,
        files: &FileManifest,
    ) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let temporary = tempfile::tempdir().unwrap();
        let spool = Directory::open(temporary.path()).unwrap();
        let source = Blob(blob);
        let wanted = files.plugins.iter().map(|file| file.name.clone()).collect();
        let mut taken = Vec::new();
        let result = Layer::new(&source, descriptor, &spool).deliver(
            files,
            &wanted,
            &mut |file, _, reader| {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
                taken.push((file.name.to_string(), bytes));
                Ok(())
            },
        );
        assert_eq!(spool.entries().unwrap().count(), 0, "nothing is left in the spool");
        result.map(|()| taken)
    }

    fn deliver(members: &[Member<'_>], how: &str) -> Result<Vec<(String, Vec<u8>)>, NodeError> {
        let archive = archive(members);
        let files = FileManifest { diff_id: Digest::of(&archive), ..manifest(&FILES) };
        let blob = compress(&archive, how);
        let descriptor = descriptor(
            &format!("{}{how}", media_type::LAYER),
            Digest::of(&blob),
            blob.len() as u64,
        );
        deliver_blob(blob, &descriptor, &files)
    }

    fn finding(result: Result<Vec<(String, Vec<u8>)>, NodeError>) -> Finding {
        result.expect_err("refused").into_findings().unwrap().remove(0)
    }

    #[test]
    fn hands_over_the_listed_files_however_they_are_compressed() {
        let expected: Vec<_> =
            FILES.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        for how in ["", "+gzip", "+zstd"] {
            assert_eq!(deliver(&members(), how).unwrap(), expected, "{how}");
        }
        let mut reversed = members();
        reversed.reverse();
        assert_eq!(deliver(&reversed, "").unwrap().len(), 2, "the order does not matter");
        let alone: Vec<_> = members().into_iter().skip(3).collect();
        assert_eq!(deliver(&alone, "").unwrap(), expected, "the parents may be left out");
    }

    #[test]
    fn a_layer_that_compression_made_longer_is_read() {
        let mut archive = archive(&members());
        let files = manifest(&FILES);
        // As other writers do: zeros to the end of a record.
        archive.resize(usize::try_from(archive::longest(&files)).unwrap(), 0);
        let files = FileManifest { diff_id: Digest::of(&archive), ..files };
        let mut stored = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        stored.write_all(&archive).unwrap();
        let stored = stored.finish().unwrap();
        assert!(stored.len() > archive.len());
        let lengths = [archive.len() as u64, stored.len() as u64];
        for (blob, how, size, expected) in [
            (archive.clone(), "", lengths[0], Ok(2)),
            (stored.clone(), "+gzip", lengths[1], Ok(2)),
            (archive, "", 14_337, Err("at most 14336 bytes")),
            (stored.clone(), "+gzip", 14_393, Err("at most 14392 bytes")),
            (stored, "+zstd", 14_393, Err("at most 14392 bytes")),
        ] {
            let digest = Digest::of(&blob);
            let kind = format!("{}{how}", media_type::LAYER);
            let result = deliver_blob(blob, &descriptor(&kind, digest, size), &files);
            match expected {
                Ok(count) => assert_eq!(result.unwrap().len(), count, "{how}"),
                Err(limit) => {
                    let found = finding(result);
                    assert_eq!(found.code, Code::DiffIdMismatch);
                    assert_eq!(found.expected.as_deref(), Some(limit), "{how}");
                }
            }
        }
    }

    #[test]
    fn reads_what_the_composer_writes() {
        use crate::bundle::{Encoding, Entry, EntryKind, layer};
        for encoding in Encoding::ALL {
            let entries = FILES.map(|(name, bytes)| {
                Entry::of_bytes(format!("{BIN}/{name}"), EntryKind::Program, bytes)
            });
            let mut blob = Vec::new();
            let written = layer::write(entries.into(), encoding, 1_700_000_000, &mut blob).unwrap();
            let files = FileManifest { diff_id: written.diff_id, ..manifest(&FILES) };
            assert_eq!(
                deliver_blob(blob, &written.descriptor(), &files).unwrap().len(),
                2,
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn refuses_every_entry_that_is_not_a_listed_file() {
        let cases: [(&str, Member<'_>, Code); 13] = [
            ("unlisted", ("opt/cni/bin/evil", EntryType::Regular, b""), Code::ExtraEntry),
            ("elsewhere", ("etc/passwd", EntryType::Regular, b""), Code::ExtraEntry),
            ("dotted", ("./opt/cni/bin/bridge", EntryType::Regular, b""), Code::ExtraEntry),
            ("absolute", ("/opt/cni/bin/bridge", EntryType::Regular, b""), Code::ExtraEntry),
            ("parent", ("opt/cni/bin/../bin/bridge", EntryType::Regular, b""), Code::ExtraEntry),
            ("other directory", ("opt/cni/bin/sub/", EntryType::Directory, b""), Code::ExtraEntry),
            ("root directory", ("./", EntryType::Directory, b""), Code::ExtraEntry),
            (
                "twice",
                ("opt/cni/bin/bridge", EntryType::Regular, b"bridge bytes"),
                Code::ExtraEntry,
            ),
            ("link", ("opt/cni/bin/bridge", EntryType::Symlink, b""), Code::NotAPlainFile),
            ("hard link", ("opt/cni/bin/bridge", EntryType::Link, b""), Code::NotAPlainFile),
            ("device", ("opt/cni/bin/bridge", EntryType::Char, b""), Code::NotAPlainFile),
            (
                "pax header",
                ("opt/cni/bin/bridge", EntryType::XHeader, b"15 path=other\n"),
                Code::NotAPlainFile,
            ),
            (
                "GNU long name",
                ("././@LongLink", EntryType::GNULongName, b"other\0"),
                Code::NotAPlainFile,
            ),
        ];
        for (what, member, expected) in cases {
            let mut members = members();
            members.push(member);
            assert_eq!(finding(deliver(&members, "")).code, expected, "{what}");
        }
        let directory = ("opt/cni/bin/", EntryType::Directory, &b"smuggled"[..]);
        assert_eq!(
            finding(deliver(&[directory], "")).code,
            Code::ExtraEntry,
            "a directory with content"
        );
        let mut twice = members();
        twice.push(members()[0]);
        assert_eq!(finding(deliver(&twice, "")).code, Code::ExtraEntry, "a directory twice");
        assert_eq!(finding(deliver(&members()[..4], "")).code, Code::MissingEntry);
    }

    #[test]
    fn refuses_bytes_that_are_not_the_ones_that_were_signed() {
        let archive = archive(&members());
        let files = FileManifest { diff_id: Digest::of(&archive), ..manifest(&FILES) };
        let good = descriptor(media_type::LAYER, Digest::of(&archive), archive.len() as u64);
        assert!(deliver_blob(archive.clone(), &good, &files).is_ok());

        let mut altered = archive.clone();
        altered[600] ^= 1;
        let error = deliver_blob(altered, &good, &files).expect_err("altered").to_string();
        assert!(error.contains("is altered: its content has digest"), "{error}");
        let longer = [archive.as_slice(), b"x"].concat();
        let error = deliver_blob(longer, &good, &files).expect_err("longer").to_string();
        assert!(error.contains("its descriptor says"), "{error}");

        let second = [archive.clone(), self::archive(&members())].concat();
        let followed = FileManifest { diff_id: Digest::of(&second), ..files.clone() };
        let of_both = descriptor(media_type::LAYER, Digest::of(&second), second.len() as u64);
        let found = finding(deliver_blob(second, &of_both, &followed));
        assert_eq!(found.code, Code::ExtraEntry);
        assert_eq!(found.message, "the plugin layer continues after the end of its archive");

        let other = FileManifest { diff_id: Digest::of(b"another"), ..files.clone() };
        assert_eq!(
            finding(deliver_blob(archive.clone(), &good, &other)).code,
            Code::DiffIdMismatch
        );
        let huge = descriptor(media_type::LAYER, Digest::of(&archive), 1 << 40);
        assert_eq!(
            finding(deliver_blob(archive.clone(), &huge, &files)).code,
            Code::DiffIdMismatch
        );
        let text = descriptor("text/plain", Digest::of(&archive), archive.len() as u64);
        assert_eq!(finding(deliver_blob(archive, &text, &files)).code, Code::WrongLayers);
    }

    #[test]
    fn a_decoder_is_not_trusted_with_memory_or_disk() {
        let zeros = vec![0; 1 << 20];
        // In place of an archive, and after a good one: read to the limit, and not past it.
        for content in [zeros.clone(), [archive(&members()), zeros.clone()].concat()] {
            for how in ["+gzip", "+zstd"] {
                let bomb = compress(&content, how);
                let kind = format!("{}{how}", media_type::LAYER);
                let descriptor = descriptor(&kind, Digest::of(&bomb), bomb.len() as u64);
                let files = FileManifest { diff_id: Digest::of(&content), ..manifest(&FILES) };
                let found = finding(deliver_blob(bomb, &descriptor, &files));
                assert_eq!(found.code, Code::DiffIdMismatch);
                assert_eq!(
                    found.message,
                    "the plugin layer is longer than 14336 bytes, the most that the files in bundle.json can take up"
                );
            }
        }

        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&zeros).unwrap();
        let wide = encoder.finish().unwrap();
        let wide_descriptor = descriptor(
            &format!("{}+zstd", media_type::LAYER),
            Digest::of(&wide),
            wide.len() as u64,
        );
        let found = finding(deliver_blob(wide, &wide_descriptor, &manifest(&FILES)));
        assert!(found.message.contains("Frame requires too much memory"), "{found}");
        assert_eq!(found.code, Code::DiffIdMismatch);
    }
}
