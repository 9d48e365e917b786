//! Known plugins: where a plugin comes from, for somebody who misses it. Only the name is looked
//! at: whether a file of that name is that plugin, evidence says.

use std::fmt;

use crate::model::PluginName;

/// The project that holds the plugins of the CNI authors.
const REFERENCE: &str = "containernetworking/plugins";

/// Where a plugin comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
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
const KNOWN: &[(&str, Origin)] = &[
    ("accelerated-bridge", Origin::Project("k8snetworkplumbingwg/accelerated-bridge-cni")),
    ("antrea", Origin::Project("antrea-io/antrea")),
    ("aws-cni", Origin::Project("aws/amazon-vpc-cni-k8s")),
    ("azure-vnet", Origin::Project("Azure/azure-container-networking")),
    ("azure-vnet-ipam", Origin::Project("Azure/azure-container-networking")),
    ("bandwidth", Origin::Reference(None)),
    ("bond", Origin::Project("k8snetworkplumbingwg/bond-cni")),
    ("bridge", Origin::Reference(None)),
    ("calico", Origin::Project("projectcalico/calico")),
    ("calico-ipam", Origin::Project("projectcalico/calico")),
    ("cilium-cni", Origin::Project("cilium/cilium")),
    ("cnv-bridge", Origin::Project("kubevirt/cluster-network-addons-operator")),
    ("cnv-tuning", Origin::Project("kubevirt/cluster-network-addons-operator")),
    ("dhcp", Origin::Reference(None)),
    ("dummy", Origin::Reference(Some("1.2.0"))),
    ("egress-cni", Origin::Project("aws/amazon-vpc-cni-k8s")),
    ("firewall", Origin::Reference(None)),
    ("flannel", Origin::Left("1.0.0", "flannel-io/cni-plugin")),
    ("host-device", Origin::Reference(None)),
    ("host-local", Origin::Reference(None)),
    ("ib-sriov", Origin::Project("k8snetworkplumbingwg/ib-sriov-cni")),
    ("ipvlan", Origin::Reference(None)),
    ("istio-cni", Origin::Project("istio/istio")),
    ("kube-ovn", Origin::Project("kubeovn/kube-ovn")),
    ("loopback", Origin::Reference(None)),
    ("macvlan", Origin::Reference(None)),
    ("multus", Origin::Project("k8snetworkplumbingwg/multus-cni")),
    ("multus-shim", Origin::Project("k8snetworkplumbingwg/multus-cni")),
    ("ovn-k8s-cni-overlay", Origin::Project("ovn-kubernetes/ovn-kubernetes")),
    ("ovs", Origin::Project("k8snetworkplumbingwg/ovs-cni")),
    ("portmap", Origin::Reference(None)),
    ("ptp", Origin::Reference(None)),
    ("rdma", Origin::Project("k8snetworkplumbingwg/rdma-cni")),
    ("sbr", Origin::Reference(None)),
    ("sriov", Origin::Project("k8snetworkplumbingwg/sriov-cni")),
    ("static", Origin::Reference(None)),
    ("tap", Origin::Reference(Some("1.3.0"))),
    ("tuning", Origin::Reference(None)),
    ("vlan", Origin::Reference(None)),
    ("vrf", Origin::Reference(None)),
    ("weave-ipam", Origin::Project("weaveworks/weave")),
    ("weave-net", Origin::Project("weaveworks/weave")),
    ("whereabouts", Origin::Project("k8snetworkplumbingwg/whereabouts")),
];

/// Where a plugin comes from, where that is known.
pub fn origin(plugin: &PluginName) -> Option<Origin> {
    let index = KNOWN.binary_search_by_key(&plugin.as_str(), |(name, _)| name).ok()?;
    KNOWN.get(index).map(|(_, origin)| *origin)
}

/// What somebody can do who misses a plugin.
pub fn advice(plugin: &PluginName) -> String {
    match origin(plugin) {
        Some(origin @ Origin::Reference(_)) => format!("`{plugin}` {origin}; add it to the bundle"),
        Some(origin @ (Origin::Left(..) | Origin::Project(_))) => {
            format!(
                "`{plugin}` {origin}; see whether its installer ran on this node, or add it to the bundle"
            )
        }
        None => "add it to the bundle, or install what brings it".to_owned(),
    }
}

/// The end of a sentence that starts with the plugin.
impl fmt::Display for Origin {
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
        for (name, origin) in KNOWN {
            assert_eq!(super::origin(&name.parse().unwrap()), Some(*origin), "{name}");
        }
        for name in IPAM {
            assert!(super::origin(&name.parse().unwrap()).is_some(), "{name}");
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
