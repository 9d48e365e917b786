//! What prevents a name from being replaced although its directory is writable: attributes of the
//! inode, and mounts.

use std::ffi::OsStr;
use std::fmt;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use super::directory::{component, io_error};
use super::{Directory, DirectoryEntry, DiskError};
use crate::model::visible;

/// What keeps a name from being replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// The file may not be renamed over or removed (chattr(1), `i`).
    Immutable,
    /// The file may only grow (chattr(1), `a`).
    AppendOnly,
    /// Something is mounted there: a rename over it is refused (rename(2), EBUSY).
    Mounted,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Immutable => "immutable",
            Self::AppendOnly => "append-only",
            Self::Mounted => "a mount point",
        })
    }
}

impl Directory {
    /// What keeps a name in it from being replaced; `None` also if the kernel does not say, or
    /// nothing has the name.
    pub fn hold_of(&self, name: impl AsRef<OsStr>) -> Result<Option<Hold>, DiskError> {
        let name = component(name.as_ref())?;
        self.hold_at(name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    /// What keeps every name in it from being replaced. A mounted directory may be written.
    pub fn hold(&self) -> Result<Option<Hold>, DiskError> {
        let hold = self.hold_at(OsStr::new(""), AtFlags::EMPTY_PATH)?;
        Ok(hold.filter(|hold| *hold != Hold::Mounted))
    }

    /// The first of the chosen entries that cannot be removed, and why: its own hold, or that of
    /// the directory. The name is escaped, and empty if it is the directory.
    pub fn first_held(
        &self,
        is_chosen: impl Fn(&DirectoryEntry) -> bool,
    ) -> Result<Option<(String, Hold)>, DiskError> {
        let whole = self.hold()?;
        for entry in self.entries()? {
            let entry = entry?;
            if !is_chosen(&entry) {
                continue;
            }
            if let Some(hold) = whole {
                return Ok(Some((String::new(), hold)));
            }
            if let Some(hold) = self.hold_of(&entry.name)? {
                return Ok(Some((visible(&entry.name.to_string_lossy()).into_owned(), hold)));
            }
        }
        Ok(None)
    }

    fn hold_at(&self, name: &OsStr, flags: AtFlags) -> Result<Option<Hold>, DiskError> {
        let found = match statx(&self.handle, name, flags, StatxFlags::TYPE) {
            Ok(found) => found.stx_attributes,
            Err(Errno::NOENT | Errno::NOSYS) => return Ok(None),
            Err(errno) => {
                return Err(io_error("inspect", &self.shown_path(name.as_ref()), errno));
            }
        };
        let known = [
            (StatxAttributes::MOUNT_ROOT, Hold::Mounted),
            (StatxAttributes::IMMUTABLE, Hold::Immutable),
            (StatxAttributes::APPEND, Hold::AppendOnly),
        ];
        Ok(known.into_iter().find(|(bit, _)| found.contains(*bit)).map(|(_, hold)| hold))
    }
}
