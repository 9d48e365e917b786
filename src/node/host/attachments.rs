//! Which plugins the attachments of this node still need: a pod whose plugin is gone cannot be
//! deleted.
//!
//! Runtimes cache every attachment with its configuration, and call the same plugins again to tear
//! it down. The cache outlives a reboot, and so does the call: an attachment counts even if its
//! container does not run any more, as long as its runtime knows it. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::sandboxes::Sandboxes;
use crate::cni::{CACHE_LIMIT, CacheEntry, ConfigError, parse_multus_cache, parse_result_cache};
use crate::disk::Root;
use crate::disk::{Directory, DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, PluginName, and_others, visible};
use crate::node::error::NodeError;

/// The most entries that are read of one directory. A node runs some hundred pods; leaks are known
/// to reach thousands.
const ENTRY_LIMIT: usize = 16 * 1024;

/// The most uses of a plugin that are remembered of all entries.
const USE_LIMIT: usize = 64 * 1024;

/// The directory that all of these are in. Where it is missing, a part of a node says nothing about
/// attachments.
const HOME: &str = "/var/lib/cni";

/// Where runtimes remember attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDirectories {
    /// The directories of libcni's result caches.
    pub results: Vec<HostPath>,
    /// Where Multus keeps a file a container.
    pub multus: Vec<HostPath>,
}

/// The attachments of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachments {
    /// For each plugin, who needs it.
    pub needed: BTreeMap<PluginName, Vec<Attachment>>,
    /// Records that cannot be seen, or do not say which plugins they need. As long as there is one,
    /// no plugin is known to be unused.
    pub unknown: Vec<Finding>,
    /// The records of sandboxes that are gone: no runtime calls a plugin for them.
    pub stale: Vec<String>,
}

/// One attachment of a container to a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The container, as the runtime numbers it.
    pub container: String,
    /// The name of the network in CNI configuration.
    pub network: String,
    /// The interface in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The pod, as `namespace/name`, if a record names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

impl Default for CacheDirectories {
    /// libcni's own, the one of CNI 0.7, and Multus' `cniDir`, in which its delegates have a result
    /// cache as well.
    fn default() -> Self {
        let paths = |paths: &[&str]| paths.iter().filter_map(|path| path.parse().ok()).collect();
        Self {
            results: paths(&[
                "/var/lib/cni/results",
                "/var/lib/cni/cache/results",
                "/var/lib/cni/multus/results",
            ]),
            multus: paths(&["/var/lib/cni/multus"]),
        }
    }
}

impl Attachments {
    /// The attachments that need a plugin.
    pub fn of(&self, plugin: &PluginName) -> &[Attachment] {
        self.needed.get(plugin).map_or(&[], Vec::as_slice)
    }

    /// Says which records do not count.
    pub(crate) fn about_stale(&self) -> Option<Finding> {
        let (first, others) = self.stale.split_first()?;
        let message = format!(
            "{first}{} belongs to a pod that is gone: it has no network namespace, and no runtime knows it",
            and_others(others.len())
        );
        let finding = Finding::note(Code::AttachmentStale, message);
        Some(finding.hint("nothing uses the record anymore; it can be removed"))
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (container, network) = (visible(&self.container), visible(&self.network));
        match &self.pod {
            Some(pod) => {
                write!(f, "pod `{}` (container `{container}`) in network `{network}`", visible(pod))
            }
            None => write!(f, "container `{container}` in network `{network}`"),
        }
    }
}

/// Reads what runtimes remember. It changes nothing.
///
/// # Errors
/// If nothing could be read now, for want of memory for example. What cannot be seen, and what can
/// be read and does not say enough, is in [`Attachments::unknown`].
pub fn attachments(root: &Root, caches: &CacheDirectories) -> Result<Attachments, NodeError> {
    let mut reader = Reader { root, records: Vec::new(), unknown: Vec::new() };
    if !reader.sees_all() {
        return Ok(Attachments { unknown: reader.unknown, ..Attachments::default() });
    }
    for path in &caches.results {
        reader.read(path, Origin::Libcni, &|shown, _, bytes| {
            Ok(vec![parse_result_cache(shown, bytes)?])
        })?;
    }
    for path in &caches.multus {
        reader.read(path, Origin::Multus, &parse_multus_cache)?;
    }
    Ok(reader.finish())
}

/// Parses one file, given its name in messages, its name, and its bytes.
type Parse<'a> = &'a dyn Fn(&str, &str, &[u8]) -> Result<Vec<CacheEntry>, ConfigError>;

/// Who wrote a record. libcni writes one of each delegate of Multus as well, in Multus' own cache:
/// both are of one attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Libcni,
    Multus,
}

struct Record {
    origin: Origin,
    shown: String,
    entry: CacheEntry,
}

struct Reader<'a> {
    root: &'a Root,
    records: Vec<Record>,
    unknown: Vec<Finding>,
}

