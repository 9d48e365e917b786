//! Which plugins the attachments of this node still need: a pod whose plugin is gone cannot be
//! deleted.
//!
//! Runtimes cache every attachment with its configuration, and call the same plugins again to tear
//! it down. The cache outlives a reboot, and so does the call: an attachment counts even if its
//! container does not run any more. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::root::Root;
use crate::cni::{CACHE_LIMIT, CacheEntry, ConfigError, parse_multus_cache, parse_result_cache};
use crate::disk::{DiskError, FileKind};
use crate::model::{Code, Finding, HostPath, PluginName, visible};
use crate::node::error::NodeError;

/// The most entries that are read of one directory. A node runs some hundred pods; leaks are known
/// to reach thousands.
const ENTRY_LIMIT: usize = 16 * 1024;

/// The most uses of a plugin that are remembered of all entries.
const USE_LIMIT: usize = 64 * 1024;

/// Where runtimes remember attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDirectories {
    /// Result caches of libcni.
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
    /// What is remembered, and not in a way that says which plugins it needs. While there is any,
    /// no plugin is known to be free.
    pub unknown: Vec<Finding>,
}

/// One attachment of a container to a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The container, as the runtime numbers it.
    pub container: String,
    /// The network.
    pub network: String,
    /// The interface in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
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
    /// Who needs a plugin.
    pub fn of(&self, plugin: &PluginName) -> &[Attachment] {
        self.needed.get(plugin).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "container `{}` in network `{}`",
            visible(&self.container),
            visible(&self.network)
        )
    }
}

/// Reads what runtimes remember. It changes nothing.
///
/// # Errors
/// Where a directory or a file cannot be read. What can be read and does not say enough is in
/// [`Attachments::unknown`].
pub fn attachments(root: &Root, caches: &CacheDirectories) -> Result<Attachments, NodeError> {
    let mut found = Attachments::default();
    for path in &caches.results {
        found.read(root, path, &|shown, _, bytes| Ok(vec![parse_result_cache(shown, bytes)?]))?;
    }
    for path in &caches.multus {
        found.read(root, path, &parse_multus_cache)?;
    }
    for users in found.needed.values_mut() {
        users.sort();
        users.dedup();
    }
    Ok(found)
}

/// Parses one file, given its name in messages, its name, and its bytes.
type Parse<'a> = &'a dyn Fn(&str, &str, &[u8]) -> Result<Vec<CacheEntry>, ConfigError>;

impl Attachments {
    fn read(&mut self, root: &Root, path: &HostPath, parse: Parse<'_>) -> Result<(), NodeError> {
        let directory = match root.directory(path) {
            Ok(Some(directory)) => directory,
            Ok(None) => return Ok(()),
            Err(error @ DiskError::NotDirectory { .. }) => {
                self.unknown.push(unknown(error.to_string()));
                return Ok(());
            }
            Err(error) => match error.finding() {
                Some(finding) => {
                    self.unknown.push(finding);
                    return Ok(());
                }
                None => return Err(error.into()),
            },
        };
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
                Err(DiskError::NotRegular { kind, .. }) => {
                    self.unknown.push(unknown(format!("{shown} is {kind}")));
                    continue;
                }
                Err(DiskError::TooLong { limit, .. }) => {
                    let message = format!("{shown} is longer than {limit} bytes");
                    self.unknown.push(unknown(message));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match parse(&shown, &name.to_string_lossy(), &bytes) {
                Ok(entries) => entries.into_iter().for_each(|entry| self.add(&shown, entry)),
                Err(error) => self.unknown.push(unknown(error.to_string())),
            }
        }
        Ok(())
    }

    fn add(&mut self, shown: &str, entry: CacheEntry) {
        let CacheEntry { container, network, interface, needs, .. } = entry;
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
            uses += 1;
            if uses > USE_LIMIT {
                self.unknown.push(unknown(format!(
                    "there are more than {USE_LIMIT} uses of plugins before {shown}"
                )));
                return;
            }
            let (container, network, interface) =
                (container.clone(), network.clone(), interface.clone());
            self.needed.entry(plugin).or_default().push(Attachment {
                container,
                network,
                interface,
            });
        }
    }
}

