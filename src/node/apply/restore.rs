//! Repair and rollback: the installed release again, or an earlier generation, without a network.
//!
//! Nothing is trusted because the node keeps it: evidence is verified under today's policy, and
//! every copy is compared with its signed digest while it is written.

use std::collections::{BTreeMap, BTreeSet};

use super::action::Progress;
use super::bring::{
    Goal, Restored, adopted, bring, carry_out, directories, plan_of, recorded, rehearse,
};
use super::preflight::state_obstacle;
use super::records::RollbackRecord;
use super::undo::go_back;
use crate::model::{Code, Finding, HostPath, PluginName, PluginPath};
use crate::node::error::NodeError;
use crate::node::host::{Attachments, Observed, Root, observe};
use crate::node::plan::{ForeignRule, InstallOptions, Leftovers, Plan, Step, plan_leftovers};
use crate::node::state::{
    Claim, Earlier, Floors, Installation, MAX_GENERATIONS, Purpose, Reading, Receipt, RolledBack,
    State, Stored, Writing, not_installed,
};
use crate::trust::{Bundle, Verified};

/// Whether a plan is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The plan is carried out.
    Apply,
    /// The plan is made and nothing is changed.
    Plan,
}

/// Rewrites installed plugins that are missing or altered, or `only` these, from the local store:
/// those of the installed bundle, and those of an earlier one whose generation is kept and
/// accepted.
///
/// # Errors
/// Refused if nothing is installed, if today's policy does not accept it, or if the store has no
/// good copy; nothing is changed then.
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
        retain(&mut recorded, only);
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
    let mut paths = directories(&[&receipt]);
    if let Some(only) = only {
        // What has the place of another directory keeps no file of this one from being repaired.
        // The journal would be forgotten with entries of a directory that was not seen.
        let is_finished = writing.journal()?.is_none();
        let is_meant = |path: &HostPath| only.iter().any(|target| target.directory == *path);
        paths.retain(|path| !is_finished || is_meant(path) || root.directory(path).is_ok());
    }
    let wanted = &bundle.value().files.plugins;
    let observed = observe(root, Some(&writing), &paths, wanted, options.foreign_files())
        .map_err(NodeError::answered)?;
    let earlier = writing.earlier(&receipt, &installation.verifier)?.proven;
    for one in &earlier {
        require_copies(&writing, &plan_of_earlier(one, only, &observed, &receipt)?)?;
    }
    // File by file: what was repaired already is right, and nothing goes back.
    let mut restored = bring(root, &writing, &goal, &observed, &options, Progress::silent())?;
    for one in &earlier {
        let present = restored.after.clone();
        let plan = plan_of_earlier(one, only, &observed, &present)?;
        restored.steps.extend_from_slice(plan.steps());
        if !plan.changes_nothing() {
            let goal = Goal { receipt: &present, ..goal };
            let more = carry_out(root, &writing, &goal, &observed, &plan, Progress::silent())?;
            restored.after = more.after;
            restored.notes.extend(more.notes);
        }
    }
    Ok(restored)
}

/// How plugins of an earlier bundle are brought back, or `only` these.
fn plan_of_earlier<'e>(
    earlier: &'e Earlier,
    only: Option<&BTreeSet<PluginPath>>,
    observed: &Observed,
    present: &Receipt,
) -> Result<Plan<'e>, NodeError> {
    let mut wanted = earlier.plugins.clone();
    if let Some(only) = only {
        retain(&mut wanted, only);
    }
    Ok(plan_leftovers(&earlier.bundle, &wanted, observed, present)?)
}

/// Refuses a plan for which the local store has not every file, before another one is carried out.
fn require_copies(state: &Writing, plan: &Plan<'_>) -> Result<(), NodeError> {
    let written = plan.steps().iter().filter_map(|step| match step {
        Step::Write { name, .. } => Some(name.clone()),
        _ => None,
    });
    let written: BTreeSet<_> = written.collect();
    let held = Stored::open(state)?.holds(&plan.bundle().files, &written)?;
    let missing = written.difference(&held).map(|name| {
        let message = format!("the local store has no copy of `{name}` of an earlier bundle");
        let hint = "move away what has its name and install again with --prune, or install its bundle again";
        Finding::refusal(Code::NoCopy, message).hint(hint)
    });
    match missing.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        findings => Err(findings.into()),
    }
}

/// Keeps only these files.
fn retain(plugins: &mut BTreeMap<HostPath, BTreeSet<PluginName>>, only: &BTreeSet<PluginPath>) {
    for (path, names) in plugins {
        names.retain(|name| {
            only.iter().any(|target| target.directory == *path && target.name == *name)
        });
    }
}

