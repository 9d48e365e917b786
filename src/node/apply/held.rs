//! Names that cannot be replaced although their directory is writable, detected before anything
//! changes.
//!
//! A rename that fails in the middle leaves a mixed set until `undo` has restored it. What can be
//! known in advance is refused instead.

use crate::disk::Hold;
use crate::model::{Code, Finding, HostPath};
use crate::node::host::{Found, Root};
use crate::node::plan::Step;

/// Why the names that a plan writes or removes cannot be replaced.
pub(super) fn held(root: &Root, steps: &[Step]) -> Vec<Finding> {
    steps.iter().filter_map(|step| hold(root, step)).collect()
}

fn hold(root: &Root, step: &Step) -> Option<Finding> {
    let (directory, name, before, refuses) = match step {
        Step::Write { directory, name, before, .. } => (directory, name, before, true),
        // What stays although it should go is a plugin too many, and none that is altered.
        Step::Remove { directory, name, before, .. } => (directory, name, before, false),
        _ => return None,
    };
    if *before == Found::Absent {
        return None;
    }
    let bin = root.directory(directory).ok().flatten()?;
    let hold = bin.hold_of(name.as_str()).ok().flatten()?;
    let finding = not_replaceable(&format!("{directory}/{name}"), hold);
    Some(if refuses { finding } else { finding.into_warning() })
}

/// Says that a file cannot be replaced.
pub(super) fn not_replaceable(path: &str, hold: Hold) -> Finding {
    let message = format!("`{path}` cannot be replaced: it is {hold}");
    match hold {
        Hold::Mounted => {
            Finding::refusal(Code::InTheWay, message).hint(format!("unmount it: umount {path}"))
        }
        hold => Finding::refusal(Code::NotPermitted, message).hint(unlock(hold, path)),
    }
}

/// Says that nothing can be changed in a directory, because `place` is held: the directory itself,
/// or the nearest one above it that is there.
pub(super) fn not_changeable(directory: &HostPath, place: &str, hold: Hold) -> Finding {
    let message = match directory.as_str() == place {
        true => format!("no file in `{directory}` can be replaced: the directory is {hold}"),
        false => format!("`{directory}` cannot be created: `{place}` is {hold}"),
    };
    Finding::refusal(Code::NotPermitted, message).hint(unlock(hold, place))
}

fn unlock(hold: Hold, path: &str) -> String {
    let letter = if hold == Hold::AppendOnly { 'a' } else { 'i' };
    format!("if this is not intended: chattr -{letter} {path}")
}
