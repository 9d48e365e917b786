//! What the file system under a directory or file allows: writing, executing, and how much room
//! there is. Nothing is mounted here, and whether a module of the kernel forbids more is not known.

use std::os::fd::AsFd;

use rustix::fs::{self, Access, AtFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::directory::io_error;
use super::{Directory, DiskError, RegularFile};

/// A file system, as far as it matters to somebody who wants to write programs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Which one: directories with the same number share its room.
    pub device: u64,
    /// Whether this mount of it is read-only.
    pub read_only: bool,
    /// Whether this mount of it executes nothing.
    pub no_execute: bool,
    /// How much room a file takes at least, in bytes.
    pub block: u64,
    /// How many bytes this process may still write; `None` where it has no limit of its own, or
    /// does not say.
    pub room: Option<u64>,
    /// How many files may still be created; `None` where it does not count them.
    pub names: Option<u64>,
}

impl Directory {
    /// The file system that it lies on.
    pub fn file_system(&self) -> Result<FileSystem, DiskError> {
        FileSystem::of(&self.handle, self.shown())
    }

    /// Whether this process may create, rename and remove entries in it, as the kernel answers:
    /// owner, mode, access lists and capabilities all count. That the file system is read-only is
    /// another question.
    pub fn is_writable(&self) -> Result<bool, DiskError> {
        match fs::accessat(&self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        {
            Ok(()) | Err(Errno::ROFS | Errno::NOSYS | Errno::INVAL) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(io_error("look at", self.shown(), errno)),
        }
    }
}

impl RegularFile {
    /// The file system that it lies on.
    pub fn file_system(&self) -> Result<FileSystem, DiskError> {
        FileSystem::of(&self.file, &self.shown)
    }
}

impl FileSystem {
    fn of(handle: impl AsFd, shown: &str) -> Result<Self, DiskError> {
        let failed = |errno| io_error("look at the file system of", shown, errno);
        let stat = fs::fstatvfs(&handle).map_err(failed)?;
        let device = fs::fstat(&handle).map_err(failed)?.st_dev;
        let block = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
        // What is reserved is for those who may pass other limits, too.
        let free = if may_use_reserve() { stat.f_bfree } else { stat.f_bavail };
        Ok(Self {
            device,
            read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            no_execute: stat.f_flag.contains(StatVfsMountFlags::NOEXEC),
            block: block.max(1),
            room: (stat.f_blocks > 0).then(|| free.saturating_mul(block)),
            names: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }
}

/// Whether this process passes over the owner and mode of files.
pub fn overrides_permissions() -> bool {
    has(CapabilitySet::DAC_OVERRIDE)
}

fn may_use_reserve() -> bool {
    has(CapabilitySet::SYS_RESOURCE)
}

fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn says_what_the_kernel_lists() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut seen = 0;
        for path in ["/", "/dev", "/dev/shm", "/proc", "/sys"] {
            // The last that was mounted there is the one that is seen.
            let at_path = |line: &&str| line.split(' ').nth(1) == Some(path);
            let Some(line) = mounts.lines().rfind(at_path) else { continue };
            let options: Vec<_> = line.split(' ').nth(3).unwrap().split(',').collect();
            let found = Directory::open(path.as_ref()).unwrap().file_system().unwrap();
            let expected = (options.contains(&"ro"), options.contains(&"noexec"));
            assert_eq!((found.read_only, found.no_execute), expected, "{line}");
            seen += 1;
        }
        assert!(seen > 0, "{mounts}");
    }

    #[test]
    fn tells_where_a_directory_lies_and_who_may_write_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let found = directory.file_system().unwrap();
        assert!(!found.read_only && found.block.is_power_of_two(), "{found:?}");
        std::fs::create_dir(temporary.path().join("below")).unwrap();
        let below = directory.child("below").unwrap();
        assert_eq!(below.file_system().unwrap().device, found.device);
        std::fs::write(temporary.path().join("below/file"), b"").unwrap();
        assert_eq!(below.open_file("file").unwrap().file_system().unwrap().device, found.device);
        std::fs::set_permissions(
            temporary.path().join("below"),
            std::fs::Permissions::from_mode(0o555),
        )
        .unwrap();
        assert_eq!(below.is_writable().unwrap(), overrides_permissions());
        assert!(directory.is_writable().unwrap());
        let processes =
            Directory::open(std::path::Path::new("/proc")).unwrap().file_system().unwrap();
        assert_eq!(
            (processes.room, processes.names),
            (None, None),
            "it has no room at all, and no need of it"
        );
    }
}
