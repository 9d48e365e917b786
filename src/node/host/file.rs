//! What has a plugin's name: no file, a regular file with its digest, or something in the way.
//!
//! A file is opened once and never followed through a link, so that the file that is hashed is the
//! one that has the name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::sync::Mutex;

use super::transfer::hash;
use crate::bundle::FileManifest;
use crate::disk::{Directory, DiskError, FileKind, RegularFile};
use crate::model::{Digest, PluginName, visible};

/// Writable for the group or for all, or set-user-ID or set-group-ID.
const EXPOSING: u32 = 0o6022;

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    Regular {
        /// The digest of its content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Its permission bits.
        mode: u32,
        /// The user that it belongs to, if that is neither root nor the user of this process.
        stranger: Option<u32>,
    },
    /// Anything else.
    Other(Obstacle),
}

/// What has a name and is not a file that can be a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A symbolic link, with its target as it is written.
    Link(OsString),
    /// A directory with nothing in it.
    EmptyDirectory,
    /// Anything else.
    Kind(FileKind),
}

impl Found {
    /// The digest of a regular file.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Regular { digest, .. } => Some(*digest),
            Self::Absent | Self::Other(_) => None,
        }
    }

    /// What is wrong with a regular file of which others could make something that runs as root, or
    /// have what root has: it belongs to another user, others may write it, or it runs with its
    /// owner's rights. A runtime executes plugins as root, so their right bytes are worth nothing
    /// then.
    pub(crate) fn exposed(&self) -> Option<String> {
        let Self::Regular { mode, stranger, .. } = self else { return None };
        match stranger {
            Some(user) => Some(format!("user {user}, mode {mode:04o}")),
            None => (mode & EXPOSING != 0).then(|| format!("mode {mode:04o}")),
        }
    }
}

impl Obstacle {
    fn find(directory: &Directory, name: &PluginName, kind: FileKind) -> Self {
        let is_empty =
            || directory.child(name.as_str()).is_ok_and(|child| child.is_empty().unwrap_or(false));
        let target = || directory.link_target(name.as_str()).ok().flatten();
        match kind {
            FileKind::SymbolicLink => target().map_or(Self::Kind(kind), Self::Link),
            FileKind::Directory if is_empty() => Self::EmptyDirectory,
            kind => Self::Kind(kind),
        }
    }

    /// Whether a rename can take its place: rename(2) replaces everything but a directory, and an
    /// empty directory can be removed before.
    pub(crate) fn gives_way(&self) -> bool {
        !matches!(self, Self::Kind(FileKind::Directory | FileKind::Unknown))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(target) => {
                write!(f, "a symbolic link to `{}`", visible(&target.to_string_lossy()))
            }
            Self::EmptyDirectory => f.write_str("an empty directory"),
            Self::Kind(kind) => kind.fmt(f),
        }
    }
}

/// Hashes the files of these names, two at a time: a boot waits for it, and nodes have more than
/// one core.
pub(crate) fn find_all(
    directory: &Directory,
    names: BTreeSet<PluginName>,
) -> Result<BTreeMap<PluginName, Found>, DiskError> {
    let pending = Mutex::new(names.into_iter());
    let work = || {
        let mut found = Vec::new();
        loop {
            let next = pending.lock().map(|mut names| names.next()).unwrap_or_default();
            let Some(name) = next else { return Ok(found) };
            let entry = find(directory, &name)?;
            found.push((name, entry));
        }
    };
    let (here, there): (Result<Vec<_>, DiskError>, _) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        (work(), other.join())
    });
    let there = there.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(here?.into_iter().chain(there).collect())
}

/// Finds what has one name, and hashes a regular file.
pub(crate) fn find(directory: &Directory, name: &PluginName) -> Result<Found, DiskError> {
    let opened = match directory.open_file(name.as_str()) {
        Ok(opened) => opened,
        Err(DiskError::NotRegular { kind, .. }) => {
            return Ok(Found::Other(Obstacle::find(directory, name, kind)));
        }
        Err(error) if error.is_not_found() => return Ok(Found::Absent),
        Err(error) => return Err(error),
    };
    hash_plugin(&opened)
}

/// Hashes an opened file, up to the largest size of a plugin.
pub(crate) fn hash_plugin(opened: &RegularFile) -> Result<Found, DiskError> {
    // A sparse file of any length costs nothing to make; reading a gigabyte of each would hold up a
    // boot.
    if opened.size > FileManifest::MAX_PLUGIN_SIZE {
        return Ok(Found::Other(Obstacle::Kind(FileKind::Oversized)));
    }
    // One byte past the limit: a file that grows while it is read is not hashed for ever.
    let failed = |source: io::Error| DiskError::Io {
        action: "read".to_owned(),
        path: opened.shown.clone(),
        source,
    };
    let (digest, size) =
        hash(&mut (&opened.file).take(FileManifest::MAX_PLUGIN_SIZE + 1)).map_err(failed)?;
    if size > FileManifest::MAX_PLUGIN_SIZE {
        return Ok(Found::Other(Obstacle::Kind(FileKind::Oversized)));
    }
    let own = rustix::process::geteuid().as_raw();
    let stranger = Some(opened.uid).filter(|user| *user != 0 && *user != own);
    Ok(Found::Regular { digest, size, mode: opened.mode, stranger })
}
