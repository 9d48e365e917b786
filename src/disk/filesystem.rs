//! What the file system of a directory or file allows: writing, executing, free space and free
//! inodes.
//!
//! Nothing is mounted here, and restrictions of security modules are not known: an installation
//! that is expected to succeed may still be denied by SELinux or AppArmor.

use std::os::fd::AsFd;

use rustix::fs::{self, Access, AtFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::directory::io_error;
use super::{Directory, DiskError, RegularFile};

/// The properties of a file system that matter to a writer of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Device number; directories with the same number share free space.
    pub device: u64,
    /// Mounted read-only.
    pub read_only: bool,
    /// Mounted with `noexec`.
    pub no_execute: bool,
    /// Allocation unit in bytes: a file takes up a multiple of it.
    pub block: u64,
    /// Bytes that this process may still write; `None` if there is no limit or the file system does
    /// not tell.
    pub room: Option<u64>,
    /// Free inodes; `None` if the file system does not count them.
    pub names: Option<u64>,
}

impl Directory {
    /// Returns the file system that contains it.
    pub fn file_system(&self) -> Result<FileSystem, DiskError> {
        FileSystem::of(&self.handle, self.shown())
    }

    /// Returns whether this process may create, rename and remove entries in it. The kernel
    /// answers: owner, mode, access control lists and capabilities all count. A read-only mount
    /// does not.
    pub fn is_writable(&self) -> Result<bool, DiskError> {
        match fs::accessat(&self.handle, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        {
            Ok(()) | Err(Errno::ROFS | Errno::NOSYS | Errno::INVAL) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(io_error("inspect", self.shown(), errno)),
        }
    }
}

impl RegularFile {
    /// Returns the file system that contains it.
    pub fn file_system(&self) -> Result<FileSystem, DiskError> {
        FileSystem::of(&self.file, &self.shown)
    }
}

impl FileSystem {
    fn of(handle: impl AsFd, shown: &str) -> Result<Self, DiskError> {
        let failed = |errno| io_error("inspect the file system of", shown, errno);
        let stat = fs::fstatvfs(&handle).map_err(failed)?;
        let device = fs::fstat(&handle).map_err(failed)?.st_dev;
        let block = if stat.f_frsize == 0 { stat.f_bsize } else { stat.f_frsize };
        // Reserved blocks are for processes that also bypass other limits.
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

/// Returns whether this process bypasses file ownership and permissions (CAP_DAC_OVERRIDE).
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
    fn tells_the_file_system_of_a_directory_and_who_may_write_to_it() {
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
