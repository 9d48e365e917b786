//! Carrying out a plan: everything is staged and checked before anything that a runtime could call
//! changes.
//!
//! Files are written to a directory for their owner alone on the same mount, without execute bits
//! until size and digest are right. Then evidence, receipt and journal are written, the receipt
//! under a temporary name; then the files get their names, and the receipt last. What the new set
//! lacks goes after that, so that at no moment a plugin of the receipt is missing, and the journal
//! is forgotten when everything is done. Whatever fails before the first name leaves the plugin
//! directories as they were; whatever stops later is finished by the next run. There is no clean-up
//! in destructors: a run that is killed leaves the same as one that is stopped between two actions,
//! so that tests of the one speak of the other.

mod stage;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::action::{Action, Progress};
use super::removal::{Removing, check_unchanged, remove_staging, stage_original, take_away};

use crate::disk::{Directory, DiskError, Prepared};
use crate::model::{Digest, HostPath, PluginName, Repository};
use crate::node::error::NodeError;
use crate::node::host::{Expected, Found, Root, STAGING, copy_exactly};
use crate::node::payload::Payload;
use crate::node::plan::{Change, PLUGIN_MODE, Plan, Step};
use crate::node::state::{
    Floors, Journal, PreparedGeneration, Purpose, Receipt, RolledBack, Writing,
};

/// The file in the policy directory.
const POLICY: &str = "policy.yaml";
const POLICY_MODE: u32 = 0o644;
/// What the node keeps so that a later check can repeat the proof.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The evidence file.
    pub evidence: &'a [u8],
    /// The policy to keep; nothing, where the one that is kept decided.
    pub policy: Option<KeptPolicy<'a>>,
    /// How many generations the node keeps, the new one included.
    pub generations: u8,
    /// The name that the policy's rule was matched with, where there was one.
    pub repository: Option<&'a Repository>,
    /// What it is done for.
    pub purpose: Purpose,
    /// What its owner says with a rollback.
    pub word: Option<RollbackRecord<'a>>,
}

/// What a rollback says about other releases than the one that it goes to; it counts as soon as
/// that one does.
#[derive(Debug, Clone, Copy)]
pub struct RollbackRecord<'a> {
    /// The releases that are not wanted any more.
    pub unwanted: &'a RolledBack,
    /// The floors, with the release that it goes to as an exception.
    pub floors: &'a Floors,
}

/// A policy, and where it is kept.
#[derive(Debug, Clone, Copy)]
pub struct KeptPolicy<'a> {
    /// Its self-contained text.
    pub text: &'a str,
    /// The directory.
    pub directory: &'a HostPath,
}

/// Carries out a plan.
///
/// # Errors
/// Refused where the payload is not what was signed, or where a file changed since it was observed.
/// Then the plugin directories are as they were.
pub fn apply(
    root: &Root,
    state: &Writing,
    plan: &Plan<'_>,
    payload: &mut dyn Payload,
    record: &Record<'_>,
    progress: &mut Progress<'_>,
) -> Result<Receipt, NodeError> {
    let mut run =
        Run { root, state, plan, targets: Vec::new(), created: Vec::new(), policy: None, progress };
    run.policy = run.open_policy(record)?;
    let records = match run.prepare(payload, record) {
        Ok(records) => records,
        Err(NodeError::Stopped) => return Err(NodeError::Stopped),
        Err(error) => {
            run.abandon();
            return Err(error);
        }
    };
    run.publish()?;
    if let Some(prepared) = records.prepared_generation {
        run.announce(Action::WriteGeneration)?;
        prepared.publish()?;
    }
    if let Some(prepared) = records.prepared_unwanted {
        run.announce(Action::WriteUnwanted)?;
        state.publish_rolled_back(prepared)?;
    }
    // A floor that rises counts when its release does: what is installed must not be below it after
    // an interruption. Where there was none yet, or the owner makes an exception, the release must
    // not be there without it.
    let (first, last) = match records.floors_first {
        true => (records.prepared_floors, None),
        false => (None, records.prepared_floors),
    };
    run.write_floors(first)?;
    run.announce(Action::WriteReceipt)?;
    if let Some(prepared) = records.prepared_receipt {
        state.publish_receipt(prepared)?;
    }
    run.write_floors(last)?;
    run.announce(Action::WritePolicy)?;
    if let (Some(directory), Some(prepared)) = (&run.policy, records.prepared_policy) {
        directory.publish(prepared, POLICY)?;
    }
    run.take_away()?;
    run.clean_up()?;
    run.announce(Action::Collect)?;
    state.collect(&records.receipt, record.generations)?;
    // As long as the journal is there, whoever runs this again knows that it was not done.
    run.announce(Action::Forget)?;
    if record.purpose != Purpose::Repair {
        state.remove_refusal()?;
    }
    if record.purpose == Purpose::Install {
        state.forget_rolled_back(&records.receipt.index, records.is_another_release)?;
    }
    state.remove_journal()?;
    run.announce(Action::Done)?;
    Ok(records.receipt)
}

