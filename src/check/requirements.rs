//! Whether this node has the plugins that its CNI configurations need.
//!
//! The search is that of a runtime: libcni takes the first directory in which the name is a regular
//! file, with links followed, and does not check whether the file can be executed. Nothing is
//! executed here. What a configuration says is parsed in `cni`.
//!
//! Configurations are written by others, so reading has limits: on files, bytes, plugins and
//! findings.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use super::report::{NeedReport, Occasion, Report};
use crate::cni::{self, CONFIG_LIMIT, ConfigError, Form, Need, Network, Problem, Role};
use crate::disk::{DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, PluginName, Severity, and_others, visible};
use crate::node::{Fact, Root, severity};

/// The most configuration files that are read of one directory.
const FILE_LIMIT: usize = 1024;
/// The most bytes that are read of all files; each file counts one page more than its size, since
/// opening it also costs something.
const BYTES_LIMIT: usize = 64 * 1024 * 1024;
const PAGE: usize = 4096;
/// The most plugins that all configurations together may name.
const NEED_LIMIT: usize = 16 * 1024;
/// The most findings per code; the rest is counted.
const FINDING_LIMIT: usize = 64;

/// Which configurations are read, and where their plugins are searched for.
#[derive(Debug, Clone, Default)]
pub struct Configurations {
    /// Directories with configuration that must exist.
    pub directories: Vec<HostPath>,
    /// Directories with configuration that are read if they exist.
    pub usual: Vec<HostPath>,
    /// NetworkAttachmentDefinitions: a name for messages, and the bytes.
    pub definitions: Vec<(String, Vec<u8>)>,
    /// Where a runtime searches for plugins, in order; if empty, the directories that plugins were
    /// installed in.
    pub search: Vec<HostPath>,
}

impl Configurations {
    /// The default configuration directories of runtimes and of Multus.
    pub fn usual_directories() -> Vec<HostPath> {
        ["/etc/cni/net.d", "/etc/cni/multus/net.d"]
            .iter()
            .filter_map(|path| path.parse().ok())
            .collect()
    }
}

/// Compares what configurations need with what is on the node, and adds both to the report. It
/// changes nothing.
///
/// At boot, configurations that were not named explicitly only warn: the kubelet waits, and a missing
/// plugin stops the pods that use it, not the node.
pub fn check_requirements(
    root: &Root,
    configurations: &Configurations,
    occasion: Occasion,
    report: &mut Report,
) {
    let explicit =
        !(configurations.directories.is_empty() && configurations.definitions.is_empty());
    let fact = if explicit { Fact::NamedNetworkUnmet } else { Fact::UsualNetworkUnmet };
    let Some(severity) = severity(fact, occasion) else { return };
    let mut wanted = Wanted {
        severity,
        budget: BYTES_LIMIT,
        needs: Vec::new(),
        names: BTreeSet::new(),
        findings: Vec::new(),
        counts: BTreeMap::new(),
    };
    for path in &configurations.usual {
        wanted.read_directory(root, path);
    }
    for path in &configurations.directories {
        if !wanted.read_directory(root, path) {
            wanted.find(Code::ConfigUnreadable, format!("there is no directory `{path}`"));
        }
    }
    for (name, bytes) in &configurations.definitions {
        wanted.read_definitions(name, bytes);
    }
    wanted.look_for_plugins(root, &search(configurations, report), report);
    wanted.finish();
    report.findings.append(&mut wanted.findings);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.needs = wanted.needs.into_iter().map(|(report, _)| report).collect();
}

/// Where a runtime searches: as the owner says, or where plugins were installed.
pub(crate) fn search(configurations: &Configurations, report: &Report) -> Vec<HostPath> {
    if !configurations.search.is_empty() {
        return configurations.search.clone();
    }
    let installed: BTreeSet<_> =
        report.plugins.iter().map(|plugin| plugin.directory.clone()).collect();
    if installed.is_empty() {
        vec![HostPath::default_bin_directory()]
    } else {
        installed.into_iter().collect()
    }
}

/// What the configurations that were read need.
struct Wanted {
    /// The severity of every finding.
    severity: Severity,
    /// How many bytes may still be read: many lists can refer to one large directory.
    budget: usize,
    /// Each with the directory that is searched first.
    needs: Vec<(NeedReport, Option<HostPath>)>,
    /// The names of the networks that the node itself has.
    names: BTreeSet<String>,
    findings: Vec<Finding>,
    counts: BTreeMap<Code, usize>,
}

