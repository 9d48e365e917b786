//! Whether this node has the plugins that its CNI configurations need.
//!
//! The search is that of a runtime: libcni takes the first directory in which the name is a regular
//! file, with links followed, and does not check whether the file can be executed. Nothing is
//! executed here. What a configuration says is parsed in `cni`.
//!
//! Configurations are written by others, so reading has limits: on files, bytes, plugins and
//! findings.

mod directories;
mod plugins;
mod searches;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use self::directories::{Directory, File, Reader, is_read, usual};
use self::searches::{Searches, unsupported};
use super::report::{NeedReport, Occasion, Report};
use crate::cni::{
    self, AttachmentDefinition, CONFIG_LIMIT, ConfigError, Form, MultusDirectories, Need, Network,
    Problem, Role,
};
use crate::disk::{DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, Severity, visible};
use crate::node::runtime::{Runtime, runtimes};
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
/// The most configurations of Multus whose directories count.
const MULTUS_LIMIT: usize = 16;

/// Which configurations are read, and where their plugins are searched for.
#[derive(Debug, Clone, Default)]
pub struct Configurations {
    /// Directories with configuration that must exist.
    pub directories: Vec<HostPath>,
    /// Whether the directories of the node's runtimes and of Multus are read, if they exist.
    pub usual: bool,
    /// NetworkAttachmentDefinitions: a name for messages, and the bytes.
    pub definitions: Vec<(String, Vec<u8>)>,
    /// Where every runtime searches for plugins, in order; if empty, the directories that each is
    /// configured with, or those that plugins were installed in if nothing on the node tells.
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
    // What of their configuration cannot be read, the check says where it compares directories.
    let runtimes = runtimes(root).found;
    let installed = installed(report);
    let search = if configurations.search.is_empty() { &installed } else { &configurations.search };
    let mut searches = Searches::default();
    let mut wanted = Wanted {
        severity,
        decides: true,
        budget: BYTES_LIMIT,
        needs: Vec::new(),
        networks: BTreeMap::new(),
        multus: Vec::new(),
        lists: Vec::new(),
        findings: Vec::new(),
        counts: BTreeMap::new(),
    };
    let mut reading = Reading {
        root,
        report,
        searches: &mut searches,
        runtimes: &runtimes,
        search,
        is_told: !configurations.search.is_empty(),
    };
    if configurations.usual {
        for directory in usual(&runtimes) {
            wanted.read_directory(&mut reading, &directory);
        }
        for path in
            wanted.multus.iter().filter_map(|it| it.configurations.clone()).collect::<BTreeSet<_>>()
        {
            if !wanted.networks.contains_key(&path) {
                wanted.read_directory(&mut reading, &Directory::whole(path));
            }
        }
    }
    for path in &configurations.directories {
        let readers = runtimes.iter().filter(|runtime| runtime.conf_dir == *path);
        let readers = readers.map(Reader::of).collect();
        let directory = Directory { path: path.clone(), readers, is_whole: true };
        if !wanted.read_directory(&mut reading, &directory) {
            wanted.find(Code::ConfigUnreadable, format!("there is no directory `{path}`"));
        }
    }
    wanted.lists = vec![reading.list_of_multus(&wanted.multus)];
    let named = wanted.named_networks(configurations, &runtimes);
    for (name, bytes) in &configurations.definitions {
        wanted.read_definitions(name, bytes, &named);
    }
    let elsewhere = searches.list(&installed);
    wanted.look_for_plugins(root, &mut searches, elsewhere, report);
    wanted.finish();
    report.findings.append(&mut wanted.findings);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.needs = wanted.needs.into_iter().map(|asked| asked.need).collect();
}

/// The directories that plugins were installed in.
fn installed(report: &Report) -> Vec<HostPath> {
    let installed: BTreeSet<_> =
        report.plugins.iter().map(|plugin| plugin.directory.clone()).collect();
    if installed.is_empty() {
        vec![HostPath::default_bin_directory()]
    } else {
        installed.into_iter().collect()
    }
}

/// What reading a directory of configuration needs to know of the node.
struct Reading<'a> {
    root: &'a Root,
    report: &'a Report,
    searches: &'a mut Searches,
    runtimes: &'a [Runtime],
    /// Where plugins are searched for if nothing on the node tells, or the owner does.
    search: &'a [HostPath],
    /// Whether the owner told.
    is_told: bool,
}

