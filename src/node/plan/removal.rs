//! How an installed plugin is removed: it is deleted, or the file that it replaced is restored.
//!
//! Pure. Whether something still needs the plugin is checked elsewhere.

use super::Step;
use crate::model::{HostPath, PluginName};
use crate::node::host::Found;
use crate::node::state::{InstalledFile, Original, SET_ID};

/// How an installed plugin is removed.
pub(crate) enum Removal {
    /// The file is already missing.
    Gone,
    /// Its original is back, or was no other file.
    Back,
    /// A foreign file has the name now.
    Theirs,
    /// It is unknown whose file it is: it cannot be read, for this reason.
    Unknown(String),
    /// It is removed, or its original takes its place.
    Step(Step),
}

/// Decides how a plugin of this program goes, without asking who needs it.
pub(crate) fn removal(
    directory: &HostPath,
    name: &PluginName,
    file: &InstalledFile,
    before: Found,
) -> Removal {
    let original = file.owner.original().cloned();
    match before {
        Found::Absent if original.is_none() => Removal::Gone,
        Found::Regular { digest, mode, .. }
            if original.as_ref().is_some_and(|original| {
                original.digest == digest && (digest != file.digest || has_mode(original, mode))
            }) =>
        {
            Removal::Back
        }
        Found::Regular { digest, .. } if digest != file.digest => Removal::Theirs,
        Found::OtherSize(_) | Found::Other(_) => Removal::Theirs,
        Found::Unreadable(reason) => Removal::Unknown(reason),
        Found::Absent | Found::Regular { .. } => {
            let (directory, name) = (directory.clone(), name.clone());
            Removal::Step(Step::Remove {
                directory,
                name,
                restores: original.is_some(),
                before,
                original,
            })
        }
    }
}

/// Whether a file has the mode of the original; a file that comes back has it without the bits that
/// let a program act as its owner or group.
fn has_mode(original: &Original, mode: u32) -> bool {
    mode == original.mode || mode == original.mode & !SET_ID
}