impl Wanted {
    fn find(&mut self, code: Code, message: String) {
        self.push(Finding::refusal(code, message));
    }

    fn push(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= FINDING_LIMIT {
            self.findings.push(Finding { severity: self.severity, ..finding });
        }
    }

    /// Reports how many findings were left out.
    fn finish(&mut self) {
        for (code, count) in &self.counts {
            if let Some(more) = count.checked_sub(FINDING_LIMIT).filter(|more| *more > 0) {
                let finding =
                    Finding::refusal(*code, format!("{more} more of this kind were left out"));
                self.findings.push(Finding { severity: self.severity, ..finding });
            }
        }
    }

    /// Reads the files of a directory that libcni reads; returns whether the directory exists.
    fn read_directory(&mut self, root: &Root, path: &HostPath) -> bool {
        let names = match list(root, path) {
            Ok(Some(names)) => names,
            Ok(None) => return false,
            Err(error) => {
                self.unreadable(&error);
                return true;
            }
        };
        for name in names.iter().take(FILE_LIMIT) {
            let text = name.to_string_lossy();
            let form = match text.as_ref() {
                text if text.ends_with(".conflist") => Form::List,
                text if text.ends_with(".conf") || text.ends_with(".json") => Form::Single,
                _ => continue,
            };
            let shown = format!("{path}/{}", visible(&text));
            let Some(network) = self.read_file(root, path, name, &shown, form) else { continue };
            if network.loads_more {
                self.read_more(root, path, &network, &shown);
            }
            // A definition's name has at most 253 bytes (Kubernetes, "DNS Subdomain Names").
            self.names.extend(network.name.clone().filter(|name| name.len() <= 253));
            self.add(&shown, network);
        }
        if names.len() > FILE_LIMIT {
            self.find(Code::ConfigUnreadable, format!("`{path}` has more than {FILE_LIMIT} files"));
        }
        true
    }

    /// Reads the plugins that a list keeps in the directory with its name (libcni 1.3,
    /// `NetworkConfFromFile`).
    fn read_more(&mut self, root: &Root, path: &HostPath, list_of: &Network, shown: &str) {
        let name = list_of.name.as_deref().unwrap_or_default();
        let below = format!("{path}/{name}").parse::<HostPath>();
        let Some(below) = below.ok().filter(|_| !name.is_empty() && !name.contains('/')) else {
            if list_of.needs.is_empty() && list_of.problems.is_empty() {
                self.find(Code::ConfigUnreadable, format!("`{shown}` names no plugin"));
            }
            return;
        };
        let version = list_of.needs.first().and_then(|need| need.version.clone());
        let mut found = false;
        let files = list(root, &below).unwrap_or_else(|error| {
            self.unreadable(&error);
            None
        });
        for file in files.unwrap_or_default().iter().take(FILE_LIMIT) {
            if !file.to_string_lossy().ends_with(".conf") {
                continue;
            }
            let shown = format!("{below}/{}", visible(&file.to_string_lossy()));
            let Some(mut network) = self.read_file(root, &below, file, &shown, Form::Single) else {
                continue;
            };
            for need in &mut network.needs {
                need.version.clone_from(&version);
                if need.role == Role::Main && (found || !list_of.needs.is_empty()) {
                    need.role = Role::Chained;
                }
            }
            found = true;
            self.add(&shown, network);
        }
        if self.budget > 0 && !found && list_of.needs.is_empty() && list_of.problems.is_empty() {
            self.find(
                Code::ConfigUnreadable,
                format!("`{shown}` names no plugin, and neither does `{below}`"),
            );
        }
    }