/// What a repair of single files did.
#[derive(Debug, Default)]
pub struct RepairOutcome {
    /// The steps that were carried out.
    pub steps: Vec<Step>,
    /// The files that are still not as they were installed.
    pub left: BTreeSet<PluginPath>,
    /// Why other files were not restored.
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
                | Code::PathEscapes
                | Code::NotPermitted
                | Code::Unreadable
        )
    };
    match error {
        NodeError::Refused(findings) => findings.iter().all(of_one),
        // One name did not get its file.
        NodeError::InTheMiddle(_) => true,
        // One directory could not be read.
        NodeError::Disk(error) => error.denial().is_none() && error.of_one_file().is_some(),
        _ => false,
    }
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
/// Refused like [`repair`], and if no such generation is kept; nothing is changed then.
pub fn roll_back(
    root: &Root,
    installation: &Installation<'_>,
    options: &RollbackOptions<'_>,
    run: Run,
    progress: Progress<'_>,
) -> Result<Restored, NodeError> {
    let state = open_state(root, installation)?;
    if run == Run::Plan {
        let reading = state.read(installation.patience).map_err(NodeError::before_changes)?;
        let target = RollbackTarget::of(root, &reading, installation, options)?;
        let goal = target.goal(options);
        let restored = rehearse(root, &reading, &goal, &target.observed, &target.plan()?)?;
        return Ok(Restored { before: target.before, ..restored });
    }
    let writing = state.write(installation.patience).map_err(NodeError::before_changes)?;
    let target = RollbackTarget::of(root, &writing, installation, options)?;
    let (goal, plan) = (target.goal(options), target.plan()?);
    let restored = carry_out(root, &writing, &goal, &target.observed, &plan, progress)
        .map_err(|error| go_back(root, &writing, &installation.verifier, &[], error))?;
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
        let (history, journal) = (reading.history()?, reading.journal()?);
        let interrupted =
            journal.filter(|_| options.number.is_none_or(|number| number == present.generation));
        let (before, receipt, bad) = match interrupted {
            // It had its receipt already: asking for the same again finishes it, and does not go
            // forward.
            Some(journal)
                if journal.purpose == Purpose::Rollback
                    && journal.release().is(&present.release()) =>
            {
                let before = history.target(&present, None).ok();
                let before = before.map(|past| reading.generation(past.number)).transpose()?;
                let before = before.flatten().unwrap_or_else(|| present.clone());
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
                let number = history.target(&present, options.number)?.number;
                let target = reading.generation(number)?.ok_or_else(|| gone(number))?;
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
        if options.leftovers == Leftovers::Prune {
            observed.examine_originals(reading)?;
        }
        // A rollback overrides a rule that forbids downgrades.
        observed.floors.count(&present);
        observed.floors.except(&bundle, &present);
        let floors = observed.floors.clone();
        let mut unwanted = reading.rolled_back()?.unwrap_or_default();
        unwanted.releases.insert(bad);
        unwanted.releases.remove(&receipt.release());
        Ok(Self { before, receipt, bundle, observed, options: install, unwanted, floors })
    }

    fn goal(&self, options: &RollbackOptions<'_>) -> Goal<'_> {
        Goal {
            receipt: &self.receipt,
            bundle: &self.bundle,
            generations: options.generations,
            purpose: Purpose::Rollback,
            rollback: Some(RollbackRecord { unwanted: &self.unwanted, floors: &self.floors }),
        }
    }

    fn plan(&self) -> Result<Plan<'_>, NodeError> {
        plan_of(&self.bundle, &self.observed, &self.options)
    }
}

fn gone(number: u64) -> Finding {
    Finding::refusal(Code::NoGeneration, format!("generation {number} is gone"))
        .hint("run this again")
}

/// Opens the state directory of a node that is to be changed.
fn open_state(root: &Root, installation: &Installation<'_>) -> Result<State, NodeError> {
    let state = State::open(root, installation.state).map_err(NodeError::before_changes)?;
    let state = state.ok_or_else(not_installed)?;
    state_obstacle(root, installation.state).map_or(Ok(state), |finding| Err(finding.into()))
}

fn open(root: &Root, installation: &Installation<'_>) -> Result<(Writing, Receipt), NodeError> {
    let writing = open_state(root, installation)?.write(installation.patience);
    let writing = writing.map_err(NodeError::before_changes)?;
    let receipt = writing.receipt()?.ok_or_else(not_installed)?;
    Ok((writing, receipt))
}
