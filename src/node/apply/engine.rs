//! Carrying out changes, in phases that are types: `Opened`, `Staged`, `Published`, `Recorded`,
//! `Removed`, `Done`. Each consumes the one before, so that the order cannot be changed by mistake.
//!
//! Everything that can fail without leaving a trace comes before the first name changes: files are
//! in staging directories, records have temporary names, and the journal is written. Whatever fails
//! until then leaves the plugin directories as they were; whatever stops later is finished by the
//! next run. At no moment is a plugin of the receipt missing.
//!
//! Nothing is cleaned up in destructors: a run that is killed leaves the same files as one that is
//! stopped between two actions, so that tests of the one hold for the other. What changes is
//! decided in `plan`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::action::{Action, Progress};
use super::changes::{ChangeList, FileChange, IfMissing};
use super::copies::{keep_copies, keep_originals};
use super::directory::{PluginDirectory, remove_staging, staging_obstacle};
use super::records::{PreparedRecords, Record, open_policy};
use super::stage::stage;
use crate::disk::{Directory, DiskError};
use crate::model::{Code, Finding, HostPath};
use crate::node::error::NodeError;
use crate::node::host::{Found, Root};
use crate::node::payload::Payload;
use crate::node::plan::{PLUGIN_MODE, Plan};
use crate::node::state::{InstalledFile, Owner, Purpose, Receipt, Writing};

/// What came of a plan.
pub struct Applied {
    /// The receipt of the new set, as it was stored.
    pub receipt: Receipt,
    /// What could not be removed and stays as a plugin of an earlier bundle, and what is said of
    /// the removal of files that no generation needs.
    pub warnings: Vec<Finding>,
}

/// Carries out a plan.
///
/// # Errors
/// Refused if the payload is not what was signed, or if a file changed since it was observed. Then
/// the plugin directories are as they were. [`NodeError::InTheMiddle`] if some names have their
/// new files, and the receipt does not list them: the caller decides whether that is undone.
/// [`NodeError::AfterReceipt`] if only the end is missing.
pub fn apply(
    root: &Root,
    state: &Writing,
    plan: &Plan<'_>,
    payload: &mut dyn Payload,
    record: &Record<'_>,
    progress: Progress<'_>,
) -> Result<Applied, NodeError> {
    // Without a receipt, an interrupted run may have brought plugins that pods use by now: there is
    // no whole set to go back to, and the next run goes forward.
    let goes_back = !plan.interrupted || state.receipt()?.is_some();
    // A failure here comes before any change.
    let policy = open_policy(root, record.policy)?;
    let prepared_in = [&state.directory].into_iter().chain(&policy).collect();

    let opened = Opened::open(root, progress, ChangeList::of_plan(plan.steps()), prepared_in)?;
    let (staged, (mut receipt, records)) = opened
        .stage(|opened| opened.stage_release(state, plan, payload, record, policy.as_ref()))?;
    let is_another_release = records.is_another_release;

    let in_the_middle = |error| if goes_back { in_the_middle(error) } else { error };
    let published = staged.publish().map_err(in_the_middle)?;
    let recorded =
        published.record(records, state, policy.as_ref()).map_err(|error| {
            match state.receipt().is_ok_and(|present| present.as_ref() == Some(&receipt)) {
                true => after_receipt(error),
                false => in_the_middle(error),
            }
        })?;
    let finish = || {
        let (removed, mut warnings) = recorded.remove_rest(state, &mut receipt)?;
        let done = removed.clean_up()?;
        warnings.extend(done.forget_journal(state, &receipt, is_another_release, record)?);
        Ok(warnings)
    };
    let warnings = finish().map_err(after_receipt)?;
    Ok(Applied { receipt, warnings })
}

/// A run that was stopped goes on where it stopped, like one that was killed.
fn in_the_middle(error: NodeError) -> NodeError {
    match error {
        NodeError::Stopped => error,
        error => NodeError::InTheMiddle(Box::new(error)),
    }
}

/// What failed once the receipt names the new set, from where the next run goes forward.
fn after_receipt(error: NodeError) -> NodeError {
    match error {
        NodeError::Stopped => error,
        error => NodeError::AfterReceipt(Box::new(error)),
    }
}