impl Reader<'_> {
    /// Whether what is not here is not on the node either. In a container that has only some of the
    /// node's directories, the records may be on the node and not be seen.
    fn sees_all(&mut self) -> bool {
        let home = self.root.look_up(HOME);
        if self.root.is_whole() || home.is_ok_and(|home| home.is_some_and(|it| it.target.is_some()))
        {
            return true;
        }
        let root = self.root.shown();
        let message = format!(
            "the records of attachments cannot be seen: `{root}` is only part of the node's file system, without `{HOME}`"
        );
        let hint = format!("give this process the node's `{HOME}`, in a pod as a hostPath volume");
        self.unknown.push(Finding::refusal(Code::AttachmentUnknown, message).hint(hint));
        false
    }

    fn read(&mut self, path: &HostPath, origin: Origin, parse: Parse<'_>) -> Result<(), NodeError> {
        let Some(directory) = self.open(path)? else { return Ok(()) };
        let mut names = Vec::new();
        for entry in directory.entries()? {
            let entry = entry?;
            // Multus has its result cache in the same directory.
            if entry.kind == FileKind::Directory {
                continue;
            }
            if names.len() == ENTRY_LIMIT {
                self.unknown.push(unknown(format!("`{path}` has more than {ENTRY_LIMIT} entries")));
                break;
            }
            names.push(entry.name);
        }
        names.sort();
        for name in names {
            let shown = format!("`{path}/{}`", visible(&name.to_string_lossy()));
            let bytes = match directory.read(&name, CACHE_LIMIT) {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) => {
                    let message = why(&shown, &error).ok_or(error)?;
                    self.unknown.push(unknown(message));
                    continue;
                }
            };
            match parse(&shown, &name.to_string_lossy(), &bytes) {
                Ok(entries) => self.records.extend(entries.into_iter().map(|entry| Record {
                    origin,
                    shown: shown.clone(),
                    entry,
                })),
                Err(error) => self.unknown.push(unknown(error.to_string())),
            }
        }
        Ok(())
    }

    fn open(&mut self, path: &HostPath) -> Result<Option<Directory>, NodeError> {
        self.root.directory(path).or_else(|error| {
            let finding = match error.finding() {
                Some(finding) => finding,
                None if matches!(error, DiskError::NotDirectory { .. }) => {
                    unknown(error.to_string())
                }
                None => unknown(why(&format!("`{path}`"), &error).ok_or(error)?),
            };
            self.unknown.push(finding);
            Ok(None)
        })
    }

    /// What the records say together: one of a container completes another one of it.
    fn finish(self) -> Attachments {
        let Self { root, records, unknown } = self;
        let sandboxes = Sandboxes::look(root);
        let mut found = Attachments { unknown, ..Attachments::default() };
        let mut namespaces = BTreeMap::new();
        let mut pods = BTreeMap::new();
        for CacheEntry { container, namespace, pod, .. } in records.iter().map(|it| &it.entry) {
            namespaces.extend(namespace.clone().map(|path| (container.clone(), path)));
            pods.extend(pod.clone().map(|pod| (container.clone(), pod)));
        }
        let mut gone = BTreeMap::new();
        for Record { origin, shown, entry } in records {
            let namespace = namespaces.get(&entry.container).map(String::as_str);
            let is_gone = *gone
                .entry(entry.container.clone())
                .or_insert_with(|| sandboxes.is_gone(&entry.container, namespace));
            let pod = pods.get(&entry.container).cloned();
            match is_gone {
                true if found.stale.last() != Some(&shown) => found.stale.push(shown),
                true => {}
                false => found.add(&shown, origin, CacheEntry { pod, ..entry }),
            }
        }
        for users in found.needed.values_mut() {
            users.sort();
            users.dedup();
        }
        found
    }
}

impl Attachments {
    fn add(&mut self, shown: &str, origin: Origin, entry: CacheEntry) {
        let CacheEntry { container, network, interface, pod, needs, .. } = entry;
        // A type that is a path may well lead to one of our plugins.
        let problems = needs.problems.iter().map(ToString::to_string);
        let nothing = needs.needs.is_empty().then(|| "it names no plugin".to_owned());
        for problem in problems.chain(nothing).take(1) {
            self.unknown.push(unknown(format!(
                "the configuration in {shown} does not say what it needs: {problem}"
            )));
        }
        let mut uses: usize = self.needed.values().map(Vec::len).sum();
        for plugin in needs.needs.into_iter().map(|need| need.plugin).collect::<BTreeSet<_>>() {
            let users = self.needed.entry(plugin).or_default();
            let is_same = |user: &Attachment| {
                user.container == container
                    && (user.network == network || Some(&user.network) == needs.name.as_ref())
            };
            if origin == Origin::Multus && users.iter().any(is_same) {
                continue;
            }
            uses += 1;
            if uses > USE_LIMIT {
                self.unknown.push(unknown(format!(
                    "{shown} and later records were not read: there are more than {USE_LIMIT} uses of plugins"
                )));
                return;
            }
            users.push(Attachment {
                container: container.clone(),
                network: network.clone(),
                interface: interface.clone(),
                pod: pod.clone(),
            });
        }
    }
}

/// Why one directory or file says nothing; `None` if nothing at all can be read now.
fn why(shown: &str, error: &DiskError) -> Option<String> {
    match error {
        DiskError::NotRegular { kind, .. } => Some(format!("{shown} is {kind}")),
        DiskError::TooLong { limit, .. } => Some(format!("{shown} is longer than {limit} bytes")),
        error => error.of_one_file().map(|reason| format!("{shown} cannot be read: {reason}")),
    }
}

fn unknown(message: String) -> Finding {
    Finding::refusal(Code::AttachmentUnknown, message)
        .hint("delete the pods it belongs to; if they are already gone, remove the file")
}

#[cfg(test)]
mod tests;