impl Reading<'_> {
    /// The list of directories that a runtime searches.
    fn list_of(&mut self, reader: &Reader) -> usize {
        match self.is_told || reader.bin_dirs.is_empty() {
            true => self.searches.list(self.search),
            false => self.searches.list(&reader.bin_dirs),
        }
    }

    /// The list of directories that Multus searches: what its configuration says, and those of the
    /// runtime that called it (multus-cni, `binDir` and `CNI_PATH`).
    fn list_of_multus(&mut self, multus: &[MultusDirectories]) -> usize {
        if self.is_told {
            return self.searches.list(self.search);
        }
        let own = multus.iter().filter_map(|multus| multus.plugins.clone());
        let default = multus.is_empty() || multus.iter().any(|multus| multus.plugins.is_none());
        let runtimes = self.runtimes.iter().flat_map(|runtime| runtime.bin_dirs.clone());
        let unknown = if self.runtimes.is_empty() { self.search } else { &[] };
        let mut list: Vec<HostPath> = Vec::new();
        for path in own
            .chain(runtimes)
            .chain(unknown.iter().cloned())
            .chain(default.then(HostPath::default_bin_directory))
        {
            if !list.contains(&path) {
                list.push(path);
            }
        }
        self.searches.list(&list)
    }

    /// Whether CRI-O validates a network: its plugins are there, can be executed and speak the
    /// version.
    fn is_valid(&mut self, network: &Network, list: usize) -> bool {
        let called = network.needs.iter().filter(|need| {
            matches!(need.role, Role::Main | Role::Chained) && need.looks_first_in.is_none()
        });
        called.into_iter().all(|need| {
            let place = self.searches.place(self.root, None, list, &need.plugin);
            place.unusable.is_none()
                && place.directory.as_ref().is_some_and(|directory| {
                    unsupported(&need.plugin, &need.version, directory, self.report).is_none()
                })
        })
    }
}

