//! Taking plugins away: those of an earlier bundle one by one, or all of them. What goes is the
//! plan's decision; a file that is no longer the one of the plan is an error, and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::action::{Action, Progress};
use crate::disk::{Directory, DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::error::NodeError;
use crate::node::host::{Expected, Found, Root, STAGING, copy_exactly, find};
use crate::node::plan::{PLUGIN_MODE, Step, Uninstallation};
use crate::node::state::{Original, Writing};

/// One plugin that goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removing<'a> {
    pub(crate) name: &'a PluginName,
    pub(crate) before: Found,
    pub(crate) original: Option<&'a Original>,
}

/// Bits that let a program act as its owner: what comes back does not bring them.
const SET_ID: u32 = 0o7000;

/// Writes what was there before a plugin to the staging directory, if its copy is still what was
/// kept.
pub(crate) fn stage_original(
    state: &Writing,
    staging: &Directory,
    name: &PluginName,
    original: &Original,
) -> Result<(), NodeError> {
    let lost = |reason: String| {
        let message = format!("what was there before `{name}` cannot be put back: {reason}");
        let hint = format!(
            "install another `{name}` by hand, or remove it without a word about what was there: --force"
        );
        NodeError::from(Finding::refusal(Code::OriginalLost, message).hint(hint))
    };
    let mut kept = match state.originals()?.open_file(original.digest.hex()) {
        Ok(kept) => kept,
        Err(error @ DiskError::NotRegular { .. }) => return Err(lost(error.to_string())),
        Err(error) if error.is_not_found() => return Err(lost("its copy is gone".to_owned())),
        Err(error) => return Err(error.into()),
    };
    let expected = Expected { name, digest: original.digest, size: kept.size };
    let mut file = staging.create_file(name.as_str())?;
    let origin = "the originals".to_owned();
    copy_exactly(expected, &origin, &mut kept.file, &mut file).map_err(|error| {
        match error.into_error(expected, &origin, "staging") {
            NodeError::Refused(_) => lost("its copy was altered".to_owned()),
            error => error,
        }
    })?;
    Ok(staging.finish(name.as_str(), file, original.mode & !SET_ID)?)
}

/// Whoever else works in the directory keeps what they put there.
pub(crate) fn check_unchanged(
    path: &HostPath,
    bin: &Directory,
    name: &PluginName,
    before: Found,
) -> Result<(), NodeError> {
    if find(bin, name)? == before {
        return Ok(());
    }
    let message = format!("`{path}/{name}` changed while it was being replaced");
    let finding = Finding::refusal(Code::ForeignFile, message);
    Err(finding.hint("run it again; if it repeats, another installer is at work").into())
}

/// Removes a plugin, or gives its name to what was there before.
pub(crate) fn take_away(
    bin: &Directory,
    staging: &Directory,
    removing: &Removing<'_>,
) -> Result<(), NodeError> {
    let name = removing.name.as_str();
    match removing.original {
        Some(_) => staging.rename(name, bin, name)?,
        None => bin.remove(name)?,
    }
    Ok(())
}

/// A plugin directory, its staging directory, and what goes from it.
type Target<'a> = (&'a HostPath, Directory, Directory, &'a [Removing<'a>]);

/// Opens a plugin directory and makes its staging directory anew. One that is gone is `created`
/// where something comes back to it; else there is nothing to do in it.
fn open_target<'a>(
    root: &Root,
    path: &'a HostPath,
    removals: &'a [Removing<'a>],
    created: &mut Vec<PathBuf>,
) -> Result<Option<Target<'a>>, NodeError> {
    let bin = if removals.iter().any(|removing| removing.original.is_some()) {
        let (bin, new) = root.directory_or_create(path, PLUGIN_MODE)?;
        created.extend(new);
        bin
    } else {
        let Some(bin) = root.directory(path)? else { return Ok(None) };
        bin
    };
    remove_staging(&bin)?;
    let staging = bin.create_child(STAGING, 0o700)?;
    Ok(Some((path, bin, staging, removals)))
}

