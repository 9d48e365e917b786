//! Undoes an installation or a rollback that failed in the middle: some files are new, and the
//! receipt is still the old one.
//!
//! If there is a receipt, its release is restored from the local store, as in a repair, and files
//! that only the failed run added are removed; otherwise, the files in the journal are uninstalled.
//! If that fails as well, the journal stays and the next run finishes.

use super::action::Progress;
use super::bring::{Goal, bring, directories, recorded};
use super::uninstall::take_back;
use crate::model::HostPath;
use crate::node::error::NodeError;
use crate::node::host::{ForeignFiles, Root, observe};
use crate::node::plan::{Force, ForeignRule, InstallOptions, Leftovers, Uninstallation};
use crate::node::state::{Claim, MAX_GENERATIONS, Purpose, Receipt, Writing};
use crate::trust::Verifier;

/// Goes back if the error came in the middle; returns the error that says what the node has now.
pub(super) fn go_back(
    root: &Root,
    state: &Writing,
    verifier: &Verifier<'_>,
    directories: &[HostPath],
    error: NodeError,
) -> NodeError {
    let NodeError::InTheMiddle(cause) = error else { return error };
    let undone = match state.receipt() {
        Ok(Some(receipt)) => restore(root, state, verifier, &receipt),
        Ok(None) => uninstall_unfinished(root, state, directories),
        Err(error) => Err(error),
    };
    match undone {
        Ok(()) => NodeError::Undone(cause),
        Err(reason) => NodeError::Mixed { cause, reason: Box::new(reason) },
    }
}

fn restore(
    root: &Root,
    state: &Writing,
    verifier: &Verifier<'_>,
    receipt: &Receipt,
) -> Result<(), NodeError> {
    let verdict = Claim::of(receipt).verdict(state, verifier)?;
    let bundle = verdict.map_err(|rejection| NodeError::Refused(rejection.findings))?;
    let options = InstallOptions {
        foreign: ForeignRule::Stay,
        recorded: Some(recorded(receipt)),
        leftovers: Leftovers::Undo,
        ..InstallOptions::default()
    };
    let goal = Goal {
        receipt,
        bundle: &bundle,
        generations: MAX_GENERATIONS,
        purpose: Purpose::Repair,
        rollback: None,
    };
    let plugins = &bundle.value().files.plugins;
    let observed =
        observe(root, Some(state), &directories(&[receipt]), plugins, ForeignFiles::Leave)?;
    bring(root, state, &goal, &observed, &options, Progress::silent()).map(drop)
}

fn uninstall_unfinished(
    root: &Root,
    state: &Writing,
    directories: &[HostPath],
) -> Result<(), NodeError> {
    let observed = observe(root, Some(state), directories, &[], ForeignFiles::Leave)?;
    let uninstallation = Uninstallation::decide(&observed, Force::No)?;
    take_back(root, state, &uninstallation)
}
