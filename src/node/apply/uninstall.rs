//! Uninstalling: every plugin is removed, and the files that they replaced are restored.
//!
//! `plan` decides what is removed. There is no journal: the receipt is removed last, so that the
//! run after an interruption continues where the first one stopped.

use super::action::Progress;
use super::bring::refuse;
use super::changes::ChangeList;
use super::directory::check_originals;
use super::engine::Opened;
use super::preflight::{no_room, obstacles};
use super::records::not_rewritten;
use crate::model::{Finding, Severity};
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::node::plan::Uninstallation;
use crate::node::state::{Collections, Reading, Rewritten, Writing};

/// Looks for what would keep an uninstallation from its end; changes nothing.
///
/// # Errors
/// Refused if a directory, a plugin or a record cannot be changed, if there is no room, or if an
/// original is lost.
pub fn foresee_uninstallation(
    root: &Root,
    state: &Reading,
    uninstallation: &Uninstallation,
) -> Result<(), NodeError> {
    look_ahead(root, state, uninstallation)?;
    // A run reads them when it stages them, before it changes anything.
    check_originals(state, &uninstallation.steps)
}

fn look_ahead(
    root: &Root,
    state: &Reading,
    uninstallation: &Uninstallation,
) -> Result<(), NodeError> {
    let mut findings = in_the_way(root, state, uninstallation)?;
    let record = state.records_uninstallation()?.then_some(&state.path);
    findings.extend(no_room(root, &uninstallation.steps, record));
    refuse(findings).map(drop)
}

/// Why an uninstallation cannot be carried out, wherever there is room.
fn in_the_way(
    root: &Root,
    state: &Reading,
    uninstallation: &Uninstallation,
) -> Result<Vec<Finding>, NodeError> {
    let obstacles = obstacles(root, &uninstallation.steps);
    let mut findings: Vec<_> = obstacles.into_iter().map(into_refusal).collect();
    let rewritten = Rewritten {
        receipt: true,
        journal: true,
        refusal: true,
        floors: true,
        rolled_back: true,
        collections: Collections::Go,
    };
    findings.extend(not_rewritten(state, &rewritten)?);
    Ok(findings)
}

/// Carries out an uninstallation: originals are staged first, then everything goes, and the receipt
/// last.
///
/// # Errors
/// Refused as [`foresee_uninstallation`] does, and if a file changed since it was observed; nothing
/// is changed then.
pub fn uninstall(
    root: &Root,
    state: &Writing,
    uninstallation: &Uninstallation,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    look_ahead(root, state, uninstallation)?;
    remove(root, state, uninstallation, progress)
}

/// Takes back the files of a first installation that failed in the middle. What it staged still
/// takes the disk, so what is free says nothing about the room.
pub(super) fn take_back(
    root: &Root,
    state: &Writing,
    uninstallation: &Uninstallation,
) -> Result<(), NodeError> {
    refuse(in_the_way(root, state, uninstallation)?)?;
    remove(root, state, uninstallation, Progress::silent())
}

fn remove(
    root: &Root,
    state: &Writing,
    uninstallation: &Uninstallation,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
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
