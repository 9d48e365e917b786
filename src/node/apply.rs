//! Carrying out a plan: everything is staged and checked before anything that a runtime could call changes.
//!
//! Files are written to a directory for their owner alone on the same mount, without execute bits until size and
//! digest are right. Then evidence, receipt and journal are written, the receipt under a temporary name; then the files
//! get their names, and the receipt last. Whatever fails before that leaves the plugin directories as they were;
//! whatever stops later is finished by the next run. There is no clean-up in destructors: a run that is killed leaves
//! the same as one that is stopped between two actions, so that tests of the one speak of the other.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::error::NodeError;
use super::observe::{Found, STAGING, find};
use super::payload::Payload;
use super::plan::{Change, PLUGIN_MODE, Plan, Step};
use super::receipt::Receipt;
use super::root::{HostPath, Root};
use super::state::Writing;
use super::transfer::{Expected, copy_exactly};
use crate::disk::{Directory, DiskError, FileKind, Prepared};
use crate::model::{Code, Finding, PluginName, Repository};

/// The file in the policy directory.
const POLICY: &str = "policy.yaml";
const POLICY_MODE: u32 = 0o644;
/// How much of a file may wait in memory to be written: what does not, counts against the container's limit.
const UNWRITTEN: usize = 8 * 1024 * 1024;

/// What the node keeps so that a later check can repeat the proof.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The evidence file.
    pub evidence: &'a [u8],
    /// The policy's self-contained text.
    pub policy: &'a str,
    /// Where the policy is kept.
    pub policy_directory: &'a HostPath,
    /// The name that the policy's rule was matched with, where there was one.
    pub repository: Option<&'a Repository>,
}

/// What is done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A plugin directory is created.
    CreateDirectory(HostPath),
    /// A plugin is written to the staging directory.
    Stage(PluginName),
    /// Somebody else's file is copied to the state directory.
    KeepOriginal(PluginName),
    /// Evidence is written.
    WriteEvidence,
    /// The journal is written.
    WriteJournal,
    /// A plugin gets its name.
    Publish(HostPath, PluginName),
    /// The names in a plugin directory are made durable.
    Sync(HostPath),
    /// The receipt is written.
    WriteReceipt,
    /// The policy is written, where it changed.
    WritePolicy,
    /// The journal and an earlier refusal are forgotten.
    Forget,
    /// The staging directory is removed.
    CleanUp(HostPath),
    /// Everything is done.
    Done,
}

/// Is told what is done next, and may stop it there.
pub type Progress<'a> = dyn FnMut(&Action) -> ControlFlow<()> + 'a;

/// Carries out a plan.
///
/// # Errors
/// Refused where the payload is not what was signed, or where a file changed since it was observed. Then the plugin
/// directories are as they were.
pub fn apply(
    root: &Root,
    state: &Writing,
    plan: &Plan<'_>,
    payload: &mut dyn Payload,
    record: &Record<'_>,
    progress: &mut Progress<'_>,
) -> Result<Receipt, NodeError> {
    let mut run = Run { root, state, plan, targets: Vec::new(), created: Vec::new(), policy: None, progress };
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
    run.announce(Action::WriteReceipt)?;
    if let Some(prepared) = records.prepared_receipt {
        state.publish_receipt(prepared)?;
    }
    run.announce(Action::WritePolicy)?;
    if let (Some(directory), Some(prepared)) = (&run.policy, records.prepared_policy) {
        directory.publish(prepared, POLICY)?;
    }
    run.announce(Action::Forget)?;
    state.remove_refusal()?;
    state.remove_journal()?;
    run.clean_up()?;
    state.keep_only_evidence(&records.receipt.evidence)?;
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
    prepared_receipt: Option<Prepared>,
    prepared_policy: Option<Prepared>,
}

