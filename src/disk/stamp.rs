//! What says whether the file behind a name is the one of before, unchanged.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use super::directory::{component, io_error};
use super::{Directory, DiskError};

/// Which file has a name, and when its content or attributes were changed last (inode(7),
/// `st_ctime`). A process can set the other times of a file; this one only the clock can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    /// In bytes.
    size: i64,
    /// Seconds since 1970, and nanoseconds.
    changed: (i64, u64),
}

impl Directory {
    /// Returns the stamp of an entry without following links or reading it; `None` if it does not
    /// exist.
    pub fn stamp_of(&self, name: impl AsRef<OsStr>) -> Result<Option<Stamp>, DiskError> {
        let name = component(name.as_ref())?;
        match fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Stamp {
                device: stat.st_dev,
                inode: stat.st_ino,
                size: stat.st_size,
                changed: (stat.st_ctime, stat.st_ctime_nsec),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error("inspect", &self.shown_path(Path::new(name)), errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_stamp_is_another_after_each_change_and_no_other_time_hides_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("bridge");
        let directory = Directory::open(temporary.path()).unwrap();
        let stamp = || directory.stamp_of("bridge").unwrap();
        assert_eq!(stamp(), None);
        let times = || FileTimes::new().set_modified(UNIX_EPOCH).set_accessed(UNIX_EPOCH);
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_times(times()).unwrap();
        };
        write("signed");
        let first = stamp();
        assert_eq!(stamp(), first);
        fs::read(&path).unwrap();
        assert_eq!(stamp(), first, "it was read");
        // The kernel's clock for files advances some hundred times a second.
        while stamp() == first {
            write("forged");
        }
        let second = stamp();
        let other = temporary.path().join("other");
        fs::write(&other, "signed").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(), second, "another file");
    }
}
