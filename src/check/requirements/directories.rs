//! Which directories of a node hold the CNI configuration that counts, and which of their files.
//!
//! A runtime reads one directory in the order of the file names, and uses only the first file or
//! the first few. What the later files need is reported as a warning.

use crate::cni::{Network, Role};
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
/// Where Multus looks for the networks that definitions name, on OpenShift for the default network.
const MULTUS: [&str; 2] = ["/etc/cni/multus/net.d", "/run/multus/cni/net.d"];

/// A directory with configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: HostPath,
    /// How each runtime that reads it chooses among the files; `None` if every file decides.
    pub(super) readers: Option<Vec<Networks>>,
}

/// The directories that these runtimes of a node and Multus read. `/etc/cni/net.d` is among them
/// even if none of them reads it, and then none of its files decides.
pub(super) fn usual(runtimes: &[Runtime]) -> Vec<Directory> {
    let mut found: Vec<Directory> = Vec::new();
    let mut add = |path: &HostPath, reader: Option<Networks>| {
        let known = found.iter_mut().find(|known| known.path == *path);
        match known.and_then(|known| known.readers.as_mut()) {
            Some(readers) => readers.extend(reader),
            None => found.push(Directory {
                path: path.clone(),
                readers: Some(reader.into_iter().collect()),
            }),
        }
    };
    for runtime in runtimes {
        add(&runtime.conf_dir, Some(runtime.networks.clone()));
    }
    let defaults = parsed(&DEFAULTS);
    match runtimes.is_empty() {
        true => defaults.for_each(|path| add(&path, Some(Networks::First(1)))),
        false => defaults.take(1).for_each(|path| add(&path, None)),
    }
    found.extend(parsed(&MULTUS).map(|path| Directory { path, readers: None }));
    found
}

fn parsed<'a>(paths: &'a [&str]) -> impl Iterator<Item = HostPath> + 'a {
    paths.iter().filter_map(|path| path.parse().ok())
}

impl Directory {
    /// Which files decide, of all files in the order of their names; `None` is one that cannot be
    /// used.
    pub(super) fn deciding(&self, files: &[Option<&Network>]) -> Vec<bool> {
        let Some(readers) = &self.readers else { return vec![true; files.len()] };
        let mut deciding = vec![false; files.len()];
        for reader in readers {
            let mut left = match reader {
                Networks::First(most) => *most,
                Networks::Usable(_) => 1,
            };
            for (file, decides) in files.iter().zip(&mut deciding) {
                let taken = match (reader, file) {
                    // It stops at a file that it cannot use, and has no network then.
                    (Networks::First(_), _) => left > 0,
                    (Networks::Usable(_), None) => false,
                    (Networks::Usable(None), Some(_)) => left > 0,
                    (Networks::Usable(Some(name)), Some(network)) => {
                        left > 0 && network.name.as_ref() == Some(name)
                    }
                };
                *decides |= taken;
                match file {
                    None if taken => left = 0,
                    // It hands pods over to the network of another file.
                    Some(network) if taken && !delegates(network) => left -= 1,
                    _ => {}
                }
            }
        }
        deciding
    }
}

/// Whether a network is Multus' without delegates of its own: its daemon takes the first file
/// besides Multus' own (multus-cni, `multusMasterCNI`).
fn delegates(network: &Network) -> bool {
    let is_multus = |name: &str| matches!(name, "multus" | "multus-shim");
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
        let named = |name: &str| Networks::Usable(Some(name.to_owned()));
        let (one, any) = (Networks::First(1), Networks::Usable(None));
        type Case<'a> = (Vec<Networks>, Vec<Option<&'a Network>>, &'a [usize]);
        let cases: [Case<'_>; 12] = [
            (vec![one.clone()], vec![Some(&a), Some(&b)], &[0]),
            (vec![Networks::First(2)], vec![Some(&a), Some(&b), Some(&b)], &[0, 1]),
            (vec![Networks::First(usize::MAX)], vec![Some(&a), Some(&b)], &[0, 1]),
            // containerd stops where it cannot read one, CRI-O goes on.
            (vec![one.clone()], vec![None, Some(&b)], &[0]),
            (vec![any.clone()], vec![None, Some(&b)], &[1]),
            (vec![any.clone()], vec![Some(&a), Some(&b)], &[0]),
            (vec![named("b")], vec![Some(&a), Some(&b), Some(&b)], &[1]),
            (vec![named("b"), one.clone()], vec![Some(&a), Some(&b)], &[0, 1]),
            // Multus calls another one, unless it has it inside.
            (vec![one.clone()], vec![Some(&multus), Some(&a), Some(&b)], &[0, 1]),
            (vec![any], vec![Some(&multus), None, Some(&b)], &[0, 2]),
            (vec![one], vec![Some(&thin), Some(&a)], &[0]),
            (vec![], vec![Some(&a)], &[]),
        ];
        for (readers, files, expected) in cases {
            let shown = format!("{readers:?} {files:?}");
            let path = "/etc/cni/net.d".parse().unwrap();
            let deciding = Directory { path, readers: Some(readers) }.deciding(&files);
            let found: Vec<_> =
                deciding.iter().enumerate().filter(|it| *it.1).map(|it| it.0).collect();
            assert_eq!(found, expected, "{shown}");
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
            let line = |it: Directory| match it.readers {
                None => format!("{} every", it.path),
                Some(readers) => format!("{} {readers:?}", it.path),
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