    fn read_file(
        &mut self,
        root: &Root,
        path: &HostPath,
        name: &OsString,
        shown: &str,
        form: Form,
    ) -> Option<Network> {
        if self.budget == 0 {
            return None;
        }
        let looked = root.look_up(Path::new(path.as_str()).join(name));
        match looked.and_then(|looked| looked.map(|looked| looked.read(CONFIG_LIMIT)).transpose()) {
            Ok(Some(bytes)) if bytes.len() + PAGE > self.budget => {
                self.budget = 0;
                let message = format!(
                    "the configurations are more than {BYTES_LIMIT} bytes; `{shown}` and later ones were not read"
                );
                self.find(Code::ConfigUnreadable, message);
            }
            Ok(Some(bytes)) => {
                self.budget -= bytes.len() + PAGE;
                match cni::parse_config(&format!("`{shown}`"), &bytes, form) {
                    Ok(network) => return Some(network),
                    Err(error) => self.unparsable(&error),
                }
            }
            Ok(None) => self.absent(root, path, name, shown),
            Err(error) if error.is_not_found() => self.absent(root, path, name, shown),
            // libcni does not read directories.
            Err(DiskError::NotRegular { kind: FileKind::Directory, .. }) => {}
            Err(error) => self.unreadable(&error),
        }
        None
    }

    /// Reports a dangling link; anything else was removed meanwhile.
    fn absent(&mut self, root: &Root, path: &HostPath, name: &OsString, shown: &str) {
        if root.is_link(path, name) {
            self.find(Code::ConfigUnreadable, format!("`{shown}` is a dangling symbolic link"));
        }
    }

    fn read_definitions(&mut self, name: &str, bytes: &[u8]) {
        let definitions = match cni::parse_definitions(name, bytes) {
            Ok(definitions) => definitions,
            Err(error) => return self.unparsable(&error),
        };
        for definition in definitions {
            match definition.network {
                Ok(Some(network)) => self.add(&definition.shown, network),
                Ok(None) if self.names.contains(&definition.name) => {}
                Ok(None) => {
                    let message = format!(
                        "`{}` refers to a network of this node, but the node has none of that name",
                        definition.shown
                    );
                    self.find(Code::ConfigMissing, message);
                }
                Err(error) => self.unparsable(&error),
            }
        }
    }

    fn unparsable(&mut self, error: &ConfigError) {
        self.find(Code::ConfigUnreadable, error.to_string());
    }

    fn unreadable(&mut self, error: &DiskError) {
        match error.finding() {
            Some(finding) => self.push(finding),
            None => self.find(Code::ConfigUnreadable, error.with_cause()),
        }
    }

    fn add(&mut self, shown: &str, network: Network) {
        for problem in network.problems {
            match problem {
                Problem::Type(error) => {
                    let message =
                        format!("`{shown}` has a plugin type that is not a file name: {error}");
                    self.find(Code::NotAPluginName, message);
                }
                problem => {
                    self.find(
                        Code::ConfigUnreadable,
                        format!("`{shown}` cannot be used: {problem}"),
                    );
                }
            }
        }
        for Need { plugin, role, version, looks_first_in } in network.needs {
            if self.needs.len() == NEED_LIMIT {
                let limit = format!("the configurations name more than {NEED_LIMIT} plugins");
                if self.findings.last().is_none_or(|last| last.message != limit) {
                    self.find(Code::ConfigUnreadable, limit);
                }
                return;
            }
            let configuration = shown.to_owned();
            let need =
                NeedReport { plugin, role, configuration, cni_version: version, found_in: None };
            self.needs.push((need, looks_first_in));
        }
    }

