//! Reads the files of an OCI layout, in a directory or in an archive. What they mean is up to
//! `layout`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::bundle::tar::{
    Extensions, Kind, MAX_EXTENSIONS, Paths, Rest, Rules, TarError, walk_seekable,
};
use crate::disk::open_file;
use crate::model::{Location, visible};

/// What an archive of a layout may contain, including what other tools write. Bytes after its end
/// are ignored. The names of all members are kept, twice: with the longest names some ten
/// megabytes.
const RULES: Rules = Rules {
    members: 16 * 1024,
    bytes: u64::MAX,
    kinds: &[Kind::File, Kind::Directory],
    extensions: Extensions::OfOneMember,
    paths: Paths::Relative,
    rest: Rest::Anything,
    extension_bytes: MAX_EXTENSIONS,
};

/// Named files, read only.
pub trait Files {
    /// Opens a regular file; also returns its length in bytes.
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)>;

    /// What is there instead of a layout, if it is something that people take for one.
    fn instead(&self) -> Option<String>;
}

/// The files beneath a directory.
#[derive(Debug)]
pub struct DirectoryFiles(pub(super) PathBuf);

/// The files in an uncompressed tar archive, which is indexed once and read in place.
#[derive(Debug)]
pub struct ArchiveFiles {
    file: File,
    /// Offset and length in bytes of each file.
    entries: BTreeMap<String, (u64, u64)>,
}

impl Files for DirectoryFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        // A layout from outside may contain anything under a blob's name: links are not followed,
        // and a FIFO neither blocks nor is accepted.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).expect("open flags fit an int");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.0.join(path))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        Ok((Box::new(file), metadata.len()))
    }

    fn instead(&self) -> Option<String> {
        if self.open("manifest.json").is_ok() {
            return Some(
                "`manifest.json` is that of skopeo's `dir:`: convert it with skopeo copy dir:DIR oci:DIR"
                    .to_owned(),
            );
        }
        let mut folders: Vec<_> = fs::read_dir(&self.0).ok()?.flatten().collect();
        folders.sort_by_key(fs::DirEntry::file_name);
        let folder = folders.iter().find(|folder| folder.path().join("oci-layout").is_file())?;
        let path = Location::Layout(folder.path());
        Some(format!("there is one below it: {path}"))
    }
}

impl ArchiveFiles {
    /// Indexes the archive at `path`.
    pub(super) fn index(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        let mut entries = BTreeMap::new();
        walk_seekable(&file, &RULES, |member| {
            if member.kind == Kind::File {
                entries.insert(member.path.to_owned(), (member.offset, member.size));
            }
            Ok::<_, TarError>(())
        })?;
        Ok(Self { file, entries })
    }
}

impl Files for ArchiveFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "it is not in the archive");
        let (offset, length) = *self.entries.get(path).ok_or_else(missing)?;
        let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidData)?;
        Ok((Box::new(Section { file: &self.file, offset, end }), length))
    }

    fn instead(&self) -> Option<String> {
        if self.entries.is_empty() {
            return Some("the archive is empty".to_owned());
        }
        if self.entries.contains_key("manifest.json") {
            return Some(
                "`manifest.json` is that of docker save before Docker 25: convert it with skopeo \
                 copy docker-archive:FILE oci-archive:FILE"
                    .to_owned(),
            );
        }
        let folder = self.entries.keys().find_map(|path| path.strip_suffix("/oci-layout"))?;
        let folder = visible(folder);
        Some(format!(
            "it is in the folder `{folder}`: unpack the archive, then tar -C {folder} -cf FILE ."
        ))
    }
}

