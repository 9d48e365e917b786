//! Emptying the cache: what no running process has open, and what killed ones left behind.
//!
//! Nothing in the cache is worth keeping for its own sake: a build that misses a file fetches it
//! again, and compares it with what its lock pins. Names that are not the cache's stay.

use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;

use super::{Cache, CacheError, FILES, PATIENCE};
use crate::disk::{Directory, DirectoryEntry, DiskError, Lock};
use crate::model::Digest;

/// What was removed from a cache, and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pruned {
    /// Files that were removed.
    pub removed: usize,
    /// Their size in bytes.
    pub freed_bytes: u64,
    /// Files that a running process has open.
    pub in_use: usize,
}

impl Cache {
    /// Removes every file that no running process has open, and what interrupted ones left.
    pub fn prune(&self) -> Result<Pruned, CacheError> {
        let place = self.place.as_ref().ok_or(CacheError::NoPlace)?;
        let mut pruned = Pruned::default();
        let files = match Directory::open(&place.join(FILES)) {
            Ok(directory) => directory,
            Err(error) if error.is_not_found() => return Ok(pruned),
            Err(error) => return Err(error.into()),
        };
        self.expect_own(&files)?;
        // Nothing is stored meanwhile, so that an unfinished file is a leftover. Where there are no
        // locks, it may not be one.
        let storing = match Lock::exclusive_directory(&files, PATIENCE) {
            Err(error @ DiskError::Locked { .. }) => return Err(error.into()),
            result => result.ok(),
        };
        let mut names = Vec::new();
        for entry in files.entries()? {
            let entry = entry?;
            if is_ours(&entry) && (storing.is_some() || !entry.is_temporary()) {
                names.push(entry.name);
            }
        }
        for name in names {
            let size = match files.open_file(&name) {
                Ok(file) => match flock(&file.file, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK) => {
                        pruned.in_use += 1;
                        continue;
                    }
                    _ => file.size,
                },
                Err(DiskError::NotRegular { .. }) => 0,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            files.remove(&name)?;
            pruned.removed += 1;
            pruned.freed_bytes += size;
        }
        files.sync()?;
        Ok(pruned)
    }
}

/// Whether it is a file of the cache: under a digest, or unfinished.
fn is_ours(entry: &DirectoryEntry) -> bool {
    let name = entry.name.as_bytes();
    let is_digest = || std::str::from_utf8(name).is_ok_and(|name| Digest::from_hex(name).is_ok());
    entry.is_temporary() || (entry.kind != crate::disk::FileKind::Directory && is_digest())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn stored(cache: &Cache, content: &[u8]) -> Digest {
        let mut file = cache.spool().unwrap();
        file.write_all(content).unwrap();
        let digest = Digest::of(content);
        cache.keep(&file, digest).unwrap();
        digest
    }

    #[test]
    fn removes_what_no_one_has_open_and_what_killed_runs_left() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        assert_eq!(cache.prune().unwrap(), Pruned::default());
        assert!(!folder.path().join("cache").exists(), "asking creates nothing");
        let (first, second) = (stored(&cache, b"first"), stored(&cache, b"second"));
        let files = folder.path().join("cache/sha256");
        fs::write(files.join(".cnister-0123456789abcdef"), b"half").unwrap();
        fs::write(files.join("notes.txt"), b"of the user").unwrap();
        symlink("notes.txt", files.join(Digest::of(b"link").hex())).unwrap();
        fs::create_dir(files.join(Digest::of(b"directory").hex())).unwrap();
        let held = cache.find(first).unwrap().expect("it is there");
        let twin = held.try_clone().unwrap();
        drop(held);
        let expected = Pruned { removed: 3, freed_bytes: 10, in_use: 1 };
        assert_eq!(cache.prune().unwrap(), expected);
        assert!(files.join(first.hex()).exists() && !files.join(second.hex()).exists());
        assert_eq!(fs::read(files.join("notes.txt")).unwrap(), b"of the user");
        drop(twin);
        let expected = Pruned { removed: 1, freed_bytes: 5, in_use: 0 };
        assert_eq!(cache.prune().unwrap(), expected);
        assert_eq!(cache.prune().unwrap(), Pruned::default());
        assert!(cache.find(first).unwrap().is_none());
        stored(&cache, b"first");
    }

    #[test]
    fn a_cache_that_others_may_write_to_is_not_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        stored(&cache, b"first");
        let files = folder.path().join("cache/sha256");
        fs::set_permissions(&files, fs::Permissions::from_mode(0o777)).unwrap();
        let error = cache.prune().expect_err("writable");
        let start = format!("the cache `{}` can be written by others: ", files.display());
        assert!(error.to_string().starts_with(&start), "{error}");
        let hint =
            format!("chmod go-w {}, or name another directory with --cache-dir", files.display());
        assert_eq!(error.hint(), Some(hint));
        fs::set_permissions(&files, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(cache.prune().unwrap().removed, 1);
    }
}
