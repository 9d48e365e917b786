//! What is known of plugins by their name alone.

/// Where a plugin comes from, as the end of a sentence; `None` for one that is not known.
pub(super) fn known(name: &str) -> Option<&'static str> {
    Some(match name {
        "bandwidth" | "bridge" | "dhcp" | "firewall" | "host-device" | "host-local" | "ipvlan" | "loopback"
        | "macvlan" | "portmap" | "ptp" | "sbr" | "static" | "tuning" | "vlan" | "vrf" => {
            "is one of the CNI project's reference plugins"
        }
        "dummy" => "comes with the CNI project's reference plugins since v1.2.0",
        "tap" => "comes with the CNI project's reference plugins since v1.3.0",
        "flannel" => "left the CNI project's reference plugins in v1.0.0; flannel's own project has it",
        _ => return None,
    })
}

/// The plugins that only give addresses. A main plugin calls them by its `ipam`, and gets the blame for them.
pub(super) const IPAM: [&str; 4] = ["dhcp", "host-local", "static", "whereabouts"];
