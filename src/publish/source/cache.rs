//! The cache, which all bundles share: a file for each digest, of downloads, of what was unpacked
//! or compiled, and of composed layers; and notes about them (`notes.rs`).
//!
//! Nothing maps a URL to a digest, so that a lock always asks the origin. A cached file is hashed
//! each time it is used, and one that is damaged is replaced. The directory is refused if others
//! may write to it: they could exchange a file after it was hashed. A file gets its name when it is
//! complete; until then, it has none, and an interrupted download leaves nothing behind. A file
//! that is open is locked (flock), so that `prune` leaves it; a file system without locks has none.

mod notes;
mod prune;

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::from_start::{FromStart, hash};
use crate::disk::{Directory, DiskError, Lock, Ownership};
use crate::model::{Classed, Digest, ErrorClass};

pub use prune::Pruned;

/// The cache in a directory, which is created when something is stored.
#[derive(Debug, Clone)]
pub struct Cache {
    place: Option<PathBuf>,
}

/// The directory of the `go` command. `prune` leaves it while this exists.
#[derive(Debug)]
pub(super) struct GoDirectory {
    pub(super) path: PathBuf,
    _lock: Option<Lock>,
}

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum CacheError {
    #[error("there is no directory for the cache: neither XDG_CACHE_HOME nor HOME is set")]
    NoPlace,
    #[error("cannot create the cache `{}`", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error(
        "the cache `{path}` can be written by others: it belongs to user {uid} and has mode {mode:o}{}",
        if *.list { " and an access control list" } else { "" }
    )]
    Foreign { path: String, uid: u32, mode: u32, list: bool },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot read or write a file of the cache")]
    Io(#[source] io::Error),
}

impl CacheError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let elsewhere = "name another directory with --cache-dir";
        match self {
            Self::NoPlace => Some("name a directory with --cache-dir".to_owned()),
            Self::Foreign { path, list: true, .. } => {
                Some(format!("setfacl -b {path}, or {elsewhere}"))
            }
            Self::Foreign { path, uid, .. } if is_trusted(*uid) => {
                Some(format!("chmod go-w {path}, or {elsewhere}"))
            }
            Self::Foreign { .. } => Some(elsewhere.to_owned()),
            _ => None,
        }
    }
}

impl Classed for CacheError {
    fn class(&self) -> ErrorClass {
        ErrorClass::CouldNot
    }
}

/// The directory of the files, in the cache.
const FILES: &str = "sha256";
/// The directory of the notes, in the cache.
const NOTES: &str = "notes";
/// The directory of what the `go` command keeps, in the cache: modules, and what was compiled.
const GO: &str = "go";
/// How long a run waits for one that removes files.
const PATIENCE: Duration = Duration::from_secs(60);

impl Cache {
    /// The cache in this directory.
    pub fn at(place: impl Into<PathBuf>) -> Self {
        Self { place: Some(place.into()) }
    }

    /// The user's cache, from the values of `XDG_CACHE_HOME` and `HOME`. A relative path is
    /// ignored, as the XDG Base Directory Specification asks.
    pub fn of_user(cache_home: Option<OsString>, home: Option<OsString>) -> Self {
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|it| it.is_absolute());
        let cache_home = cache_home.and_then(absolute);
        let below_home = || Some(home.and_then(absolute)?.join(".cache"));
        let place = cache_home.or_else(below_home).map(|path| path.join("cnister"));
        Self { place }
    }

    /// Where it is; `None` if the user has no directory for it.
    pub fn place(&self) -> Option<&Path> {
        self.place.as_deref()
    }

    /// Why it is not used at all, although it is there.
    pub fn refused(&self) -> Option<CacheError> {
        let directory = Directory::open(&self.place.as_ref()?.join(FILES)).ok()?;
        self.expect_own(&directory).err()
    }

    /// The file of this digest, hashed just now; `None` if there is none, or a damaged one.
    pub(in crate::publish) fn find(&self, digest: Digest) -> Result<Option<File>, CacheError> {
        let place = self.place.as_ref().ok_or(CacheError::NoPlace)?;
        let directory = match Directory::open(&place.join(FILES)) {
            Ok(directory) => directory,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.expect_own(&directory)?;
        let file = match directory.open_file(digest.hex()) {
            Ok(file) => file,
            Err(DiskError::NotRegular { .. }) => return Ok(None),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !is_own(file.uid, file.mode) {
            return Ok(None);
        }
        // Shared, as long as the file is open.
        let _ = flock(&file.file, FlockOperation::NonBlockingLockShared);
        let (found, _) = hash(&file.file, file.size).map_err(CacheError::Io)?;
        Ok((found == digest).then_some(file.file))
    }

    /// An empty file without a name, on the disk of the cache.
    pub(in crate::publish) fn spool(&self) -> Result<File, CacheError> {
        Ok(self.files()?.create_unnamed()?)
    }

    /// Stores a file, of which the caller knows the digest. One of [`Cache::spool`] is not copied:
    /// it gets its name.
    pub(in crate::publish) fn keep(&self, file: &File, digest: Digest) -> Result<(), CacheError> {
        let files = self.files()?;
        // While a file is stored, none is taken for the leftover of a killed run.
        let _storing = match Lock::shared_directory(&files, PATIENCE) {
            Err(error @ DiskError::Locked { .. }) => return Err(error.into()),
            result => result.ok(),
        };
        let is_unnamed = file.metadata().is_ok_and(|file| file.nlink() == 0);
        if is_unnamed && files.name_unnamed(file, digest.hex()).is_ok() {
            return Ok(());
        }
        files.replace_with(digest.hex(), 0o600, |kept| {
            io::copy(&mut FromStart::of(file), kept).map_err(CacheError::Io)?;
            Ok(())
        })
    }

    /// The directory of the `go` command, created if it is not there. What is in it is not hashed
    /// here.
    pub(super) fn go(&self) -> Result<GoDirectory, CacheError> {
        let place = self.place.as_ref().ok_or(CacheError::NoPlace)?;
        let directory = self.create(GO)?;
        let lock = match Lock::shared_directory(&directory, PATIENCE) {
            Err(error @ DiskError::Locked { .. }) => return Err(error.into()),
            result => result.ok(),
        };
        // For programs that are started in another directory.
        let path = place.join(GO).canonicalize().map_err(CacheError::Io)?;
        Ok(GoDirectory { path, _lock: lock })
    }

    /// The directory of the files, created if it is not there.
    fn files(&self) -> Result<Directory, CacheError> {
        self.create(FILES)
    }

    fn create(&self, name: &str) -> Result<Directory, CacheError> {
        let place = self.place.as_ref().ok_or(CacheError::NoPlace)?;
        let path = place.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| CacheError::Create { path: path.clone(), source })?;
        let directory = Directory::open(&path)?;
        self.expect_own(&directory)?;
        Ok(directory)
    }

    /// Refuses a cache that others may write to: the directory of the files, or the one above it,
    /// in which it could be exchanged.
    fn expect_own(&self, files: &Directory) -> Result<(), CacheError> {
        let place = self.place.as_ref().ok_or(CacheError::NoPlace)?;
        for directory in [files, &Directory::open(place)?] {
            let Ownership { uid, mode, .. } = directory.ownership()?;
            let list = directory.has_list_of_writers()?;
            if !is_own(uid, mode) || list {
                let path = directory.shown().to_owned();
                return Err(CacheError::Foreign { path, uid, mode, list });
            }
        }
        Ok(())
    }
}

