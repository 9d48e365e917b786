//! Whether the runtimes of a node run what is installed: they must search its directories, and find
//! no other file of the same name first. No runtime is contacted, and a file that is found first is
//! not judged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Runtime;
use super::read::runtimes;
use crate::disk::Looked;
use crate::disk::Root;
use crate::model::{Code, Digest, Finding, HostPath, PluginName, and_others};
use crate::node::fact::{Fact, Moment};
use crate::node::host::file::{Sizes, hash_plugin};

/// The plugins that are installed, or about to be, and the content of each.
pub(crate) type PlacedPlugins = BTreeMap<HostPath, BTreeMap<PluginName, PlacedPlugin>>;

/// The content of an installed plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlacedPlugin {
    pub(crate) digest: Digest,
    /// The size of the signed file in bytes.
    pub(crate) size: u64,
}

/// Compares what is installed with what each runtime would call.
pub(crate) fn compare(root: &Root, installed: &PlacedPlugins, moment: Moment) -> Vec<Finding> {
    let known = runtimes(root);
    let mut findings = known.findings;
    let node = Node { root, installed, moment };
    let searched = known.found.iter().any(|runtime| node.place(runtime).is_some());
    if let (false, Some(first)) = (searched || installed.is_empty(), known.found.first()) {
        findings.push(elsewhere(installed, &known.found, first));
    }
    for runtime in &known.found {
        findings.extend(node.shadowed(runtime));
    }
    findings
}

fn elsewhere(installed: &PlacedPlugins, runtimes: &[Runtime], first: &Runtime) -> Finding {
    let list = |paths: &mut dyn Iterator<Item = &HostPath>| {
        let paths: Vec<_> = paths.map(|path| format!("`{path}`")).collect();
        if paths.is_empty() { "no directory".to_owned() } else { paths.join(", ") }
    };
    let looks = |runtime: &Runtime| {
        format!(
            "{} searches {} (`{}`)",
            runtime.name,
            list(&mut runtime.bin_dirs.iter()),
            runtime.config
        )
    };
    let places = list(&mut installed.keys());
    let message = format!(
        "no container runtime on this node searches {places}: {}",
        runtimes.iter().map(looks).collect::<Vec<_>>().join(", ")
    );
    let finding = Finding::warning(Code::RuntimeLooksElsewhere, message);
    match first.bin_dirs.first() {
        Some(path) => {
            finding.hint(format!("install into a directory that it searches: --bin-dir {path}"))
        }
        None => finding,
    }
}

struct Node<'a> {
    root: &'a Root,
    installed: &'a PlacedPlugins,
    moment: Moment,
}

impl Node<'_> {
    /// Where in a runtime's list the first directory is that something is installed in.
    fn place(&self, runtime: &Runtime) -> Option<usize> {
        let ours: Vec<_> = self.installed.keys().map(|path| self.resolved(path)).collect();
        runtime.bin_dirs.iter().position(|path| ours.contains(&self.resolved(path)))
    }

    /// Two names of one directory are the same after every link.
    fn resolved(&self, path: &HostPath) -> PathBuf {
        let looked = self.root.look_up(path).ok().flatten();
        looked.map_or_else(|| PathBuf::from(path.as_str()), |looked| looked.path)
    }

    /// The files that a runtime calls instead of the installed ones: libcni takes the first regular
    /// file of a name, links followed, whatever its mode (`invoke/find.go`).
    fn shadowed(&self, runtime: &Runtime) -> Vec<Finding> {
        let Some(place) = self.place(runtime) else { return Vec::new() };
        let Some(ours) = runtime.bin_dirs.get(place) else { return Vec::new() };
        let wanted = self.wanted(ours);
        let mut findings = Vec::new();
        for earlier in runtime.bin_dirs.iter().take(place) {
            let mut called = Vec::new();
            for (name, plugin) in &wanted {
                let path = format!("{earlier}/{name}");
                let looked = self.root.look_up(&path).ok().flatten();
                if let Some(found) = looked.filter(Looked::is_regular)
                    && !has(&found, plugin)
                {
                    called.push(path);
                }
            }
            findings.extend(shadowing(runtime, ours, &called, self.moment));
        }
        findings
    }

    /// What is installed under either name of this directory.
    fn wanted(&self, ours: &HostPath) -> BTreeMap<&PluginName, &PlacedPlugin> {
        let resolved = self.resolved(ours);
        let same = self.installed.iter().filter(|(path, _)| self.resolved(path) == resolved);
        same.flat_map(|(_, plugins)| plugins).collect()
    }
}

/// Whether another installer's file has the content of this plugin. One of another size is not
/// read, and one that cannot be read may be anything.
fn has(found: &Looked, plugin: &PlacedPlugin) -> bool {
    let hashed = found.open().and_then(|opened| hash_plugin(&opened, &Sizes::one(plugin.size)));
    hashed.is_ok_and(|found| found.digest() == Some(plugin.digest))
}

