//! What would go wrong on this node, detected before anything changes.
//!
//! Only directories that would be written to are inspected: a read-only directory that already has
//! the plugins is fine. What cannot be inspected is not a finding; the installation itself reports
//! what went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::directory::staging_obstacle;
use super::held::{held, not_changeable, not_replaceable};
use crate::binary::Linkage;
use crate::bundle::PluginFile;
use crate::disk::{Directory, FileSystem, Hold, Looked, overrides_permissions};
use crate::model::{Code, Finding, HostPath, PluginName, visible};
use crate::node::error::NodeError;
use crate::node::fact::{Fact, Moment};
use crate::node::host::{Found, PlacedPlugin, PlacedPlugins, Root, look_around, not_executable};
use crate::node::plan::{Change, Plan, Step};
use crate::node::state::{Reading, State};

/// What else an installation writes on a file system, in bytes: the staging directory, and
/// directory entries.
const SLACK: u64 = 32 * 1024;
/// The same in names: the staging directory, directories of the state, and records.
const NAMES: u64 = 8;
/// How much receipt and journal say about one plugin, in bytes.
const RECORD: u64 = 512;

/// What to do about a full disk where the directories are those of the installation.
pub(super) const FREE_SPACE: &str = "free some space there";
/// The same where the directories can be chosen.
pub(super) const OTHER_DIRECTORIES: &str = "free some space there, or choose directories on another file system with --bin-dir and --state-dir";

/// What is written to the state directory.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    /// The state directory, as a path on the node.
    pub directory: &'a HostPath,
    /// Evidence and policy, in bytes.
    pub documents: u64,
    /// What is kept there for as long as files are fetched, in bytes: a layer that comes from an
    /// image.
    pub spool: u64,
}

/// Inspects what a plan would write to; `state` is `None` if there is no state directory yet, and
/// `full` is what to do about a full disk. The findings that refuse it come first; without one, the
/// plan can be carried out.
pub(super) fn preflight(
    root: &Root,
    plan: &Plan<'_>,
    state: Option<&Reading>,
    records: &Records<'_>,
    full: &str,
) -> Vec<Finding> {
    let writes = writes(plan);
    let mut findings = obstacles(root, plan.steps());
    let mut needs = SpaceNeeds::beside(SLACK, NAMES);
    for (path, writes) in &writes {
        findings.extend(writes.iter().filter_map(|write| write.setuid(path)));
        let Some(target) = WriteTarget::find(root, path) else { continue };
        if target.system.no_execute {
            findings.extend(not_executable(Fact::WrittenNotExecutable, Moment::Install, path));
        }
        needs.add(path, &target, writes.iter().map(|write| write.size));
    }
    let target = if writes.is_empty() { None } else { WriteTarget::find(root, records.directory) };
    if let Some(target) = target {
        findings.extend(target.obstacle(records.directory));
        let copies = copies(plan, state, &writes);
        let spool = if copies.is_empty() { 0 } else { records.spool };
        let originals = writes.values().flatten().filter_map(Write::original);
        // Once in the receipt, once in the journal.
        let entries = plan.steps().iter().flat_map(|_| [RECORD, RECORD]);
        let documents = [records.documents, entries.sum(), spool];
        needs.add(records.directory, &target, originals.chain(documents).chain(copies));
    }
    findings.extend(needs.findings(full));
    findings.extend(interpreters(root, plan, &writes));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Why there is no room for what an uninstallation writes before it removes anything: the originals
/// that come back, and a record in the state directory `record`, if it writes one.
pub(super) fn no_room(root: &Root, steps: &[Step], record: Option<&HostPath>) -> Vec<Finding> {
    // Originals come back through the staging directory.
    let mut needs = SpaceNeeds::beside(0, 1);
    for step in steps {
        if let Step::Remove { directory, original: Some(original), .. } = step
            && let Some(target) = WriteTarget::find(root, directory)
        {
            needs.add(directory, &target, original.size);
        }
    }
    if let Some(path) = record
        && let Some(target) = WriteTarget::find(root, path)
    {
        needs.add(path, &target, [RECORD]);
    }
    needs.findings(FREE_SPACE).collect()
}

/// Why nothing can be written in a directory, or why it cannot be created.
pub fn obstacle(root: &Root, path: &HostPath) -> Option<Finding> {
    match root.expect_place(path) {
        Ok(()) => WriteTarget::find(root, path)?.obstacle(path),
        // What cannot be found out is left to the run itself.
        Err(error) => error.finding(),
    }
}

/// Why no run can change anything: the state directory cannot be written, or something in it that
/// every run needs or removes is held.
pub fn state_obstacle(root: &Root, path: &HostPath) -> Option<Finding> {
    obstacle(root, path).or_else(|| {
        // What else is wrong with it is said where it is opened.
        let (held, hold) = State::open(root, path).ok()??.held().ok()??;
        Some(not_replaceable(&held, hold))
    })
}

/// Why the steps cannot be carried out: directories that they change and that cannot be written,
/// what has the place of a staging directory and cannot be removed, and names that cannot be
/// replaced. That a plugin cannot be removed is a warning: it stays, as one of an earlier bundle.
pub(super) fn obstacles(root: &Root, steps: &[Step]) -> Vec<Finding> {
    let changed = steps.iter().filter_map(|step| match step {
        Step::CreateDirectory { directory }
        | Step::CleanUp { directory }
        | Step::Write { directory, .. }
        | Step::Remove { directory, .. } => Some(directory),
        Step::Keep { .. } | Step::Satisfied { .. } => None,
    });
    let changed: BTreeSet<_> = changed.collect();
    let of_places = changed
        .into_iter()
        .filter_map(|path| obstacle(root, path).or_else(|| not_to_clean_up(root, path)));
    of_places.chain(held(root, steps)).collect()
}

/// Why what has the name of the staging directory cannot be removed.
fn not_to_clean_up(root: &Root, path: &HostPath) -> Option<Finding> {
    let bin = root.directory(path).ok().flatten()?;
    match staging_obstacle(path, &bin) {
        Ok(finding) => finding,
        Err(error) => NodeError::from(error).before_changes().into_findings().ok()?.pop(),
    }
}

/// Warnings and notes about the directories where a plan installs, or has installed.
pub fn surroundings(root: &Root, plan: &Plan<'_>, state: &HostPath) -> Vec<Finding> {
    let mut installed = PlacedPlugins::new();
    for step in plan.steps() {
        if let Step::Write { directory, name, .. } | Step::Satisfied { directory, name, .. } = step
            && let Some(file) = plan.bundle().files.plugin(name)
        {
            let plugin = PlacedPlugin { digest: file.digest, size: file.size };
            installed.entry(directory.clone()).or_default().insert(name.clone(), plugin);
        }
    }
    look_around(root, state, &installed, Moment::Install)
}

/// One file that is written.
struct Write<'a> {
    name: &'a PluginName,
    size: u64,
    change: Change,
    before: &'a Found,
}

