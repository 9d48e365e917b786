//! The records of an installation: what a node remembers of it, and in which order the records
//! count.
//!
//! All of them are written under temporary names before the first plugin gets its name, so that a
//! full disk is noticed in time, and published after the last one. None of them is believed later
//! without comparing it with signed digests.

use std::time::Duration;

use super::action::{Action, Progress};
use super::held::{not_changeable, not_replaceable};
use super::preflight::{obstacle, state_obstacle};
use crate::disk::{Directory, DirectoryEntry, DiskError, FileKind, Prepared};
use crate::model::{Digest, Finding, HostPath, Repository};
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::node::plan::Plan;
use crate::node::state::{
    Collections, Floors, Journal, PreparedGeneration, Purpose, Reading, Receipt, Release,
    Rewritten, RolledBack, State, Writing,
};
use crate::trust::{Bundle, Verified};

/// The file in the policy directory.
pub(super) const POLICY: &str = "policy.yaml";
const POLICY_MODE: u32 = 0o644;

/// What the node keeps so that a later check can repeat the proof.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The evidence file that is stored, byte for byte.
    pub evidence: &'a [u8],
    /// The policy to keep; `None` if the kept one decided.
    pub policy: Option<KeptPolicy<'a>>,
    /// How many generations the node keeps, including the new one.
    pub generations: u8,
    /// The name that the policy's rule was matched with.
    pub repository: Option<&'a Repository>,
    /// Why the plan is carried out.
    pub purpose: Purpose,
    /// What a rollback says about other releases.
    pub rollback: Option<RollbackRecord<'a>>,
}

impl Record<'_> {
    /// Why records could not get their names after the plugins had theirs, or not be removed at the
    /// end of a plan.
    pub(super) fn obstacles(
        &self,
        state: &Reading,
        plan: &Plan<'_>,
    ) -> Result<Vec<Finding>, NodeError> {
        let receipt = plan.receipt(Digest::of(self.evidence), self.repository);
        let is_install = self.purpose == Purpose::Install;
        let is_another_release = is_another_release(state, &receipt.release())?;
        let is_receipt_new = state.receipt()?.as_ref() != Some(&receipt);
        let is_floor_new = next_floors(state, plan.bundle, self)?.is_some();
        let was_rolled_back =
            |record: RolledBack| is_another_release || record.releases.contains(&receipt.release());
        let is_rolled_back_new = match self.rollback {
            Some(_) => true,
            None => is_install && state.rolled_back()?.is_some_and(was_rolled_back),
        };
        let changes = is_receipt_new || !plan.changes_nothing();
        let rewritten = Rewritten {
            receipt: is_receipt_new,
            journal: true,
            refusal: self.purpose != Purpose::Repair,
            floors: is_floor_new,
            rolled_back: is_rolled_back_new,
            // Where nothing changes, there is nothing to remove as a rule, and what cannot be
            // removed is told.
            collections: match self.purpose {
                Purpose::Install | Purpose::Rollback if changes => Collections::Change,
                _ => Collections::Stay,
            },
        };
        not_rewritten(state, &rewritten)
    }
}

/// Why it cannot be recorded that a release was wanted and refused.
///
/// # Errors
/// If the state directory cannot be read.
pub fn refusal_obstacle(
    root: &Root,
    state: &HostPath,
    patience: Duration,
) -> Result<Option<Finding>, NodeError> {
    if let Some(finding) = state_obstacle(root, state) {
        return Ok(Some(finding));
    }
    let Some(state) = State::open(root, state)? else { return Ok(None) };
    let reading = state.read(patience)?;
    let rewritten = Rewritten { refusal: true, ..Rewritten::default() };
    Ok(not_rewritten(&reading, &rewritten)?.pop())
}

/// Why these records cannot be replaced or removed.
pub(super) fn not_rewritten(
    state: &Reading,
    rewritten: &Rewritten,
) -> Result<Vec<Finding>, NodeError> {
    let held = state.held(rewritten)?;
    Ok(held.iter().map(|(path, hold)| not_replaceable(path, *hold)).collect())
}

/// What a rollback says about other releases than its target. It counts as soon as the target does.
#[derive(Debug, Clone, Copy)]
pub struct RollbackRecord<'a> {
    /// The releases that were rolled back.
    pub unwanted: &'a RolledBack,
    /// The floors, with the target as an exception.
    pub floors: &'a Floors,
}

/// A policy, and where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct KeptPolicy<'a> {
    /// Its self-contained text.
    pub text: &'a str,
    /// The policy directory, as a path on the node.
    pub directory: &'a HostPath,
}

