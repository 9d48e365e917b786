//! Known plugins and the projects they come from, for hints about missing ones. Only names are
//! compared: whether a file of that name is that plugin is decided by evidence.

use std::fmt;

use crate::model::PluginName;

/// The project that maintains the reference plugins.
const REFERENCE: &str = "containernetworking/plugins";

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// One of the reference plugins, since this release if it was added later.
    Reference(Option<&'static str>),
    /// A reference plugin before this release, and a plugin of this project since then.
    Left(&'static str, &'static str),
    /// A plugin of another project, which usually installs it on nodes itself.
    Project(&'static str),
}

/// The plugins that only assign addresses. A main plugin calls them through its `ipam` field, and
/// runtimes report their failures as the main plugin's.
pub const IPAM: [&str; 4] = ["dhcp", "host-local", "static", "whereabouts"];

/// Plugins that get addresses from a daemon themselves, and the `ipam.type` that says so: no
/// program has that name.
const OWN_IPAM: [(&str, &str); 1] = [
    // Azure/azure-container-networking, cni/network/network.go: the switch on `nwCfg.IPAM.Type`
    // makes a `CNSIPAMInvoker` for it, and runs a program for every other.
    ("azure-vnet", "azure-cns"),
];

/// Reference plugins that change what others made and never call an IPAM plugin, although their
/// configuration has the field (containernetworking/plugins, plugins/meta; loopback in
/// plugins/main).
const WITHOUT_IPAM: [&str; 7] =
    ["bandwidth", "firewall", "loopback", "portmap", "sbr", "tuning", "vrf"];

/// Where Multus looks for the networks that definitions name, on OpenShift for the default network.
pub const MULTUS_DIRECTORIES: [&str; 2] = ["/etc/cni/multus/net.d", "/run/multus/cni/net.d"];

/// Whether a plugin is one of Multus, which calls others.
pub fn is_multus(plugin: &str) -> bool {
    matches!(plugin, "multus" | "multus-shim")
}

/// Every known plugin, sorted by name.
const KNOWN: &[(&str, Upstream)] = &[
    ("accelerated-bridge", Upstream::Project("k8snetworkplumbingwg/accelerated-bridge-cni")),
    ("antrea", Upstream::Project("antrea-io/antrea")),
    ("aws-cni", Upstream::Project("aws/amazon-vpc-cni-k8s")),
    ("azure-vnet", Upstream::Project("Azure/azure-container-networking")),
    ("azure-vnet-ipam", Upstream::Project("Azure/azure-container-networking")),
    ("bandwidth", Upstream::Reference(None)),
    ("bond", Upstream::Project("k8snetworkplumbingwg/bond-cni")),
    ("bridge", Upstream::Reference(None)),
    ("calico", Upstream::Project("projectcalico/calico")),
    ("calico-ipam", Upstream::Project("projectcalico/calico")),
    ("cilium-cni", Upstream::Project("cilium/cilium")),
    ("cnv-bridge", Upstream::Project("kubevirt/cluster-network-addons-operator")),
    ("cnv-tuning", Upstream::Project("kubevirt/cluster-network-addons-operator")),
    ("dhcp", Upstream::Reference(None)),
    ("dummy", Upstream::Reference(Some("1.2.0"))),
    ("egress-cni", Upstream::Project("aws/amazon-vpc-cni-k8s")),
    ("firewall", Upstream::Reference(None)),
    ("flannel", Upstream::Left("1.0.0", "flannel-io/cni-plugin")),
    ("host-device", Upstream::Reference(None)),
    ("host-local", Upstream::Reference(None)),
    ("ib-sriov", Upstream::Project("k8snetworkplumbingwg/ib-sriov-cni")),
    ("ipvlan", Upstream::Reference(None)),
    ("istio-cni", Upstream::Project("istio/istio")),
    ("kube-ovn", Upstream::Project("kubeovn/kube-ovn")),
    ("loopback", Upstream::Reference(None)),
    ("macvlan", Upstream::Reference(None)),
    ("multus", Upstream::Project("k8snetworkplumbingwg/multus-cni")),
    ("multus-shim", Upstream::Project("k8snetworkplumbingwg/multus-cni")),
    ("ovn-k8s-cni-overlay", Upstream::Project("ovn-kubernetes/ovn-kubernetes")),
    ("ovs", Upstream::Project("k8snetworkplumbingwg/ovs-cni")),
    ("portmap", Upstream::Reference(None)),
    ("ptp", Upstream::Reference(None)),
    ("rdma", Upstream::Project("k8snetworkplumbingwg/rdma-cni")),
    ("sbr", Upstream::Reference(None)),
    ("sriov", Upstream::Project("k8snetworkplumbingwg/sriov-cni")),
    ("static", Upstream::Reference(None)),
    ("tap", Upstream::Reference(Some("1.3.0"))),
    ("tuning", Upstream::Reference(None)),
    ("vlan", Upstream::Reference(None)),
    ("vrf", Upstream::Reference(None)),
    ("weave-ipam", Upstream::Project("weaveworks/weave")),
    ("weave-net", Upstream::Project("weaveworks/weave")),
    ("whereabouts", Upstream::Project("k8snetworkplumbingwg/whereabouts")),
];

/// Whether `plugin` runs the program that its `ipam.type` names.
pub(super) fn calls_ipam(plugin: &str, ipam: &str) -> bool {
    !WITHOUT_IPAM.contains(&plugin) && !OWN_IPAM.contains(&(plugin, ipam))
}

/// Returns where a plugin comes from, if it is known.
pub fn upstream(plugin: &PluginName) -> Option<Upstream> {
    let index = KNOWN.binary_search_by_key(&plugin.as_str(), |(name, _)| name).ok()?;
    KNOWN.get(index).map(|(_, upstream)| *upstream)
}

/// Returns what a user who misses a plugin can do.
pub fn advice(plugin: &PluginName) -> String {
    match upstream(plugin) {
        Some(upstream @ Upstream::Reference(_)) => {
            format!("`{plugin}` {upstream}; add it to the bundle")
        }
        Some(upstream @ (Upstream::Left(..) | Upstream::Project(_))) => {
            format!(
                "`{plugin}` {upstream}; check whether its installer ran on this node, or add it to \
                 the bundle"
            )
        }
        None => "add it to the bundle, or install the project that provides it".to_owned(),
    }
}

/// Completes a sentence that starts with the plugin.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(None) => write!(f, "is part of {REFERENCE}"),
            Self::Reference(Some(since)) => {
                write!(f, "has been part of {REFERENCE} since v{since}")
            }
            Self::Left(version, project) => {
                write!(f, "moved from {REFERENCE} to {project} in v{version}")
            }
            Self::Project(project) => write!(f, "comes from {project}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sorted_and_names_plugins() {
        assert!(KNOWN.is_sorted_by(|(a, _), (b, _)| a < b));
        for (name, upstream) in KNOWN {
            assert_eq!(super::upstream(&name.parse().unwrap()), Some(*upstream), "{name}");
        }
        for name in IPAM {
            assert!(super::upstream(&name.parse().unwrap()).is_some(), "{name}");
        }
    }

    #[test]
    fn says_what_is_wrong_when_it_can() {
        let cases = [
            (
                "tap",
                "`tap` has been part of containernetworking/plugins since v1.3.0; add it to the bundle",
            ),
            (
                "dummy",
                "`dummy` has been part of containernetworking/plugins since v1.2.0; add it to the bundle",
            ),
            ("vlan", "`vlan` is part of containernetworking/plugins; add it to the bundle"),
            (
                "flannel",
                "`flannel` moved from containernetworking/plugins to flannel-io/cni-plugin in \
                 v1.0.0; check whether its installer ran on this node, or add it to the bundle",
            ),
            (
                "whereabouts",
                "`whereabouts` comes from k8snetworkplumbingwg/whereabouts; check whether its \
                 installer ran on this node, or add it to the bundle",
            ),
            ("own-thing", "add it to the bundle, or install the project that provides it"),
        ];
        for (name, expected) in cases {
            assert_eq!(advice(&name.parse().unwrap()), expected);
        }
    }
}
