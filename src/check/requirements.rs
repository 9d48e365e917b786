//! Whether this node has the plugins that its CNI configurations need.
//!
//! The search is that of a runtime: libcni takes the first directory in which the name is a regular
//! file, with links followed, and does not check whether the file can be executed. Nothing is
//! executed here. What a configuration says is parsed in `cni`.
//!
//! Configurations are written by others, so reading has limits: on files, bytes, plugins and
//! findings.

mod directories;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use self::directories::{Directory, usual};
use super::report::{NeedReport, Occasion, Report};
use crate::cni::{
    self, AttachmentDefinition, CONFIG_LIMIT, ConfigError, Form, Need, Network, Problem, Role,
};
use crate::disk::{DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, PluginName, Severity, and_others, visible};
use crate::node::runtime::runtimes;
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
    /// Whether the directories of the node's runtimes and of Multus are read, if they exist.
    pub usual: bool,
    /// NetworkAttachmentDefinitions: a name for messages, and the bytes.
    pub definitions: Vec<(String, Vec<u8>)>,
    /// Where a runtime searches for plugins, in order; if empty, the directories that plugins were
    /// installed in.
    pub search: Vec<HostPath>,
}

/// Compares what configurations need with what is on the node, and adds both to the report. It
/// changes nothing.
///
/// At boot, configurations that were not named explicitly only warn: the kubelet waits, and a
/// missing plugin stops the pods that use it, not the node.
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
        decides: true,
        budget: BYTES_LIMIT,
        needs: Vec::new(),
        names: BTreeSet::new(),
        findings: Vec::new(),
        counts: BTreeMap::new(),
    };
    if configurations.usual {
        // What of their configuration cannot be read, the check says where it compares directories.
        for directory in usual(&runtimes(root).found) {
            wanted.read_directory(root, &directory);
        }
    }
    for path in &configurations.directories {
        let directory = Directory { path: path.clone(), readers: None };
        if !wanted.read_directory(root, &directory) {
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
    report.needs = wanted.needs.into_iter().map(|asked| asked.need).collect();
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
    /// The severity of what decides.
    severity: Severity,
    /// Whether what is being read decides: a runtime takes it, or its owner asked for it.
    decides: bool,
    /// How many bytes may still be read: many lists can refer to one large directory.
    budget: usize,
    needs: Vec<WantedPlugin>,
    /// The names of the networks that the node itself has.
    names: BTreeSet<String>,
    findings: Vec<Finding>,
    counts: BTreeMap<(Code, Severity), usize>,
}

/// A plugin that a configuration asks for.
struct WantedPlugin {
    need: NeedReport,
    /// The directory that is searched first.
    first: Option<HostPath>,
    decides: bool,
}

/// The configurations that something is wrong for.
#[derive(Default)]
struct Users {
    /// Those that decide come first.
    names: Vec<String>,
    decide: bool,
}

/// What a configuration file is.
enum Read {
    Network(Network),
    /// What the runtime cannot use either, and why.
    Unusable(Finding),
    /// Not a file, gone, or beyond the limit.
    Nothing,
}

impl Wanted {
    fn find(&mut self, code: Code, message: String) {
        self.push(Finding::refusal(code, message));
    }

    /// Adds a finding about what is being read.
    fn push(&mut self, finding: Finding) {
        let most = if self.decides { self.severity } else { Severity::Warning };
        let severity = finding.severity.min(self.severity).min(most);
        let count = self.counts.entry((finding.code, severity)).or_default();
        *count += 1;
        if *count <= FINDING_LIMIT {
            self.findings.push(Finding { severity, ..finding });
        }
    }

    /// Adds a finding about what these configurations need.
    fn push_for(&mut self, users: &Users, finding: Finding) {
        self.decides = users.decide;
        let message = match users.decide {
            true => finding.message.clone(),
            false => format!("{}; no runtime on this node uses that file", finding.message),
        };
        self.push(Finding { message, ..finding });
    }

    /// Reports how many findings were left out.
    fn finish(&mut self) {
        for ((code, severity), count) in &self.counts {
            if let Some(more) = count.checked_sub(FINDING_LIMIT).filter(|more| *more > 0) {
                let finding =
                    Finding::refusal(*code, format!("{more} more of this kind were left out"));
                self.findings.push(Finding { severity: *severity, ..finding });
            }
        }
    }

    /// Reads the files of a directory that libcni reads; returns whether the directory exists.
    fn read_directory(&mut self, root: &Root, directory: &Directory) -> bool {
        let path = &directory.path;
        self.decides = directory.readers.as_ref().is_none_or(|readers| !readers.is_empty());
        let names = match list(root, path) {
            Ok(Some(names)) => names,
            Ok(None) => return false,
            Err(error) => {
                self.push(unreadable(&error));
                return true;
            }
        };
        if names.len() > FILE_LIMIT {
            self.find(Code::ConfigUnreadable, format!("`{path}` has more than {FILE_LIMIT} files"));
        }
        let mut files = Vec::new();
        for name in names.iter().take(FILE_LIMIT) {
            let text = name.to_string_lossy();
            let form = match text.as_ref() {
                text if text.ends_with(".conflist") => Form::List,
                text if text.ends_with(".conf") || text.ends_with(".json") => Form::Single,
                _ => continue,
            };
            let shown = format!("{path}/{}", visible(&text));
            match self.read_file(root, path, name, &shown, form) {
                Read::Network(network) => files.push((shown, Ok(network))),
                Read::Unusable(finding) => files.push((shown, Err(finding))),
                Read::Nothing => {}
            }
        }
        let usable: Vec<_> = files
            .iter()
            .map(|(_, read)| read.as_ref().ok().filter(|network| network.problems.is_empty()))
            .collect();
        let deciding = directory.deciding(&usable);
        for ((shown, read), decides) in files.into_iter().zip(deciding) {
            self.decides = decides;
            match read {
                Ok(network) => {
                    if network.loads_more {
                        self.read_more(root, path, &network, &shown);
                    }
                    // A definition's name has at most 253 bytes (Kubernetes, "DNS Subdomain
                    // Names").
                    self.names.extend(network.name.clone().filter(|name| name.len() <= 253));
                    self.add(&shown, network);
                }
                Err(finding) => self.push(finding),
            }
        }
        self.decides = true;
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
        let mut found = false;
        let files = list(root, &below).unwrap_or_else(|error| {
            self.push(unreadable(&error));
            None
        });
        for file in files.unwrap_or_default().iter().take(FILE_LIMIT) {
            if !file.to_string_lossy().ends_with(".conf") {
                continue;
            }
            let shown = format!("{below}/{}", visible(&file.to_string_lossy()));
            let mut network = match self.read_file(root, &below, file, &shown, Form::Plugin) {
                Read::Network(network) => network,
                Read::Unusable(finding) => {
                    self.push(finding);
                    continue;
                }
                Read::Nothing => continue,
            };
            for need in &mut network.needs {
                need.version.clone_from(&list_of.version);
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
    ) -> Read {
        if self.budget == 0 {
            return Read::Nothing;
        }
        let looked = root.look_up(Path::new(path.as_str()).join(name));
        match looked.and_then(|looked| looked.map(|looked| looked.read(CONFIG_LIMIT)).transpose()) {
            Ok(Some(bytes)) if bytes.len() + PAGE > self.budget => {
                self.budget = 0;
                let message = format!(
                    "the configurations are more than {BYTES_LIMIT} bytes; `{shown}` and later ones were not read"
                );
                Read::Unusable(Finding::refusal(Code::ConfigUnreadable, message))
            }
            Ok(Some(bytes)) => {
                self.budget -= bytes.len() + PAGE;
                cni::parse_config(&format!("`{shown}`"), &bytes, form)
                    .map_or_else(|error| Read::Unusable(unparsable(&error)), Read::Network)
            }
            Ok(None) => absent(root, path, name, shown),
            Err(error) if error.is_not_found() => absent(root, path, name, shown),
            // libcni does not read directories.
            Err(DiskError::NotRegular { kind: FileKind::Directory, .. }) => Read::Nothing,
            Err(error) => Read::Unusable(unreadable(&error)),
        }
    }

    fn read_definitions(&mut self, name: &str, bytes: &[u8]) {
        if let Err(error) = cni::each_definition(name, bytes, |found| self.take_definition(found)) {
            self.push(unparsable(&error));
        }
    }

    fn take_definition(&mut self, definition: AttachmentDefinition) {
        match definition.network {
            Ok(Some(network)) => self.add(&definition.shown, network),
            Ok(None) if self.names.contains(&definition.name) => {}
            Ok(None) => {
                let message = format!(
                    "`{}` refers to a CNI configuration on the node, but there is none with that name",
                    definition.shown
                );
                self.find(Code::ConfigMissing, message);
            }
            Err(error) => self.push(unparsable(&error)),
        }
    }

    fn add(&mut self, shown: &str, network: Network) {
        if let Some(repeated) = &network.repeated {
            let message = format!("`{shown}`: {repeated}; the last value counts");
            self.push(Finding::warning(Code::RepeatedKey, message));
        }
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
            let cni_version = Some(version);
            let need = NeedReport { plugin, role, configuration, cni_version, found_in: None };
            self.needs.push(WantedPlugin { need, first: looks_first_in, decides: self.decides });
        }
    }

    fn look_for_plugins(&mut self, root: &Root, search: &[HostPath], report: &Report) {
        // Each plugin is searched for once per place, however many configurations need it.
        let mut results: BTreeMap<(Option<HostPath>, PluginName), SearchResult> = BTreeMap::new();
        let mut missing: BTreeMap<PluginName, (Users, Vec<String>)> = BTreeMap::new();
        let mut unusable: BTreeMap<String, (PluginName, Users)> = BTreeMap::new();
        let mut strangers: BTreeMap<(PluginName, String, Vec<String>), Users> = BTreeMap::new();
        for WantedPlugin { need, first, decides } in &mut self.needs {
            let key = (first.clone(), need.plugin.clone());
            let result = match results.get(&key) {
                Some(result) => result,
                None => {
                    let result = locate(root, first.iter().chain(search), &need.plugin);
                    results.entry(key).or_insert(result)
                }
            };
            let Some(directory) = &result.directory else {
                let entry = missing.entry(need.plugin.clone()).or_default();
                entry.0.add(need, *decides);
                entry.1.clone_from(&result.obstacles);
                continue;
            };
            need.found_in = Some(directory.clone());
            if let Some(reason) = &result.unusable {
                unusable
                    .entry(reason.clone())
                    .or_insert_with(|| (need.plugin.clone(), Users::default()))
                    .1
                    .add(need, *decides);
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
                strangers.entry(key).or_default().add(need, *decides);
            }
        }
        let searched = shown_list(search.iter().map(HostPath::as_str));
        for (plugin, (users, obstacles)) in missing {
            let beside = if obstacles.is_empty() {
                String::new()
            } else {
                format!(": {}", obstacles.join(", "))
            };
            let message =
                format!("`{plugin}` is needed by {users}, but is not in {searched}{beside}");
            let finding = Finding::refusal(Code::PluginNeeded, message).hint(cni::advice(&plugin));
            self.push_for(&users, finding);
        }
        for (reason, (plugin, users)) in unusable {
            let message =
                format!("`{plugin}` is needed by {users}, but cannot be executed: {reason}");
            self.push_for(&users, Finding::refusal(Code::PluginUnusable, message));
        }
        for ((plugin, version, supported), users) in strangers {
            let message = format!(
                "`{plugin}` is called by {users} with a CNI version that it does not support"
            );
            let is_older = supported.iter().all(|other| cni::is_older(&version, other));
            let hint = match is_older {
                true => {
                    "raise `cniVersion` in the configuration; one that is missing or empty means 0.1.0"
                }
                false => "install a newer plugin, or lower `cniVersion` in the configuration",
            };
            let finding = Finding::refusal(Code::IncompatibleVersion, message)
                .mismatch(
                    format_args!("CNI {version}"),
                    format_args!("CNI {}", supported.join(", ")),
                )
                .hint(hint);
            self.push_for(&users, finding);
        }
        self.decides = true;
    }
}

impl Users {
    fn add(&mut self, need: &NeedReport, decides: bool) {
        if decides && !self.decide {
            self.decide = true;
            self.names.insert(0, need.configuration.clone());
        } else {
            self.names.push(need.configuration.clone());
        }
    }
}

/// The first of them, and the number of the others.
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct: BTreeSet<_> = self.names.iter().collect();
        match self.names.first() {
            Some(first) => write!(f, "`{first}`{}", and_others(distinct.len() - 1)),
            None => f.write_str("nothing"),
        }
    }
}

