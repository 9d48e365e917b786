//! Known plugins: where a plugin comes from, for somebody who misses it. Only the name is looked
//! at: whether a file of that name is that plugin, evidence says.

use std::fmt;

use crate::model::PluginName;

/// The project that holds the plugins of the CNI authors.
const REFERENCE: &str = "containernetworking/plugins";

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The reference plugins, from this release on where it was not always there.
    Reference(Option<&'static str>),
    /// The reference plugins before this release, and this project since then.
    Left(&'static str, &'static str),
    /// A project of its own, which brings the plugin to nodes itself.
    Project(&'static str),
}

/// The plugins that only give addresses. A main plugin calls them by its `ipam`, and gets the blame
/// for them.
pub const IPAM: [&str; 4] = ["dhcp", "host-local", "static", "whereabouts"];

/// Every plugin that is known, sorted.
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

/// Where a plugin comes from, where that is known.
pub fn upstream(plugin: &PluginName) -> Option<Upstream> {
    let index = KNOWN.binary_search_by_key(&plugin.as_str(), |(name, _)| name).ok()?;
    KNOWN.get(index).map(|(_, upstream)| *upstream)
}

/// What somebody can do who misses a plugin.
pub fn advice(plugin: &PluginName) -> String {
    match upstream(plugin) {
        Some(upstream @ Upstream::Reference(_)) => {
            format!("`{plugin}` {upstream}; add it to the bundle")
        }
        Some(upstream @ (Upstream::Left(..) | Upstream::Project(_))) => {
            format!(
                "`{plugin}` {upstream}; see whether its installer ran on this node, or add it to the bundle"
            )
        }
        None => "add it to the bundle, or install what brings it".to_owned(),
    }
}

/// The end of a sentence that starts with the plugin.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(None) => write!(f, "is one of {REFERENCE}"),
            Self::Reference(Some(since)) => write!(f, "comes with {REFERENCE} since v{since}"),
            Self::Left(version, project) => {
                write!(f, "left {REFERENCE} in v{version} and comes from {project}")
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
                "`tap` comes with containernetworking/plugins since v1.3.0; add it to the bundle",
            ),
            (
                "dummy",
                "`dummy` comes with containernetworking/plugins since v1.2.0; add it to the bundle",
            ),
            ("vlan", "`vlan` is one of containernetworking/plugins; add it to the bundle"),
            (
                "flannel",
                "`flannel` left containernetworking/plugins in v1.0.0 and comes from flannel-io/cni-plugin; see whether its installer ran on this node, or add it to the bundle",
            ),
            (
                "whereabouts",
                "`whereabouts` comes from k8snetworkplumbingwg/whereabouts; see whether its installer ran on this node, or add it to the bundle",
            ),
            ("own-thing", "add it to the bundle, or install what brings it"),
        ];
        for (name, expected) in cases {
            assert_eq!(advice(&name.parse().unwrap()), expected);
        }
    }
}