impl KeptPolicy<'_> {
    /// Whether the node has it already.
    pub(super) fn is_kept(&self, root: &Root) -> Result<bool, NodeError> {
        let directory = root.directory(self.directory)?;
        directory.map_or(Ok(false), |directory| self.is_in(&directory))
    }

    /// Why it cannot be written: its directory cannot, or its name cannot be replaced.
    pub(super) fn obstacle(&self, root: &Root) -> Option<Finding> {
        let of_directory = obstacle(root, self.directory);
        of_directory.or_else(|| {
            let directory = root.directory(self.directory).ok()??;
            let path = format!("{}/{POLICY}", self.directory);
            match directory.kind_of(POLICY).ok()?? {
                kind @ FileKind::Directory => DiskError::NotRegular { path, kind }.finding(),
                _ => Some(not_replaceable(&path, directory.hold_of(POLICY).ok()??)),
            }
        })
    }

    /// Why a file that an interrupted run left unfinished beside it cannot be removed.
    pub(super) fn unfinished(&self, root: &Root) -> Option<Finding> {
        let directory = root.directory(self.directory).ok()??;
        match directory.first_held(DirectoryEntry::is_temporary).ok()?? {
            (name, hold) if name.is_empty() => {
                Some(not_changeable(self.directory, self.directory.as_str(), hold))
            }
            (name, hold) => Some(not_replaceable(&format!("{}/{name}", self.directory), hold)),
        }
    }

    fn is_in(&self, directory: &Directory) -> Result<bool, NodeError> {
        match directory.read(POLICY, self.text.len()) {
            Ok(present) => Ok(present == self.text.as_bytes()),
            // Anything else is replaced.
            Err(error) if error.of_one_file().is_some() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens the policy directory if the policy in it is another one, or there is none.
pub(super) fn open_policy(
    root: &Root,
    policy: Option<KeptPolicy<'_>>,
) -> Result<Option<Directory>, NodeError> {
    let Some(policy) = policy else { return Ok(None) };
    if let Some(directory) = root.directory(policy.directory)? {
        // Those of an interrupted run, even if it had written the policy.
        directory.remove_temporaries()?;
        if policy.is_in(&directory)? {
            return Ok(None);
        }
    }
    let (directory, _) = root.directory_or_create(policy.directory, 0o755)?;
    directory.remove_temporaries()?;
    Ok(Some(directory))
}

/// Records under temporary names.
pub(super) struct PreparedRecords {
    /// The receipt of the release that is replaced.
    pub(super) generation: Option<PreparedGeneration>,
    /// Whether another release is installed, or an installation of this one was interrupted.
    pub(super) is_another_release: bool,
    unwanted: Option<Prepared>,
    floors: Option<Prepared>,
    /// Whether the floors are published before the receipt.
    floors_first: bool,
    receipt: Option<Prepared>,
    policy: Option<Prepared>,
}

impl PreparedRecords {
    pub(super) fn prepare(
        state: &Writing,
        policy: Option<&Directory>,
        bundle: &Verified<Bundle>,
        receipt: &Receipt,
        record: &Record<'_>,
    ) -> Result<Self, NodeError> {
        let generation = match state.receipt()? {
            Some(before) if !before.release().is(&receipt.release()) => {
                Some(state.prepare_generation(&before)?)
            }
            _ => None,
        };
        let is_another_release = is_another_release(state, &receipt.release())?;
        let rollback = record.rollback;
        let unwanted =
            rollback.map(|rollback| state.prepare_rolled_back(rollback.unwanted)).transpose()?;
        let known = state.floors()?.unwrap_or_default().bundles.contains_key(&receipt.bundle);
        let floors_first = rollback.is_some() || !known;
        let floors = next_floors(state, bundle, record)?
            .map(|floors| state.prepare_floors(&floors))
            .transpose()?;
        let prepared_receipt = state.prepare_receipt(receipt)?;
        let policy = match (policy, record.policy) {
            (Some(directory), Some(policy)) => {
                Some(directory.prepare(policy.text.as_bytes(), POLICY_MODE)?)
            }
            _ => None,
        };
        Ok(Self {
            generation,
            is_another_release,
            unwanted,
            floors,
            floors_first,
            receipt: prepared_receipt,
            policy,
        })
    }

    /// Gives the records their names: what the receipt depends on comes before it.
    pub(super) fn publish(
        self,
        state: &Writing,
        policy: Option<&Directory>,
        progress: Progress<'_>,
    ) -> Result<(), NodeError> {
        if let Some(prepared) = self.generation {
            progress.announce(Action::WriteGeneration)?;
            prepared.publish()?;
        }
        if let Some(prepared) = self.unwanted {
            progress.announce(Action::WriteUnwanted)?;
            state.publish_rolled_back(prepared)?;
        }
        // A floor that rises counts when its release does: after an interruption, the installed
        // release must not be below it. If there was no floor, or the owner makes an exception, the
        // release must not be there without it.
        let (first, last) = match self.floors_first {
            true => (self.floors, None),
            false => (None, self.floors),
        };
        publish_floors(state, first, progress)?;
        progress.announce(Action::WriteReceipt)?;
        if let Some(prepared) = self.receipt {
            state.publish_receipt(prepared)?;
        }
        publish_floors(state, last, progress)?;
        progress.announce(Action::WritePolicy)?;
        if let (Some(directory), Some(prepared)) = (policy, self.policy) {
            directory.publish(prepared, POLICY)?;
        }
        Ok(())
    }
}

/// The floors at the end; `None` if they stay as they are.
fn next_floors(
    state: &Reading,
    bundle: &Verified<Bundle>,
    record: &Record<'_>,
) -> Result<Option<Floors>, NodeError> {
    if let Some(rollback) = record.rollback {
        // It has its exceptions already, that of the release which it leaves included.
        return Ok(Some(Floors { uninstalled: false, ..rollback.floors.clone() }));
    }
    let mut floors = state.floors()?.unwrap_or_default();
    let was_uninstalled = std::mem::take(&mut floors.uninstalled);
    let raised = record.purpose == Purpose::Install && floors.raise(bundle);
    Ok((raised || was_uninstalled).then_some(floors))
}

fn publish_floors(
    state: &Writing,
    prepared: Option<Prepared>,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    let Some(prepared) = prepared else { return Ok(()) };
    progress.announce(Action::WriteFloor)?;
    state.publish_floors(prepared)
}

/// Whether another release is installed, or an installation of this one was not finished.
fn is_another_release(state: &Reading, release: &Release) -> Result<bool, NodeError> {
    let is_unfinished =
        |journal: Journal| journal.release().is(release) && journal.purpose == Purpose::Install;
    let is_present = state.receipt()?.is_some_and(|receipt| receipt.release().is(release));
    Ok(!is_present || state.journal()?.is_some_and(is_unfinished))
}