fn need_report(need: &Need, configuration: String) -> NeedReport {
    NeedReport {
        plugin: need.plugin.clone(),
        role: need.role,
        configuration,
        cni_version: need.version.clone(),
        found_in: None,
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
    /// The names of the networks in each directory that was read.
    networks: BTreeMap<HostPath, BTreeSet<String>>,
    /// What each configuration of Multus says.
    multus: Vec<MultusDirectories>,
    /// The lists of directories that the plugins of what is being read are searched for in.
    lists: Vec<usize>,
    findings: Vec<Finding>,
    counts: BTreeMap<(Code, Severity), usize>,
}

/// A plugin that a configuration asks for.
struct WantedPlugin {
    need: NeedReport,
    /// The directory that is searched first.
    first: Option<HostPath>,
    /// The lists of directories that are searched, of each runtime that calls it.
    lists: Vec<usize>,
    decides: bool,
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
    fn read_directory(&mut self, reading: &mut Reading<'_>, directory: &Directory) -> bool {
        let (root, path) = (reading.root, &directory.path);
        self.decides = directory.is_whole || !directory.readers.is_empty();
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
            let parse = |what: &str, bytes: &[u8]| cni::parse_config(what, bytes, form);
            match self.read_file(root, path, name, &shown, parse) {
                Read::Network(network) => files.push((text, shown, Ok(network))),
                Read::Unusable(finding) => files.push((text, shown, Err(finding))),
                Read::Nothing => {}
            }
        }
        let takers = takers(reading, directory, &files);
        // What no runtime reads is Multus': its files are in the same list, whatever they say.
        let of_multus = reading.list_of_multus(&self.multus);
        let known = self.networks.entry(path.clone()).or_default();
        let names = files.iter().filter_map(|(_, _, read)| read.as_ref().ok()?.name.clone());
        // A definition's name has at most 253 bytes (Kubernetes, "DNS Subdomain Names").
        known.extend(names.filter(|name| name.len() <= 253));
        for ((name, shown, read), takers) in files.into_iter().zip(takers) {
            self.decides = directory.is_whole || !takers.is_empty();
            let readers =
                if takers.is_empty() { directory.readers.iter().collect() } else { takers };
            self.lists = readers.iter().map(|reader| reading.list_of(reader)).collect();
            if readers.is_empty() {
                self.lists = vec![of_multus];
            }
            match read {
                Ok(mut network) => {
                    if network.loads_more {
                        self.read_more(root, path, &network, &shown);
                    }
                    if !readers.is_empty() && readers.iter().all(|it| it.names_after_files()) {
                        network.name_after(&name);
                    }
                    self.note_multus(network.multus.take());
                    self.add(&shown, network);
                }
                Err(finding) => self.push(finding),
            }
        }
        self.decides = true;
        true
    }

    /// Remembers the directories of a Multus that a runtime takes.
    fn note_multus(&mut self, found: Option<MultusDirectories>) {
        let Some(found) = found.filter(|found| self.decides && !self.multus.contains(found)) else {
            return;
        };
        if self.multus.len() < MULTUS_LIMIT {
            self.multus.push(found);
        } else {
            let message = format!("more than {MULTUS_LIMIT} configurations of Multus differ");
            self.find(Code::ConfigUnreadable, message);
        }
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
        let files = files.unwrap_or_default();
        if files.len() > FILE_LIMIT {
            let message = format!("`{below}` has more than {FILE_LIMIT} files");
            self.find(Code::ConfigUnreadable, message);
        }
        for file in files.iter().take(FILE_LIMIT) {
            if !file.to_string_lossy().ends_with(".conf") {
                continue;
            }
            let shown = format!("{below}/{}", visible(&file.to_string_lossy()));
            let parse = |what: &str, bytes: &[u8]| cni::parse_plugin(what, bytes, &list_of.version);
            let mut network = match self.read_file(root, &below, file, &shown, parse) {
                Read::Network(network) => network,
                Read::Unusable(finding) => {
                    self.push(finding);
                    continue;
                }
                Read::Nothing => continue,
            };
            for need in &mut network.needs {
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
        parse: impl FnOnce(&str, &[u8]) -> Result<Network, ConfigError>,
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
                parse(&format!("`{shown}`"), &bytes)
                    .map_or_else(|error| Read::Unusable(unparsable(&error)), Read::Network)
            }
            Ok(None) => absent(root, path, name, shown),
            Err(error) if error.is_not_found() => absent(root, path, name, shown),
            // libcni does not read directories.
            Err(DiskError::NotRegular { kind: FileKind::Directory, .. }) => Read::Nothing,
            Err(error) => Read::Unusable(unreadable(&error)),
        }
    }

    /// The names of the networks that Multus finds: those in the directories of its configuration
    /// (`confDir`), and those in directories that the owner names and no runtime reads.
    fn named_networks(
        &self,
        configurations: &Configurations,
        runtimes: &[Runtime],
    ) -> BTreeSet<String> {
        let given = configurations.directories.iter().filter(|path| !is_read(path, runtimes));
        let mut searched: BTreeSet<_> = given.cloned().collect();
        searched.extend(self.multus.iter().filter_map(|multus| multus.configurations.clone()));
        let is_default = |multus: &MultusDirectories| multus.configurations.is_none();
        if self.multus.is_empty() || self.multus.iter().any(is_default) {
            searched.extend(directories::multus());
        }
        let found = self.networks.iter().filter(|(path, _)| searched.contains(path));
        found.flat_map(|(_, names)| names.clone()).collect()
    }

    fn read_definitions(&mut self, name: &str, bytes: &[u8], named: &BTreeSet<String>) {
        let take = |found| self.take_definition(found, named);
        if let Err(error) = cni::each_definition(name, bytes, take) {
            self.push(unparsable(&error));
        }
    }

    fn take_definition(&mut self, definition: AttachmentDefinition, named: &BTreeSet<String>) {
        match definition.network {
            Ok(Some(network)) => self.add(&definition.shown, network),
            Ok(None) if named.contains(&definition.name) => {}
            Ok(None) => {
                let message = format!(
                    "`{}` refers to a CNI configuration on the node, but there is none with that name",
                    definition.shown
                );
                self.push(Finding::refusal(Code::ConfigMissing, message).hint(
                    "Multus looks for it in its `confDir`, /etc/cni/multus/net.d by default: put \
                     the configuration there, or into the definition; with --conf-dir, name that \
                     directory as well",
                ));
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
        for need in network.needs {
            if self.needs.len() == NEED_LIMIT {
                let limit = format!("the configurations name more than {NEED_LIMIT} plugins");
                if self.findings.last().is_none_or(|last| last.message != limit) {
                    self.find(Code::ConfigUnreadable, limit);
                }
                return;
            }
            self.needs.push(WantedPlugin {
                need: need_report(&need, shown.to_owned()),
                first: need.looks_first_in,
                lists: self.lists.clone(),
                decides: self.decides,
            });
        }
    }
}

/// Which runtimes take each file of a directory.
fn takers<'a, N: AsRef<str>>(
    reading: &mut Reading<'_>,
    directory: &'a Directory,
    files: &[(N, String, Result<Network, Finding>)],
) -> Vec<Vec<&'a Reader>> {
    let mut takers = vec![Vec::new(); files.len()];
    for reader in &directory.readers {
        let list = reading.list_of(reader);
        let mut seen = Vec::new();
        for (name, _, read) in files {
            let is_loaded =
                |network: &&Network| network.problems.iter().all(Problem::is_found_late);
            let network = read.as_ref().ok().filter(is_loaded);
            let is_valid = network.is_some_and(|network| {
                network.problems.iter().all(Problem::is_about_name)
                    && reading.is_valid(network, list)
            });
            seen.push(File { network, name: name.as_ref(), is_valid });
        }
        for (takers, takes) in takers.iter_mut().zip(reader.takes(&seen)) {
            takers.extend(takes.then_some(reader));
        }
    }
    takers
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
    if !root.is_link(Path::new(path.as_str()).join(name)) {
        return Read::Nothing;
    }
    let message = format!("`{shown}` is a dangling symbolic link");
    Read::Unusable(Finding::refusal(Code::ConfigUnreadable, message))
}

/// The names in a directory, in libcni's order, up to one past the limit; `None` if it does not
/// exist.
fn list(root: &Root, path: &HostPath) -> Result<Option<Vec<OsString>>, DiskError> {
    // A runtime follows the links of its node, absolute ones too.
    let Some(looked) = root.look_up(path)?.filter(|looked| looked.target.is_some()) else {
        return Ok(None);
    };
    let directory = looked.directory()?;
    let mut names = Vec::new();
    for entry in directory.entries()?.take(FILE_LIMIT + 1) {
        names.push(entry?.name);
    }
    names.sort();
    Ok(Some(names))
}

#[cfg(test)]
mod tests;