fn writes<'a>(plan: &'a Plan<'_>) -> BTreeMap<&'a HostPath, Vec<Write<'a>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for step in plan.steps() {
        if let Step::Write { directory, name, change, size, before, .. } = step {
            let write = Write { name, size: *size, change: *change, before };
            found.entry(directory).or_default().push(write);
        }
    }
    found
}

/// The sizes of the files that the local store gets a copy of: those that it has are not fetched
/// again.
fn copies(
    plan: &Plan<'_>,
    state: Option<&Reading>,
    writes: &BTreeMap<&HostPath, Vec<Write<'_>>>,
) -> Vec<u64> {
    let names: BTreeSet<_> = writes.values().flatten().map(|write| write.name).collect();
    let files: Vec<_> =
        names.into_iter().filter_map(|name| plan.bundle().files.plugin(name)).collect();
    let listed = files.iter().map(|file| (file.digest, file.size, &file.name));
    let missing = state.and_then(|state| state.without_copy(listed).ok());
    let is_missing =
        |file: &&&PluginFile| missing.as_ref().is_none_or(|missing| missing.contains(&file.name));
    files.iter().filter(is_missing).map(|file| file.size).collect()
}

impl Write<'_> {
    /// The size of a foreign file, which is copied before it is replaced.
    fn original(&self) -> Option<u64> {
        match self.before {
            Found::Regular { size, .. } if self.change.keeps_original() => Some(*size),
            _ => None,
        }
    }

    /// Says that set-user-ID bits or capabilities of the replaced file are dropped: a plugin that
    /// everyone can run as root is a hole.
    fn setuid(&self, directory: &HostPath) -> Option<Finding> {
        let Found::Regular { mode, attributes, .. } = self.before else { return None };
        let what = match (mode & 0o6000 != 0, attributes.capabilities) {
            _ if !self.change.keeps_original() => return None,
            (true, _) => "ran with the rights of its owner or group",
            (false, true) => "gave capabilities to whoever ran it",
            (false, false) => return None,
        };
        let message = format!("`{directory}/{}` {what}", self.name);
        let found = match attributes.capabilities {
            true => format!("mode {mode:04o}, file capabilities"),
            false => format!("mode {mode:04o}"),
        };
        Some(Finding::note(Code::SetuidDropped, message).mismatch("mode 0755", found))
    }
}

/// The directory that is written to, or the nearest one above it that exists.
struct WriteTarget {
    directory: Directory,
    system: FileSystem,
    shown: String,
}

impl WriteTarget {
    fn find(root: &Root, path: &HostPath) -> Option<Self> {
        let mut path = Path::new(path.as_str());
        loop {
            let looked = root.look_up(path).ok()?.filter(Looked::is_directory);
            if let Some(looked) = looked {
                let directory = looked.inspect().ok()?;
                let system = directory.file_system().ok()?;
                return Some(Self {
                    directory,
                    system,
                    shown: visible(&path.to_string_lossy()).into_owned(),
                });
            }
            path = path.parent()?;
        }
    }

