//! The files of an OCI layout, in a directory or inside an archive.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// The most entries that an archive of a layout may have.
const MAX_ENTRIES: usize = 100_000;

/// Named files, read only.
pub trait Files {
    /// Opens a regular file; its length in bytes comes with it.
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)>;
}

/// The files beneath a directory.
#[derive(Debug)]
pub struct DirectoryFiles(pub(super) PathBuf);

/// The files of an uncompressed tar archive, which is indexed once and read in place.
#[derive(Debug)]
pub struct ArchiveFiles {
    file: File,
    /// Offset and length in bytes of each file.
    entries: BTreeMap<String, (u64, u64)>,
}

impl Files for DirectoryFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        // A layout from outside may hold anything under a blob's name: links are not followed, and
        // a FIFO neither blocks nor counts.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).expect("open flags fit an int");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.0.join(path))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        Ok((Box::new(file), metadata.len()))
    }
}

impl ArchiveFiles {
    /// Indexes the archive at `path`. Directories are skipped; anything but a regular file, a name
    /// that leaves the archive, or a name that comes twice is an error.
    pub(super) fn index(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(&file);
        for (number, entry) in archive.entries_with_seek()?.enumerate() {
            let entry = entry?;
            let invalid = |reason: &str| {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                let message = format!("entry `{}` {reason}", crate::model::visible(&name));
                io::Error::new(io::ErrorKind::InvalidData, message)
            };
            if number >= MAX_ENTRIES {
                return Err(invalid(&format!("is one more than the limit of {MAX_ENTRIES}")));
            }
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() {
                return Err(invalid("is not a regular file"));
            }
            let name = String::from_utf8(entry.path_bytes().into_owned())
                .map_err(|_| invalid("is not UTF-8"))?;
            let name = name.trim_start_matches("./").to_owned();
            if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(invalid("leaves the archive"));
            }
            if entries.insert(name, (entry.raw_file_position(), entry.size())).is_some() {
                return Err(invalid("comes twice"));
            }
        }
        Ok(Self { file, entries })
    }
}

impl Files for ArchiveFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        let (offset, length) = *self.entries.get(path).ok_or(io::ErrorKind::NotFound)?;
        let end = offset.checked_add(length).ok_or(io::ErrorKind::InvalidData)?;
        Ok((Box::new(Section { file: &self.file, offset, end }), length))
    }
}

/// A part of a file, read without moving the file's own position.
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
