//! What a check says about files that are not the bundle's: those of an earlier bundle, of another
//! installer, and unlisted ones.
//!
//! Pure: the receipt's entries and the observed files come in. Files of the bundle are judged in
//! `installed`.

use super::report::FileState;
use crate::bundle::PluginFile;
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::{Earlier, EarlierBundles, Found, InstalledDirectory, ObservedDirectory};
use crate::trust::{Bundle, Verified};

/// Judges plugins of an earlier bundle, and files that were left alone.
///
/// A plugin of an earlier bundle that a kept generation proves is judged as one of the bundle, and
/// not here. One that is gone and that nothing proves anymore has no state: it is not missed, and
/// the next installation forgets it.
pub(crate) fn judge_others<'a>(
    directory: &'a InstalledDirectory,
    observed: &'a ObservedDirectory,
    verified: Option<&'a Verified<Bundle>>,
    earlier: &'a EarlierBundles,
) -> impl Iterator<Item = (&'a PluginName, Option<FileState>, Finding)> {
    let path = &observed.path;
    // An installation that does not update leaves plugins of an earlier bundle, even those that
    // this bundle also has.
    let is_of_bundle =
        move |name| verified.is_some_and(|verified| verified.value().files.plugin(name).is_some());
    let hint = move |name| if is_of_bundle(name) { "install it again" } else { "remove it" };
    let leftovers = directory
        .leftovers
        .iter()
        .filter(move |(name, _)| Earlier::of(&earlier.proven, path, name).is_none());
    let leftovers = leftovers.map(move |(name, file)| match observed.found(name) {
        Found::Absent if is_of_bundle(name) => {
            let message = format!("`{path}/{name}` is gone");
            let finding = Finding::refusal(Code::PluginMissing, message).hint(hint(name));
            (name, Some(FileState::Missing), finding)
        }
        Found::Absent if earlier.unknown.is_empty() => {
            let message = format!(
                "`{path}/{name}` is from an earlier bundle and is gone, and no kept generation proves it"
            );
            (name, None, Finding::note(Code::Mixed, message))
        }
        // Its generation may be the one that cannot be read.
        Found::Absent => {
            let message = format!(
                "`{path}/{name}` is from an earlier bundle and is gone, and a kept generation that may \
                 prove it cannot be read"
            );
            let hint = "install its bundle again; or forget it: run the install again with --prune";
            let finding = Finding::refusal(Code::PluginMissing, message).hint(hint);
            (name, Some(FileState::Missing), finding)
        }
        found @ Found::Regular { digest, .. } if digest == file.digest => {
            if let Some(finding) = exposed(path, name, &found, hint(name)) {
                return (name, Some(FileState::Altered), finding);
            }
            (name, Some(FileState::Mixed), mixed(path, name))
        }
        Found::Unreadable(reason) => {
            let message =
                format!("`{path}/{name}` is from an earlier bundle and cannot be read: {reason}");
            let finding = Finding::refusal(Code::Unreadable, message).hint(hint(name));
            (name, Some(FileState::Unreadable), finding)
        }
        _ => {
            let message = format!("`{path}/{name}` is from an earlier bundle and was altered");
            (
                name,
                Some(FileState::Altered),
                Finding::refusal(Code::DigestDrift, message).hint(hint(name)),
            )
        }
    });
    let kept = directory.kept.iter().map(move |name| {
        if observed.found(name) == Found::Absent {
            let message = format!("`{path}/{name}` was left to another installer and is gone");
            let finding = Finding::refusal(Code::PluginMissing, message);
            return (
                name,
                Some(FileState::Missing),
                finding.hint("run that installer again, or install it again"),
            );
        }
        let message = format!("`{path}/{name}` belongs to another installer and was left alone");
        (name, Some(FileState::Kept), Finding::note(Code::ForeignKept, message))
    });
    leftovers.chain(kept)
}

/// What is said of a plugin of an earlier bundle that was judged as one of the bundle.
pub(crate) fn of_earlier(
    path: &HostPath,
    name: &PluginName,
    judged: (FileState, Option<Finding>),
) -> (FileState, Option<Finding>) {
    // What has its name now may be another installer's, and --prune leaves that.
    let hint = match judged.0 {
        FileState::Missing => {
            "restore it: run `cnister check --repair`; or forget it: run the install again with --prune"
        }
        _ => {
            "restore it: run `cnister check --repair`; or remove it: move it away, and run the install again with --prune"
        }
    };
    match judged {
        (FileState::Proven | FileState::Unproven, None) => {
            (FileState::Mixed, Some(mixed(path, name)))
        }
        (state, finding) => (state, finding.map(|finding| finding.hint(hint))),
    }
}

fn mixed(path: &HostPath, name: &PluginName) -> Finding {
    Finding::note(Code::Mixed, format!("`{path}/{name}` is from an earlier bundle"))
}

/// The plugins of the bundle that the receipt does not mention: they were skipped, or their entries
/// were removed.
pub(crate) fn unlisted<'a>(
    directory: &InstalledDirectory,
    verified: Option<&'a Verified<Bundle>>,
) -> Vec<&'a PluginFile> {
    let plugins = verified.into_iter().flat_map(|verified| &verified.value().files.plugins);
    plugins
        .filter(|plugin| {
            !(directory.files.contains_key(&plugin.name)
                || directory.leftovers.contains_key(&plugin.name)
                || directory.kept.contains(&plugin.name))
        })
        .collect()
}

/// Reports those that exist with other content than the bundle's: a pod that calls one does not get
/// the signed plugin.
pub(crate) fn judge_unlisted<'a>(
    unlisted: &[&'a PluginFile],
    observed: &ObservedDirectory,
) -> impl Iterator<Item = (&'a PluginName, Finding)> {
    unlisted.iter().filter_map(|plugin| {
        let (same, what) = match observed.found(&plugin.name) {
            Found::Absent => (true, String::new()),
            Found::Regular { digest, .. } if digest == plugin.digest => (true, String::new()),
            Found::Unreadable(reason) => (false, format!("cannot be read: {reason}")),
            _ => (false, "differs from the bundle's".to_owned()),
        };
        let message = format!("`{}/{}` was not installed and {what}", observed.path, plugin.name);
        (!same).then(|| (&plugin.name, Finding::note(Code::ForeignKept, message)))
    })
}

/// Reports that other users can alter a plugin or run code through it, whatever its content is now.
/// A process that opened it for writing keeps that right, so only a new file ends it, not another
/// owner or mode.
pub(crate) fn exposed(
    path: &HostPath,
    name: &PluginName,
    found: &Found,
    hint: &str,
) -> Option<Finding> {
    let message = format!("`{path}/{name}` lets other users run code as root");
    let finding = |exposed| {
        Finding::refusal(Code::DigestDrift, message).mismatch("user 0, mode 0755", exposed)
    };
    found.exposed().map(finding).map(|finding| finding.hint(hint))
}
