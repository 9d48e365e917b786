//! A lock between processes (flock), held while a file is open. It keeps two runs from changing a
//! node at once.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::directory::{component, io_error};
use super::{Directory, DiskError, FileKind};

/// A held lock, released when the value is dropped or the process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the exclusive lock, waiting up to `timeout` for other holders.
    pub fn exclusive(
        directory: &Directory,
        name: &str,
        timeout: Duration,
    ) -> Result<Self, DiskError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = component(name.as_ref())?;
        let shown = directory.shown_path(Path::new(name));
        // Opening a device can do something, and a FIFO would be locked.
        if let Some(kind) = directory.kind_of(name)?.filter(|kind| *kind != FileKind::Regular) {
            return Err(DiskError::NotRegular { path: shown, kind });
        }
        let handle = fs::openat(&directory.handle, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| io_error("open", &shown, errno))?;
        take(handle, FlockOperation::NonBlockingLockExclusive, shown, timeout)
    }

    /// Takes the lock shared with other readers. `None` if there is no lock file: nothing was ever
    /// written, and a reader of a read-only file system must not need to create one.
    pub fn shared(
        directory: &Directory,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<Self>, DiskError> {
        match directory.open_file(name) {
            Ok(file) => {
                take(file.file.into(), FlockOperation::NonBlockingLockShared, file.shown, timeout)
                    .map(Some)
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks a directory itself, waiting up to `timeout` for all other holders.
    pub fn exclusive_directory(
        directory: &Directory,
        timeout: Duration,
    ) -> Result<Self, DiskError> {
        Self::directory(directory, FlockOperation::NonBlockingLockExclusive, timeout)
    }

    /// Locks a directory itself, shared with others that do so.
    pub fn shared_directory(directory: &Directory, timeout: Duration) -> Result<Self, DiskError> {
        Self::directory(directory, FlockOperation::NonBlockingLockShared, timeout)
    }

    fn directory(
        directory: &Directory,
        operation: FlockOperation,
        timeout: Duration,
    ) -> Result<Self, DiskError> {
        // A handle of its own: the lock belongs to it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = fs::openat(&directory.handle, ".", flags, Mode::empty())
            .map_err(|errno| io_error("open", directory.shown(), errno))?;
        take(handle, operation, directory.shown().to_owned(), timeout)
    }
}

fn take(
    handle: OwnedFd,
    operation: FlockOperation,
    shown: String,
    timeout: Duration,
) -> Result<Lock, DiskError> {
    let deadline = Instant::now() + timeout;
    // flock has no timeout, and an alarm signal would affect the whole process.
    let mut pause = Duration::from_millis(10);
    loop {
        match fs::flock(&handle, operation) {
            Ok(()) => return Ok(Lock { _file: handle.into() }),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(io_error("lock", &shown, errno)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(DiskError::Locked { path: shown, seconds: timeout.as_secs() });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_locked() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let path = temporary.path().join("lock");
        let refused = |kind: &str| {
            let expected =
                format!("`{}/lock` is {kind}, expected a regular file", directory.shown());
            for result in [
                Lock::exclusive(&directory, "lock", Duration::ZERO).map(|_| ()),
                Lock::shared(&directory, "lock", Duration::ZERO).map(|_| ()),
            ] {
                assert_eq!(result.expect_err(kind).to_string(), expected);
            }
        };
        std::fs::create_dir(&path).unwrap();
        refused("a directory");
        std::fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        refused("a symbolic link");
        std::fs::remove_file(&path).unwrap();
        fs::mknodat(fs::CWD, &path, fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        refused("a FIFO");
    }

    #[test]
    fn a_directory_is_locked_without_a_file_in_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let readers = [
            Lock::shared_directory(&directory, Duration::ZERO).unwrap(),
            Lock::shared_directory(&directory, Duration::ZERO).unwrap(),
        ];
        let error = Lock::exclusive_directory(&directory, Duration::ZERO).expect_err("read");
        let expected = format!(
            "another cnister is running: `{}` was still locked after 0 s",
            directory.shown()
        );
        assert_eq!(error.to_string(), expected);
        drop(readers);
        let _writer = Lock::exclusive_directory(&directory, Duration::ZERO).unwrap();
        let error = Lock::shared_directory(&directory, Duration::ZERO).expect_err("written");
        assert_eq!(error.to_string(), expected);
        assert!(directory.is_empty().unwrap());
    }

    #[test]
    fn one_writer_or_many_readers() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let now = Duration::ZERO;
        assert!(
            Lock::shared(&directory, "lock", now).unwrap().is_none(),
            "there is no lock file yet"
        );
        let writer = Lock::exclusive(&directory, "lock", now).unwrap();
        let expected = format!(
            "another cnister is running: `{}/lock` was still locked after 0 s",
            directory.shown()
        );
        for error in [
            Lock::exclusive(&directory, "lock", now).expect_err("held"),
            Lock::shared(&directory, "lock", now).expect_err("held"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
        drop(writer);
        let _readers = [
            Lock::shared(&directory, "lock", now).unwrap(),
            Lock::shared(&directory, "lock", now).unwrap(),
        ];
        assert_eq!(
            Lock::exclusive(&directory, "lock", now).expect_err("read").to_string(),
            expected
        );
    }
}
