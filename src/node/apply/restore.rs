//! Repair and rollback: the installed release again, or an earlier generation, without a network.
//!
//! Nothing is trusted because the node keeps it: evidence is verified under today's policy, and
//! every copy is compared with its signed digest while it is written.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Progress;
use super::engine::apply;
use super::records::{Record, RollbackRecord};
use crate::model::{Code, Finding, HostPath, PluginName, PluginPath};
use crate::node::error::NodeError;
use crate::node::host::{Attachments, Observed, Root, observe};
use crate::node::plan::{ForeignRule, InstallOptions, Leftovers, Plan, Step, plan};
use crate::node::state::{
    Claim, Floors, Installation, MAX_GENERATIONS, Purpose, Reading, Receipt, RolledBack, State,
    Stored, Writing, not_installed,
};
use crate::trust::{Bundle, Verified};

/// What a repair or a rollback did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The receipt before.
    pub before: Receipt,
    /// The receipt after; of a plan that was not carried out, the one that it would end in.
    pub after: Receipt,
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// Warnings and notes.
    pub notes: Vec<Finding>,
}

/// Whether a plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It is.
    Apply,
    /// It is only made.
    Plan,
}

/// Rewrites installed plugins that are missing or altered, or `only` these, from the local store.
///
/// # Errors
/// Refused where nothing is installed, where the policy of today does not accept it, or where the
/// store has no good copy; nothing is changed then.
pub fn repair(
    root: &Root,
    installation: &Installation<'_>,
    only: Option<&BTreeSet<PluginPath>>,
) -> Result<Restored, NodeError> {
    let (writing, receipt) = open(root, installation)?;
    let bundle = Claim::of(&receipt)
        .verdict(&writing, &installation.verifier)?
        .map_err(|rejection| NodeError::Refused(rejection.findings))?;
    let mut recorded = recorded(&receipt);
    if let Some(only) = only {
        for (path, names) in &mut recorded {
            names.retain(|name| {
                only.iter().any(|target| target.directory == *path && target.name == *name)
            });
        }
    }
    let options = InstallOptions {
        foreign: ForeignRule::Stay,
        recorded: Some(recorded),
        ..InstallOptions::default()
    };
    let goal = Goal {
        receipt: &receipt,
        bundle: &bundle,
        generations: MAX_GENERATIONS,
        purpose: Purpose::Repair,
        rollback: None,
    };
    let (paths, wanted) = (directories(&[&receipt]), &bundle.value().files.plugins);
    let observed = observe(root, Some(&writing), &paths, wanted, options.foreign_files())?;
    bring(root, &writing, &goal, &observed, &options, Progress::silent())
}

/// What a repair of single files did.
#[derive(Debug, Default)]
pub struct RepairOutcome {
    /// What was written.
    pub steps: Vec<Step>,
    /// The files that are still not as they were installed.
    pub left: BTreeSet<PluginPath>,
    /// Why.
    pub errors: Vec<NodeError>,
}

/// Repairs these files; if one of them cannot be repaired, the others still are.
pub fn bring_back(
    root: &Root,
    installation: &Installation<'_>,
    targets: &BTreeSet<PluginPath>,
) -> RepairOutcome {
    let mut outcome = RepairOutcome::default();
    match repair(root, installation, Some(targets)) {
        Err(error) if targets.len() > 1 && concerns_single_files(&error) => {
            for target in targets {
                let one = BTreeSet::from([target.clone()]);
                outcome.add(&one, repair(root, installation, Some(&one)));
            }
        }
        result => outcome.add(targets, result),
    }
    outcome
}

/// Whether the error concerns single files, so that others can still be repaired: one has no intact
/// copy, was written at this moment, or cannot take its place.
fn concerns_single_files(error: &NodeError) -> bool {
    let of_one = |finding: &Finding| {
        matches!(
            finding.code,
            Code::NoCopy
                | Code::FileAltered
                | Code::ForeignFile
                | Code::InTheWay
                | Code::Unreadable
        )
    };
    matches!(error, NodeError::Refused(findings) if findings.iter().all(of_one))
}

