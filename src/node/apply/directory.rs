//! A plugin directory that is being changed, and its staging directory.
//!
//! The staging directory is on the same file system, for its owner alone, and a runtime cannot call
//! a directory. A file gets its final name from there, by one rename. Which files change is decided
//! elsewhere; a file that is no longer the one that was observed is refused and stays.

use std::io::{self, Write};

use super::changes::{ChangeKind, FileChange};
use super::held::not_replaceable;
use crate::disk::{Directory, DiskError, FileKind, RegularFile};
use crate::model::{Code, Finding, HostPath, PluginName, visible};
use crate::node::error::NodeError;
use crate::node::host::{Expected, Found, Obstacle, STAGING, Sizes, copy_exactly, find};
use crate::node::plan::Step;
use crate::node::state::{Original, Reading, SET_ID, Writing};

/// A plugin directory, its empty staging directory, and what changes in it.
pub(super) struct PluginDirectory<'a> {
    pub(super) path: &'a HostPath,
    pub(super) bin: Directory,
    pub(super) staging: Directory,
    pub(super) changes: Vec<FileChange<'a>>,
}

impl<'a> PluginDirectory<'a> {
    /// Replaces the staging directory of an interrupted run with an empty one.
    pub(super) fn prepare(
        path: &'a HostPath,
        bin: Directory,
        changes: Vec<FileChange<'a>>,
    ) -> Result<Self, NodeError> {
        remove_staging(path, &bin)?;
        let staging = bin.create_child(STAGING, 0o700)?;
        Ok(Self { path, bin, staging, changes })
    }

    pub(super) fn writes(&self, name: &PluginName) -> bool {
        self.changes.iter().any(|change| change.is_write() && change.name == name)
    }

    /// Writes the original of a plugin to the staging directory if its copy is still intact.
    pub(super) fn stage_original(
        &self,
        state: &Writing,
        name: &PluginName,
        original: &Original,
    ) -> Result<(), NodeError> {
        let kept = open_original(state, name, original)?;
        let mut file = self.staging.create_file(name.as_str())?;
        copy_original(kept, name, original, &mut file)?;
        Ok(self.staging.finish(name.as_str(), file, original.mode & !SET_ID)?)
    }

    /// Refuses to replace a file that another installer wrote since the node was observed.
    pub(super) fn check_unchanged(&self, change: &FileChange<'_>) -> Result<(), NodeError> {
        let sizes = match change.before {
            Found::Regular { size, .. } => Sizes::one(*size),
            _ => Sizes::default(),
        };
        let found = find(&self.bin, change.name, &sizes)?;
        // A lease may be given up meanwhile; the file behind it was not read before, and is not
        // now.
        let is_unread = |found: &Found| matches!(found, Found::Unreadable(_) | Found::OtherSize(_));
        let was_unreadable = matches!(change.before, Found::Unreadable(_));
        if found == *change.before || (was_unreadable && is_unread(&found)) {
            return Ok(());
        }
        let message =
            format!("`{}/{}` changed while it was being replaced", self.path, change.name);
        let finding = Finding::refusal(Code::ForeignFile, message);
        Err(finding.hint("run this again; if it happens again, another installer is active").into())
    }

    /// Gives the name to the staged file, or removes the file that has it. The rename replaces a
    /// link, a FIFO, a socket or a device as well (rename(2)); an empty directory is removed first.
    pub(super) fn exchange(&self, change: &FileChange<'_>) -> Result<(), DiskError> {
        let name = change.name.as_str();
        if *change.before == Found::Other(Obstacle::EmptyDirectory) {
            self.bin.remove_directory(name)?;
        }
        match change.kind {
            ChangeKind::Write(_) | ChangeKind::Restore(_) => {
                self.staging.rename(name, &self.bin, name)
            }
            ChangeKind::Remove => self.bin.remove(name),
        }
    }
}

