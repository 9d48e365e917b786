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
use crate::disk::{Attributes, Directory, DiskError, FileKind, RegularFile};
use crate::model::{Digest, PluginName, visible};
use crate::node::state::Original;

/// Writable for the group or for all, or set-user-ID or set-group-ID.
const EXPOSING: u32 = 0o6022;

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing has the name.
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
        /// What its extended attributes give.
        attributes: Attributes,
    },
    /// A regular file of a size that is not expected, in bytes. It was not read.
    OtherSize(u64),
    /// A regular file that cannot be read, and why.
    Unreadable(String),
    /// Something other than a regular file.
    Other(Obstacle),
}

/// What has a name and is not a file that can be a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A symbolic link, with its target as it is written.
    Link(OsString),
    /// A directory with nothing in it.
    EmptyDirectory,
    /// Something other than a link or a directory.
    Kind(FileKind),
}

impl Found {
    /// The digest of a regular file.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Regular { digest, .. } => Some(*digest),
            _ => None,
        }
    }

    /// What is wrong with a regular file of which others could make something that runs as root, or
    /// have what root has: it belongs to another user, others may write it, it runs with its
    /// owner's rights, or it has capabilities. A runtime executes plugins as root, so their right
    /// bytes are worth nothing then.
    pub(crate) fn exposed(&self) -> Option<String> {
        let Self::Regular { mode, stranger, attributes, .. } = self else { return None };
        if stranger.is_none() && mode & EXPOSING == 0 && attributes.is_plain() {
            return None;
        }
        let user = stranger.map(|user| format!("user {user}"));
        let attributes = (!attributes.is_plain()).then(|| attributes.to_string());
        let all = user.into_iter().chain([format!("mode {mode:04o}")]).chain(attributes);
        Some(all.collect::<Vec<_>>().join(", "))
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

/// Which sizes a file may have for its content to be read. One of another size is not the expected
/// file, whatever is in it; and a sparse file of any length costs nothing to make, while reading it
/// would hold up a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// Any that a plugin can have.
    Any,
    /// Only these, in bytes.
    Only(BTreeSet<u64>),
}

impl Default for Sizes {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Sizes {
    pub(crate) fn one(size: u64) -> Self {
        Self::Only(BTreeSet::from([size]))
    }

    /// Reads a file of this size as well.
    pub(crate) fn add(&mut self, size: u64) {
        if let Self::Only(sizes) = self {
            sizes.insert(size);
        }
    }

    /// Reads what may be this original. An older record does not say how long it is.
    pub(crate) fn add_original(&mut self, original: &Original) {
        match original.size {
            Some(size) => self.add(size),
            None => *self = Self::Any,
        }
    }

    fn has(&self, size: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Only(sizes) => sizes.contains(&size),
        }
    }
}