impl RepairOutcome {
    fn add(&mut self, targets: &BTreeSet<PluginPath>, result: Result<Restored, NodeError>) {
        let mut left = targets.clone();
        match result {
            Ok(restored) => {
                for step in restored.steps {
                    if let Step::Write { directory, name, .. }
                    | Step::Satisfied { directory, name, .. } = &step
                    {
                        left.remove(&PluginPath {
                            directory: directory.clone(),
                            name: name.clone(),
                        });
                    }
                    self.steps.extend(matches!(step, Step::Write { .. }).then_some(step));
                }
            }
            Err(error) => self.errors.push(error),
        }
        self.left.extend(left);
    }
}

/// How to roll back.
#[derive(Debug, Clone, Copy)]
pub struct RollbackOptions<'a> {
    /// The generation; `None` is the one before the present.
    pub number: Option<u64>,
    /// What happens to plugins that the earlier generation lacks.
    pub leftovers: Leftovers,
    /// Who needs which plugin.
    pub in_use: &'a Attachments,
    /// How many generations are kept.
    pub generations: u8,
}

/// Returns to an earlier generation, from the local store, and records that the present release was
/// rolled back.
///
/// Where the installation of another release was interrupted, the present one is the earlier one. A
/// rollback that was interrupted is finished by asking for the same again.
///
/// # Errors
/// Refused as [`repair`] is, and where no such generation is kept; nothing is changed then.
pub fn roll_back(
    root: &Root,
    installation: &Installation<'_>,
    options: &RollbackOptions<'_>,
    run: Run,
    progress: Progress<'_>,
) -> Result<Restored, NodeError> {
    let state = State::open(root, installation.state)?.ok_or_else(not_installed)?;
    if run == Run::Plan {
        let reading = state.read(installation.patience)?;
        let target = RollbackTarget::of(root, &reading, installation, options)?;
        let plan = target.plan()?;
        let after = plan.receipt(target.receipt.evidence, target.receipt.repository.as_ref());
        let (steps, notes) = (plan.steps().to_vec(), plan.notes().to_vec());
        return Ok(Restored { before: target.before, after, steps, notes });
    }
    let writing = state.write(installation.patience)?;
    let target = RollbackTarget::of(root, &writing, installation, options)?;
    let goal = Goal {
        receipt: &target.receipt,
        bundle: &target.bundle,
        generations: options.generations,
        purpose: Purpose::Rollback,
        rollback: Some(RollbackRecord { unwanted: &target.unwanted, floors: &target.floors }),
    };
    let restored = bring(root, &writing, &goal, &target.observed, &target.options, progress)?;
    Ok(Restored { before: target.before, ..restored })
}

/// The release that a rollback leaves, and the one that it installs.
struct RollbackTarget {
    /// The receipt that it replaces.
    before: Receipt,
    /// The receipt of its target.
    receipt: Receipt,
    bundle: Verified<Bundle>,
    observed: Observed,
    options: InstallOptions,
    unwanted: RolledBack,
    floors: Floors,
}

