//! The copies that a node keeps: originals of adopted files, and installed plugins that the local
//! store lacks.
//!
//! Both are copies, never links, so that a later write into the installed file does not reach them.
//! Which of them are still needed is decided by the generations.

use super::action::{Action, Progress};
use super::changes::ChangeKind;
use super::directory::PluginDirectory;
use crate::model::PluginName;
use crate::node::error::NodeError;
use crate::node::host::{Expected, Found, Root, TransferError, copy_exactly};
use crate::node::state::{COPY_MODE, Receipt, Writing};

/// Copies the files that are adopted, so that they can be restored.
pub(super) fn keep_originals(
    directories: &[PluginDirectory<'_>],
    state: &Writing,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    for directory in directories {
        for change in &directory.changes {
            let (ChangeKind::Write(kind), &Found::Regular { digest, size, .. }) =
                (change.kind, change.before)
            else {
                continue;
            };
            if !kind.keeps_original() {
                continue;
            }
            progress.announce(Action::KeepOriginal(change.name.clone()))?;
            let mut opened = directory.bin.open_file(change.name.as_str())?;
            let expected = Expected { name: change.name, digest, size };
            let origin = format!("`{}`", directory.path);
            state.originals()?.replace_with(digest.hex(), 0o600, |copy| {
                copy_exactly(expected, &origin, &mut opened.file, copy)
                    .map_err(|error| error.into_error(expected, &origin, "originals"))
            })?;
        }
    }
    Ok(())
}

/// Copies installed plugins that the local store lacks: another installer wrote the signed bytes,
/// an earlier version installed them, or the store was lost.
pub(super) fn keep_copies(
    directories: &[PluginDirectory<'_>],
    root: &Root,
    state: &Writing,
    receipt: &Receipt,
    progress: Progress<'_>,
) -> Result<(), NodeError> {
    let mut added = None;
    for (path, installed) in &receipt.directories {
        let files = installed.files.iter().map(|(name, file)| (file.digest, file.size, name));
        let is_written = |name: &PluginName| {
            directories.iter().any(|directory| directory.path == path && directory.writes(name))
        };
        let mut missing = state.without_copy(files)?;
        missing.retain(|name| !is_written(name));
        let Some(bin) = (!missing.is_empty()).then(|| root.directory(path)).transpose()?.flatten()
        else {
            continue;
        };
        let store = state.store_or_create()?;
        for (name, file) in
            missing.into_iter().filter_map(|name| installed.files.get_key_value(name))
        {
            progress.announce(Action::KeepCopy(name.clone()))?;
            let Ok(mut opened) = bin.open_file(name.as_str()) else { continue };
            let expected = Expected { name, digest: file.digest, size: file.size };
            let mut copy = store.begin()?;
            let origin = format!("`{path}`");
            match copy_exactly(expected, &origin, &mut opened.file, &mut copy.file) {
                // A repair of other files leaves this one altered; what was copied of it is
                // collected at the end.
                Err(TransferError::Altered(_)) => continue,
                copied => copied
                    .map_err(|error| error.into_error(expected, &origin, "the local store"))?,
            }
            store.name(store.complete(copy, COPY_MODE)?, file.digest.hex())?;
        }
        added = Some(store);
    }
    added.map_or(Ok(()), |store| store.sync().map_err(Into::into))
}
