//! Restoring a kept release: what repair, rollback and undo have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Progress;
use super::directory::check_originals;
use super::engine::{Applied, apply};
use super::preflight::{FREE_SPACE, Records, obstacles, preflight};
use super::records::{Record, RollbackRecord};
use super::stage::compare;
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::error::NodeError;
use crate::node::host::{Observed, Root};
use crate::node::plan::{InstallOptions, Plan, Step, plan};
use crate::node::state::{Purpose, Reading, Receipt, Stored, Writing, not_installed};
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
    let (mut restored, evidence) = look_ahead(root, writing, goal, observed, plan)?;
    let mut payload = Stored::open(writing)?;
    let record = goal.record(&evidence);
    let Applied { receipt, warnings } =
        apply(root, writing, plan, &mut payload, &record, progress)?;
    restored.after = receipt;
    restored.notes.extend(warnings);
    Ok(restored)
}

/// What [`carry_out`] would end in, and everything that it would be refused for; changes nothing.
pub(super) fn rehearse(
    root: &Root,
    state: &Reading,
    goal: &Goal<'_>,
    observed: &Observed,
    plan: &Plan<'_>,
) -> Result<Restored, NodeError> {
    look_ahead(root, state, goal, observed, plan).map(|(restored, _)| restored)
}

/// What a plan would end in, and the evidence that its record needs.
fn look_ahead(
    root: &Root,
    state: &Reading,
    goal: &Goal<'_>,
    observed: &Observed,
    plan: &Plan<'_>,
) -> Result<(Restored, Vec<u8>), NodeError> {
    let before = observed.receipt.clone().ok_or_else(not_installed)?;
    let (steps, mut notes) = (plan.steps().to_vec(), notes_of(plan, observed));
    let evidence = goal.evidence(state)?;
    notes.extend(goal.foresee(root, state, plan, &evidence)?);
    let after = plan.receipt(goal.receipt.evidence, goal.receipt.repository.as_ref());
    Ok((Restored { before, after, steps, notes }, evidence))
}

impl<'a> Goal<'a> {
    fn evidence(&self, state: &Reading) -> Result<Vec<u8>, NodeError> {
        state.evidence(&self.receipt.evidence)?.ok_or_else(|| {
            Finding::refusal(Code::NoEvidence, "the evidence of the bundle is gone")
                .hint("install it again")
                .into()
        })
    }

    fn record(&self, evidence: &'a [u8]) -> Record<'a> {
        Record {
            evidence,
            policy: None,
            generations: self.generations,
            repository: self.receipt.repository.as_ref(),
            purpose: self.purpose,
            rollback: self.rollback,
        }
    }

    /// Looks for what would keep a plan from its end; returns warnings. A repair is made wherever
    /// it can be: it writes bytes that the node has accepted before, and is not held up by what a
    /// node lacks to run them, or by an estimate of room.
    fn foresee(
        &self,
        root: &Root,
        state: &Reading,
        plan: &Plan<'_>,
        evidence: &[u8],
    ) -> Result<Vec<Finding>, NodeError> {
        let records = Records { directory: &state.path, documents: 0, spool: 0 };
        let mut foreseen = match self.purpose {
            Purpose::Repair => obstacles(root, plan.steps()),
            Purpose::Install | Purpose::Rollback => {
                preflight(root, plan, Some(state), &records, FREE_SPACE)
            }
        };
        foreseen.extend(self.record(evidence).obstacles(state, plan)?);
        let foreseen = refuse(foreseen)?;
        // Staging hashes them as well, but creates directories before.
        check_originals(state, plan.steps())?;
        if self.purpose == Purpose::Rollback {
            compare(Some(state), plan, Some(&mut Stored::open(state)?))?;
        }
        Ok(foreseen)
    }
}

/// The warnings, if none of these refuses.
pub(super) fn refuse(findings: Vec<Finding>) -> Result<Vec<Finding>, NodeError> {
    match findings.iter().any(Finding::is_refusal) {
        true => Err(findings.into()),
        false => Ok(findings),
    }
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
