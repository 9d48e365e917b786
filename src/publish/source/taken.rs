//! A file that a build takes in: opened once, and never held in memory.
//!
//! It is hashed from its handle, its headers are read from it in ranges, and what is packed is read
//! from it again and compared with the digest. Putting another file under its name therefore has no
//! effect, and a change of its content is detected.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::SourceError;
use crate::binary::{Elf, ReadAt, ReadElfError};
use crate::bundle::{Entry, EntryKind, FileManifest, Origin};
use crate::model::{Digest, Hasher};

/// An open file, hashed while it was read or written.
#[derive(Debug)]
pub struct Taken {
    pub(super) file: File,
    pub(super) origin: Origin,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// How much is read at a time.
const BUFFER: usize = 64 * 1024;

impl Taken {
    /// Opens and hashes the regular file at `path`.
    pub(super) fn open(path: &Path, origin: Origin) -> Result<Self, SourceError> {
        let unreadable = |source| SourceError::Read { origin: origin.clone(), source };
        // Asked before it is opened: opening a FIFO would wait for a writer.
        let kind = fs::metadata(path).map_err(unreadable)?.file_type();
        if !kind.is_file() {
            let found = if kind.is_dir() { "a directory" } else { "a device, FIFO or socket" };
            return Err(SourceError::NotAFile { origin, found });
        }
        let file = File::open(path).map_err(unreadable)?;
        let limit = FileManifest::MAX_PLUGIN_SIZE;
        // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
        let mut content = BufReader::with_capacity(BUFFER, (&file).take(limit.saturating_add(1)));
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut content, &mut hasher).map_err(unreadable)?;
        let (digest, size, _) = hasher.finish();
        if size > limit {
            return Err(SourceError::TooLarge { origin });
        }
        Ok(Self { file, origin, digest, size })
    }

    /// The program that it is.
    pub(super) fn program(&self) -> Result<Elf<&Self>, SourceError> {
        Elf::read(self).map_err(|error| match error {
            ReadElfError::Elf(problem) => {
                SourceError::Program { origin: self.origin.clone(), problem }
            }
            ReadElfError::Read(source) => self.unreadable(source),
        })
    }

    pub(super) fn unreadable(&self, source: io::Error) -> SourceError {
        SourceError::Read { origin: self.origin.clone(), source }
    }

    /// Its entry in a layer, read from the file that was hashed.
    pub(super) fn entry(&self, path: String) -> Entry<'_> {
        let content = Box::new(FromStart { file: &self.file, at: 0 });
        Entry { path, kind: EntryKind::Program, digest: self.digest, size: self.size, content }
    }
}

impl ReadAt for &Taken {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Reads a file from its start, without the position that all users of a handle share.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(length as u64);
        Ok(length)
    }
}
