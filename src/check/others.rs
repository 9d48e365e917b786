//! What a check says of files that are not of the bundle: an earlier one's, another installer's,
//! and unlisted ones.

use super::report::FileState;
use crate::bundle::PluginFile;
use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::{Found, InstalledDirectory, ObservedDirectory};
use crate::trust::{Bundle, Verified};

/// Judges what is not of the bundle: plugins of an earlier one, and files that were left alone.
pub(crate) fn judge_others<'a>(
    directory: &'a InstalledDirectory,
    observed: &'a ObservedDirectory,
    verified: Option<&'a Verified<Bundle>>,
) -> impl Iterator<Item = (&'a PluginName, FileState, Finding)> {
    let path = &observed.path;
    // An installation that updates nothing leaves plugins that the bundle has, too, in bytes of an
    // earlier one.
    let is_of_bundle =
        move |name| verified.is_some_and(|verified| verified.value().files.plugin(name).is_some());
    let hint = move |name| if is_of_bundle(name) { "install it again" } else { "remove it" };
    let leftovers =
        directory.leftovers.iter().filter_map(move |(name, file)| match observed.found(name) {
            Found::Absent => is_of_bundle(name).then(|| {
                let message = format!("`{path}/{name}` is gone");
                (
                    name,
                    FileState::Missing,
                    Finding::refusal(Code::PluginMissing, message).hint(hint(name)),
                )
            }),
            found @ Found::Regular { digest, .. } if digest == file.digest => {
                if let Some(finding) = exposed(path, name, found, hint(name)) {
                    return Some((name, FileState::Altered, finding));
                }
                let message = format!("`{path}/{name}` is of an earlier bundle");
                Some((name, FileState::Mixed, Finding::note(Code::Mixed, message)))
            }
            _ => {
                let message = format!("`{path}/{name}` is of an earlier bundle and was altered");
                Some((
                    name,
                    FileState::Altered,
                    Finding::refusal(Code::DigestDrift, message).hint(hint(name)),
                ))
            }
        });
    let kept = directory.kept.iter().map(move |name| {
        if observed.found(name) == Found::Absent {
            let message = format!("`{path}/{name}` was left to another installer, and is gone");
            let finding = Finding::refusal(Code::PluginMissing, message);
            return (
                name,
                FileState::Missing,
                finding.hint("run that installer again, or install it again"),
            );
        }
        let message = format!("`{path}/{name}` is another installer's and was left alone");
        (name, FileState::Kept, Finding::note(Code::ForeignKept, message))
    });
    leftovers.chain(kept)
}

/// The plugins of the bundle that the receipt says nothing about: they were not wanted, or their
/// entries were removed.
pub(crate) fn unlisted<'a>(
    directory: &InstalledDirectory,
    verified: Option<&'a Verified<Bundle>>,
) -> Vec<&'a PluginFile> {
    let listed = |name: &PluginName| {
        directory.files.contains_key(name)
            || directory.leftovers.contains_key(name)
            || directory.kept.contains(name)
    };
    let plugins = verified.into_iter().flat_map(|verified| &verified.value().files.plugins);
    plugins.filter(|plugin| !listed(&plugin.name)).collect()
}

/// Says which of them are there with other bytes than the bundle has: a pod that asks for one does
/// not get the signed one, whoever put it there.
pub(crate) fn judge_unlisted<'a>(
    unlisted: &[&'a PluginFile],
    observed: &ObservedDirectory,
) -> impl Iterator<Item = (&'a PluginName, Finding)> {
    unlisted.iter().filter_map(|plugin| {
        let same = match observed.found(&plugin.name) {
            Found::Absent => true,
            Found::Regular { digest, .. } => digest == plugin.digest,
            Found::Other(_) => false,
        };
        let message = format!(
            "`{}/{}` was not installed and is not the bundle's",
            observed.path, plugin.name
        );
        (!same).then(|| (&plugin.name, Finding::note(Code::ForeignKept, message)))
    })
}

/// Says that others may make of a plugin what they like, whatever its bytes are in this moment. Who
/// opened it for writing before keeps that: it takes a new file, not another owner, to end it.
pub(crate) fn exposed(
    path: &HostPath,
    name: &PluginName,
    found: Found,
    hint: &str,
) -> Option<Finding> {
    let message = format!("`{path}/{name}` gives others the rights of root");
    let finding = |exposed| {
        Finding::refusal(Code::DigestDrift, message).mismatch("user 0, mode 0755", exposed)
    };
    found.exposed().map(finding).map(|finding| finding.hint(hint))
}
