//! What becomes of plugins that earlier installations left and this one does not touch.
//!
//! Pure. They stay and are carried into the receipt, or they are removed if the options say so.

use std::collections::BTreeSet;

use super::options::{ForeignRule, InstallOptions, Leftovers, wants};
use super::removal::{Removal, removal};
use super::{Plan, Step};
use crate::model::{Code, Finding, HostPath, PluginName, Severity};
use crate::node::host::{Found, Observed};
use crate::node::state::{History, InstalledFile, Owner, Release};

/// Takes over what earlier installations left and this one does not touch, or removes it.
pub(super) fn carry(plan: &mut Plan<'_>, observed: &Observed, options: &InstallOptions) {
    let files = &plan.bundle.value().files;
    let untouched = |path: &HostPath, name: &PluginName| {
        let directory = observed.directories.iter().find(|observed| observed.path == *path);
        let wanted = |directory| {
            files.plugin(name).is_some_and(|file| wants(options, directory, file, observed))
        };
        !directory.is_some_and(wanted)
    };
    let release = Release::of(plan.bundle.value());
    let mut take = |directory: &HostPath, name: &PluginName, file: InstalledFile| {
        if files.plugin(name).is_some_and(|plugin| plugin.digest == file.digest) {
            plan.carried.entry(directory.clone()).or_default().files.insert(name.clone(), file);
        } else if file.owner.is_ours() {
            match leave(observed, options, &release, directory, name, &file) {
                Leave::Gone => {}
                Leave::Forgotten(note) => plan.notes.push(note),
                Leave::Remove(step) => plan.steps.push(step),
                Leave::Stay(note) => {
                    plan.notes.push(note);
                    plan.carried
                        .entry(directory.clone())
                        .or_default()
                        .leftovers
                        .insert(name.clone(), file);
                }
            }
        }
    };
    let mut known = BTreeSet::new();
    for directory in &observed.directories {
        let entries =
            observed.journal.iter().flat_map(|journal| journal.entries_of(&directory.path));
        for entry in entries.filter(|entry| untouched(&directory.path, &entry.name)) {
            let found = directory.found(&entry.name);
            // One that cannot be read now is not forgotten.
            let ours = match found {
                Found::Regular { digest, .. } => digest == entry.digest,
                Found::Unreadable(_) => true,
                _ => false,
            };
            if ours && known.insert((directory.path.clone(), entry.name.clone())) {
                let owner = Owner::of(entry.original.clone());
                take(
                    &directory.path,
                    &entry.name,
                    InstalledFile { digest: entry.digest, size: entry.size, owner },
                );
            }
        }
    }
    for (path, directory) in observed.receipt.iter().flat_map(|receipt| &receipt.directories) {
        for (name, file) in directory.files.iter().chain(&directory.leftovers) {
            if untouched(path, name) && known.insert((path.clone(), name.clone())) {
                take(path, name, file.clone());
            }
        }
    }
    if options.foreign == ForeignRule::Stay {
        for (path, directory) in observed.receipt.iter().flat_map(|receipt| &receipt.directories) {
            plan.carried
                .entry(path.clone())
                .or_default()
                .kept
                .extend(directory.kept.iter().cloned());
        }
    }
}

/// What becomes of a plugin of an earlier bundle.
enum Leave {
    /// It does not exist any more, and no record of it is needed.
    Gone,
    /// The same, and the note says so.
    Forgotten(Finding),
    /// The file is removed, by this step.
    Remove(Step),
    /// It stays, and the note says why.
    Stay(Finding),
}

