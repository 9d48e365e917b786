//! Records that cannot be replaced or removed although the state directory may be written.
//!
//! Most of them are replaced when the plugins have their names already, and an uninstallation
//! removes them last. What keeps them is found out before anything changes.

use super::lock::{Reading, State, existing};
use super::names::{DIRECTORIES, FLOORS, JOURNAL, LOCK, READY, RECEIPT, REFUSAL, ROLLED_BACK};
use crate::disk::{Directory, DirectoryEntry, FileKind, Hold};
use crate::model::HostPath;
use crate::node::error::NodeError;

/// What is held: its path on the node, escaped, and why.
pub(crate) type HeldPath = (String, Hold);

/// What a run replaces or removes in the state directory, if it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) receipt: bool,
    pub(crate) journal: bool,
    pub(crate) refusal: bool,
    pub(crate) floors: bool,
    pub(crate) rolled_back: bool,
    pub(crate) collections: Collections,
}

/// What a run does to evidence, originals, generations and copies of installed files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Collections {
    /// At most it adds some.
    #[default]
    Stay,
    /// It adds some, and removes what no kept generation needs.
    Change,
    /// It removes all of them.
    Go,
}

impl State {
    /// What keeps any run from changing something: the lock, or an unfinished file that cannot be
    /// removed.
    pub(crate) fn held(&self) -> Result<Option<HeldPath>, NodeError> {
        // It is opened for writing, and never replaced: a mount is no obstacle.
        let lock = self.spool().hold_of(LOCK)?.filter(|hold| *hold != Hold::Mounted);
        if let Some(hold) = lock {
            return Ok(Some((format!("{}/{LOCK}", self.path()), hold)));
        }
        if let Some(held) = first(self.path(), "", self.spool(), DirectoryEntry::is_temporary)? {
            return Ok(Some(held));
        }
        for name in DIRECTORIES {
            let Some(directory) = existing(self.spool().child(name))? else { continue };
            if let Some(held) = first(self.path(), name, &directory, DirectoryEntry::is_temporary)?
            {
                return Ok(Some(held));
            }
        }
        Ok(None)
    }
}

impl Reading {
    /// Which of these a run could not replace or remove.
    pub(crate) fn held(&self, rewritten: &Rewritten) -> Result<Vec<HeldPath>, NodeError> {
        let Rewritten { receipt, journal, refusal, floors, rolled_back, collections } = *rewritten;
        let is_last = collections == Collections::Go;
        let names = [
            (RECEIPT, receipt),
            (JOURNAL, journal),
            (REFUSAL, refusal),
            (FLOORS, floors),
            (ROLLED_BACK, rolled_back),
            (READY, is_last),
        ];
        let names = names.into_iter().filter(|(_, is_rewritten)| *is_rewritten);
        let directories = DIRECTORIES.into_iter().filter(|_| is_last);
        let mut held = Vec::new();
        for name in names.map(|(name, _)| name).chain(directories) {
            let hold = self.directory.hold_of(name)?;
            held.extend(hold.map(|hold| (format!("{}/{name}", self.path), hold)));
        }
        if collections == Collections::Stay {
            return Ok(held);
        }
        for name in DIRECTORIES {
            let Some(directory) = existing(self.directory.child(name))? else { continue };
            // A mount on it was found above.
            let found = match directory.hold()? {
                Some(hold) => Some((format!("{}/{name}", self.path), hold)),
                // A directory in it is not this program's, and stays.
                None => {
                    first(&self.path, name, &directory, |entry| entry.kind != FileKind::Directory)?
                }
            };
            held.extend(found.filter(|found| !held.contains(found)));
        }
        Ok(held)
    }
}

/// The first of the chosen entries of a directory below the state directory that cannot be removed.
fn first(
    state: &HostPath,
    name: &str,
    directory: &Directory,
    is_chosen: impl Fn(&DirectoryEntry) -> bool,
) -> Result<Option<HeldPath>, NodeError> {
    let held = directory.first_held(is_chosen)?;
    Ok(held.map(|(entry, hold)| {
        let parts = [state.as_str(), name, &entry].into_iter().filter(|part| !part.is_empty());
        (parts.collect::<Vec<_>>().join("/"), hold)
    }))
}
