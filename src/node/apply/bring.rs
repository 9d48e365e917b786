//! Restoring a kept release: what repair, rollback and undo have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Progress;
use super::engine::{Applied, apply};
use super::held::held;
use super::preflight::refuse_obstacles;
use super::records::{Record, RollbackRecord};
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::error::NodeError;
use crate::node::host::{Observed, Root};
use crate::node::plan::{InstallOptions, Plan, Step, plan};
use crate::node::state::{Purpose, Receipt, Stored, Writing, not_installed};
use crate::trust::{Bundle, Verified};

/// What a repair or a rollback did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The receipt before the run.
    pub before: Receipt,
    /// The receipt after; of a plan that was not carried out, the one that it would end in.
    pub after: Receipt,
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// Warnings and notes on the steps.
    pub notes: Vec<Finding>,
}

/// What a node is restored to.
pub(super) struct Goal<'a> {
    pub(super) receipt: &'a Receipt,
    pub(super) bundle: &'a Verified<Bundle>,
    pub(super) generations: u8,
    pub(super) purpose: Purpose,
    pub(super) rollback: Option<RollbackRecord<'a>>,
}

pub(super) fn bring(
    root: &Root,
    writing: &Writing,
    goal: &Goal<'_>,
    observed: &Observed,
    options: &InstallOptions,
    progress: Progress<'_>,
) -> Result<Restored, NodeError> {
    carry_out(root, writing, goal, observed, &plan_of(goal.bundle, observed, options)?, progress)
}

/// Carries out a plan that ends in the receipt of the goal, with files from the local store.
pub(super) fn carry_out(
    root: &Root,
    writing: &Writing,
    goal: &Goal<'_>,
    observed: &Observed,
    plan: &Plan<'_>,
    progress: Progress<'_>,
) -> Result<Restored, NodeError> {
    refuse_obstacles(root, plan.steps())?;
    let before = observed.receipt.clone().ok_or_else(not_installed)?;
    let (steps, mut notes) = (plan.steps().to_vec(), notes_of(plan, observed));
    let held = held(root, &steps);
    if held.iter().any(Finding::is_refusal) {
        return Err(held.into());
    }
    notes.extend(held);
    let bytes = writing.evidence(&goal.receipt.evidence)?.ok_or_else(|| {
        Finding::refusal(Code::NoEvidence, "the evidence of the bundle is gone")
            .hint("install it again")
    })?;
    let record = Record {
        evidence: &bytes,
        policy: None,
        generations: goal.generations,
        repository: goal.receipt.repository.as_ref(),
        purpose: goal.purpose,
        rollback: goal.rollback,
    };
    let Applied { receipt: after, warnings } =
        apply(root, writing, plan, &mut Stored::open(writing)?, &record, progress)?;
    notes.extend(warnings);
    Ok(Restored { before, after, steps, notes })
}

/// The notes of a plan, and what the records of attachments add to them.
pub(super) fn notes_of(plan: &Plan<'_>, observed: &Observed) -> Vec<Finding> {
    let about = observed.in_use.about(plan.notes());
    plan.notes().iter().cloned().chain(about).collect()
}

pub(super) fn plan_of<'v>(
    bundle: &'v Verified<Bundle>,
    observed: &Observed,
    options: &InstallOptions,
) -> Result<Plan<'v>, NodeError> {
    plan(bundle, observed, options).map_err(|findings| {
        // `install` has an option for a file that is in the way; here it has to be moved.
        let in_the_way =
            |finding: &Finding| matches!(finding.code, Code::InTheWay | Code::ForeignFile);
        let hint = |finding: Finding| match in_the_way(&finding) {
            true => finding.hint("move it away, then run this again"),
            false => finding,
        };
        NodeError::Refused(findings.into_iter().map(hint).collect())
    })
}

/// What each directory had of the bundle.
pub(super) fn recorded(receipt: &Receipt) -> BTreeMap<HostPath, BTreeSet<PluginName>> {
    let names = receipt.directories.iter();
    names
        .map(|(path, directory)| (path.clone(), directory.files.keys().cloned().collect()))
        .collect()
}

/// The plugins that replaced a foreign file, and may do so again.
pub(super) fn adopted(receipt: &Receipt) -> BTreeSet<PluginName> {
    let files = receipt.directories.values().flat_map(|directory| &directory.files);
    files
        .filter(|(_, file)| file.owner.original().is_some())
        .map(|(name, _)| name.clone())
        .collect()
}

pub(super) fn directories(receipts: &[&Receipt]) -> Vec<HostPath> {
    let all: BTreeSet<_> = receipts.iter().flat_map(|receipt| receipt.directories.keys()).collect();
    all.into_iter().cloned().collect()
}