/// Carries out an uninstallation: what was there before is staged first, then everything goes, and
/// the receipt last.
///
/// Stopped at any moment, it goes on where it was: what is gone already is no step of the next one.
///
/// # Errors
/// Refused where a file changed since it was observed, or where what was there before is lost;
/// nothing is changed then.
pub fn uninstall(
    root: &Root,
    state: &Writing,
    uninstallation: &Uninstallation,
    progress: &mut Progress<'_>,
) -> Result<(), NodeError> {
    let mut announce = |action: Action| match progress(&action) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(NodeError::Stopped),
    };
    let mut removals: BTreeMap<&HostPath, Vec<Removing<'_>>> = BTreeMap::new();
    let mut swept = BTreeSet::new();
    for step in &uninstallation.steps {
        match step {
            Step::Remove { directory, name, before, original, .. } => {
                let removing = Removing { name, before: *before, original: original.as_ref() };
                removals.entry(directory).or_default().push(removing);
            }
            Step::CleanUp { directory } => drop(swept.insert(directory)),
            Step::CreateDirectory { .. }
            | Step::Write { .. }
            | Step::Keep { .. }
            | Step::Satisfied { .. } => {}
        }
    }
    let mut targets = Vec::new();
    let mut created = Vec::new();
    // Nothing is changed then, in none of the directories.
    let abandon = |targets: &[Target<'_>], created: &[PathBuf]| {
        targets.iter().for_each(|(_, bin, ..)| drop(remove_staging(bin)));
        root.remove_created(created);
    };
    for (path, removals) in &removals {
        match open_target(root, path, removals, &mut created) {
            Ok(target) => targets.extend(target),
            Err(error) => {
                abandon(&targets, &created);
                return Err(error);
            }
        }
    }
    for (path, bin, staging, removals) in &targets {
        for removing in *removals {
            let staged = match removing.original {
                Some(original) => {
                    announce(Action::StageOriginal(removing.name.clone()))?;
                    stage_original(state, staging, removing.name, original)
                }
                None => Ok(()),
            };
            let ready =
                staged.and_then(|()| check_unchanged(path, bin, removing.name, removing.before));
            if let Err(error) = ready {
                abandon(&targets, &created);
                return Err(error);
            }
        }
    }
    for (path, bin, staging, removals) in &targets {
        for removing in *removals {
            announce(Action::Remove((*path).clone(), removing.name.clone()))?;
            take_away(bin, staging, removing)?;
        }
    }
    let paths: BTreeSet<&HostPath> = swept.into_iter().chain(removals.keys().copied()).collect();
    for path in paths {
        announce(Action::CleanUp(path.clone()))?;
        if let Some(bin) = root.directory(path)? {
            remove_staging(&bin)?;
        }
    }
    // Nobody looks here any more when the receipt is gone, and copies of what came back go before
    // it: all of it has to be on the disk, also what an interrupted run did.
    for path in &uninstallation.directories {
        announce(Action::Sync(path.clone()))?;
        root.make_durable(path)?;
    }
    announce(Action::Forget)?;
    state.forget_installation()?;
    announce(Action::Done)
}

/// Removes the staging directory of an interrupted run.
pub(crate) fn remove_staging(bin: &Directory) -> Result<(), NodeError> {
    match bin.kind_of(STAGING)? {
        None => return Ok(()),
        Some(FileKind::Directory) => {}
        Some(kind) => {
            let message = format!("`{}/{STAGING}` is {kind}", bin.shown());
            return Err(Finding::refusal(Code::InTheWay, message)
                .mismatch(FileKind::Directory, kind)
                .into());
        }
    }
    let staging = bin.child(STAGING)?;
    let names: Vec<_> =
        staging.entries()?.map(|entry| entry.map(|entry| entry.name)).collect::<Result<_, _>>()?;
    names.iter().try_for_each(|name| staging.remove(name))?;
    bin.remove_directory(STAGING)?;
    Ok(())
}
