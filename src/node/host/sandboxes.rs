//! Whether the sandbox of an attachment still exists: its network namespace, or what a runtime
//! keeps of it.
//!
//! A record of an attachment may outlive both. Thick Multus never removes some of its records, and
//! a runtime that lost its own state calls no plugin for them any more. Only a whole node can say
//! that something is gone; with only some of its directories, nothing is.

use std::path::Path;

use crate::disk::Root;

/// Where runtimes keep a directory for each sandbox, named after it. They outlive a reboot, after
/// which network namespaces are gone and plugins are still called: containerd's CRI plugin
/// (`getSandboxRootDir`) with the roots that distributions give it, CRI-O's storage, Docker.
const STORES: [&str; 8] = [
    "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/lib/rancher/rke2/agent/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/snap/microk8s/common/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/lib/k0s/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/lib/containers/storage/overlay-containers",
    "/var/lib/containers/storage/vfs-containers",
    "/var/lib/docker/containers",
];
/// Where they keep what a running sandbox needs. A containerd whose root is somewhere else has its
/// sandboxes here at least.
const RUNNING: [&str; 5] = [
    "/run/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/run/k0s/containerd/io.containerd.grpc.v1.cri/sandboxes",
    "/var/snap/microk8s/common/run/containerd/io.containerd.grpc.v1.cri/sandboxes",
];

/// What a node has of its sandboxes.
#[derive(Debug)]
pub(super) struct Sandboxes<'a> {
    root: &'a Root,
    /// The directories of runtimes that are there; `None` if the node cannot be seen as a whole.
    stores: Option<Vec<&'static str>>,
}

impl<'a> Sandboxes<'a> {
    pub(super) fn look(root: &'a Root) -> Self {
        let is_there = |path: &&str| !matches!(root.look_up(path), Ok(None));
        let stores = || STORES.into_iter().chain(RUNNING).filter(is_there).collect();
        Self { root, stores: root.is_whole().then(stores) }
    }

    /// Whether a container's network namespace is gone and no runtime knows it. A record that names
    /// no namespace is stale only where a runtime's directory says which containers there are.
    pub(super) fn is_gone(&self, container: &str, namespace: Option<&str>) -> bool {
        let Some(stores) = &self.stores else { return false };
        let is_named = !matches!(container, "." | "..") && !container.contains('/');
        let is_absent = |path: &str| match self.root.look_up(path) {
            Ok(looked) => looked.is_none_or(|looked| looked.target.is_none()),
            // What cannot be looked at may be there.
            Err(_) => false,
        };
        let is_without = match namespace {
            Some(path) => Path::new(path).is_absolute() && is_absent(path),
            None => !stores.is_empty(),
        };
        is_named
            && is_without
            && stores.iter().all(|store| is_absent(&format!("{store}/{container}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_is_gone_if_neither_its_namespace_nor_a_runtime_has_it() {
        let stored = "var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes";
        let crio = "var/lib/containers/storage/overlay-containers";
        let task = "run/containerd/io.containerd.runtime.v2.task/k8s.io";
        let namespace = Some("/var/run/netns/cni-1");
        let cases: [(&[&str], Option<&str>, bool); 14] = [
            (&["usr/lib"], namespace, true),
            (&["usr/lib", "run/netns"], namespace, true),
            (&["usr/lib", "run/netns/cni-1"], namespace, false),
            (&["usr/lib", stored], namespace, true),
            (&["usr/lib", &format!("{stored}/c1")], namespace, false),
            (&["usr/lib", &format!("{stored}/c2")], namespace, true),
            (&["usr/lib", &format!("{crio}/c1")], namespace, false),
            (&["usr/lib", &format!("{task}/c1")], namespace, false),
            (&["usr/lib", stored], None, true),
            (&["usr/lib", &format!("{stored}/c1")], None, false),
            // Nothing says which containers there are.
            (&["usr/lib"], None, false),
            (&["usr/lib"], Some("netns"), false),
            (&["usr/lib"], Some("/proc/7/ns/net"), true),
            // Only a part of a node.
            (&[stored], namespace, false),
        ];
        for (paths, namespace, expected) in cases {
            let temporary = tempfile::tempdir().unwrap();
            for path in ["var", "run"].iter().chain(paths) {
                std::fs::create_dir_all(temporary.path().join(path)).unwrap();
            }
            std::os::unix::fs::symlink("/run", temporary.path().join("var/run")).unwrap();
            let root = Root::open(temporary.path()).unwrap();
            let found = Sandboxes::look(&root).is_gone("c1", namespace);
            assert_eq!(found, expected, "{paths:?} {namespace:?}");
        }
    }
}
