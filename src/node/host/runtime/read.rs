//! Finding the configuration files of each runtime under the node's root. The formats parse them;
//! flags and environment of running runtimes are not inspected.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::files::{MAX_NAMES, Reader, clean};
use super::{DEFAULT_BIN, DEFAULT_CONFIGURATION, MAX_FILES, Networks, Runtime, Runtimes};
use crate::cni::runtime::{Containerd, Crio, data_dir};
use crate::disk::Root;
use crate::model::HostPath;

/// Where containerd has its configuration, by who brings it, and where its own configuration may
/// name another directory for its data.
const CONTAINERD: [(&str, &str, Option<&str>); 5] = [
    ("containerd", "/etc/containerd/config.toml", None),
    ("k3s", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", Some("/etc/rancher/k3s")),
    ("rke2", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml", Some("/etc/rancher/rke2")),
    ("k0s", "/etc/k0s/containerd.toml", None),
    // Made from `containerd-template.toml` beside it, with the paths of the snap.
    ("MicroK8s", "/var/snap/microk8s/current/args/containerd.toml", None),
];
/// Where k3s and RKE2 write containerd's configuration in the directory of their data.
const BELOW_DATA: &str = "agent/etc/containerd/config.toml";
const CRIO: &str = "/etc/crio/crio.conf";
const CRIO_DIRECTORY: &str = "/etc/crio/crio.conf.d";

/// Reads the configuration of every runtime that has one. A runtime without any does what it does
/// by default, which nothing on the node tells.
pub fn runtimes(root: &Root) -> Runtimes {
    let mut reader = Reader { root, findings: Vec::new() };
    let mut found: Vec<_> = CONTAINERD
        .into_iter()
        .filter_map(|(name, path, settings)| {
            let data = settings.and_then(|folder| reader.data_dir(Path::new(folder)));
            let moved = data.map(|data| data.join(BELOW_DATA));
            reader.containerd(name, moved.as_deref().unwrap_or(Path::new(path)))
        })
        .collect();
    found.extend(reader.crio());
    Runtimes { found, findings: reader.findings }
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
                        if pending.len() > MAX_NAMES {
                            self.cannot(path, &format!("it imports more than {MAX_NAMES} files"));
                            pending.truncate(MAX_NAMES);
                            break;
                        }
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

    /// Where k3s or RKE2 is told to keep its data (`data-dir`) by the settings in a folder: a
    /// drop-in counts more than the file, and a later one more.
    fn data_dir(&mut self, folder: &Path) -> Option<PathBuf> {
        let drop_ins = folder.join("config.yaml.d");
        let mut names = self.names(&drop_ins);
        names.retain(|name| name.ends_with(".yaml") || name.ends_with(".yml"));
        if names.len() > MAX_FILES {
            self.cannot(&drop_ins, &format!("it contains more than {MAX_FILES} files"));
            names.truncate(MAX_FILES);
        }
        let mut data = None;
        for path in std::iter::once(folder.join("config.yaml"))
            .chain(names.iter().map(|name| drop_ins.join(name)))
        {
            match self.read(&path) {
                Ok(bytes) => {
                    let found = bytes.as_deref().and_then(data_dir).map(PathBuf::from);
                    data = found.filter(|path| path.is_absolute()).or(data);
                }
                Err(error) => self.cannot(&path, &error),
            }
        }
        data
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
        let networks = Networks::Usable(config.default_network().map(str::to_owned));
        let bin_dirs = config.directories(DEFAULT_BIN);
        self.runtime("CRI-O", &first?, &bin_dirs, config.network_dir(), networks)
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

    /// A path as a runtime reads it: `.`, `..` and several slashes are no mistake.
    fn path(&mut self, config: &Path, text: &str) -> Option<HostPath> {
        let cleaned = match text.starts_with('/') {
            true => clean(Path::new(text)).to_string_lossy().into_owned(),
            false => text.to_owned(),
        };
        match cleaned.parse() {
            Ok(path) => Some(path),
            Err(error) => {
                let error: crate::model::ParseHostPathError = error;
                self.cannot(config, &error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::FILE_LIMIT;
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
    fn the_data_of_k3s_may_be_elsewhere() {
        let config = |conf_dir: &str| format!("{V2}conf_dir = '{conf_dir}'\n");
        let usual = "var/lib/rancher/k3s/agent/etc/containerd/config.toml";
        for (files, expected) in [
            (
                vec![],
                "k3s /var/lib/rancher/k3s/agent/etc/containerd/config.toml /opt/cni/bin /usual",
            ),
            (
                vec![("etc/rancher/k3s/config.yaml", "data-dir: /data/a\n")],
                "k3s /data/a/agent/etc/containerd/config.toml /opt/cni/bin /a",
            ),
            (
                vec![
                    ("etc/rancher/k3s/config.yaml", "data-dir: /data/a\n"),
                    ("etc/rancher/k3s/config.yaml.d/1.yaml", "data-dir: \"/data/b\"\n"),
                    ("etc/rancher/k3s/config.yaml.d/2.yaml", "token: x\n"),
                    ("etc/rancher/k3s/config.yaml.d/3.off", "data-dir: /data/c\n"),
                ],
                "k3s /data/b/agent/etc/containerd/config.toml /opt/cni/bin /b",
            ),
            (
                vec![("etc/rancher/rke2/config.yaml", "data-dir: /data/a\n")],
                "k3s /var/lib/rancher/k3s/agent/etc/containerd/config.toml /opt/cni/bin /usual",
            ),
        ] {
            let (one, two, three) = (config("/usual"), config("/a"), config("/b"));
            let mut all = files;
            all.push((usual, &one));
            all.push(("data/a/agent/etc/containerd/config.toml", &two));
            all.push(("data/b/agent/etc/containerd/config.toml", &three));
            let (found, findings) = look(&node(&all));
            assert_eq!((found[0].as_str(), findings), (expected, vec![]));
        }
    }

    #[test]
    fn paths_are_cleaned_as_the_runtime_cleans_them() {
        for (conf_dir, expected) in [
            ("/etc/./x//", "/etc/x"),
            ("/etc/cni/../x", "/etc/x"),
            ("//etc/x/.", "/etc/x"),
            ("/../etc/x/y/..", "/etc/x"),
        ] {
            let text = format!("{V2}conf_dir = '{conf_dir}'\nbin_dir = '/a/../b/'\n");
            let expected = format!("containerd /etc/containerd/config.toml /b {expected}");
            assert_eq!(look(&node(&[(CONFIG, &text)])), (vec![expected], vec![]), "{conf_dir}");
            let text = format!("[crio.network]\nnetwork_dir = '{conf_dir}'\n");
            let (found, findings) = look(&node(&[("etc/crio/crio.conf", &text)]));
            assert!(found[0].ends_with(" /etc/x") && findings.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn an_import_may_be_a_pattern_in_every_part() {
        for (import, expected) in [
            ("/etc/containerd/conf.d/[0-9]*.toml", "/b /c"),
            ("/etc/*/conf.d/2*.toml", "/b /etc/cni/net.d"),
            ("/e[st]c/conta?nerd/*.d/[^2-9x]*.toml", "/a /c"),
            ("conf.*/*.toml", "/x /c"),
            ("conf.d/[0-9].toml", "/opt/cni/bin /etc/cni/net.d"),
            ("/etc/*/none/*.toml", "/opt/cni/bin /etc/cni/net.d"),
            ("/etc/*/conf.d/10-a.toml", "/a /c"),
            ("/etc/*/conf.d/11-a.toml", "/opt/cni/bin /etc/cni/net.d"),
        ] {
            let main = format!("version = 2\nimports = ['{import}']\n");
            let node = node(&[
                (CONFIG, &main),
                (
                    "etc/containerd/conf.d/10-a.toml",
                    &format!("{V2}bin_dir = '/a'\nconf_dir = '/c'\n"),
                ),
                ("etc/containerd/conf.d/20-b.toml", &format!("{V2}bin_dir = '/b'\n")),
                ("etc/containerd/conf.d/x.toml", &format!("{V2}bin_dir = '/x'\n")),
                ("etc/other/readme", ""),
            ]);
            // A file without the name `[0-9].toml` is missing: that is no pattern without a `*`.
            let (found, findings) = look(&node);
            let is_literal = import == "conf.d/[0-9].toml";
            assert_eq!(findings.len(), usize::from(is_literal), "{import}: {findings:?}");
            let expected = format!("containerd /etc/containerd/config.toml {expected}");
            assert_eq!(found, [expected], "{import}");
        }
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
            (v2("bin_dir = 'relative'"), "", "`relative` is not a valid path on the node"),
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
    fn a_configuration_that_is_a_link_to_nothing_is_reported() {
        let of_crio = "etc/crio/crio.conf.d/a.conf";
        for (path, target) in
            [(CONFIG, "/nowhere/config.toml"), (CONFIG, "config.toml"), (of_crio, "b.conf")]
        {
            let node = node(&[]);
            let link = node.path().join(path);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
            let (_, findings) = look(&node);
            let [told] = &findings[..] else { panic!("{path}: {findings:?}") };
            let expected = format!("`/{path}` is a symbolic link, expected a regular file");
            assert!(told.ends_with(&expected), "{told}");
        }
    }

    #[test]
    fn no_name_and_no_import_is_left_out_in_silence() {
        let many = |folder: &str, count: usize| {
            let node = node(&[("etc/crio/crio.conf", "[crio]")]);
            std::fs::create_dir_all(node.path().join(folder)).unwrap();
            for number in 0..count {
                let path = node.path().join(format!("{folder}/{number:04}.yaml"));
                std::fs::write(path, "").unwrap();
            }
            look(&node).1
        };
        let drop_ins = "etc/rancher/k3s/config.yaml.d";
        assert_eq!(many(drop_ins, MAX_FILES), [""; 0]);
        let [told] = &many(drop_ins, MAX_FILES + 1)[..] else { panic!("not one") };
        assert!(told.ends_with("/config.yaml.d`: it contains more than 64 files"), "{told}");
        let [names, files] = &many(drop_ins, MAX_NAMES + 1)[..] else { panic!("not two") };
        assert!(names.ends_with("/config.yaml.d`: it contains more than 4096 names"), "{names}");
        assert!(files.ends_with("it contains more than 64 files"), "{files}");
        let node = node(&[(CONFIG, "version = 2\nimports = ['/many/*', '/more/*']\n")]);
        for folder in ["many", "more"] {
            std::fs::create_dir(node.path().join(folder)).unwrap();
            for number in 0..=MAX_NAMES / 2 {
                let path = node.path().join(format!("{folder}/{number}"));
                std::fs::write(path, "version = 2\n").unwrap();
            }
        }
        let (_, findings) = look(&node);
        let is_told = |what: &str| findings.iter().any(|told| told.contains(what));
        assert!(
            is_told("it imports more than 4096 files") && is_told("more than 64 files"),
            "{findings:?}"
        );
        assert!(findings.len() <= MAX_FILES + 2, "{}", findings.len());
    }

    #[test]
    fn two_wildcards_match_no_more_names_than_one() {
        let node = node(&[(CONFIG, "version = 2\nimports = ['/many/*/*']\n")]);
        for folder in ["a", "b", "c"] {
            std::fs::create_dir_all(node.path().join("many").join(folder)).unwrap();
            for number in 0..MAX_NAMES / 2 {
                let path = node.path().join(format!("many/{folder}/{number}"));
                std::fs::write(path, "").unwrap();
            }
        }
        let (_, findings) = look(&node);
        let [told] = &findings[..] else { panic!("{findings:?}") };
        assert!(told.ends_with("`/many/*/*`: it matches more than 4096 names"), "{told}");
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
}