/// A section of a file, read without moving the file's own offset.
struct Section<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of entries with a name, a type and a content.
    fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, letter, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(tar::EntryType::new(*letter));
            header.set_size(content.len() as u64);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    fn indexed(bytes: &[u8]) -> io::Result<ArchiveFiles> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        ArchiveFiles::index(file.path())
    }

    fn content(files: &ArchiveFiles, path: &str) -> Vec<u8> {
        let (mut reader, length) = files.open(path).unwrap();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, length);
        bytes
    }

    #[test]
    fn a_sparse_archive_takes_no_memory_for_what_its_records_claim() {
        // Headers that fit in 8 KiB on the disk, and records of gigabytes that are all holes.
        for (letter, size, expected) in [
            (b'L', 6 << 30, "has 6442450944 bytes of records, the limit is 65536"),
            (b'K', 64 * 1024 + 1, "has 65537 bytes of records, the limit is 65536"),
            (b'x', 1 << 40, "has 1099511627776 bytes of records, the limit is 65536"),
            (b'g', 6 << 30, "entry `` is a global pax record, which is not accepted"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(letter));
            header.set_size(size);
            header.set_cksum();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), header.as_bytes()).unwrap();
            file.as_file().set_len(512 + size).unwrap();
            let error = ArchiveFiles::index(file.path()).err().unwrap().to_string();
            assert!(error.contains(expected), "{}: {error}", char::from(letter));
        }
        // Many that are short enough, and too much in all.
        let record = vec![0; 64 * 1024];
        let long: Vec<_> = (0..17).map(|_| ("long", b'L', &record[..])).collect();
        assert!(indexed(&archive(&long)).is_err());
        let blob = "a".repeat(60 * 1024) + "\0";
        let names: Vec<_> = (0..18)
            .flat_map(|n: usize| {
                let name = format!("{n:02}{blob}").into_bytes();
                [("long", b'L', name), ("cut", b'0', Vec::new())]
            })
            .collect();
        let borrowed: Vec<_> = names.iter().map(|(n, l, c)| (*n, *l, c.as_slice())).collect();
        let error = indexed(&archive(&borrowed)).err().unwrap().to_string();
        assert!(error.contains("bytes of records, the limit is 1048576"), "{error}");
        assert!(indexed(&archive(&borrowed[..34])).is_ok());
    }

    #[test]
    fn reads_archives_of_other_tools() {
        let long = format!("blobs/sha256/{}", "a".repeat(200));
        let entries: [(&str, u8, &[u8]); 7] = [
            ("./", b'5', b""),
            ("./oci-layout", b'0', b"{}"),
            ("pax", b'x', b"17 mtime=1234567\n"),
            ("index.json", 0, &[7; 600]),
            ("././@LongLink", b'L', format!("{long}\0").leak().as_bytes()),
            ("cut", b'0', b"blob"),
            ("empty", b'0', b""),
        ];
        for end in [0, 1, 2, 20] {
            let files = indexed(&[archive(&entries), vec![0; end * 512]].concat()).unwrap();
            assert_eq!(content(&files, "oci-layout"), b"{}");
            assert_eq!(content(&files, "index.json"), [7; 600]);
            assert_eq!(content(&files, &long), b"blob");
            assert_eq!(content(&files, "empty"), b"");
            assert_eq!(files.entries.len(), 4);
            let error = files.open("cut").err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::NotFound));
        }
    }

    #[test]
    fn refuses_archives_that_readers_differ_on() {
        let good: (&str, u8, &[u8]) = ("a", b'0', b"content");
        let whole = archive(&[good]);
        let cases = [
            (archive(&[good, ("./a", b'0', b"")]), "entry `a` appears twice"),
            (
                archive(&[("../a", b'0', b"")]),
                "entry `../a`: it is not a relative path of plain names",
            ),
            (archive(&[("a", b'1', b"")]), "entry `a` is a hard link, which is not accepted"),
            (
                archive(&[("pax", b'g', b"9 path=a\n"), good]),
                "entry `pax` is a global pax record, which is not accepted",
            ),
            (archive(&[("a/", b'5', b"content")]), "entry `a` is a directory with content"),
            (whole[..600].to_vec(), "the archive is cut off at byte 600"),
            ([vec![0x1f, 0x8b], vec![8; 600]].concat(), "it is compressed with gzip"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(indexed(&bytes).expect_err("refused").to_string(), expected);
        }
        assert_eq!(content(&indexed(&whole).unwrap(), "a"), b"content");
    }

    #[test]
    fn says_what_is_there_instead_of_a_layout() {
        let old: &[(&str, u8, &[u8])] =
            &[("manifest.json", b'0', b"[]"), ("repositories", b'0', b"{}")];
        let below: &[(&str, u8, &[u8])] =
            &[("layout/", b'5', b""), ("layout/oci-layout", b'0', b"{}")];
        for (entries, expected) in [
            (old, Some("that of docker save before Docker 25")),
            (below, Some("it is in the folder `layout`: unpack the archive, then tar -C layout")),
            (&[("a/b/oci-layout", b'0', b"{}")], Some("it is in the folder `a/b`")),
            (&[], Some("the archive is empty")),
            (&[("other", b'0', b"")], None),
        ] {
            let files = indexed(&archive(entries)).unwrap();
            let (found, error) = (files.instead(), files.open("oci-layout").err().unwrap());
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or("")), "{expected:?}");
            assert_eq!(error.to_string(), "it is not in the archive");
        }
        let folder = tempfile::tempdir().unwrap();
        let files = DirectoryFiles(folder.path().to_owned());
        assert_eq!(files.instead(), None);
        std::fs::create_dir(folder.path().join("layout")).unwrap();
        std::fs::write(folder.path().join("layout/oci-layout"), "{}").unwrap();
        assert!(files.instead().unwrap().ends_with("/layout"));
        std::fs::write(folder.path().join("manifest.json"), "{}").unwrap();
        assert!(files.instead().unwrap().contains("skopeo copy dir:"));
    }
}