impl RollbackTarget {
    fn of(
        root: &Root,
        reading: &Reading,
        installation: &Installation<'_>,
        options: &RollbackOptions<'_>,
    ) -> Result<Self, NodeError> {
        let present = reading.receipt()?.ok_or_else(not_installed)?;
        let (past, journal) = (reading.past()?, reading.journal()?);
        let interrupted =
            journal.filter(|_| options.number.is_none_or(|number| number == present.generation));
        let (before, receipt, bad) = match interrupted {
            // It had its receipt already: asking for the same again finishes it, and does not go
            // forward.
            Some(journal)
                if journal.purpose == Purpose::Rollback
                    && journal.release().is(&present.release()) =>
            {
                let before =
                    past.target(&present, None).cloned().unwrap_or_else(|_| present.clone());
                let bad = before.release();
                (before, present.clone(), bad)
            }
            // Another release was on its way: the present one is the earlier one.
            Some(journal)
                if journal.purpose == Purpose::Install
                    && !journal.release().is(&present.release()) =>
            {
                (present.clone(), present.clone(), journal.release())
            }
            _ => {
                let target = past.target(&present, options.number)?.clone();
                (present.clone(), target, present.release())
            }
        };
        let bundle = Claim::of(&receipt)
            .verdict(reading, &installation.verifier)?
            .map_err(|rejection| NodeError::Refused(rejection.findings))?;
        let install = InstallOptions {
            foreign: ForeignRule::AdoptNamed(adopted(&receipt)),
            recorded: Some(recorded(&receipt)),
            leftovers: options.leftovers,
            ..InstallOptions::default()
        };
        let paths = directories(&[&receipt, &present]);
        let wanted = &bundle.value().files.plugins;
        let mut observed = observe(root, Some(reading), &paths, wanted, install.foreign_files())?;
        observed.in_use = options.in_use.clone();
        // A rollback overrides a rule that forbids downgrades.
        observed.floors.count(&present);
        observed.floors.except(&bundle, &present);
        let floors = observed.floors.clone();
        let mut unwanted = reading.rolled_back()?.unwrap_or_default();
        unwanted.releases.insert(bad);
        unwanted.releases.remove(&receipt.release());
        Ok(Self { before, receipt, bundle, observed, options: install, unwanted, floors })
    }

    fn plan(&self) -> Result<Plan<'_>, NodeError> {
        plan_of(&self.bundle, &self.observed, &self.options)
    }
}

fn open(root: &Root, installation: &Installation<'_>) -> Result<(Writing, Receipt), NodeError> {
    let state = State::open(root, installation.state)?.ok_or_else(not_installed)?;
    let writing = state.write(installation.patience)?;
    let receipt = writing.receipt()?.ok_or_else(not_installed)?;
    Ok((writing, receipt))
}

/// What a node is restored to.
struct Goal<'a> {
    receipt: &'a Receipt,
    bundle: &'a Verified<Bundle>,
    generations: u8,
    purpose: Purpose,
    rollback: Option<RollbackRecord<'a>>,
}

fn bring(
    root: &Root,
    writing: &Writing,
    goal: &Goal<'_>,
    observed: &Observed,
    options: &InstallOptions,
    progress: Progress<'_>,
) -> Result<Restored, NodeError> {
    let plan = plan_of(goal.bundle, observed, options)?;
    let before = observed.receipt.clone().ok_or_else(not_installed)?;
    let (steps, notes) = (plan.steps().to_vec(), plan.notes().to_vec());
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
    let after = apply(root, writing, &plan, &mut Stored::open(writing)?, &record, progress)?;
    Ok(Restored { before, after, steps, notes })
}

fn plan_of<'v>(
    bundle: &'v Verified<Bundle>,
    observed: &Observed,
    options: &InstallOptions,
) -> Result<Plan<'v>, NodeError> {
    plan(bundle, observed, options).map_err(|findings| {
        // `install` has an option for a file that is in the way; here it has to be moved.
        let in_the_way =
            |finding: &Finding| matches!(finding.code, Code::InTheWay | Code::ForeignFile);
        let hint = |finding: Finding| match in_the_way(&finding) {
            true => finding.hint("move it away, and run it again"),
            false => finding,
        };
        NodeError::Refused(findings.into_iter().map(hint).collect())
    })
}

/// What each directory had of the bundle.
fn recorded(receipt: &Receipt) -> BTreeMap<HostPath, BTreeSet<PluginName>> {
    let names = receipt.directories.iter();
    names
        .map(|(path, directory)| (path.clone(), directory.files.keys().cloned().collect()))
        .collect()
}

/// The plugins that replaced a foreign file, and may do so again.
fn adopted(receipt: &Receipt) -> BTreeSet<PluginName> {
    let files = receipt.directories.values().flat_map(|directory| &directory.files);
    files
        .filter(|(_, file)| file.owner.original().is_some())
        .map(|(name, _)| name.clone())
        .collect()
}

fn directories(receipts: &[&Receipt]) -> Vec<HostPath> {
    let all: BTreeSet<_> = receipts.iter().flat_map(|receipt| receipt.directories.keys()).collect();
    all.into_iter().cloned().collect()
}
