//! Finding the configuration files of each runtime under the node's root. The formats parse them;
//! flags and environment of running runtimes are not inspected.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::{
    DEFAULT_BIN, DEFAULT_CONFIGURATION, FILE_LIMIT, MAX_FILES, Networks, Runtime, Runtimes,
};
use crate::cni::runtime::{Containerd, Crio, RuntimeConfigError};
use crate::disk::DiskError;
use crate::disk::Root;
use crate::model::{Code, Finding, HostPath, visible};

/// Where containerd has its configuration, by who brings it.
const CONTAINERD: [(&str, &str); 5] = [
    ("containerd", "/etc/containerd/config.toml"),
    ("k3s", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml"),
    ("rke2", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml"),
    ("k0s", "/etc/k0s/containerd.toml"),
    // Made from `containerd-template.toml` beside it, with the paths of the snap.
    ("MicroK8s", "/var/snap/microk8s/current/args/containerd.toml"),
];
/// The most names of a directory that are read.
const MAX_NAMES: usize = 4096;
const CRIO: &str = "/etc/crio/crio.conf";
const CRIO_DIRECTORY: &str = "/etc/crio/crio.conf.d";

/// Reads the configuration of every runtime that has one. A runtime without any does what it does
/// by default, which nothing on the node tells.
pub fn runtimes(root: &Root) -> Runtimes {
    let mut reader = Reader { root, findings: Vec::new() };
    let mut found: Vec<_> = CONTAINERD
        .into_iter()
        .filter_map(|(name, path)| reader.containerd(name, Path::new(path)))
        .collect();
    found.extend(reader.crio());
    Runtimes { found, findings: reader.findings }
}

struct Reader<'a> {
    root: &'a Root,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn containerd(&mut self, name: &'static str, path: &Path) -> Option<Runtime> {
        let mut config = Containerd::default();
        let mut pending = VecDeque::from([path.to_owned()]);
        let mut loaded = BTreeSet::new();
        while let Some(next) = pending.pop_front() {
            if loaded.contains(&next) {
                continue;
            }
            if loaded.len() == MAX_FILES {
                self.cannot(path, &format!("it imports more than {MAX_FILES} files"));
                break;
            }
            let is_first = loaded.is_empty();
            loaded.insert(next.clone());
            let bytes = match self.read(&next) {
                Ok(Some(bytes)) => bytes,
                Ok(None) if is_first => return None,
                Ok(None) => {
                    self.cannot(
                        &next,
                        &format!("`{}` imports it, but it does not exist", path.display()),
                    );
                    continue;
                }
                Err(error) => {
                    self.cannot(&next, &error);
                    continue;
                }
            };
            match Containerd::parse(&bytes) {
                Ok(mut file) => {
                    let directory = next.parent().unwrap_or(Path::new("/"));
                    for import in std::mem::take(&mut file.imports) {
                        pending.extend(self.expand(&directory.join(import)));
                    }
                    config.merge(file);
                }
                Err(error) => self.not_understood(&next, &error),
            }
        }
        if config.is_without_pods {
            return None;
        }
        let mut bin_dirs: Vec<_> = config.directories().collect();
        if bin_dirs.is_empty() {
            bin_dirs.push(DEFAULT_BIN);
        }
        let networks = Networks::First(match config.max_conf_num {
            Some(0) => usize::MAX,
            Some(most) => most as usize,
            None => 1,
        });
        self.runtime(name, path, &bin_dirs, config.conf_dir.as_deref(), networks)
    }

    fn crio(&mut self) -> Option<Runtime> {
        let drop_ins = self.below(Path::new(CRIO_DIRECTORY));
        let mut first = None;
        let mut config = Crio::default();
        for path in std::iter::once(PathBuf::from(CRIO)).chain(drop_ins) {
            match self.read(&path) {
                Ok(Some(bytes)) => match Crio::parse(&bytes) {
                    Ok(file) => config.merge(file),
                    Err(error) => self.not_understood(&path, &error),
                },
                Ok(None) => continue,
                Err(error) => self.cannot(&path, &error),
            }
            first.get_or_insert(path);
        }
        let networks = Networks::Usable(config.cni_default_network.clone());
        let bin_dirs = config.directories(DEFAULT_BIN);
        self.runtime("CRI-O", &first?, &bin_dirs, config.network_dir.as_deref(), networks)
    }

    fn runtime(
        &mut self,
        name: &'static str,
        config: &Path,
        bin: &[&str],
        conf: Option<&str>,
        networks: Networks,
    ) -> Option<Runtime> {
        let mut bin_dirs: Vec<HostPath> = Vec::new();
        for path in bin.iter().filter_map(|path| self.path(config, path)).collect::<Vec<_>>() {
            if !bin_dirs.contains(&path) {
                bin_dirs.push(path);
            }
        }
        let conf_dir = self.path(config, conf.unwrap_or(DEFAULT_CONFIGURATION))?;
        let config = self.path(config, &config.to_string_lossy())?;
        Some(Runtime { name, config, bin_dirs, conf_dir, networks })
    }

    fn path(&mut self, config: &Path, text: &str) -> Option<HostPath> {
        match text.parse() {
            Ok(path) => Some(path),
            Err(error) => {
                let error: crate::model::ParseHostPathError = error;
                self.cannot(config, &error.to_string());
                None
            }
        }
    }

    /// Reads one file; `None` if it does not exist.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        let read = || {
            let looked = self.root.look_up(path)?;
            looked.map(|looked| looked.read(FILE_LIMIT)).transpose()
        };
        match read() {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.with_cause()),
        }
    }

    /// The files that an import names. As containerd does it, only `*` makes a pattern.
    fn expand(&mut self, path: &Path) -> Vec<PathBuf> {
        let path = clean(path);
        let text = path.to_string_lossy().into_owned();
        if !text.contains('*') {
            return vec![path];
        }
        let (Some(directory), Some(pattern)) =
            (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Vec::new();
        };
        if directory.to_string_lossy().contains('*') || pattern.contains(['[', '\\']) {
            self.cannot(&path, "only `*` and `?` in the last part of an import are supported");
            return Vec::new();
        }
        let matching = |name: &String| matches(pattern.as_bytes(), name.as_bytes());
        self.names(directory)
            .into_iter()
            .filter(matching)
            .map(|name| directory.join(name))
            .collect()
    }

    /// Every file below a directory, in the order of their names; links to directories are not
    /// followed.
    fn below(&mut self, directory: &Path) -> Vec<PathBuf> {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let mut pending = vec![directory.to_owned()];
        while let Some(path) = pending.pop() {
            looked_at += 1;
            if found.len() == MAX_FILES || looked_at > MAX_NAMES {
                self.cannot(directory, &format!("it contains more than {MAX_FILES} files"));
                break;
            }
            let is_directory = path == directory
                || self
                    .root
                    .look_up(&path)
                    .ok()
                    .flatten()
                    .is_some_and(|at| at.is_directory() && !at.linked);
            if is_directory {
                let inside: Vec<_> =
                    self.names(&path).into_iter().map(|name| path.join(name)).collect();
                pending.extend(inside.into_iter().rev());
            } else {
                found.push(path);
            }
        }
        found
    }

    /// The names in a directory, in order; none if it does not exist.
    fn names(&mut self, path: &Path) -> Vec<String> {
        let list = || -> Result<Vec<String>, DiskError> {
            let looked = self.root.look_up(path)?.filter(crate::disk::Looked::is_directory);
            let Some(looked) = looked else { return Ok(Vec::new()) };
            let directory = looked.directory()?;
            let mut names = Vec::new();
            // Which of them come first is known when all are read; the runtime would read as many.
            for entry in directory.entries()?.take(MAX_NAMES) {
                names.extend(entry?.name.into_string());
            }
            names.sort();
            Ok(names)
        };
        list().unwrap_or_else(|error| {
            self.cannot(path, &error.with_cause());
            Vec::new()
        })
    }

    fn cannot(&mut self, path: &Path, reason: &str) {
        let path = path.to_string_lossy();
        let message = format!(
            "cannot determine where a runtime searches for plugins: `{}`: {reason}",
            visible(&path)
        );
        self.findings.push(Finding::warning(Code::RuntimeConfigUnreadable, message));
    }

    fn not_understood(&mut self, path: &Path, error: &RuntimeConfigError) {
        self.cannot(path, &error.to_string());
    }
}