fn unknown(message: String) -> Finding {
    Finding::refusal(Code::AttachmentUnknown, message)
        .hint("end the pods it belongs to; where they are gone, remove the file")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn result(container: &str, network: &str, config: &str) -> String {
        let config = STANDARD.encode(config);
        format!(
            r#"{{"kind":"cniCacheV1","containerId":"{container}","config":"{config}","ifName":"eth0","networkName":"{network}"}}"#
        )
    }

    fn node() -> (tempfile::TempDir, Root) {
        let temporary = tempfile::tempdir().unwrap();
        for path in ["var/lib/cni/results", "var/lib/cni/multus/results", "var/lib/cni/networks"] {
            std::fs::create_dir_all(temporary.path().join(path)).unwrap();
        }
        let root = Root::open(temporary.path()).unwrap();
        (temporary, root)
    }

    fn told(found: &Attachments) -> (Vec<String>, Vec<&str>) {
        let users = |users: &[Attachment]| {
            users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let needed =
            found.needed.iter().map(|(plugin, all)| format!("{plugin}: {}", users(all))).collect();
        (needed, found.unknown.iter().map(|finding| finding.message.as_str()).collect())
    }

    #[test]
    fn says_for_each_plugin_who_needs_it() {
        let (temporary, root) = node();
        let none = attachments(&root, &CacheDirectories::default()).unwrap();
        assert_eq!(none, Attachments::default());
        let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
        let list = r#"{"plugins":[{"type":"bridge","ipam":{"type":"static"}},{"type":"tuning"}]}"#;
        std::fs::write(at("results/n-c1-eth0"), result("c1", "n", list)).unwrap();
        std::fs::write(at("results/n-c2-eth0"), result("c2", "n", r#"{"type":"bridge"}"#)).unwrap();
        let delegate = r#"{"type":"macvlan","name":"mv"}"#;
        std::fs::write(at("multus/results/mv-c1-net1"), result("c1", "mv", delegate)).unwrap();
        let bytes = STANDARD.encode(delegate);
        std::fs::write(at("multus/c1"), format!(r#"[{{"Name":"demo/mv","Bytes":"{bytes}"}}]"#))
            .unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        let expected = [
            "bridge: container `c1` in network `n`, container `c2` in network `n`",
            "macvlan: container `c1` in network `demo/mv`, container `c1` in network `mv`",
            "static: container `c1` in network `n`",
            "tuning: container `c1` in network `n`",
        ];
        assert_eq!(told(&found), (expected.map(str::to_owned).to_vec(), vec![]));
        assert_eq!(found.of(&"tuning".parse().unwrap()).len(), 1);
        assert_eq!(found.of(&"vlan".parse().unwrap()), []);
    }

    #[test]
    fn reads_what_libcni_and_multus_left() {
        let (temporary, root) = node();
        let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
        // Written by libcni 1.3 (cnitool), and by Multus 4.2.4 with two delegates and by the libcni
        // in it.
        std::fs::write(
            at("results/br-c1-eth0"),
            include_str!("../../../tests/data/cni/result-list.json"),
        )
        .unwrap();
        std::fs::write(at("multus/c2"), include_str!("../../../tests/data/cni/multus-4.2.4.json"))
            .unwrap();
        let delegate = include_str!("../../../tests/data/cni/result-delegate.json");
        std::fs::write(at("multus/results/mv-secondary-c2-net1"), delegate).unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        let first = "container `cnitool-9539caf00070aeae0bd6` in network `br`";
        let (br, mv) =
            ("container `c2` in network `br`", "container `c2` in network `mv-secondary`");
        let again = "container `cnitool-e8cf5da5ab8cb722cfcb` in network `mv-secondary`";
        let expected = [
            format!("bridge: {br}, {first}"),
            format!("host-local: {br}, {first}"),
            format!("macvlan: {mv}, {again}"),
            format!("static: {mv}, {again}"),
            format!("tuning: {br}, {first}"),
        ];
        assert_eq!(told(&found), (expected.to_vec(), vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_never_left_out() {
        let (temporary, root) = node();
        let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
        std::fs::write(at("results/a"), r#"{"cniVersion":"0.3.1"}"#).unwrap();
        std::fs::write(at("results/b"), result("c", "n", r#"{"type":"../../bridge"}"#)).unwrap();
        std::fs::write(at("results/c"), result("c", "n", r#"{"name":"n","plugins":[]}"#)).unwrap();
        symlink("a", at("results/d")).unwrap();
        std::fs::write(at("results/e"), vec![b' '; CACHE_LIMIT + 1]).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("results/f"), rustix::fs::Mode::RWXU).unwrap();
        std::fs::write(at("results/g"), "").unwrap();
        std::fs::write(at("multus/c1\n"), "{}").unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        let of = "the configuration in `/var/lib/cni/results/";
        let expected = [
            "`/var/lib/cni/results/a` is not a cache entry of kind `cniCacheV1`".to_owned(),
            format!(
                "{of}b` does not say what it needs: invalid `type`: plugin name `../../bridge` contains `/`; letters, digits, `-`, `_` and `.` are allowed"
            ),
            format!("{of}c` does not say what it needs: `plugins` must be a non-empty list"),
            "`/var/lib/cni/results/d` is a symbolic link".to_owned(),
            "`/var/lib/cni/results/e` is longer than 1048576 bytes".to_owned(),
            "`/var/lib/cni/results/f` is a FIFO".to_owned(),
            "`/var/lib/cni/results/g` is not valid: EOF while parsing a value at line 1 column 0"
                .to_owned(),
            "`/var/lib/cni/multus/c1\\u{a}` is not a list of delegates".to_owned(),
        ];
        assert_eq!(told(&found), (vec![], expected.iter().map(String::as_str).collect()));
        assert!(
            found
                .unknown
                .iter()
                .all(|finding| finding.code == Code::AttachmentUnknown && finding.is_refusal())
        );
    }

    #[test]
    fn a_cache_that_lies_outside_is_not_opened() {
        let (temporary, root) = node();
        std::fs::remove_dir(temporary.path().join("var/lib/cni/results")).unwrap();
        symlink("/etc", temporary.path().join("var/lib/cni/results")).unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        assert_eq!(
            found.unknown.iter().map(|finding| finding.code).collect::<Vec<_>>(),
            [Code::PathEscapes]
        );
    }
}