/// Plugin directories with empty staging directories.
pub(super) struct Opened<'a> {
    root: &'a Root,
    progress: Progress<'a>,
    directories: Vec<PluginDirectory<'a>>,
    /// The directories whose staging directory is removed at the end, also those that an
    /// interrupted run left.
    swept: BTreeSet<&'a HostPath>,
    /// The directories in which records get temporary names.
    prepared_in: Vec<&'a Directory>,
    /// The directories that this run created.
    created: Vec<PathBuf>,
}

/// Every file is in a staging directory, and every file that it replaces is the observed one.
pub(super) struct Staged<'a>(Opened<'a>);

/// The plugins of the new set have their names.
pub(super) struct Published<'a>(Opened<'a>);

/// The receipt names the new set.
pub(super) struct Recorded<'a>(Opened<'a>);

/// Everything that should go is gone.
pub(super) struct Removed<'a>(Opened<'a>);

/// The plugin directories are as they should be. Only the state directory still says that a run is
/// not finished.
#[must_use]
pub(super) struct Done<'a>(Opened<'a>);

impl<'a> Opened<'a> {
    /// Opens the directories. If this fails, what it did is undone.
    pub(super) fn open(
        root: &'a Root,
        progress: Progress<'a>,
        changes: ChangeList<'a>,
        prepared_in: Vec<&'a Directory>,
    ) -> Result<Self, NodeError> {
        let paths = changes.directories.iter().map(|directory| directory.path);
        let swept = changes.unfinished.iter().copied().chain(paths).collect();
        let (directories, created) = (Vec::new(), Vec::new());
        let mut opened = Self { root, progress, directories, swept, prepared_in, created };
        match opened.open_all(changes) {
            Ok(()) => Ok(opened),
            Err(error) => Err(opened.abandon(error)),
        }
    }

    fn open_all(&mut self, changes: ChangeList<'a>) -> Result<(), NodeError> {
        for path in &self.swept {
            if let Some(bin) = self.root.directory(path)?
                && let Some(finding) = staging_obstacle(path, &bin)?
            {
                return Err(finding.into());
            }
        }
        for directory in changes.directories {
            let path = directory.path;
            if directory.if_missing == IfMissing::CreateByStep {
                self.progress.announce(Action::CreateDirectory(path.clone()))?;
                self.create(path)?;
            }
            let bin = match directory.if_missing {
                IfMissing::CreateByStep | IfMissing::Create => Some(self.create(path)?),
                IfMissing::Skip => self.root.directory(path)?,
            };
            if let Some(bin) = bin {
                self.directories.push(PluginDirectory::prepare(path, bin, directory.files)?);
            }
        }
        Ok(())
    }

    fn create(&mut self, path: &HostPath) -> Result<Directory, NodeError> {
        let (directory, created) = self.root.directory_or_create(path, PLUGIN_MODE)?;
        self.created.extend(created);
        Ok(directory)
    }

    /// Does what can fail without a trace. If it fails, what was done is undone.
    pub(super) fn stage<T>(
        self,
        work: impl FnOnce(&Self) -> Result<T, NodeError>,
    ) -> Result<(Staged<'a>, T), NodeError> {
        match work(&self) {
            Ok(staged) => Ok((Staged(self), staged)),
            Err(error) => Err(self.abandon(error)),
        }
    }