/// A path without `.`, and with each `..` taken back by name, as Go's `filepath.Clean` does it.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => cleaned.push(name),
            std::path::Component::ParentDir => drop(cleaned.pop()),
            _ => {}
        }
    }
    cleaned
}

/// Whether a name matches a pattern of `*` and `?`. Each `*` is tried again at most once a byte.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == name.get(seen) => {
                at += 1;
                seen += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A node with these files.
    fn node(files: &[(&str, &str)]) -> tempfile::TempDir {
        let temporary = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = temporary.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        temporary
    }

    fn look(node: &tempfile::TempDir) -> (Vec<String>, Vec<String>) {
        let root = Root::open(node.path()).unwrap();
        let Runtimes { found, findings } = runtimes(&root);
        let line = |it: &Runtime| {
            let bin: Vec<_> = it.bin_dirs.iter().map(HostPath::as_str).collect();
            format!("{} {} {} {}", it.name, it.config, bin.join(":"), it.conf_dir)
        };
        let found = found.iter().map(line).collect();
        let root = node.path().to_str().unwrap();
        (found, findings.iter().map(|it| it.message.replace(root, "ROOT")).collect())
    }

    const V2: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\n";
    const CONFIG: &str = "etc/containerd/config.toml";

    #[test]
    fn finds_every_runtime_that_is_configured() {
        let k3s = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dirs = [\"/var/lib/rancher/k3s/data/cni\"]\n  conf_dir = \"/var/lib/rancher/k3s/agent/etc/cni/net.d\"\n";
        let node = node(&[
            (CONFIG, &format!("{V2}bin_dir = '/usr/lib/cni'\n")),
            ("var/lib/rancher/k3s/agent/etc/containerd/config.toml", k3s),
            (
                "etc/crio/crio.conf.d/20-b.conf",
                "[crio.network]\nplugin_dirs = ['/usr/libexec/cni/', '/opt/cni/bin/']",
            ),
            (
                "etc/crio/crio.conf.d/10-a.conf",
                "[crio.network]\nplugin_dirs = ['/a']\nnetwork_dir = '/etc/crio/net.d'",
            ),
        ]);
        let (found, findings) = look(&node);
        assert_eq!(
            found,
            [
                "containerd /etc/containerd/config.toml /usr/lib/cni /etc/cni/net.d",
                "k3s /var/lib/rancher/k3s/agent/etc/containerd/config.toml /var/lib/rancher/k3s/data/cni \
                 /var/lib/rancher/k3s/agent/etc/cni/net.d",
                "CRI-O /etc/crio/crio.conf.d/10-a.conf /usr/libexec/cni:/opt/cni/bin /etc/crio/net.d",
            ]
        );
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(look(&super::tests::node(&[])), (vec![], vec![]));
    }

    #[test]
    fn what_says_nothing_is_the_default_and_what_is_for_docker_is_no_runtime() {
        let at = |text: &str| look(&node(&[(CONFIG, text)]));
        let default = "containerd /etc/containerd/config.toml /opt/cni/bin /etc/cni/net.d";
        assert_eq!(at("version = 2\n"), (vec![default.to_owned()], vec![]));
        assert_eq!(at("disabled_plugins = [\"cri\"]\n"), (vec![], vec![]));
        assert_eq!(
            look(&node(&[("etc/crio/crio.conf", "[crio]\n")])),
            (vec!["CRI-O /etc/crio/crio.conf /opt/cni/bin /etc/cni/net.d".to_owned()], vec![])
        );
    }

    #[test]
    fn reads_what_the_package_and_the_program_write() {
        let at = |text: &str| look(&node(&[(CONFIG, text)]));
        let line = |bin: &str| {
            vec![format!("containerd /etc/containerd/config.toml {bin} /etc/cni/net.d")]
        };
        assert_eq!(
            at(include_str!("../../../../tests/data/runtime/debian-12.toml")),
            (line("/usr/lib/cni"), vec![])
        );
        assert_eq!(
            at(include_str!("../../../../tests/data/runtime/default-1.6.toml")),
            (line("/opt/cni/bin"), vec![])
        );
    }

    #[test]
    fn imports_are_read_in_order_and_once() {
        let node = node(&[
            (
                CONFIG,
                "version = 2\nimports = ['/etc/containerd/conf.d/*.toml', '../more/last.toml', 'config.toml']\n",
            ),
            ("etc/containerd/conf.d/20-b.toml", &format!("{V2}bin_dir = '/b'\n")),
            ("etc/containerd/conf.d/10-a.toml", &format!("{V2}bin_dir = '/a'\nconf_dir = '/c'\n")),
            ("etc/containerd/conf.d/30-c.toml.off", &format!("{V2}bin_dir = '/off'\n")),
            (
                "etc/more/last.toml",
                &format!("imports = ['/etc/containerd/config.toml']\n{V2}conf_dir = '/d'\n"),
            ),
        ]);
        let expected = "containerd /etc/containerd/config.toml /b /d";
        assert_eq!(look(&node), (vec![expected.to_owned()], vec![]));
    }

    #[test]
    fn follows_the_links_of_the_node_and_none_that_leaves_it() {
        let node = node(&[("etc/static/config.toml", &format!("{V2}bin_dir = '/inside'\n"))]);
        std::fs::create_dir(node.path().join("etc/containerd")).unwrap();
        let config = node.path().join(CONFIG);
        let expected = "containerd /etc/containerd/config.toml /inside /etc/cni/net.d";
        for target in [
            "/etc/static/config.toml",
            "../static/config.toml",
            "../../../../../etc/static/config.toml",
        ] {
            drop(std::fs::remove_file(&config));
            symlink(target, &config).unwrap();
            assert_eq!(look(&node), (vec![expected.to_owned()], vec![]), "{target}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_reported_and_does_not_hide_the_rest() {
        let sure = "cannot determine where a runtime searches for plugins: ";
        let default = |bin: &str| {
            vec![format!("containerd /etc/containerd/config.toml {bin} /etc/cni/net.d")]
        };
        let v2 = |text: &str| format!("{V2}{text}\n");
        let cases = [
            ("version = {".to_owned(), "/opt/cni/bin", "line 1: "),
            (
                format!("imports = ['gone.toml']\n{}", v2("bin_dir = '/a'")),
                "/a",
                "`/etc/containerd/gone.toml`: `/etc/containerd/config.toml` imports it, but it does not exist",
            ),
            (
                format!("imports = ['/etc/*/x.toml']\n{}", v2("bin_dir = '/a'")),
                "/a",
                "`/etc/*/x.toml`: only `*` and `?` in the last part",
            ),
            (v2("bin_dir = 'relative'"), "", "`relative` is not a valid path on the node"),
            (v2("bin_dir = '/a/../b'"), "", "`/a/../b` is not a valid path on the node"),
            ("#".repeat(FILE_LIMIT + 1), "/opt/cni/bin", "is longer than 262144 bytes"),
        ];
        for (text, bin, expected) in cases {
            let (found, findings) = look(&node(&[(CONFIG, &text)]));
            assert_eq!(found, default(bin), "{expected}");
            let [finding] = findings.as_slice() else { panic!("{expected}: {findings:?}") };
            assert!(finding.starts_with(sure) && finding.contains(expected), "{finding}");
        }
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let files: Vec<_> = (0..200)
            .map(|number| (format!("etc/crio/crio.conf.d/{number:03}"), "[crio]"))
            .collect();
        let mut files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        files.push((CONFIG, "imports = ['../crio/crio.conf.d/*']\n"));
        let (found, findings) = look(&node(&files));
        assert_eq!(found.len(), 2);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].contains("imports more than 64 files"), "{findings:?}");
        assert!(findings[1].contains("contains more than 64 files"), "{findings:?}");
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.off", false),
            ("*", "anything", true),
            ("1?-*.toml", "10-a.toml", true),
            ("1?-*.toml", "1-a.toml", false),
            ("a*b*c", "axxbxxbxc", true),
            ("a*b*c", "axxbxx", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(!matches("*a".repeat(500).as_bytes(), "a".repeat(499).as_bytes()));
    }
}
