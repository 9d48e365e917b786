//! Deciding how an uninstallation changes a node: which plugins are removed, and which originals
//! are restored.
//!
//! Pure: nothing is removed here. A file that this program did not install is never part of it.

use std::collections::BTreeSet;

use super::Step;
use super::removal::{Removal, removal};
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::host::{Found, Observed};
use crate::node::state::{InstalledFile, Owner};

/// What an uninstallation does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uninstallation {
    pub(crate) steps: Vec<Step>,
    /// Every plugin directory that was observed.
    pub(crate) directories: BTreeSet<HostPath>,
    notes: Vec<Finding>,
}

/// What happens to plugins that an attachment needs, and to those whose original is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Force {
    /// They refuse the uninstallation.
    #[default]
    No,
    /// Plugins in use are removed, and lost originals are not restored.
    Yes,
}

impl Uninstallation {
    /// Decides it from what was observed: every plugin directory that receipt or journal know.
    ///
    /// # Errors
    /// The findings that refuse it: plugins that are in use.
    pub fn decide(observed: &Observed, force: Force) -> Result<Self, Vec<Finding>> {
        let directories =
            observed.directories.iter().map(|directory| directory.path.clone()).collect();
        let mut all = Self { directories, ..Self::default() };
        let mut refusals = Vec::new();
        let mut may_be_needed = false;
        for (directory, name, file) in installed(observed) {
            let Some(seen) = observed.directories.iter().find(|seen| seen.path == directory) else {
                continue;
            };
            if !file.owner.is_ours() {
                continue;
            }
            match removal(&directory, &name, &file, seen.found(&name)) {
                Removal::Gone => {}
                Removal::Back => {
                    let message = format!("`{directory}/{name}` is as it was before, and stays");
                    all.notes.push(Finding::note(Code::ForeignKept, message));
                }
                Removal::Theirs => {
                    let message =
                        format!("`{directory}/{name}` was changed by another installer and stays");
                    all.notes.push(Finding::note(Code::ForeignKept, message));
                }
                Removal::Unknown(reason) => {
                    let message = format!("`{directory}/{name}` cannot be read: {reason}");
                    let finding = Finding::refusal(Code::Unreadable, message);
                    match force {
                        Force::No => refusals.push(finding.hint(
                            "find out why it cannot be read, or leave it there with --force",
                        )),
                        Force::Yes => all.notes.push(finding.into_warning()),
                    }
                }
                Removal::Step(mut step) => {
                    let in_use = observed.in_use.against(&step).filter(|_| force == Force::No);
                    match in_use {
                        Some(_) if observed.in_use.of(&name).is_empty() => may_be_needed = true,
                        in_use => refusals.extend(in_use),
                    }
                    if let (Force::Yes, Step::Remove { restores, original, before, .. }) =
                        (force, &mut step)
                    {
                        // Without its copy there is nothing to restore; the refusal that was
                        // overridden said so.
                        if original
                            .as_ref()
                            .is_some_and(|original| !observed.originals.contains(&original.digest))
                        {
                            (*restores, *original) = (false, None);
                            if *before == Found::Absent {
                                continue;
                            }
                        }
                    }
                    all.steps.push(step);
                }
            }
        }
        let unfinished = observed.directories.iter().filter(|directory| directory.unfinished);
        all.steps.extend(
            unfinished.map(|directory| Step::CleanUp { directory: directory.path.clone() }),
        );
        // Once, and not for each plugin: it is the same of all.
        refusals.extend(observed.in_use.about_unknown().filter(|_| may_be_needed));
        all.notes.extend(observed.in_use.about_stale());
        if refusals.is_empty() { Ok(all) } else { Err(refusals) }
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Notes on the steps.
    pub fn notes(&self) -> &[Finding] {
        &self.notes
    }
}

/// Every file that this program installed, according to receipt and journal; a file of the journal
/// is ours if it has the content that the journal names.
fn installed(observed: &Observed) -> Vec<(HostPath, PluginName, InstalledFile)> {
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    for directory in &observed.directories {
        let entries =
            observed.journal.iter().flat_map(|journal| journal.entries_of(&directory.path));
        for entry in entries.filter(|entry| match directory.found(&entry.name) {
            Found::Unreadable(_) => true,
            found => found.digest() == Some(entry.digest),
        }) {
            if known.insert((directory.path.clone(), entry.name.clone())) {
                let owner = Owner::of(entry.original.clone());
                let file = InstalledFile { digest: entry.digest, size: entry.size, owner };
                all.push((directory.path.clone(), entry.name.clone(), file));
            }
        }
    }
    for (path, directory) in observed.receipt.iter().flat_map(|receipt| &receipt.directories) {
        for (name, file) in directory.files.iter().chain(&directory.leftovers) {
            if known.insert((path.clone(), name.clone())) {
                all.push((path.clone(), name.clone(), file.clone()));
            }
        }
    }
    all
}
