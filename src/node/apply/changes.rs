//! The changes to the files of each plugin directory: one list, whether the steps come from a plan
//! or from an uninstallation.
//!
//! Each change carries what had the name when the node was observed, so that a file that another
//! installer wrote since is not replaced. Nothing is opened here; `directory` carries a change out.

use std::collections::BTreeSet;

use super::action::Action;
use crate::model::{HostPath, PluginName};
use crate::node::host::Found;
use crate::node::plan::{Change, Step};
use crate::node::state::Original;

/// All changes of a run.
pub(super) struct ChangeList<'a> {
    /// In the order in which the directories are changed.
    pub(super) directories: Vec<DirectoryChanges<'a>>,
    /// The directories in which an interrupted run left its staging directory.
    pub(super) unfinished: BTreeSet<&'a HostPath>,
}

/// The changes in one plugin directory.
pub(super) struct DirectoryChanges<'a> {
    pub(super) path: &'a HostPath,
    pub(super) if_missing: IfMissing,
    pub(super) files: Vec<FileChange<'a>>,
}

/// What happens if a plugin directory does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfMissing {
    /// It is created, by a step of the plan.
    CreateByStep,
    /// It is created, although it existed when the node was observed.
    Create,
    /// Nothing: there is nothing to remove from it.
    Skip,
}

/// The change of one name.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileChange<'a> {
    pub(super) name: &'a PluginName,
    /// What had the name when the node was observed.
    pub(super) before: &'a Found,
    pub(super) kind: ChangeKind<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ChangeKind<'a> {
    /// The name gets the plugin of the bundle.
    Write(Change),
    /// Nothing has the name afterwards.
    Remove,
    /// The name gets the file back that a plugin replaced.
    Restore(&'a Original),
}

impl<'a> ChangeList<'a> {
    /// The changes of a plan, in the order of its steps.
    pub(super) fn of_plan(steps: &'a [Step]) -> Self {
        Self::of(steps)
    }

    /// The changes of an uninstallation, in the order of the paths. A directory that is gone is
    /// created again only if a file comes back to it.
    pub(super) fn of_uninstallation(steps: &'a [Step]) -> Self {
        let mut changes = Self::of(steps);
        changes.directories.sort_by_key(|directory| directory.path);
        for directory in &mut changes.directories {
            if !directory.files.iter().any(|change| change.original().is_some()) {
                directory.if_missing = IfMissing::Skip;
            }
        }
        changes
    }

    fn of(steps: &'a [Step]) -> Self {
        let mut changes = Self { directories: Vec::new(), unfinished: BTreeSet::new() };
        for step in steps {
            match step {
                Step::CreateDirectory { directory } => {
                    changes.in_directory(directory).if_missing = IfMissing::CreateByStep;
                }
                Step::Write { directory, name, change, before, .. } => {
                    let kind = ChangeKind::Write(*change);
                    let change = FileChange { name, before, kind };
                    changes.in_directory(directory).files.push(change);
                }
                Step::Remove { directory, name, before, original, .. } => {
                    let kind = original.as_ref().map_or(ChangeKind::Remove, ChangeKind::Restore);
                    let change = FileChange { name, before, kind };
                    changes.in_directory(directory).files.push(change);
                }
                Step::CleanUp { directory } => drop(changes.unfinished.insert(directory)),
                Step::Keep { .. } | Step::Satisfied { .. } => {}
            }
        }
        changes
    }

    fn in_directory(&mut self, path: &'a HostPath) -> &mut DirectoryChanges<'a> {
        let known = self.directories.iter().position(|directory| directory.path == path);
        let number = known.unwrap_or_else(|| {
            let if_missing = IfMissing::Create;
            self.directories.push(DirectoryChanges { path, if_missing, files: Vec::new() });
            self.directories.len() - 1
        });
        self.directories.get_mut(number).expect("it was found, or just added")
    }
}

impl<'a> FileChange<'a> {
    pub(super) fn is_write(&self) -> bool {
        matches!(self.kind, ChangeKind::Write(_))
    }

    /// The file that comes back.
    pub(super) fn original(&self) -> Option<&'a Original> {
        match self.kind {
            ChangeKind::Restore(original) => Some(original),
            ChangeKind::Write(_) | ChangeKind::Remove => None,
        }
    }

    /// Whether it is made before the receipt is replaced. Plugins of the new set are; plugins that
    /// it lacks are removed later, and until then the journal says whose they are. The journal
    /// knows a file by its content, and a name without a file has none: its original comes back
    /// before the receipt.
    pub(super) fn precedes_receipt(&self) -> bool {
        self.is_write() || *self.before == Found::Absent
    }

    /// The action that makes it.
    pub(super) fn action(&self, directory: &HostPath) -> Action {
        let (directory, name) = (directory.clone(), self.name.clone());
        match self.kind {
            ChangeKind::Write(_) => Action::Publish(directory, name),
            ChangeKind::Remove | ChangeKind::Restore(_) => Action::Remove(directory, name),
        }
    }
}