fn leave(
    observed: &Observed,
    options: &InstallOptions,
    release: &Release,
    directory: &HostPath,
    name: &PluginName,
    file: &InstalledFile,
) -> Leave {
    let stay = |why: &str| {
        let message = format!("`{directory}/{name}` is from an earlier bundle and {why}");
        Leave::Stay(Finding::note(Code::Mixed, message))
    };
    let seen = observed.directories.iter().find(|observed| observed.path == *directory);
    let goes = match options.leftovers {
        Leftovers::Keep => false,
        Leftovers::Prune => true,
        Leftovers::Undo => {
            observed.receipt.as_ref().is_none_or(|receipt| receipt.file(directory, name).is_none())
        }
    };
    let Some(seen) = seen.filter(|_| goes) else {
        let absent = seen.is_some_and(|seen| seen.entries.get(name) == Some(&Found::Absent));
        // A repair forgets nothing, and says itself what is missing.
        if !absent || options.foreign == ForeignRule::Stay {
            return stay("was left as it is");
        }
        return gone(observed, release, directory, name, file);
    };
    match removal(directory, name, file, seen.found(name)) {
        Removal::Gone | Removal::Back => Leave::Gone,
        Removal::Theirs => theirs(directory, name),
        Removal::Unknown(reason) => stay(&format!("cannot be read, and stays: {reason}")),
        Removal::Step(Step::Remove { before, original: Some(original), .. })
            if options.leftovers == Leftovers::Prune
                && !observed.originals.contains(&original.digest) =>
        {
            original_lost(directory, name, &before)
        }
        Removal::Step(step) => match observed.in_use.against(&step) {
            Some(finding) => Leave::Stay(Finding { severity: Severity::Warning, ..finding }),
            None => Leave::Remove(step),
        },
    }
}

/// A plugin is not removed while the file that it replaced cannot be put back: it may be what
/// others rely on. Once it is gone, there is nothing to put back.
fn original_lost(directory: &HostPath, name: &PluginName, before: &Found) -> Leave {
    let message =
        format!("the file that `{directory}/{name}` replaced is lost: its copy is gone or altered");
    let finding = |message| Finding::warning(Code::OriginalLost, message);
    if *before == Found::Absent {
        return Leave::Forgotten(finding(format!("{message}; `{name}` is gone and is forgotten")));
    }
    let hint = format!("to remove it anyway: rm {directory}/{name}, and run this again");
    Leave::Stay(finding(format!("{message}; `{name}` stays")).hint(hint))
}

/// A file that is not the installed one any more is not removed, and stays recorded: otherwise, a
/// check would not judge it.
fn theirs(directory: &HostPath, name: &PluginName) -> Leave {
    let message = format!(
        "`{directory}/{name}` is from an earlier bundle, was changed by another installer, and stays"
    );
    let hint = format!(
        "restore it with `cnister check --repair`, or move it away, and run this again: {directory}/{name}"
    );
    Leave::Stay(Finding::note(Code::Mixed, message).hint(hint))
}

/// What becomes of a plugin of an earlier bundle that is gone and was not to go. It stays recorded
/// as long as it can be brought back, or what was there before it: else a check would find nothing
/// missing, whoever removed it.
fn gone(
    observed: &Observed,
    release: &Release,
    directory: &HostPath,
    name: &PluginName,
    file: &InstalledFile,
) -> Leave {
    let message = format!("`{directory}/{name}` is from an earlier bundle and is gone");
    if is_kept(observed, release, directory, name, file) || file.owner.original().is_some() {
        let hint = "restore it while its generation is kept: run `cnister check --repair`; or remove it: run the \
                    install again with --prune";
        return Leave::Stay(Finding::warning(Code::PluginMissing, message).hint(hint));
    }
    let message = format!("{message}, and no kept generation has it: it is forgotten");
    Leave::Forgotten(Finding::note(Code::Mixed, message))
}

/// Whether a generation that is kept has this file, or one that cannot be asked may have it. The
/// installed release is one if `release` takes its place.
fn is_kept(
    observed: &Observed,
    release: &Release,
    directory: &HostPath,
    name: &PluginName,
    file: &InstalledFile,
) -> bool {
    let History { damaged, unreadable, .. } = &observed.history;
    let becomes_earlier = observed.receipt.as_ref().is_some_and(|present| {
        !present.release().is(release) && present.has(directory, name, file)
    });
    let had = observed.restorable.get(directory);
    had.is_some_and(|names| names.contains(name))
        || becomes_earlier
        || !damaged.is_empty()
        || !unreadable.is_empty()
}