/// Refuses steps that restore an original whose copy is gone or altered; writes nothing.
pub(super) fn check_originals(state: &Reading, steps: &[Step]) -> Result<(), NodeError> {
    for step in steps {
        if let Step::Remove { name, original: Some(original), .. } = step {
            let kept = open_original(state, name, original)?;
            copy_original(kept, name, original, &mut io::sink())?;
        }
    }
    Ok(())
}

fn open_original(
    state: &Reading,
    name: &PluginName,
    original: &Original,
) -> Result<RegularFile, NodeError> {
    let opened = state.kept_originals()?.map(|kept| kept.open_file(original.digest.hex()));
    match opened.transpose() {
        Ok(Some(kept)) => Ok(kept),
        Ok(None) => Err(original_lost(name, "its copy is gone")),
        Err(error @ DiskError::NotRegular { .. }) => Err(original_lost(name, &error.to_string())),
        Err(error) if error.is_not_found() => Err(original_lost(name, "its copy is gone")),
        Err(error) => Err(error.into()),
    }
}

fn copy_original(
    mut kept: RegularFile,
    name: &PluginName,
    original: &Original,
    target: &mut dyn Write,
) -> Result<(), NodeError> {
    let expected = Expected { name, digest: original.digest, size: kept.size };
    let origin = "the originals";
    copy_exactly(expected, origin, &mut kept.file, target).map_err(|error| {
        match error.into_error(expected, origin, "staging") {
            NodeError::Refused(_) => original_lost(name, "its copy was altered"),
            error => error,
        }
    })
}

fn original_lost(name: &PluginName, reason: &str) -> NodeError {
    let message = format!("the file that `{name}` replaced cannot be put back: {reason}");
    let hint =
        format!("replace `{name}` by hand, or remove it without restoring the original: --force");
    Finding::refusal(Code::OriginalLost, message).hint(hint).into()
}

/// Removes the staging directory of a run, or whatever else has its name. A directory in it is not
/// from a run, and everything stays then.
pub(super) fn remove_staging(path: &HostPath, bin: &Directory) -> Result<(), NodeError> {
    match bin.kind_of(STAGING)? {
        None => return Ok(()),
        Some(FileKind::Directory) => {}
        Some(_) => return Ok(bin.remove(STAGING)?),
    }
    if let Some(finding) = staging_obstacle(path, bin)? {
        return Err(finding.into());
    }
    let staging = bin.child(STAGING)?;
    staging.remove_each(|_| true, |_| {})?;
    bin.remove_directory(STAGING)?;
    Ok(())
}

/// Why what has the name of the staging directory cannot be removed: it is held, or a file in it
/// is, or there is a directory in it, which no run makes.
pub(super) fn staging_obstacle(
    path: &HostPath,
    bin: &Directory,
) -> Result<Option<Finding>, DiskError> {
    let Some(kind) = bin.kind_of(STAGING)? else { return Ok(None) };
    if let Some(hold) = bin.hold_of(STAGING)? {
        return Ok(Some(not_replaceable(&format!("{path}/{STAGING}"), hold)));
    }
    if kind != FileKind::Directory {
        return Ok(None);
    }
    let staging = bin.child(STAGING)?;
    for entry in staging.entries()? {
        let entry = entry?;
        let name = visible(&entry.name.to_string_lossy()).into_owned();
        if entry.kind == FileKind::Directory {
            let message = format!("`{path}/{STAGING}/{name}` is a directory");
            let finding = Finding::refusal(Code::InTheWay, message)
                .mismatch("files of an interrupted installation", FileKind::Directory)
                .hint(format!("cnister did not create it: move `{path}/{STAGING}` away"));
            return Ok(Some(finding));
        }
        if let Some(hold) = staging.hold_of(&entry.name)? {
            return Ok(Some(not_replaceable(&format!("{path}/{STAGING}/{name}"), hold)));
        }
    }
    Ok(None)
}
