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
/// not here.
pub(crate) fn judge_others<'a>(
    directory: &'a InstalledDirectory,
    observed: &'a ObservedDirectory,
    verified: Option<&'a Verified<Bundle>>,
    earlier: &'a EarlierBundles,
) -> impl Iterator<Item = (&'a PluginName, FileState, Finding)> {
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
    let leftovers = leftovers.filter_map(move |(name, file)| match observed.found(name) {
        Found::Absent if is_of_bundle(name) => {
            let message = format!("`{path}/{name}` is gone");
            let finding = Finding::refusal(Code::PluginMissing, message).hint(hint(name));
            Some((name, FileState::Missing, finding))
        }
        // Its generation may be the one that cannot be asked.
        Found::Absent => (!earlier.unknown.is_empty()).then(|| {
            let message = format!(
                "`{path}/{name}` is from an earlier bundle and is gone, and it is unknown which kept \
                 generation proves it"
            );
            let hint = "install its bundle again; or remove it: run the install again with --prune";
            let finding = Finding::refusal(Code::PluginMissing, message).hint(hint);
            (name, FileState::Missing, finding)
        }),
        found @ Found::Regular { digest, .. } if digest == file.digest => {
            if let Some(finding) = exposed(path, name, &found, hint(name)) {
                return Some((name, FileState::Altered, finding));
            }
            Some((name, FileState::Mixed, mixed(path, name)))
        }
        Found::Unreadable(reason) => {
            let message =
                format!("`{path}/{name}` is from an earlier bundle and cannot be read: {reason}");
            let finding = Finding::refusal(Code::Unreadable, message).hint(hint(name));
            Some((name, FileState::Unreadable, finding))
        }
        _ => {
            let message = format!("`{path}/{name}` is from an earlier bundle and was altered");
            Some((
                name,
                FileState::Altered,
                Finding::refusal(Code::DigestDrift, message).hint(hint(name)),
            ))
        }
    });
    let kept = directory.kept.iter().map(move |name| {
        if observed.found(name) == Found::Absent {
            let message = format!("`{path}/{name}` was left to another installer and is gone");
            let finding = Finding::refusal(Code::PluginMissing, message);
            return (
                name,
                FileState::Missing,
                finding.hint("run that installer again, or install it again"),
            );
        }
        let message = format!("`{path}/{name}` belongs to another installer and was left alone");
        (name, FileState::Kept, Finding::note(Code::ForeignKept, message))
    });
    leftovers.chain(kept)
}

/// Notes the plugins of an earlier bundle that are gone and that nothing proves any more: they are
/// not missed, and the next installation forgets them.
pub(crate) fn forgotten<'a>(
    directory: &'a InstalledDirectory,
    observed: &'a ObservedDirectory,
    verified: Option<&'a Verified<Bundle>>,
    earlier: &'a EarlierBundles,
) -> impl Iterator<Item = Finding> {
    let is_of_bundle =
        move |name| verified.is_some_and(|verified| verified.value().files.plugin(name).is_some());
    let path = &observed.path;
    let names = directory.leftovers.keys().filter(move |name| {
        observed.found(name) == Found::Absent
            && !is_of_bundle(name)
            && earlier.unknown.is_empty()
            && Earlier::of(&earlier.proven, path, name).is_none()
    });
    names.map(move |name| {
        let message = format!(
            "`{path}/{name}` is from an earlier bundle and is gone, and no kept generation proves it"
        );
        Finding::note(Code::Mixed, message)
    })
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
            "restore it: run `check --repair`; or remove it: run the install again with --prune"
        }
        _ => {
            "restore it: run `check --repair`; or remove it: move it away, and run the install again with --prune"
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