    /// Stages the plugins of a release, and prepares its records; the journal comes last.
    fn stage_release(
        &self,
        state: &Writing,
        plan: &Plan<'_>,
        payload: &mut dyn Payload,
        record: &Record<'_>,
        policy: Option<&Directory>,
    ) -> Result<(Receipt, PreparedRecords), NodeError> {
        let Self { root, progress, ref directories, .. } = *self;
        stage(directories, state, plan.bundle(), payload, progress)?;
        keep_originals(directories, state, progress)?;
        for (directory, change) in self.changes() {
            self.stage_original(state, directory, change)?;
        }
        // A download takes minutes, and other installers write meanwhile: their files stay.
        for (directory, change) in self.changes() {
            directory.check_unchanged(change)?;
        }
        progress.announce(Action::WriteEvidence)?;
        let evidence = state.write_evidence(record.evidence)?;
        let receipt = plan.receipt(evidence, record.repository);
        // From here on, names that an interrupted run gave are believed: they have to be durable.
        let policy_path = record.policy.map(|policy| policy.directory);
        for path in receipt.directories.keys().chain(policy_path).chain([&state.path]) {
            root.make_durable(path)?;
        }
        keep_copies(directories, root, state, &receipt, progress)?;
        let records = PreparedRecords::prepare(state, policy, plan.bundle, &receipt, record)?;
        if !directories.is_empty() || records.generation.is_some() {
            progress.announce(Action::WriteJournal)?;
            state.write_journal(&plan.journal(&receipt, record.purpose))?;
        }
        Ok((receipt, records))
    }

    /// Every change, with its directory.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&PluginDirectory<'a>, &FileChange<'a>)> {
        self.directories
            .iter()
            .flat_map(|directory| directory.changes.iter().map(move |change| (directory, change)))
    }

    /// Writes the file that comes back to the staging directory.
    pub(super) fn stage_original(
        &self,
        state: &Writing,
        directory: &PluginDirectory<'_>,
        change: &FileChange<'_>,
    ) -> Result<(), NodeError> {
        let Some(original) = change.original() else { return Ok(()) };
        self.progress.announce(Action::StageOriginal(change.name.clone()))?;
        directory.stage_original(state, change.name, original)
    }

    fn exchange(
        &self,
        directory: &PluginDirectory<'_>,
        change: &FileChange<'_>,
    ) -> Result<(), NodeError> {
        self.progress.announce(change.action(directory.path))?;
        directory.exchange(change).map_err(Into::into)
    }

    fn sync(&self, directory: &PluginDirectory<'_>) -> Result<(), NodeError> {
        self.progress.announce(Action::Sync(directory.path.clone()))?;
        directory.bin.sync().map_err(Into::into)
    }

    /// Removes what this run wrote, if possible: the error that led here matters more. A run
    /// that was stopped removes nothing, like one that is killed.
    fn abandon(self, error: NodeError) -> NodeError {
        if matches!(error, NodeError::Stopped) {
            return error;
        }
        for directory in &self.directories {
            let _ = remove_staging(directory.path, &directory.bin);
        }
        for directory in &self.prepared_in {
            let _ = directory.remove_temporaries();
        }
        self.root.remove_created(&self.created);
        error
    }
}

impl<'a> Staged<'a> {
    /// Gives every plugin of the new set its name.
    fn publish(self) -> Result<Published<'a>, NodeError> {
        for directory in &self.0.directories {
            for change in directory.changes.iter().filter(|change| change.precedes_receipt()) {
                self.0.exchange(directory, change)?;
            }
            self.0.sync(directory)?;
        }
        Ok(Published(self.0))
    }

    /// Makes every change at once: an uninstallation has no new set, and its record is the receipt
    /// that goes last.
    pub(super) fn remove_all(self) -> Result<Removed<'a>, NodeError> {
        for (directory, change) in self.0.changes() {
            self.0.exchange(directory, change)?;
        }
        Ok(Removed(self.0))
    }
}

impl<'a> Published<'a> {
    /// Gives the records their names.
    fn record(
        self,
        records: PreparedRecords,
        state: &Writing,
        policy: Option<&Directory>,
    ) -> Result<Recorded<'a>, NodeError> {
        records.publish(state, policy, self.0.progress)?;
        Ok(Recorded(self.0))
    }
}