    /// Why nothing can be written there.
    fn obstacle(&self, path: &HostPath) -> Option<Finding> {
        let here = &self.shown;
        if self.system.read_only {
            let message =
                format!("`{path}` cannot be written: `{here}` is on a read-only file system");
            let hint = "mount it writable, choose another directory, or put the same plugins into the node's image";
            return Some(Finding::refusal(Code::ReadOnly, message).hint(hint));
        }
        match self.directory.hold().ok().flatten() {
            // Names can be added to it, and that is all that is needed there.
            Some(Hold::AppendOnly) if *here != path.as_str() => {}
            Some(hold) => return Some(not_changeable(path, here, hold)),
            None => {}
        }
        if self.directory.is_writable().unwrap_or(true) {
            return None;
        }
        let user = rustix::process::geteuid().as_raw();
        let message =
            format!("`{path}` cannot be written: this process is not allowed to write to `{here}`");
        let finding = Finding::refusal(Code::NotPermitted, message);
        let Ok(owner) = self.directory.ownership() else { return Some(finding) };
        let found = format!("user {}, group {}, mode {:04o}", owner.uid, owner.gid, owner.mode);
        let hint = if user == 0 && !overrides_permissions() {
            format!(
                "chown 0:0 {here} on the node, or give this process the capability DAC_OVERRIDE"
            )
        } else {
            format!("run as user {}, or change the owner of {here}", owner.uid)
        };
        Some(finding.mismatch(format_args!("to be writable by user {user}"), found).hint(hint))
    }
}

/// What each file system has to take.
struct SpaceNeeds {
    /// What is written there besides files and records, in bytes and in names.
    slack: u64,
    names: u64,
    systems: BTreeMap<u64, SpaceNeed>,
}

struct SpaceNeed {
    system: FileSystem,
    bytes: u64,
    names: u64,
    /// The directories in question, for people.
    paths: Vec<String>,
}

impl SpaceNeeds {
    fn beside(slack: u64, names: u64) -> Self {
        Self { slack, names, systems: BTreeMap::new() }
    }

    fn add(&mut self, path: &HostPath, target: &WriteTarget, sizes: impl IntoIterator<Item = u64>) {
        // What is overwritten stays until all is written, so nothing is taken off.
        let need = self.systems.entry(target.system.device).or_insert_with(|| SpaceNeed {
            system: target.system,
            bytes: self.slack,
            names: self.names,
            paths: Vec::new(),
        });
        let shown = format!("`{path}`");
        if !need.paths.contains(&shown) {
            need.paths.push(shown);
        }
        for size in sizes {
            let rounded = size.checked_next_multiple_of(need.system.block).unwrap_or(u64::MAX);
            need.bytes = need.bytes.saturating_add(rounded);
            need.names = need.names.saturating_add(1);
        }
    }

    fn findings(&self, hint: &str) -> impl Iterator<Item = Finding> {
        self.systems.values().filter_map(move |need| {
            // A read-only file system is reported as such, and normally has no free space.
            if need.system.read_only {
                return None;
            }
            let (what, needed, room) = match (need.system.room, need.system.names) {
                (Some(room), _) if room < need.bytes => ("bytes", need.bytes, room),
                (_, Some(room)) if room < need.names => ("files", need.names, room),
                _ => return None,
            };
            let paths = need.paths.join(" and ");
            let message =
                format!("not enough space for {needed} {what} on the file system of {paths}");
            let finding = Finding::refusal(Code::NoSpace, message);
            Some(
                finding
                    .mismatch(format_args!("{needed} {what}"), format_args!("{room} {what}"))
                    .hint(hint),
            )
        })
    }
}

/// The interpreters that written plugins need and the node lacks. For such a plugin the kernel
/// reports "no such file", although the plugin exists.
fn interpreters(
    root: &Root,
    plan: &Plan<'_>,
    writes: &BTreeMap<&HostPath, Vec<Write<'_>>>,
) -> Vec<Finding> {
    if !root.is_whole() {
        return Vec::new();
    }
    let mut needed: BTreeMap<&str, Vec<&PluginName>> = BTreeMap::new();
    for write in writes.values().flatten() {
        if let Some(file) = plan.bundle().files.plugin(write.name)
            && let Linkage::Dynamic { interpreter } = &file.linkage
        {
            let names = needed.entry(interpreter).or_default();
            if !names.contains(&write.name) {
                names.push(write.name);
            }
        }
    }
    let missing = needed.into_iter().filter(|(path, _)| {
        !root.look_up(path).ok().flatten().is_some_and(|looked| looked.is_regular())
    });
    missing
        .map(|(path, names)| {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            let message = format!(
                "this node has no `{}`, which {} needs to run",
                visible(path),
                names.join(", ")
            );
            Finding::refusal(Code::InterpreterMissing, message)
                .hint("use a bundle of static plugins, or install the C library that it belongs to")
        })
        .collect()
}

#[cfg(test)]
mod tests;
