//! `lock`: pins the exact bytes of every plugin that a definition asks for, or compares an existing
//! lock with the definition.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::definition_input::{FetchArguments, read_definition};
use crate::binary::Comparison;
use crate::bundle::Definition;
use crate::bundle::definition::Gate;
use crate::bundle::gate::judge;
use crate::bundle::lock::{BundleLock, KeptEvidence, LockChange};
use crate::cli::report::count;
use crate::cli::terminal::{Exit, Failure, Terminal};
use crate::model::{Platform, PluginName, and_others, visible};
use crate::publish::{
    Asker, DirectoryOverride, Evidence, LockFile, Reproduction, Sources, ask_all, lock, reproduce,
};

/// Fetches every plugin of a definition and pins its bytes in a lock, STEM.lock.json beside it.
///
/// `build` takes nothing that the lock does not pin. `lock` always asks the origins. If bytes
/// changed under the same version, or a level of verification falls, nothing is written and the
/// exit code is 1 until --accept names the plugin. A plugin that a gate of the definition refuses
/// cannot be accepted.
///
/// Each plugin is executed once, confined, to ask for the CNI versions that it supports. Plugins
/// for other processors are executed with qemu-user if it is installed.
///
/// With --reproduce, each plugin whose source has a recipe (`reproduce`) is also built again. If
/// the bytes are the same, its level is `reproduced`; if not, the differences are printed, nothing
/// is written and the exit code is 1.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The definition of the bundle.
    #[arg(value_name = "BUNDLE.yaml")]
    definition: PathBuf,
    /// Only compare the lock with the definition and its gates, without a network: the exit code is
    /// 1 if the lock is missing, does not match the definition or is refused by a gate.
    #[arg(long, conflicts_with_all = ["update", "accept", "directory", "cache_dir", "goproxy"])]
    check: bool,
    /// Fetch only this plugin again and leave the others as they are; may be repeated. Without a
    /// name, all plugins are fetched.
    #[arg(long, value_name = "PLUGIN", num_args = 0..=1)]
    update: Vec<PluginName>,
    /// Accept that the bytes of this plugin changed under the same version, or that its level of
    /// verification falls; may be repeated.
    #[arg(long, value_name = "PLUGIN")]
    accept: Vec<PluginName>,
    /// Do not execute any plugin: CNI versions that are not locked yet stay unknown.
    #[arg(long, conflicts_with = "check")]
    no_probe: bool,
    /// Build each plugin that is fetched and whose source has a recipe (`reproduce`) again, with
    /// the Go release of the recipe and fresh caches, and compare the bytes.
    #[arg(long, conflicts_with = "check")]
    reproduce: bool,
    /// The directory of a source, instead of the one in the definition; at most once per source.
    #[arg(long, value_name = "SOURCE=DIR")]
    directory: Vec<DirectoryOverride>,
    #[command(flatten)]
    fetch: FetchArguments,
}

/// The changes and problems, and whether the lock was written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    lock: String,
    definition: String,
    plugins: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<bool>,
    changes: Vec<LockChange>,
    problems: Vec<String>,
    /// The refusals of gates.
    refusals: Vec<String>,
    /// The plugins that were built again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reproductions: Vec<Rebuilt>,
    /// CNI versions that are unknown, and levels that only the lock states.
    notes: Vec<String>,
}

/// A plugin that was built again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rebuilt {
    name: PluginName,
    platform: Platform,
    /// Whether it has the bytes of the published one.
    is_same: bool,
    /// The differences.
    differences: Vec<String>,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Exit, Failure> {
    let (definition, _) = read_definition(&arguments.definition)?;
    let file = LockFile::beside(&arguments.definition);
    let old = file.read().map_err(Failure::classed)?;
    let mut report = Report {
        lock: visible(&file.path().to_string_lossy()).into_owned(),
        definition: visible(&arguments.definition.to_string_lossy()).into_owned(),
        plugins: 0,
        written: None,
        changes: Vec::new(),
        problems: Vec::new(),
        refusals: Vec::new(),
        reproductions: Vec::new(),
        notes: Vec::new(),
    };
    if arguments.check {
        let judged = |lock| refusals(&definition.gates, lock);
        report.refusals = old.iter().flat_map(|(lock, _)| judged(lock)).collect();
        report.problems = problems(&definition, old.as_ref(), &report.lock);
        report.notes =
            old.iter().filter_map(|(lock, _)| stated(lock, &report.definition)).collect();
        report.plugins = old.map_or(0, |(lock, _)| lock.plugins.len());
    } else {
        let names = arguments.update.iter().chain(&arguments.accept);
        for name in names {
            if !definition.plugins.iter().any(|plugin| plugin.name == *name) {
                return Err(Failure::request(format!("the definition has no plugin `{name}`")));
            }
        }
        if let Some((old, _)) = old.as_ref().filter(|(old, _)| old.name != definition.name) {
            let message = format!("`{}` is the lock of the bundle `{}`", report.lock, old.name);
            return Err(Failure::request(message)
                .hint("remove it, or give the definition another file name"));
        }
        let mut fetch = arguments.fetch.fetch(*terminal);
        fetch.evidence = Evidence::Collect;
        let folder = arguments.definition.parent().unwrap_or(Path::new("."));
        let sources = Sources::new(&definition, folder, &arguments.directory, &fetch)
            .map_err(Failure::classed)?;
        let only: BTreeSet<_> = arguments.update.iter().cloned().collect();
        if arguments.reproduce && definition.recipes().is_empty() {
            let message = "no source of the definition has a recipe (`reproduce`)";
            return Err(Failure::request(message.to_owned()));
        }
        let mut new = lock(&sources, old.as_ref(), &only).map_err(Failure::classed)?;
        if arguments.reproduce {
            let reproductions =
                reproduce(&definition, folder, &fetch, &mut new).map_err(Failure::classed)?;
            report.reproductions = reproductions.into_iter().map(Rebuilt::from).collect();
        }
        let old = old.as_ref().map(|(lock, _)| lock);
        let changes = LockChange::between(old, &new.lock);
        let refused = changes.iter().filter(|it| !arguments.accept.contains(&it.name));
        report.problems = refused.filter_map(LockChange::refusal).collect();
        // What is not going to be locked is not executed.
        let is_about_answers = |gate: &&Gate| matches!(gate, Gate::CniVersion(_));
        let others = definition.gates.iter().filter(|gate| !is_about_answers(gate));
        report.refusals = refusals(&others.cloned().collect::<Vec<_>>(), &new.lock);
        if report.is_good() {
            let asker = (!arguments.no_probe).then(|| Asker::this_program(executable_folders()));
            let unasked = ask_all(asker.as_ref(), &definition, &mut new, old);
            report.notes = unasked.iter().map(ToString::to_string).collect();
            report.refusals = refusals(&definition.gates, &new.lock);
        }
        report.written = Some(report.is_good());
        if report.is_good() {
            file.write(old, &new.lock, &new.kept).map_err(Failure::could_not)?;
        }
        report.changes = LockChange::between(old, &new.lock);
        report.plugins = new.lock.plugins.len();
    }
    let exit = if report.is_good() { Exit::Yes } else { Exit::No };
    terminal.answer(&report)?;
    Ok(exit)
}