/// Finds what has each of these names and hashes files of the given sizes, two at a time: a boot
/// waits for it, and nodes have more than one core.
pub(crate) fn find_all(
    directory: &Directory,
    names: BTreeMap<PluginName, Sizes>,
) -> Result<BTreeMap<PluginName, Found>, DiskError> {
    let pending = Mutex::new(names.into_iter());
    let work = || {
        let mut found = Vec::new();
        loop {
            let next = pending.lock().map(|mut names| names.next()).unwrap_or_default();
            let Some((name, sizes)) = next else { return Ok(found) };
            let entry = find(directory, &name, &sizes)?;
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

/// Finds what has one name, and hashes a regular file of these sizes. A file that cannot be read is
/// found as such.
///
/// # Errors
/// If no file could be read now.
pub(crate) fn find(
    directory: &Directory,
    name: &PluginName,
    sizes: &Sizes,
) -> Result<Found, DiskError> {
    match directory.open_file(name.as_str()).and_then(|opened| hash_plugin(&opened, sizes)) {
        Err(DiskError::NotRegular { kind, .. }) => {
            Ok(Found::Other(Obstacle::find(directory, name, kind)))
        }
        Err(error) if error.is_not_found() => Ok(Found::Absent),
        Err(error) => error.of_one_file().map(Found::Unreadable).ok_or(error),
        found => found,
    }
}

/// Hashes an opened file if it has one of these sizes, and a size that a plugin can have.
pub(crate) fn hash_plugin(opened: &RegularFile, sizes: &Sizes) -> Result<Found, DiskError> {
    if !sizes.has(opened.size) {
        return Ok(Found::OtherSize(opened.size));
    }
    if opened.size > FileManifest::MAX_PLUGIN_SIZE {
        return Ok(Found::Other(Obstacle::Kind(FileKind::Oversized)));
    }
    // One byte past its size: a file that grows while it is read is not hashed for ever.
    let failed = |source: io::Error| DiskError::Io {
        action: "read".to_owned(),
        path: opened.shown.clone(),
        source,
    };
    let (digest, size) =
        hash(&mut (&opened.file).take(opened.size.saturating_add(1))).map_err(failed)?;
    if size != opened.size {
        return Ok(Found::OtherSize(size));
    }
    let own = rustix::process::geteuid().as_raw();
    let stranger = Some(opened.uid).filter(|user| *user != 0 && *user != own);
    let attributes = opened.attributes()?;
    Ok(Found::Regular { digest, size, mode: opened.mode, stranger, attributes })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn held(size: u64) -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::File::create(temporary.path().join("bridge")).unwrap().set_len(size).unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        (temporary, directory)
    }

    #[test]
    fn only_a_file_of_an_expected_size_is_read() {
        let name = "bridge".parse().unwrap();
        let original = |size| Original { digest: Digest::of(b""), size, mode: 0o755 };
        let with = |add: &dyn Fn(&mut Sizes)| {
            let mut sizes = Sizes::one(3);
            add(&mut sizes);
            sizes
        };
        let cases = [
            (Sizes::default(), false),
            (Sizes::one(3), false),
            (Sizes::one(5), true),
            (Sizes::Any, true),
            (with(&|sizes| sizes.add(5)), true),
            (with(&|sizes| sizes.add_original(&original(Some(5)))), true),
            (with(&|sizes| sizes.add_original(&original(Some(4)))), false),
            // An older record: it may be the original.
            (with(&|sizes| sizes.add_original(&original(None))), true),
        ];
        let (_temporary, directory) = held(5);
        for (sizes, read) in cases {
            let found = find(&directory, &name, &sizes).unwrap();
            assert_eq!(found.digest(), read.then(|| Digest::of(&[0; 5])), "{sizes:?}");
            assert_eq!(found == Found::OtherSize(5), !read, "{sizes:?}");
        }
        // What no plugin can be is not read either way.
        let (_temporary, directory) = held(1 << 42);
        let found = |sizes| find(&directory, &name, &sizes).unwrap();
        assert_eq!(found(Sizes::one(5)), Found::OtherSize(1 << 42));
        let oversized = Found::Other(Obstacle::Kind(FileKind::Oversized));
        assert_eq!((found(Sizes::Any), found(Sizes::one(1 << 42))), (oversized.clone(), oversized));
    }

    #[test]
    fn a_file_that_grew_after_it_was_opened_has_another_size() {
        let (temporary, directory) = held(5);
        let opened = directory.open_file("bridge").unwrap();
        let writer = std::fs::File::options().write(true).open(temporary.path().join("bridge"));
        writer.unwrap().write_all_at(b"more", 5).unwrap();
        // One byte more than it had: that is where reading stops.
        assert_eq!(hash_plugin(&opened, &Sizes::one(5)).unwrap(), Found::OtherSize(6));
    }

    #[test]
    fn says_what_takes_a_name_and_whether_it_gives_way() {
        let (temporary, directory) = held(0);
        let at = |name: &str| temporary.path().join(name);
        for (name, target) in [("link", "bridge"), ("dangling", "/no\nwhere")] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
        }
        std::fs::create_dir_all(at("folder/inner")).unwrap();
        for (name, expected, gives_way) in [
            ("link", "a symbolic link to `bridge`", true),
            ("dangling", "a symbolic link to `/no\\u{a}where`", true),
            ("folder", "a directory", false),
        ] {
            let found = find(&directory, &name.parse().unwrap(), &Sizes::Any).unwrap();
            let Found::Other(obstacle) = found else { panic!("{name}: {found:?}") };
            assert_eq!(
                (obstacle.to_string().as_str(), obstacle.gives_way()),
                (expected, gives_way)
            );
        }
        std::fs::remove_dir(at("folder/inner")).unwrap();
        let found = find(&directory, &"folder".parse().unwrap(), &Sizes::Any).unwrap();
        assert_eq!(found, Found::Other(Obstacle::EmptyDirectory));
    }
}
