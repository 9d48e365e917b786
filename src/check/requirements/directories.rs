//! Which directories of a node hold the CNI configuration that counts, and which of their files.
//!
//! A runtime reads one directory in the order of the file names, and uses only the first file or
//! the first few. What the later files need is reported as a warning.

use crate::cni::{MULTUS_DIRECTORIES, Network, Role, is_multus};
use crate::model::HostPath;
use crate::node::runtime::{Networks, Runtime};

/// Where runtimes look without a configuration: the default of containerd and CRI-O, OpenShift's,
/// k3s' (its `docs/cli/server`, "--data-dir") and MicroK8s'.
const DEFAULTS: [&str; 4] = [
    "/etc/cni/net.d",
    "/etc/kubernetes/cni/net.d",
    "/var/lib/rancher/k3s/agent/etc/cni/net.d",
    "/var/snap/microk8s/current/args/cni-network",
];

/// A directory with configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: HostPath,
    /// The runtimes that read it.
    pub(super) readers: Vec<Reader>,
    /// Whether every file decides, and not only those that the readers take.
    pub(super) is_whole: bool,
}

/// A runtime that reads a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    /// How it chooses among the files.
    pub(super) networks: Networks,
    /// Where it searches for plugins; nothing on the node tells if it is empty.
    pub(super) bin_dirs: Vec<HostPath>,
}

/// A file of a directory, in the order of the names.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    /// What libcni loads of it; `None` if it refuses the file.
    pub(super) network: Option<&'a Network>,
    /// The file's name.
    pub(super) name: &'a str,
    /// Whether the plugins are found and speak the version: CRI-O takes no other file (libcni,
    /// `ValidateNetworkList`).
    pub(super) is_valid: bool,
}

/// The directories that these runtimes of a node and Multus read. `/etc/cni/net.d` is among them
/// even if none of them reads it, and then none of its files decides.
pub(super) fn usual(runtimes: &[Runtime]) -> Vec<Directory> {
    let mut found: Vec<Directory> = Vec::new();
    let mut add = |path: &HostPath, readers: Vec<Reader>| match found
        .iter_mut()
        .find(|known| known.path == *path)
    {
        Some(known) => known.readers.extend(readers),
        None => found.push(Directory { path: path.clone(), readers, is_whole: false }),
    };
    for runtime in runtimes {
        add(&runtime.conf_dir, vec![Reader::of(runtime)]);
    }
    let unknown = || Reader { networks: Networks::First(1), bin_dirs: Vec::new() };
    let defaults = parsed(&DEFAULTS);
    match runtimes.is_empty() {
        true => defaults.for_each(|path| add(&path, vec![unknown()])),
        false => defaults.take(1).for_each(|path| add(&path, Vec::new())),
    }
    found.extend(parsed(&MULTUS_DIRECTORIES).map(Directory::whole));
    found
}

/// Whether a runtime of the node reads this directory.
pub(super) fn is_read(path: &HostPath, runtimes: &[Runtime]) -> bool {
    match runtimes.is_empty() {
        true => parsed(&DEFAULTS).any(|default| default == *path),
        false => runtimes.iter().any(|runtime| runtime.conf_dir == *path),
    }
}

/// Where Multus looks for networks, if its configuration does not say.
pub(super) fn multus() -> impl Iterator<Item = HostPath> {
    parsed(&MULTUS_DIRECTORIES)
}

fn parsed<'a>(paths: &'a [&str]) -> impl Iterator<Item = HostPath> + 'a {
    paths.iter().filter_map(|path| path.parse().ok())
}

impl Directory {
    /// A directory that no runtime reads, all of whose files decide.
    pub(super) fn whole(path: HostPath) -> Self {
        Self { path, readers: Vec::new(), is_whole: true }
    }
}

impl Reader {
    pub(super) fn of(runtime: &Runtime) -> Self {
        Self { networks: runtime.networks.clone(), bin_dirs: runtime.bin_dirs.clone() }
    }

    /// Whether it is CRI-O, which names a network without a name after its file.
    pub(super) fn names_after_files(&self) -> bool {
        matches!(self.networks, Networks::Usable(_))
    }