/// The directories of PATH, which are searched for emulators.
fn executable_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// The refusals of gates for the plugins of a lock.
fn refusals(gates: &[Gate], lock: &BundleLock) -> Vec<String> {
    let refusals = judge(gates, &lock.plugins.iter().collect::<Vec<_>>());
    refusals.iter().map(ToString::to_string).collect()
}

impl Report {
    fn is_good(&self) -> bool {
        self.problems.is_empty() && self.refusals.is_empty() && self.is_reproduced()
    }

    /// Whether all that was built again is the same.
    fn is_reproduced(&self) -> bool {
        self.reproductions.iter().all(|rebuilt| rebuilt.is_same)
    }
}

impl From<Reproduction> for Rebuilt {
    fn from(reproduction: Reproduction) -> Self {
        let Reproduction { name, platform, difference } = reproduction;
        let differences = difference.as_ref().map(Comparison::lines).unwrap_or_default();
        Self { name, platform, is_same: difference.is_none(), differences }
    }
}

/// Says which levels nothing proves but the word of the lock.
fn stated(lock: &BundleLock, definition: &str) -> Option<String> {
    let mut stated = lock.plugins.iter().filter(|entry| entry.reproduced.is_some());
    let first = stated.next()?;
    let others = and_others(stated.count());
    Some(format!(
        "the level `reproduced` of `{}` on {}{others} is the word of the lock; to build again: \
         cnister lock --reproduce {definition}",
        first.name, first.platform
    ))
}

/// Why the lock does not match the definition.
fn problems(
    definition: &Definition,
    lock: Option<&(BundleLock, KeptEvidence)>,
    path: &str,
) -> Vec<String> {
    let Some((lock, kept)) = lock else { return vec![format!("there is no `{path}`")] };
    let problems = lock.problems(definition, kept);
    problems.iter().map(|problem| visible(&problem.to_string()).into_owned()).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lock, definition, plugins, written, changes, problems, refusals, notes, .. } =
            self;
        for change in changes {
            writeln!(f, "{change}")?;
        }
        for problem in problems.iter().chain(refusals) {
            writeln!(f, "no: {problem}")?;
        }
        for Rebuilt { name, platform, is_same, differences } in &self.reproductions {
            match is_same {
                true => writeln!(f, "reproduced: {name} {platform}")?,
                false => writeln!(f, "no: `{name}` on {platform} is not what its recipe makes")?,
            }
            for difference in differences {
                writeln!(f, "    {difference}")?;
            }
        }
        for note in notes {
            writeln!(f, "note: {note}")?;
        }
        let entries = count(*plugins, "pinned file");
        match (written, problems.is_empty()) {
            (Some(_), true) if !self.is_reproduced() => write!(f, "`{lock}` was not changed"),
            (None, true) if !refusals.is_empty() => Ok(()),
            (Some(_), true) if !refusals.is_empty() => write!(f, "`{lock}` was not changed"),
            (None, true) => write!(f, "yes: `{lock}` pins what the definition asks for, {entries}"),
            (None, false) => write!(f, "hint: run `cnister lock {definition}`"),
            (Some(_), false) => write!(
                f,
                "`{lock}` was not changed\nhint: find out why; to accept the changes, add{}",
                to_accept(changes)
            ),
            (Some(_), true) if changes.is_empty() => write!(f, "`{lock}` is unchanged, {entries}"),
            (Some(_), true) => write!(f, "wrote `{lock}`, {entries}"),
        }
    }
}

/// The options that accept every change which needs consent.
fn to_accept(changes: &[LockChange]) -> String {
    let refused = changes.iter().filter(|change| change.refusal().is_some());
    let names: BTreeSet<&PluginName> = refused.map(|change| &change.name).collect();
    names.iter().map(|name| format!(" --accept {name}")).collect()
}