impl<'a> Recorded<'a> {
    /// Removes what the new set lacks. Until then the journal says whose it is. What cannot be
    /// removed stays, and the receipt names it as a plugin of an earlier bundle.
    fn remove_rest(
        self,
        state: &Writing,
        receipt: &mut Receipt,
    ) -> Result<(Removed<'a>, Vec<Finding>), NodeError> {
        let mut warnings = Vec::new();
        for directory in &self.0.directories {
            let mut rest =
                directory.changes.iter().filter(|change| !change.precedes_receipt()).peekable();
            if rest.peek().is_none() {
                continue;
            }
            for change in rest {
                match self.0.exchange(directory, change) {
                    Ok(()) => {}
                    Err(NodeError::Disk(error)) => {
                        warnings.push(not_removed(directory.path, change, &error));
                        leave_over(receipt, directory.path, change);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.0.sync(directory)?;
        }
        if !warnings.is_empty()
            && let Some(prepared) = state.prepare_receipt(receipt)?
        {
            state.publish_receipt(prepared)?;
        }
        Ok((Removed(self.0), warnings))
    }
}

fn not_removed(directory: &HostPath, change: &FileChange<'_>, error: &DiskError) -> Finding {
    let message = format!(
        "`{directory}/{}` could not be removed and stays: {}",
        change.name,
        error.with_cause()
    );
    Finding::warning(Code::Mixed, message).hint("fix the cause, then install again with --prune")
}

fn not_collected(error: &DiskError) -> Finding {
    let message = format!("a file that no generation needs stays: {}", error.with_cause());
    Finding::warning(Code::NotPermitted, message).hint("fix the cause, then run: cnister gc")
}

/// Names a file that stays in the receipt.
fn leave_over(receipt: &mut Receipt, directory: &HostPath, change: &FileChange<'_>) {
    let Found::Regular { digest, size, .. } = *change.before else { return };
    let owner = Owner::of(change.original().cloned());
    let leftovers = &mut receipt.directories.entry(directory.clone()).or_default().leftovers;
    leftovers.insert(change.name.clone(), InstalledFile { digest, size, owner });
}

impl<'a> Removed<'a> {
    /// Removes the staging directories, of this run and of interrupted ones.
    pub(super) fn clean_up(self) -> Result<Done<'a>, NodeError> {
        for path in &self.0.swept {
            self.0.progress.announce(Action::CleanUp((*path).clone()))?;
            if let Some(bin) = self.0.root.directory(path)? {
                remove_staging(path, &bin)?;
            }
        }
        Ok(Done(self.0))
    }
}

impl Done<'_> {
    /// Ends an installation, a repair or a rollback, and returns what is said of the removal of
    /// unneeded files. The journal goes last: while it exists, the next run knows that this one was
    /// not finished.
    fn forget_journal(
        self,
        state: &Writing,
        receipt: &Receipt,
        is_another_release: bool,
        record: &Record<'_>,
    ) -> Result<Vec<Finding>, NodeError> {
        let progress = self.0.progress;
        progress.announce(Action::Collect)?;
        // A repair forgets nothing: a damaged record is the last sign of what its generation had.
        let forgets = record.purpose != Purpose::Repair || state.history()?.damaged.is_empty();
        let collected = match forgets {
            true => state.collect(receipt, record.generations).map(|collected| collected.told),
            false => Ok(Vec::new()),
        };
        let told = match collected {
            Ok(told) => told,
            // Nothing needs what stays, and the next run would not get further.
            Err(NodeError::Disk(error)) if error.is_held() => vec![not_collected(&error)],
            Err(error) => return Err(error),
        };
        progress.announce(Action::Forget)?;
        if record.purpose != Purpose::Repair {
            state.remove_refusal()?;
        }
        if record.purpose == Purpose::Install {
            state.forget_rolled_back(&receipt.release(), is_another_release)?;
        }
        state.remove_journal()?;
        progress.announce(Action::Done)?;
        Ok(told)
    }

    /// Ends an uninstallation. No run comes back to `directories` once the receipt is gone, and
    /// copies of restored files go before it: everything has to be durable, also what an
    /// interrupted run did.
    pub(super) fn forget_installation(
        self,
        state: &Writing,
        directories: &BTreeSet<HostPath>,
    ) -> Result<(), NodeError> {
        let progress = self.0.progress;
        for path in directories {
            progress.announce(Action::Sync(path.clone()))?;
            self.0.root.make_durable(path)?;
        }
        progress.announce(Action::Forget)?;
        state.forget_installation()?;
        progress.announce(Action::Done)
    }
}

#[cfg(test)]
mod tests;