    /// Which files it takes, of all files in the order of their names.
    pub(super) fn takes(&self, files: &[File<'_>]) -> Vec<bool> {
        match &self.networks {
            Networks::First(most) => first(*most, files),
            Networks::Usable(name) => usable(name.as_deref(), files),
        }
    }
}

/// containerd stops at a file that it cannot load, and has no network then.
fn first(most: usize, files: &[File<'_>]) -> Vec<bool> {
    let mut left = most;
    let mut taken = Vec::new();
    for file in files {
        taken.push(left > 0);
        match file.network {
            None => left = 0,
            // It hands pods over to the network of another file.
            Some(network) if !delegates(network) => left = left.saturating_sub(1),
            Some(_) => {}
        }
    }
    taken
}

/// CRI-O goes on to the next file that it can use and that has the name.
fn usable(name: Option<&str>, files: &[File<'_>]) -> Vec<bool> {
    let is_meant = |file: &File<'_>, network: &Network| {
        let found = network.name.as_deref().unwrap_or(file.name);
        name.is_none_or(|name| name == found)
    };
    let mut taken = vec![false; files.len()];
    let mut is_handed_over = false;
    for (file, taken_here) in files.iter().zip(&mut taken) {
        let Some(network) = file.network.filter(|network| is_meant(file, network)) else {
            continue;
        };
        // Multus' daemon validates nothing.
        if file.is_valid || is_handed_over {
            *taken_here = true;
            is_handed_over = delegates(network);
            if !is_handed_over {
                return taken;
            }
        }
    }
    if is_handed_over {
        return taken;
    }
    // It has no network, and each of these is a reason.
    let is_reason = |file: &File<'_>| file.network.is_none_or(|network| is_meant(file, network));
    files.iter().map(is_reason).collect()
}

/// Whether a network is Multus' without delegates of its own: its daemon takes the first file
/// besides Multus' own (multus-cni, `multusMasterCNI`).
fn delegates(network: &Network) -> bool {
    let first = network.needs.first();
    first.is_some_and(|need| is_multus(need.plugin.as_str()))
        && !network.needs.iter().any(|need| need.role == Role::Delegate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::{Form, parse_config};

    #[test]
    fn the_files_that_a_runtime_takes_decide() {
        let network = |text: &str| parse_config("it", text.as_bytes(), Form::Either).unwrap();
        let (a, b) = (network(r#"{"name":"a","type":"x"}"#), network(r#"{"name":"b","type":"x"}"#));
        let multus = network(r#"{"name":"m","type":"multus-shim"}"#);
        let thin = network(r#"{"name":"m","type":"multus","delegates":[{"type":"x"}]}"#);
        let nameless = network(r#"{"type":"x"}"#);
        let named = |name: &str| Networks::Usable(Some(name.to_owned()));
        let (one, any) = (Networks::First(1), Networks::Usable(None));
        type Case<'a> = (Networks, Vec<Option<&'a Network>>, &'a [usize]);
        let cases: [Case<'_>; 14] = [
            (one.clone(), vec![Some(&a), Some(&b)], &[0]),
            (Networks::First(2), vec![Some(&a), Some(&b), Some(&b)], &[0, 1]),
            (Networks::First(usize::MAX), vec![Some(&a), Some(&b)], &[0, 1]),
            // containerd stops where it cannot read one, CRI-O goes on.
            (one.clone(), vec![None, Some(&b)], &[0]),
            (any.clone(), vec![None, Some(&b)], &[1]),
            (any.clone(), vec![Some(&a), Some(&b)], &[0]),
            (named("b"), vec![Some(&a), Some(&b), Some(&b)], &[1]),
            // Multus calls another one, unless it has it inside.
            (one.clone(), vec![Some(&multus), Some(&a), Some(&b)], &[0, 1]),
            (any.clone(), vec![Some(&multus), None, Some(&b)], &[0, 2]),
            (one, vec![Some(&thin), Some(&a)], &[0]),
            // CRI-O without a network: any of these would be one.
            (any, vec![None, None], &[0, 1]),
            (named("b"), vec![None, Some(&a)], &[0]),
            (named("b"), vec![Some(&a), Some(&a)], &[]),
            // One without a name has its file's.
            (named("2.conf"), vec![Some(&a), Some(&b), Some(&nameless), Some(&nameless)], &[2]),
        ];
        for (networks, files, expected) in cases {
            let shown = format!("{networks:?} {files:?}");
            let names: Vec<_> = (0..files.len()).map(|index| format!("{index}.conf")).collect();
            let file = |(network, name)| File { network, name, is_valid: true };
            let files: Vec<_> =
                files.into_iter().zip(names.iter().map(String::as_str)).map(file).collect();
            let taken = Reader { networks, bin_dirs: vec![] }.takes(&files);
            let found: Vec<_> =
                taken.iter().enumerate().filter(|it| *it.1).map(|it| it.0).collect();
            assert_eq!(found, expected, "{shown}");
        }
    }

    #[test]
    fn cri_o_takes_the_first_file_that_is_valid() {
        let network = |text: &str| parse_config("it", text.as_bytes(), Form::Either).unwrap();
        let (a, b) = (network(r#"{"name":"a","type":"x"}"#), network(r#"{"name":"b","type":"x"}"#));
        let multus = network(r#"{"name":"m","type":"multus-shim"}"#);
        let (any, named) = (Networks::Usable(None), Networks::Usable(Some("b".to_owned())));
        for (networks, files, expected) in [
            (&any, [(&a, false), (&b, true), (&b, true)], [false, true, false]),
            (&any, [(&a, false), (&b, false), (&a, false)], [true, true, true]),
            (&named, [(&b, false), (&a, true), (&b, true)], [false, false, true]),
            (&named, [(&b, false), (&a, true), (&a, false)], [true, false, false]),
            // Multus' daemon does not ask whether the plugins are there.
            (&any, [(&multus, true), (&a, false), (&b, true)], [true, true, false]),
            (&any, [(&multus, false), (&a, true), (&b, true)], [false, true, false]),
            // containerd neither.
            (&Networks::First(1), [(&a, false), (&b, true), (&b, true)], [true, false, false]),
        ] {
            let file =
                |(network, is_valid)| File { network: Some(network), name: "x.conf", is_valid };
            let reader = Reader { networks: networks.clone(), bin_dirs: vec![] };
            assert_eq!(reader.takes(&files.map(file)), expected, "{networks:?}");
        }
    }

    #[test]
    fn the_directories_are_those_of_the_runtimes() {
        let at = |files: &[(&str, &str)]| {
            let node = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = node.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let root = crate::node::Root::open(node.path()).unwrap();
            let found = usual(&crate::node::runtime::runtimes(&root).found);
            let line = |it: Directory| match it.is_whole {
                true => format!("{} every", it.path),
                false => {
                    let readers: Vec<_> = it.readers.into_iter().map(|it| it.networks).collect();
                    format!("{} {readers:?}", it.path)
                }
            };
            let mut found: Vec<_> = found.into_iter().map(line).collect();
            let multus = found.split_off(found.len() - 2);
            assert_eq!(multus, ["/etc/cni/multus/net.d every", "/run/multus/cni/net.d every"]);
            found
        };
        let v3 = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n";
        let k3s = "var/lib/rancher/k3s/agent/etc/containerd/config.toml";
        let conf = |path: &str| format!("{v3}conf_dir = '{path}'\n");
        let unread = "/etc/cni/net.d []".to_owned();
        let own = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
        assert_eq!(at(&[]), DEFAULTS.map(|path| format!("{path} [First(1)]")));
        assert_eq!(at(&[("etc/containerd/config.toml", v3)]), ["/etc/cni/net.d [First(1)]"]);
        assert_eq!(at(&[(k3s, &conf(own))]), [format!("{own} [First(1)]"), unread.clone()]);
        assert_eq!(
            at(&[(
                "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
                &format!("{v3}max_conf_num = 0\n")
            )]),
            [format!("/etc/cni/net.d [First({})]", usize::MAX)]
        );
        let microk8s = "/var/snap/microk8s/7/args/cni-network";
        assert_eq!(
            at(&[("var/snap/microk8s/current/args/containerd.toml", &conf(microk8s))]),
            [format!("{microk8s} [First(1)]"), unread.clone()]
        );
        assert_eq!(
            at(&[
                ("etc/crio/crio.conf", "[crio.network]\nnetwork_dir = '/etc/cni/net.d/'\n"),
                (
                    "etc/crio/crio.conf.d/00-default",
                    "[crio.network]\nnetwork_dir = '/etc/kubernetes/cni/net.d/'\n\
                     cni_default_network = 'multus-cni-network'\n"
                ),
            ]),
            ["/etc/kubernetes/cni/net.d [Usable(Some(\"multus-cni-network\"))]".to_owned(), unread]
        );
        // Two runtimes of one directory choose each in its own way.
        assert_eq!(
            at(&[("etc/k0s/containerd.toml", "version = 2\n"), ("etc/crio/crio.conf", "[crio]\n")]),
            ["/etc/cni/net.d [First(1), Usable(None)]"]
        );
    }
}
