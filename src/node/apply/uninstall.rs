//! Uninstalling: every plugin is removed, and the files that they replaced are restored.
//!
//! `plan` decides what is removed. There is no journal: the receipt is removed last, so that the
//! run after an interruption continues where the first one stopped.

use super::action::Progress;
use super::changes::ChangeList;
use super::engine::Opened;
use super::held::held;
use crate::model::{Finding, Severity};
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::node::plan::Uninstallation;
use crate::node::state::Writing;

/// Carries out an uninstallation: originals are staged first, then everything goes, and the receipt
/// last.
///
/// # Errors
/// Refused if a file changed since it was observed, or if an original is lost; nothing is changed
/// then.
pub fn uninstall(
    root: &Root,
    state: &Writing,
    uninstallation: &Uninstallation,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    let held: Vec<_> = held(root, &uninstallation.steps).into_iter().map(into_refusal).collect();
    if !held.is_empty() {
        return Err(held.into());
    }
    let changes = ChangeList::of_uninstallation(&uninstallation.steps);
    let opened = Opened::open(root, progress, changes, Vec::new())?;
    let (staged, ()) = opened.stage(|opened| {
        opened.changes().try_for_each(|(directory, change)| {
            opened.stage_original(state, directory, change)?;
            directory.check_unchanged(change)
        })?;
        // Before anything changes: it takes room.
        state.record_uninstallation()
    })?;

    let done = staged.remove_all()?.clean_up()?;
    done.forget_installation(state, &uninstallation.directories)
}

/// An uninstallation removes all of what it removes, or nothing.
fn into_refusal(finding: Finding) -> Finding {
    Finding { severity: Severity::Refusal, ..finding }
}