fn unparsable(error: &ConfigError) -> Finding {
    Finding::refusal(Code::ConfigUnreadable, error.to_string())
}

fn unreadable(error: &DiskError) -> Finding {
    let finding = error.finding().filter(|finding| finding.code == Code::PathEscapes);
    finding.unwrap_or_else(|| Finding::refusal(Code::ConfigUnreadable, error.with_cause()))
}

/// A dangling link; anything else was removed meanwhile.
fn absent(root: &Root, path: &HostPath, name: &OsString, shown: &str) -> Read {
    if !root.is_link(path, name) {
        return Read::Nothing;
    }
    let message = format!("`{shown}` is a dangling symbolic link");
    Read::Unusable(Finding::refusal(Code::ConfigUnreadable, message))
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

/// What the search of a runtime for a plugin leads to.
#[derive(Debug, Default)]
pub(crate) struct SearchResult {
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
) -> SearchResult {
    let mut result = SearchResult::default();
    for directory in search {
        let path = directory.join(plugin);
        let found = match root.look_up(&path).map(|looked| looked.and_then(|looked| looked.target))
        {
            Ok(Some(found)) => found,
            Ok(None) => {
                // A runtime does not mention the link, only that there is no plugin.
                if root.is_link(directory, plugin.as_str()) {
                    result.obstacles.push(format!("`{path}` is a dangling symbolic link"));
                }
                continue;
            }
            Err(error) => {
                result.obstacles.push(error.with_cause());
                continue;
            }
        };
        if found.kind != FileKind::Regular {
            result.obstacles.push(format!("`{path}` is {}", found.kind));
            continue;
        }
        result.unusable = match (found.mode & 0o111, found.size) {
            (0, _) => Some(format!("`{path}` has mode {:04o} (\"permission denied\")", found.mode)),
            (_, 0) => Some(format!("`{path}` is empty (\"exec format error\")")),
            _ => None,
        };
        result.directory = Some(directory.clone());
        break;
    }
    result
}

fn shown_list<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