    fn look_for_plugins(&mut self, root: &Root, search: &[HostPath], report: &Report) {
        // Each plugin is searched for once per place, however many configurations need it.
        let mut places: BTreeMap<(Option<HostPath>, PluginName), Place> = BTreeMap::new();
        let mut missing: BTreeMap<PluginName, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let mut unusable: BTreeMap<String, (PluginName, Vec<String>)> = BTreeMap::new();
        let mut strangers: BTreeMap<(PluginName, String, Vec<String>), Vec<String>> =
            BTreeMap::new();
        for (need, first) in &mut self.needs {
            let key = (first.clone(), need.plugin.clone());
            let place = match places.get(&key) {
                Some(place) => place,
                None => {
                    let place = locate(root, first.iter().chain(search), &need.plugin);
                    places.entry(key).or_insert(place)
                }
            };
            let user = || need.configuration.clone();
            let Some(directory) = &place.directory else {
                let entry = missing.entry(need.plugin.clone()).or_default();
                entry.0.push(user());
                entry.1.clone_from(&place.obstacles);
                continue;
            };
            need.found_in = Some(directory.clone());
            if let Some(reason) = &place.unusable {
                unusable
                    .entry(reason.clone())
                    .or_insert_with(|| (need.plugin.clone(), Vec::new()))
                    .1
                    .push(user());
            }
            let installed = report
                .plugins
                .iter()
                .find(|plugin| plugin.name == need.plugin && plugin.directory == *directory);
            if let (Some(version), Some(versions)) =
                (&need.cni_version, installed.and_then(|plugin| plugin.versions.as_ref()))
                && !versions.supported.contains(version)
            {
                let key = (need.plugin.clone(), version.clone(), versions.supported.clone());
                strangers.entry(key).or_default().push(user());
            }
        }
        let searched = shown_list(search.iter().map(HostPath::as_str));
        for (plugin, (users, obstacles)) in missing {
            let beside = if obstacles.is_empty() {
                String::new()
            } else {
                format!(": {}", obstacles.join(", "))
            };
            let message = format!(
                "`{plugin}` is needed by {}, but is not in {searched}{beside}",
                shown_users(&users)
            );
            let finding = Finding::refusal(Code::PluginNeeded, message).hint(cni::advice(&plugin));
            self.push(finding);
        }
        for (reason, (plugin, users)) in unusable {
            let message = format!(
                "`{plugin}` is needed by {}, but cannot be executed: {reason}",
                shown_users(&users)
            );
            self.find(Code::PluginUnusable, message);
        }
        for ((plugin, version, supported), users) in strangers {
            let message = format!(
                "`{plugin}` is called by {} with a CNI version that it does not support",
                shown_users(&users)
            );
            let finding = Finding::refusal(Code::IncompatibleVersion, message)
                .mismatch(
                    format_args!("CNI {version}"),
                    format_args!("CNI {}", supported.join(", ")),
                )
                .hint("install a newer plugin, or lower `cniVersion` in the configuration");
            self.push(finding);
        }
    }
}

/// The names in a directory, in libcni's order, up to one past the limit; `None` if it does not
/// exist.
fn list(root: &Root, path: &HostPath) -> Result<Option<Vec<OsString>>, DiskError> {
    let Some(directory) = root.directory(path)? else { return Ok(None) };
    let mut names = Vec::new();
    for entry in directory.entries()?.take(FILE_LIMIT + 1) {
        names.push(entry?.name);
    }
    names.sort();
    Ok(Some(names))
}

/// Where a runtime finds a plugin.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The directory; `None` if no directory has it.
    pub(crate) directory: Option<HostPath>,
    /// What it skips on the way.
    obstacles: Vec<String>,
    /// Why it cannot execute the file that it finds.
    unusable: Option<String>,
}

/// Searches for a plugin as libcni does (`FindInPath`).
pub(crate) fn locate<'a>(
    root: &Root,
    search: impl Iterator<Item = &'a HostPath>,
    plugin: &PluginName,
) -> Place {
    let mut place = Place::default();
    for directory in search {
        let path = directory.join(plugin);
        let found = match root.look_up(&path).map(|looked| looked.and_then(|looked| looked.target))
        {
            Ok(Some(found)) => found,
            Ok(None) => {
                // A runtime does not mention the link, only that there is no plugin.
                if root.is_link(directory, plugin.as_str()) {
                    place.obstacles.push(format!("`{path}` is a dangling symbolic link"));
                }
                continue;
            }
            Err(error) => {
                place.obstacles.push(error.with_cause());
                continue;
            }
        };
        if found.kind != FileKind::Regular {
            place.obstacles.push(format!("`{path}` is {}", found.kind));
            continue;
        }
        place.unusable = match (found.mode & 0o111, found.size) {
            (0, _) => Some(format!("`{path}` has mode {:04o} (\"permission denied\")", found.mode)),
            (_, 0) => Some(format!("`{path}` is empty (\"exec format error\")")),
            _ => None,
        };
        place.directory = Some(directory.clone());
        break;
    }
    place
}

/// The first of them, and the number of the others.
fn shown_users(users: &[String]) -> String {
    let distinct: BTreeSet<_> = users.iter().collect();
    match users.first() {
        Some(first) => format!("`{first}`{}", and_others(distinct.len() - 1)),
        None => "nothing".to_owned(),
    }
}

fn shown_list<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