struct Run<'a, 'p> {
    root: &'a Root,
    state: &'a Writing,
    plan: &'a Plan<'a>,
    targets: Vec<Target<'a>>,
    created: Vec<PathBuf>,
    /// The policy's directory, where the policy in it is another.
    policy: Option<Directory>,
    progress: &'a mut Progress<'p>,
}

/// What is written before the first plugin gets its name, so that a full disk is noticed in time.
struct Records {
    receipt: Receipt,
    prepared_generation: Option<PreparedGeneration>,
    prepared_unwanted: Option<Prepared>,
    prepared_floors: Option<Prepared>,
    /// Whether the floors are written before the receipt.
    floors_first: bool,
    /// Whether another release was there before, or the installation of this one was interrupted.
    is_another_release: bool,
    prepared_receipt: Option<Prepared>,
    prepared_policy: Option<Prepared>,
}

/// A plugin directory that something is written to.
struct Target<'a> {
    path: &'a HostPath,
    bin: Directory,
    staging: Directory,
    writes: Vec<Planned<'a>>,
    removals: Vec<Removing<'a>>,
}

/// One file that is written.
#[derive(Clone, Copy)]
struct Planned<'a> {
    name: &'a PluginName,
    change: Change,
    before: Found,
}

impl<'a> Run<'a, '_> {
    fn announce(&mut self, action: Action) -> Result<(), NodeError> {
        match (self.progress)(&action) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(NodeError::Stopped),
        }
    }

    /// Everything that can fail without a trace: afterwards, only names are missing.
    fn prepare(
        &mut self,
        payload: &mut dyn Payload,
        record: &Record<'_>,
    ) -> Result<Records, NodeError> {
        self.open_targets()?;
        self.stage(payload)?;
        self.keep_originals()?;
        self.stage_originals()?;
        self.check_unchanged()?;
        self.announce(Action::WriteEvidence)?;
        let evidence = self.state.write_evidence(record.evidence)?;
        let receipt = self.plan.receipt(evidence, record.repository);
        // What an interrupted run has named already is believed from here on, so it has to be on
        // the disk.
        let policy = record.policy.map(|policy| policy.directory);
        for path in receipt.directories.keys().chain(policy).chain([&self.state.path]) {
            self.root.make_durable(path)?;
        }
        self.keep_copies(&receipt)?;
        let prepared_generation = self.prepare_generation(&receipt)?;
        let is_another_release = self.is_another_release(&receipt.index)?;
        let prepared_unwanted =
            record.word.map(|word| self.state.prepare_rolled_back(word.unwanted)).transpose()?;
        let mut floors = match record.word {
            Some(word) => word.floors.clone(),
            None => self.state.floors()?.unwrap_or_default(),
        };
        let floors_first = record.word.is_some() || !floors.bundles.contains_key(&receipt.bundle);
        let raised = record.purpose != Purpose::Repair && floors.raise(self.plan.bundle);
        let prepared_floors = (raised || record.word.is_some())
            .then(|| self.state.prepare_floors(&floors))
            .transpose()?;
        let prepared_receipt = self.state.prepare_receipt(&receipt)?;
        let prepared_policy = match (&self.policy, record.policy) {
            (Some(directory), Some(policy)) => {
                Some(directory.prepare(policy.text.as_bytes(), POLICY_MODE)?)
            }
            _ => None,
        };
        if !self.targets.is_empty() || prepared_generation.is_some() {
            self.announce(Action::WriteJournal)?;
            self.state.write_journal(&self.plan.journal(&receipt, record.purpose))?;
        }
        Ok(Records {
            receipt,
            prepared_generation,
            prepared_unwanted,
            prepared_floors,
            floors_first,
            is_another_release,
            prepared_receipt,
            prepared_policy,
        })
    }

    /// Whether another release than `index` is installed, or an installation of it was not
    /// finished.
    fn is_another_release(&self, index: &Digest) -> Result<bool, NodeError> {
        let unfinished =
            |journal: Journal| journal.index == *index && journal.purpose == Purpose::Install;
        let present = self.state.receipt()?.is_some_and(|receipt| receipt.index == *index);
        Ok(!present || self.state.journal()?.is_some_and(unfinished))
    }

    fn write_floors(&mut self, prepared: Option<Prepared>) -> Result<(), NodeError> {
        let Some(prepared) = prepared else { return Ok(()) };
        self.announce(Action::WriteFloor)?;
        self.state.publish_floors(prepared)
    }

    /// Opens the policy directory where the policy in it is another; a failure here comes before
    /// any change.
    fn open_policy(&self, record: &Record<'_>) -> Result<Option<Directory>, NodeError> {
        let Some(policy) = record.policy else { return Ok(None) };
        if let Some(directory) = self.root.directory(policy.directory)? {
            // Of a run that was interrupted; also where the policy is written already.
            directory.remove_temporaries()?;
            match directory.read(POLICY, policy.text.len()) {
                Ok(present) if present == policy.text.as_bytes() => return Ok(None),
                // Whatever else is there is replaced.
                Ok(_) | Err(DiskError::TooLong { .. } | DiskError::NotRegular { .. }) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (directory, _) = self.root.directory_or_create(policy.directory, 0o755)?;
        directory.remove_temporaries()?;
        Ok(Some(directory))
    }

    fn open_targets(&mut self) -> Result<(), NodeError> {
        for step in self.plan.steps() {
            match step {
                Step::CreateDirectory { directory } => {
                    self.announce(Action::CreateDirectory(directory.clone()))?;
                    let (_, created) = self.root.directory_or_create(directory, PLUGIN_MODE)?;
                    self.created.extend(created);
                }
                Step::Write { directory, name, change, before, .. } => {
                    self.target(directory)?.writes.push(Planned {
                        name,
                        change: *change,
                        before: *before,
                    });
                }
                Step::Remove { directory, name, before, original, .. } => {
                    self.target(directory)?.removals.push(Removing {
                        name,
                        before: *before,
                        original: original.as_ref(),
                    });
                }
                Step::CleanUp { .. } | Step::Keep { .. } | Step::Satisfied { .. } => {}
            }
        }
        Ok(())
    }

    /// The opened plugin directory at `path`; its staging directory is made anew at the first time.
    fn target(&mut self, path: &'a HostPath) -> Result<&mut Target<'a>, NodeError> {
        let known = self.targets.iter().position(|target| target.path == path);
        let number = match known {
            Some(number) => number,
            None => {
                let (bin, _) = self.root.directory_or_create(path, PLUGIN_MODE)?;
                remove_staging(&bin)?;
                let staging = bin.create_child(STAGING, 0o700)?;
                self.targets.push(Target {
                    path,
                    bin,
                    staging,
                    writes: Vec::new(),
                    removals: Vec::new(),
                });
                self.targets.len() - 1
            }
        };
        Ok(self.targets.get_mut(number).expect("it was found, or just put there"))
    }

    /// Puts the present receipt aside, where another release takes its place.
    fn prepare_generation(
        &self,
        receipt: &Receipt,
    ) -> Result<Option<PreparedGeneration>, NodeError> {
        match self.state.receipt()? {
            Some(before) if before.index != receipt.index => {
                self.state.prepare_generation(&before).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Writes what was there before under its staging name.
    fn stage_originals(&mut self) -> Result<(), NodeError> {
        for number in 0..self.targets.len() {
            let Some(target) = self.targets.get(number) else { continue };
            for removing in target.removals.clone() {
                if let Some(original) = removing.original {
                    self.announce(Action::StageOriginal(removing.name.clone()))?;
                    if let Some(target) = self.targets.get(number) {
                        stage_original(self.state, &target.staging, removing.name, original)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies the files that are adopted, so that they can be put back.
    fn keep_originals(&mut self) -> Result<(), NodeError> {
        let writes = self.targets.iter().enumerate().flat_map(|(number, target)| {
            target
                .writes
                .iter()
                .filter(|write| write.change == Change::Adopt)
                .map(move |write| (number, *write))
        });
        for (number, write) in writes.collect::<Vec<_>>() {
            self.announce(Action::KeepOriginal(write.name.clone()))?;
            let (Some(target), Found::Regular { digest, size, .. }) =
                (self.targets.get(number), write.before)
            else {
                continue;
            };
            let mut opened = target.bin.open_file(write.name.as_str())?;
            let expected = Expected { name: write.name, digest, size };
            let origin = format!("`{}`", target.path);
            self.state.originals()?.replace_with(digest.hex(), 0o600, |copy| {
                copy_exactly(expected, &origin, &mut opened.file, copy)
                    .map_err(|error| error.into_error(expected, &origin, "originals"))
            })?;
        }
        Ok(())
    }

    /// A download takes minutes, and other installers work meanwhile: what they put there is not
    /// overwritten.
    fn check_unchanged(&self) -> Result<(), NodeError> {
        for target in &self.targets {
            let writes = target.writes.iter().map(|write| (write.name, write.before));
            let removals = target.removals.iter().map(|removing| (removing.name, removing.before));
            for (name, before) in writes.chain(removals) {
                check_unchanged(target.path, &target.bin, name, before)?;
            }
        }
        Ok(())
    }

    /// Gives every staged file its name, also what was there before a plugin that is gone already.
    fn publish(&mut self) -> Result<(), NodeError> {
        for number in 0..self.targets.len() {
            let Some(target) = self.targets.get(number) else { continue };
            let path = target.path;
            for name in target.writes.iter().map(|write| write.name).collect::<Vec<_>>() {
                self.announce(Action::Publish(path.clone(), name.clone()))?;
                if let Some(target) = self.targets.get(number) {
                    target.staging.rename(name.as_str(), &target.bin, name.as_str())?;
                }
            }
            // The journal knows a file by its content, and this one has none: it has to be back
            // before the receipt.
            self.remove_from(number, |removing| removing.before == Found::Absent)?;
            self.sync(number)?;
        }
        Ok(())
    }

    /// Removes what the new set lacks. Until then the journal says that it is ours.
    fn take_away(&mut self) -> Result<(), NodeError> {
        for number in 0..self.targets.len() {
            if self.remove_from(number, |removing| removing.before != Found::Absent)? {
                self.sync(number)?;
            }
        }
        Ok(())
    }

    /// Removes these from one directory; says whether there were any.
    fn remove_from(
        &mut self,
        number: usize,
        which: impl Fn(&Removing<'_>) -> bool,
    ) -> Result<bool, NodeError> {
        let removals =
            self.targets.get(number).map(|target| target.removals.clone()).unwrap_or_default();
        let mut removed = false;
        for removing in removals.into_iter().filter(which) {
            let Some(path) = self.targets.get(number).map(|target| target.path) else { continue };
            self.announce(Action::Remove(path.clone(), removing.name.clone()))?;
            if let Some(target) = self.targets.get(number) {
                take_away(&target.bin, &target.staging, &removing)?;
            }
            removed = true;
        }
        Ok(removed)
    }

    fn sync(&mut self, number: usize) -> Result<(), NodeError> {
        let Some(path) = self.targets.get(number).map(|target| target.path) else { return Ok(()) };
        self.announce(Action::Sync(path.clone()))?;
        self.targets.get(number).map_or(Ok(()), |target| target.bin.sync().map_err(Into::into))
    }

    /// Removes the staging directories, of this run and of interrupted ones.
    fn clean_up(&mut self) -> Result<(), NodeError> {
        let interrupted = self.plan.steps().iter().filter_map(|step| match step {
            Step::CleanUp { directory } => Some(directory),
            _ => None,
        });
        let paths: BTreeSet<&'a HostPath> =
            interrupted.chain(self.targets.iter().map(|target| target.path)).collect();
        for path in paths {
            self.announce(Action::CleanUp(path.clone()))?;
            if let Some(bin) = self.root.directory(path)? {
                remove_staging(&bin)?;
            }
        }
        Ok(())
    }

    /// Removes what this run wrote, as far as that is possible: the error that led here matters
    /// more.
    fn abandon(&self) {
        for target in &self.targets {
            let _ = remove_staging(&target.bin);
        }
        let _ = self.state.discard_prepared();
        let _ = self.policy.as_ref().map(Directory::remove_temporaries);
        self.root.remove_created(&self.created);
    }
}

#[cfg(test)]
mod tests;