fn shadowing(
    runtime: &Runtime,
    ours: &HostPath,
    called: &[String],
    moment: Moment,
) -> Option<Finding> {
    let (first, others) = called.split_first()?;
    let others = and_others(others.len());
    let message = format!(
        "{} (`{}`) runs `{first}`{others}, not what is installed in `{ours}`",
        runtime.name, runtime.config
    );
    let directories: Vec<_> = runtime.bin_dirs.iter().map(HostPath::as_str).collect();
    let finding = Fact::Shadowed.finding(moment, Code::Shadowed, message)?;
    Some(
        finding
            .mismatch(format_args!("`{ours}` before all others"), directories.join(", then "))
            .hint("move the other files away, or install into the directory that the runtime searches first, with --bin-dir"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    /// A node whose CRI-O looks in these directories, with files of these paths and contents.
    fn findings(
        plugin_dirs: &str,
        files: &[(&str, &str)],
        bin: &str,
        change: fn(&Path),
    ) -> Vec<Finding> {
        let temporary = tempfile::tempdir().unwrap();
        let config = format!("[crio.network]\nplugin_dirs = {plugin_dirs}\n");
        for (path, text) in [("etc/crio/crio.conf", config.as_str())].iter().chain(files) {
            let path = temporary.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        change(temporary.path());
        let root = Root::open(temporary.path()).unwrap();
        let plugins = [("bridge", "signed bridge"), ("vlan", "signed vlan")];
        let plugins = plugins.map(|(name, text)| {
            let digest = Digest::of(text.as_bytes());
            (name.parse().unwrap(), PlacedPlugin { digest, size: text.len() as u64 })
        });
        let placed = PlacedPlugins::from([(bin.parse().unwrap(), BTreeMap::from(plugins))]);
        compare(&root, &placed, Moment::Install)
    }

    #[test]
    fn says_which_file_a_runtime_calls_instead() {
        let other =
            [("usr/libexec/cni/bridge", "another"), ("usr/libexec/cni/flannel", "not ours")];
        let both = [("usr/libexec/cni/bridge", "another"), ("usr/libexec/cni/vlan", "another")];
        let same = [("usr/libexec/cni/bridge", "signed bridge")];
        let alike = [("usr/libexec/cni/bridge", "forged bridge")];
        let none: fn(&Path) = |_| {};
        let link: fn(&Path) = |root| {
            std::fs::create_dir_all(root.join("usr/libexec/cni")).unwrap();
            std::fs::write(root.join("other"), "another").unwrap();
            symlink("/other", root.join("usr/libexec/cni/bridge")).unwrap();
        };
        let directory: fn(&Path) =
            |root| std::fs::create_dir_all(root.join("usr/libexec/cni/bridge")).unwrap();
        let (before, after) =
            ("['/usr/libexec/cni', '/opt/cni/bin']", "['/opt/cni/bin', '/usr/libexec/cni']");
        let calls = |what: &str| {
            Some(format!(
                "CRI-O (`/etc/crio/crio.conf`) runs {what}, not what is installed in `/opt/cni/bin`"
            ))
        };
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], fn(&Path), Option<String>);
        let cases: [Case<'_>; 8] = [
            (before, &other, none, calls("`/usr/libexec/cni/bridge`")),
            (before, &both, none, calls("`/usr/libexec/cni/bridge` and 1 other")),
            (before, &[], link, calls("`/usr/libexec/cni/bridge`")),
            // Of its size, and others.
            (before, &alike, none, calls("`/usr/libexec/cni/bridge`")),
            // Nothing is reported if the first file has the same bytes, if ours comes first, or if
            // libcni skips it.
            (before, &same, none, None),
            (after, &other, none, None),
            (before, &[], none, None),
            (before, &[], directory, None),
        ];
        for (plugin_dirs, files, change, expected) in cases {
            let found = findings(plugin_dirs, files, "/opt/cni/bin", change);
            let messages: Vec<_> =
                found.iter().map(|finding| (finding.code, finding.message.clone())).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|message| (Code::Shadowed, message)).collect();
            assert_eq!(messages, expected, "{plugin_dirs} {files:?}");
        }
    }

    #[test]
    fn says_where_the_runtimes_search_if_none_searches_here() {
        let found = findings("['/usr/libexec/cni']", &[], "/opt/cni/bin", |_| {});
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(
            finding.to_string(),
            "runtime-looks-elsewhere: no container runtime on this node searches `/opt/cni/bin`: CRI-O searches \
             `/usr/libexec/cni` (`/etc/crio/crio.conf`)\n  hint: install into a directory that it searches: --bin-dir /usr/libexec/cni"
        );
        assert_eq!(findings("['/usr/libexec/cni']", &[], "/usr/libexec/cni", |_| {}), []);
        // One directory under two names is one.
        let linked: fn(&Path) = |root| {
            std::fs::create_dir_all(root.join("opt/cni")).unwrap();
            std::fs::create_dir_all(root.join("usr/libexec/cni")).unwrap();
            symlink("/usr/libexec/cni", root.join("opt/cni/bin")).unwrap();
        };
        assert_eq!(findings("['/usr/libexec/cni']", &[], "/opt/cni/bin", linked), []);
        let found = findings("[]", &[], "/opt/cni/bin", |_| {});
        assert!(
            found[0].message.ends_with("CRI-O searches no directory (`/etc/crio/crio.conf`)"),
            "{found:?}"
        );
    }
}