/// A plugin directory that something is written to.
struct Target<'a> {
    path: &'a HostPath,
    bin: Directory,
    staging: Directory,
    writes: Vec<Planned<'a>>,
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
    fn prepare(&mut self, payload: &mut dyn Payload, record: &Record<'_>) -> Result<Records, NodeError> {
        self.open_targets()?;
        self.stage(payload)?;
        self.keep_originals()?;
        self.check_unchanged()?;
        self.announce(Action::WriteEvidence)?;
        let evidence = self.state.write_evidence(record.evidence)?;
        let receipt = self.plan.receipt(evidence, record.repository);
        let prepared_receipt = self.state.prepare_receipt(&receipt)?;
        let policy = record.policy.as_bytes();
        let prepared_policy =
            self.policy.as_ref().map(|directory| directory.prepare(policy, POLICY_MODE)).transpose()?;
        if !self.targets.is_empty() {
            self.announce(Action::WriteJournal)?;
            self.state.write_journal(&self.plan.journal(&receipt))?;
        }
        Ok(Records { receipt, prepared_receipt, prepared_policy })
    }

    /// Opens the policy directory where the policy in it is another; a failure here comes before any change.
    fn open_policy(&self, record: &Record<'_>) -> Result<Option<Directory>, NodeError> {
        if let Some(directory) = self.root.directory(record.policy_directory)? {
            let limit = record.policy.len();
            match directory.read(POLICY, limit) {
                Ok(present) if present == record.policy.as_bytes() => return Ok(None),
                // Whatever else is there is replaced.
                Ok(_) | Err(DiskError::TooLong { .. } | DiskError::NotRegular { .. }) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (directory, _) = self.root.directory_or_create(record.policy_directory, 0o755)?;
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
                    let write = Planned { name, change: *change, before: *before };
                    match self.targets.iter_mut().find(|target| target.path == directory) {
                        Some(target) => target.writes.push(write),
                        None => {
                            let (bin, _) = self.root.directory_or_create(directory, PLUGIN_MODE)?;
                            remove_staging(&bin)?;
                            let staging = bin.create_child(STAGING, 0o700)?;
                            self.targets.push(Target { path: directory, bin, staging, writes: vec![write] });
                        }
                    }
                }
                Step::CleanUp { .. } | Step::Keep { .. } | Step::Satisfied { .. } => {}
            }
        }
        Ok(())
    }

    /// Writes every file under its staging name, and gives it its mode when it is the signed one.
    fn stage(&mut self, payload: &mut dyn Payload) -> Result<(), NodeError> {
        let writes = self.targets.iter().flat_map(|target| &target.writes);
        let wanted: BTreeSet<PluginName> = writes.map(|write| write.name.clone()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut missing = wanted.clone();
        let plan = self.plan;
        payload.deliver(&plan.bundle().files, &wanted, &mut |file, origin, source| {
            self.announce(Action::Stage(file.name.clone()))?;
            let targets = self.targets.iter();
            let targets: Vec<_> =
                targets.filter(|target| target.writes.iter().any(|write| *write.name == file.name)).collect();
            let staged = targets.iter().map(|target| target.staging.create_file(file.name.as_str()));
            let mut copies = Copies { files: staged.collect::<Result<_, _>>()?, unwritten: 0 };
            let path = targets.first().map_or("", |target| target.path.as_str());
            copy_exactly(file.into(), origin, source, &mut copies)
                .map_err(|error| error.into_error(file.into(), origin, path))?;
            for (target, copy) in targets.iter().zip(copies.files) {
                // Closed before it gets its name: a file that is open for writing cannot be executed.
                target.staging.finish(file.name.as_str(), copy, PLUGIN_MODE)?;
            }
            missing.remove(&file.name);
            Ok(())
        })?;
        match missing.first() {
            Some(name) => {
                let message = format!("`{name}` was not delivered");
                Err(Finding::refusal(Code::MissingEntry, message).into())
            }
            None => Ok(()),
        }
    }

    /// Copies the files that are adopted, so that they can be put back.
    fn keep_originals(&mut self) -> Result<(), NodeError> {
        let writes = self.targets.iter().enumerate().flat_map(|(number, target)| {
            target.writes.iter().filter(|write| write.change == Change::Adopt).map(move |write| (number, *write))
        });
        for (number, write) in writes.collect::<Vec<_>>() {
            self.announce(Action::KeepOriginal(write.name.clone()))?;
            let (Some(target), Found::Regular { digest, size, .. }) = (self.targets.get(number), write.before) else {
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

    /// A download takes minutes, and other installers work meanwhile: what they put there is not overwritten.
    fn check_unchanged(&self) -> Result<(), NodeError> {
        for target in &self.targets {
            for write in &target.writes {
                if find(&target.bin, write.name)? != write.before {
                    let message = format!("`{}/{}` changed while it was being replaced", target.path, write.name);
                    let finding = Finding::refusal(Code::ForeignFile, message);
                    return Err(finding.hint("run it again; if it repeats, another installer is at work").into());
                }
            }
        }
        Ok(())
    }

    /// Gives every staged file its name.
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
            self.announce(Action::Sync(path.clone()))?;
            if let Some(target) = self.targets.get(number) {
                target.bin.sync()?;
            }
        }
        Ok(())
    }

    /// Removes the staging directories, of this run and of interrupted ones.
    fn clean_up(&mut self) -> Result<(), NodeError> {
        let interrupted = self.plan.steps().iter().filter_map(|step| match step {
            Step::CleanUp { directory } => Some(directory),
            _ => None,
        });
        let paths: BTreeSet<&'a HostPath> = interrupted.chain(self.targets.iter().map(|target| target.path)).collect();
        for path in paths {
            self.announce(Action::CleanUp(path.clone()))?;
            if let Some(bin) = self.root.directory(path)? {
                remove_staging(&bin)?;
            }
        }
        Ok(())
    }

    /// Removes what this run wrote, as far as that is possible: the error that led here matters more.
    fn abandon(&self) {
        for target in &self.targets {
            let _ = remove_staging(&target.bin);
        }
        let _ = self.state.discard_prepared();
        let _ = self.policy.as_ref().map(Directory::remove_temporaries);
        self.root.remove_created(&self.created);
    }
}

/// Removes the staging directory of an interrupted run.
fn remove_staging(bin: &Directory) -> Result<(), NodeError> {
    match bin.kind_of(STAGING)? {
        None => return Ok(()),
        Some(FileKind::Directory) => {}
        Some(kind) => {
            let message = format!("`{}/{STAGING}` is {kind}", bin.shown());
            return Err(Finding::refusal(Code::InTheWay, message).mismatch(FileKind::Directory, kind).into());
        }
    }
    let staging = bin.child(STAGING)?;
    let names: Vec<_> = staging.entries()?.map(|entry| entry.map(|entry| entry.name)).collect::<Result<_, _>>()?;
    names.iter().try_for_each(|name| staging.remove(name))?;
    bin.remove_directory(STAGING)?;
    Ok(())
}

/// The copies of one file in several directories, written at once.
struct Copies {
    files: Vec<File>,
    unwritten: usize,
}

impl Write for Copies {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.iter_mut().try_for_each(|file| file.write_all(bytes))?;
        self.unwritten += bytes.len();
        if self.unwritten >= UNWRITTEN {
            self.unwritten = 0;
            self.files.iter().try_for_each(File::sync_data)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
