//! The temporary directory of a build. It is removed when the build ends, whether it succeeds,
//! fails or is interrupted.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use super::GoError;

/// A new directory that only this user can enter.
#[derive(Debug)]
pub(super) struct Work {
    path: PathBuf,
}

impl Work {
    /// The directory of the main module.
    pub(super) const MODULE: &str = "module";
    /// The directory of a result.
    pub(super) const RESULT: &str = "result";
    /// The directory of modules that are downloaded again.
    pub(super) const FRESH: &str = "fresh";
    /// The directory of what is compiled if nothing of before is used.
    pub(super) const COMPILED: &str = "compiled";
    /// The directory of a module that was unpacked from an archive.
    pub(super) const SOURCE: &str = "source";
    /// The directory that becomes the root of a room.
    pub(super) const ROOM: &str = "room";
    /// The directory for what the compiler writes meanwhile.
    pub(super) const TEMPORARY: &str = "temporary";

    /// Creates one in `parent`.
    pub(super) fn new(parent: &Path) -> Result<Self, GoError> {
        let mut name = [0; 8];
        let failed = |source| GoError::Work { path: parent.to_owned(), source };
        getrandom(&mut name, GetRandomFlags::empty()).map_err(|error| failed(error.into()))?;
        let path = parent.join(format!("cnister-go-{:016x}", u64::from_ne_bytes(name)));
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        let work = Self { path };
        for name in [Self::MODULE, Self::TEMPORARY] {
            work.create(name)?;
        }
        Ok(work)
    }

    /// The path of something in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates an empty directory in it, instead of the one that was there.
    pub(super) fn create(&self, name: &str) -> Result<PathBuf, GoError> {
        let path = self.path(name);
        let removed = match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        removed
            .and_then(|()| fs::create_dir(&path))
            .map_err(|source| GoError::Work { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}
