//! A file that a build takes in: opened once, and never held in memory.
//!
//! It is hashed from its handle, its headers are read from it in ranges, and what is packed is read
//! from it again and compared with the digest. Putting another file under its name therefore has no
//! effect, and a change of its content is detected.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::file_ranges::FileRanges;
use super::from_start::FromStart;
use super::{Cache, SourceError};
use crate::binary::{Elf, ReadElfError};
use crate::bundle::{
    Artefact, Checksum, CompiledModule, Entry, EntryKind, FileManifest, FoundLicense, InImage,
    Origin, Privilege, SignedEvidence,
};
use crate::disk::has_capabilities;
use crate::model::{Digest, Hasher, Sha512, Sha512Hasher};

/// An open file, hashed while it was read or written.
#[derive(Debug)]
pub struct Taken {
    pub(super) file: File,
    pub(super) origin: Origin,
    pub(super) digest: Digest,
    /// If it was computed on the way.
    pub(super) sha512: Option<Sha512>,
    pub(super) size: u64,
    pub(super) privileges: BTreeSet<Privilege>,
    pub(super) license: Option<FoundLicense>,
    pub(super) artefact: Option<Artefact>,
    pub(super) image: Option<InImage>,
    pub(super) checksum: Option<Checksum>,
    pub(super) signed: Option<SignedEvidence>,
    pub(super) module: Option<CompiledModule>,
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
        Self::of(File::open(path).map_err(unreadable)?, origin)
    }

    /// Hashes an open file.
    pub(super) fn of(file: File, origin: Origin) -> Result<Self, SourceError> {
        let unreadable = |source| SourceError::Read { origin: origin.clone(), source };
        let limit = FileManifest::MAX_PLUGIN_SIZE;
        // One byte past the limit, so that "exactly at the limit" and "cut short by us" differ.
        let content = FromStart::of(&file).take(limit.saturating_add(1));
        let mut content = BufReader::with_capacity(BUFFER, content);
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut content, &mut hasher).map_err(unreadable)?;
        let (digest, size, _) = hasher.finish();
        if size > limit {
            return Err(SourceError::TooLarge { origin });
        }
        Self { size, ..Self::hashed(file, origin, digest, 0) }.with_privileges()
    }

    /// An open file that was hashed just now.
    pub(super) fn of_digest(
        file: File,
        origin: Origin,
        digest: Digest,
    ) -> Result<Self, SourceError> {
        let size = match file.metadata() {
            Ok(found) => found.len(),
            Err(source) => return Err(SourceError::Read { origin, source }),
        };
        if size > FileManifest::MAX_PLUGIN_SIZE {
            return Err(SourceError::TooLarge { origin });
        }
        Self::hashed(file, origin, digest, size).with_privileges()
    }

    /// With the privileges that its file has on this machine.
    fn with_privileges(self) -> Result<Self, SourceError> {
        let unreadable = |source| self.unreadable(source);
        let mode = self.file.metadata().map_err(unreadable)?.permissions().mode();
        let privileges = Privilege::of(mode, has_capabilities(&self.file).map_err(unreadable)?);
        Ok(Self { privileges, ..self })
    }

    /// A file that was hashed already, and of which nothing else is known.
    pub(super) fn hashed(file: File, origin: Origin, digest: Digest, size: u64) -> Self {
        Self {
            file,
            origin,
            digest,
            sha512: None,
            size,
            privileges: BTreeSet::new(),
            license: None,
            artefact: None,
            image: None,
            checksum: None,
            signed: None,
            module: None,
        }
    }

    /// The same file once more, for a second plugin.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let (origin, checksum) = (self.origin.clone(), self.checksum.clone());
        let (privileges, license) = (self.privileges.clone(), self.license.clone());
        let (module, signed) = (self.module.clone(), self.signed.clone());
        let file = self.file.try_clone()?;
        Ok(Self { file, origin, checksum, privileges, license, module, signed, ..*self })
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The privileges of its file in the source.
    pub fn privileges(&self) -> &BTreeSet<Privilege> {
        &self.privileges
    }

    /// The licence in the source's own files.
    pub fn license(&self) -> Option<&FoundLicense> {
        self.license.as_ref()
    }

    /// The SHA-512 of its bytes: what is noted in `cache` for them, or computed, and noted there.
    pub(super) fn sha512(&self, cache: Option<&Cache>) -> Result<Sha512, SourceError> {
        const TOPIC: &str = "sha512";
        if let Some(sum) = cache.and_then(|cache| cache.note(TOPIC, &self.digest)) {
            return Ok(sum);
        }
        let sum = match self.sha512 {
            Some(sum) => sum,
            None => self.hash_again()?,
        };
        if let Some(cache) = cache {
            cache.keep_note(TOPIC, &self.digest, &sum);
        }
        Ok(sum)
    }

    /// The SHA-512 of the bytes whose digest is known.
    fn hash_again(&self) -> Result<Sha512, SourceError> {
        let mut hasher = Hasher::new(Sha512Hasher::new(io::sink()));
        let content = FromStart::of(&self.file).take(self.size.saturating_add(1));
        io::copy(&mut BufReader::with_capacity(BUFFER, content), &mut hasher)
            .map_err(|source| self.unreadable(source))?;
        let (digest, _, inner) = hasher.finish();
        if digest != self.digest {
            return Err(SourceError::Changed { origin: self.origin.clone() });
        }
        Ok(inner.finish().0)
    }

    /// The archive or bare file that it was taken from, or the manifest of the image; `None` for a
    /// file of a directory.
    pub fn artefact(&self) -> Option<Artefact> {
        self.artefact
    }

    /// Where in an image it was.
    pub fn image(&self) -> Option<InImage> {
        self.image
    }

    /// The checksum file that named the artefact, if one was looked for and found.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.checksum.as_ref()
    }

    /// What the publisher of the artefact signed, if it was asked for.
    pub fn signed(&self) -> Option<&SignedEvidence> {
        self.signed.as_ref()
    }

    /// The Go module that it was compiled from just now; `None` for a file that was not, or that
    /// was compiled before and kept.
    pub fn module(&self) -> Option<&CompiledModule> {
        self.module.as_ref()
    }

    /// The program that it is.
    pub(super) fn program(&self) -> Result<Elf<FileRanges<'_>>, SourceError> {
        Elf::read(FileRanges { file: &self.file, size: self.size }).map_err(|error| match error {
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
        let content = Box::new(FromStart::of(&self.file));
        Entry { path, kind: EntryKind::Program, digest: self.digest, size: self.size, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_the_bytes_that_were_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache) = (folder.path().join("file"), folder.path().join("cache"));
        let cache = Cache::at(cache);
        let sum = |before: &[u8], after: &[u8], cache: Option<&Cache>| {
            fs::write(&path, before).unwrap();
            let taken = Taken::open(&path, Origin::file("it")).unwrap();
            fs::write(&path, after).unwrap();
            taken.sha512(cache).map_err(|error| error.to_string())
        };
        let expected = Ok(Sha512::of(b"text"));
        for cache in [None, Some(&cache)] {
            assert_eq!(sum(b"text", b"text", cache), expected);
            for after in [&b"texts"[..], b"tex", b"test", b""] {
                let changed = Err("`it` was changed while it was read".to_owned());
                assert_eq!(sum(b"next", after, cache), changed);
            }
        }
        // It is known of the first bytes, and needs not be computed.
        assert_eq!(sum(b"text", b"test", Some(&cache)), expected);
        assert_eq!(sum(b"text", b"test", None), Err("`it` was changed while it was read".into()));
    }
}
