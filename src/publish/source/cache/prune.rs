//! Empties the cache: removes files that no running process has open, and leftovers of killed
//! processes.
//!
//! Everything in the cache can be fetched, unpacked, compiled or composed again: a build does so,
//! and compares it with its lock. The directory of the `go` command is emptied as a whole, unless
//! one is running. Files that the cache did not create stay.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;

use super::{Cache, CacheError, FILES, GO, NOTES, PATIENCE};
use crate::disk::{Directory, DirectoryEntry, DiskError, Lock};
use crate::model::Digest;

/// The outcome of emptying a cache.
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
        let mut pruned = Pruned::default();
        // Notes first: without them, nothing asks for unpacked files and layers.
        for name in [NOTES, FILES] {
            if let Some((files, _)) = self.existing(name)? {
                prune_files(&files, &mut pruned)?;
            }
        }
        if let Some((directory, path)) = self.existing(GO)? {
            prune_go(&directory, &path, &mut pruned)?;
        }
        Ok(pruned)
    }

    /// A directory of the cache with its path, if it is there.
    fn existing(&self, name: &str) -> Result<Option<(Directory, PathBuf)>, CacheError> {
        let path = self.place.as_ref().ok_or(CacheError::NoPlace)?.join(name);
        let directory = match Directory::open(&path) {
            Ok(directory) => directory,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.expect_own(&directory)?;
        Ok(Some((directory, path)))
    }
}

/// Removes files that are named by a digest.
fn prune_files(files: &Directory, pruned: &mut Pruned) -> Result<(), CacheError> {
    // Nothing is stored meanwhile, so that an unfinished file is a leftover. Where there are no
    // locks, it may not be one.
    let storing = match Lock::exclusive_directory(files, PATIENCE) {
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
    Ok(files.sync()?)
}

/// Removes what the `go` command kept, unless one is running. Where there are no locks, one may be.
fn prune_go(directory: &Directory, path: &Path, pruned: &mut Pruned) -> Result<(), CacheError> {
    let lock = Lock::exclusive_directory(directory, Duration::ZERO).ok();
    // The directory itself stays: another process may wait for its lock.
    for entry in fs::read_dir(path).map_err(CacheError::Io)? {
        let path = entry.map_err(CacheError::Io)?.path();
        let (count, bytes) = size_of(&path).map_err(CacheError::Io)?;
        if lock.is_none() {
            pruned.in_use += count;
            continue;
        }
        let is_directory = fs::symlink_metadata(&path).map_err(CacheError::Io)?.is_dir();
        match is_directory {
            true => fs::remove_dir_all(&path).map_err(CacheError::Io)?,
            false => fs::remove_file(&path).map_err(CacheError::Io)?,
        }
        pruned.removed += count;
        pruned.freed_bytes += bytes;
    }
    Ok(())
}

/// How many files there are at and below a path, and their size in bytes. No link is followed.
fn size_of(path: &Path) -> io::Result<(usize, u64)> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Ok((1, found.len()));
    }
    fs::read_dir(path)?.try_fold((0, 0), |(count, bytes), entry| {
        let (more, size) = size_of(&entry?.path())?;
        Ok((count + more, bytes + size))
    })
}

/// Whether it is a file of the cache: under a digest, or unfinished.
fn is_ours(entry: &DirectoryEntry) -> bool {
    let name = entry.name.as_bytes();
    let is_digest = || std::str::from_utf8(name).is_ok_and(|name| Digest::from_hex(name).is_ok());
    entry.is_temporary() || (entry.kind != crate::disk::FileKind::Directory && is_digest())
}

#[cfg(test)]
mod tests {
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
    fn removes_what_the_go_command_kept_unless_one_is_running() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let outside = folder.path().join("outside");
        fs::write(&outside, b"of the user").unwrap();
        let running = cache.go().unwrap();
        fs::create_dir_all(running.path.join("pkg/mod/a@v1")).unwrap();
        fs::write(running.path.join("pkg/mod/a@v1/go.mod"), b"module a\n").unwrap();
        fs::write(running.path.join("notes"), b"n").unwrap();
        symlink(&outside, running.path.join("build")).unwrap();
        let in_use = Pruned { in_use: 3, ..Pruned::default() };
        assert_eq!(cache.prune().unwrap(), in_use);
        assert!(running.path.join("pkg/mod/a@v1/go.mod").exists());
        let path = running.path.clone();
        drop(running);
        let link = fs::symlink_metadata(path.join("build")).unwrap().len();
        let expected = Pruned { removed: 3, freed_bytes: 10 + link, in_use: 0 };
        assert_eq!(cache.prune().unwrap(), expected);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert_eq!(fs::read(&outside).unwrap(), b"of the user");
        assert_eq!(cache.prune().unwrap(), Pruned::default());
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