/// Whether only this user and root can write to it.
fn is_own(uid: u32, mode: u32) -> bool {
    is_trusted(uid) && mode & 0o022 == 0
}

/// Whether it is this user or root.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn stored(cache: &Cache, content: &[u8]) -> Digest {
        let mut file = cache.spool().unwrap();
        file.write_all(content).unwrap();
        let (digest, size) = hash(&file, u64::MAX).unwrap();
        assert_eq!((digest, size), (Digest::of(content), content.len() as u64));
        cache.keep(&file, digest).unwrap();
        digest
    }

    fn found(cache: &Cache, digest: Digest) -> Option<Vec<u8>> {
        let file = cache.find(digest).unwrap()?;
        let mut content = Vec::new();
        FromStart::of(&file).read_to_end(&mut content).unwrap();
        Some(content)
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn keeps_a_file_by_its_digest_and_replaces_a_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("a/cnister"));
        assert_eq!(found(&cache, Digest::of(b"text")), None);
        assert!(!folder.path().join("a").exists(), "asking creates nothing");
        let digest = stored(&cache, b"text");
        assert_eq!(found(&cache, digest), Some(b"text".to_vec()));
        let path = cache.place().unwrap().join("sha256").join(digest.hex());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        fs::write(&path, b"tex").unwrap();
        assert_eq!(found(&cache, digest), None, "cut");
        stored(&cache, b"text");
        assert_eq!(found(&cache, digest), Some(b"text".to_vec()));
        fs::write(&path, b"texts").unwrap();
        assert_eq!(found(&cache, digest), None, "longer");
        fs::remove_file(&path).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, b"text").unwrap();
        symlink(&other, &path).unwrap();
        assert_eq!(found(&cache, digest), None, "a link");
        stored(&cache, b"text");
        assert_eq!(found(&cache, digest), Some(b"text".to_vec()));
        assert_eq!(fs::read(&other).unwrap(), b"text");
        assert_eq!(names(path.parent().unwrap()), [digest.hex()]);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let mut file = cache.spool().unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(&folder.path().join("sha256")), Vec::<String>::new());
    }

    #[test]
    fn a_cache_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let digest = stored(&cache, b"text");
        let files = folder.path().join("cache/sha256");
        for path in [folder.path().join("cache"), files.clone()] {
            for mode in [0o770, 0o702] {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let error = cache.find(digest).expect_err("writable").to_string();
                let expected = format!("the cache `{}` can be written by others", path.display());
                assert!(error.starts_with(&expected), "{error}");
                cache.spool().expect_err("writable");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(found(&cache, digest).is_some());
        }
        let path = files.join(digest.hex());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert_eq!(found(&cache, digest), None);
    }

    #[test]
    fn a_user_has_a_cache_where_the_specification_says() {
        let place = |cache: Option<&str>, home: Option<&str>| {
            let cache = Cache::of_user(cache.map(Into::into), home.map(Into::into));
            cache.place().map(|path| path.display().to_string())
        };
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(place(Some("/c"), Some("/h")), path("/c/cnister"));
        assert_eq!(place(None, Some("/h")), path("/h/.cache/cnister"));
        assert_eq!(place(Some("relative"), Some("/h")), path("/h/.cache/cnister"));
        assert_eq!(place(Some(""), None), None);
        let error = Cache::of_user(None, None).find(Digest::of(b"")).expect_err("no place");
        assert!(error.to_string().starts_with("there is no directory for the cache"), "{error}");
    }
}
