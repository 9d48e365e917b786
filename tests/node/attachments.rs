//! What a runtime remembers about real attachments, which `cnitool` adds and removes.

use std::fs;
use std::process::Output;

use cnister::node::{Attachment, CacheDirectories, Root, attachments};

use crate::namespace::{self, Namespace, write_plugin};
use crate::peers;
use crate::rig::text;

const PLUGINS: [&str; 5] = ["bridge", "host-local", "macvlan", "static", "tuning"];

/// Two networks, as a list and as a single plugin.
const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "ipam": {"type": "host-local", "dataDir": "/run/pods", "subnet": "10.88.0.0/24"}},
    {"type": "tuning"}]}"#;
const SINGLE: &str = r#"{"cniVersion": "0.4.0", "name": "uplink", "type": "macvlan", "master": "uplink", "mode": "bridge",
    "ipam": {"type": "static", "addresses": [{"address": "10.99.0.2/24"}]}}"#;

/// Returns the output of cnitool for `add` or `del` of the pod's network.
fn cnitool(node: &Namespace, verb: &str, network: &str, interface: &str) -> Result<String, String> {
    let mut command = node.command("cnitool");
    command
        .args([verb, network, "/run/netns/pod"])
        .env("CNI_PATH", "/opt/cni/bin")
        .env("CNI_IFNAME", interface);
    let output: Output =
        command.env("NETCONFPATH", "/etc/cni/net.d").output().expect("can run nsenter");
    text(output)
}

/// Returns who needs which plugin.
fn needed(node: &Namespace) -> Vec<String> {
    let found =
        attachments(&Root::open(&node.root()).expect("a root"), &CacheDirectories::default())
            .expect("readable");
    assert_eq!(found.unknown, []);
    let user = |user: &Attachment| {
        assert!(user.container.starts_with("cnitool-"), "{user:?}");
        format!("{} {}", user.network, user.interface.as_deref().unwrap_or("-"))
    };
    let users = |users: &[Attachment]| users.iter().map(user).collect::<Vec<_>>().join(", ");
    found.needed.iter().map(|(plugin, all)| format!("{plugin}: {}", users(all))).collect()
}

#[test]
fn a_plugin_is_needed_from_add_to_del() {
    let programs: Vec<_> = PLUGINS.iter().map(|plugin| format!("cni/{plugin}")).collect();
    let programs: Vec<_> =
        programs.iter().map(String::as_str).chain(["cnitool"]).chain(Namespace::PEERS).collect();
    if !peers::present(&programs) {
        return;
    }
    let node = Namespace::start(namespace::directory(), "ip netns add pod\n");
    for path in ["/opt/cni/bin", "/etc/cni/net.d"] {
        fs::create_dir_all(node.node(path)).expect("can create a directory");
    }
    for plugin in PLUGINS {
        write_plugin(&node.node("/opt/cni/bin").join(plugin), &peers::plugin(plugin), 0o755);
    }
    fs::write(node.node("/etc/cni/net.d/10-pods.conflist"), LIST).expect("can write a file");
    fs::write(node.node("/etc/cni/net.d/20-uplink.conf"), SINGLE).expect("can write a file");
    assert_eq!(needed(&node), [""; 0]);

    cnitool(&node, "add", "pods", "eth0").expect("the plugins are there");
    cnitool(&node, "add", "uplink", "net1").expect("the plugins are there");
    let all = [
        "bridge: pods eth0",
        "host-local: pods eth0",
        "macvlan: uplink net1",
        "static: uplink net1",
        "tuning: pods eth0",
    ];
    assert_eq!(needed(&node), all);

    // Why it matters: without any one of them the pod cannot be removed from the network, and the
    // record remains.
    let (tuning, away) = (node.node("/opt/cni/bin/tuning"), node.node("/opt/cni/tuning"));
    fs::rename(&tuning, &away).expect("can rename");
    let error = cnitool(&node, "del", "pods", "eth0").expect_err("a plugin is missing");
    assert!(error.contains(r#"failed to find plugin "tuning" in path [/opt/cni/bin]"#), "{error}");
    assert_eq!(needed(&node), all);

    fs::rename(&away, &tuning).expect("can rename");
    cnitool(&node, "del", "pods", "eth0").expect("the plugins are there");
    assert_eq!(needed(&node), ["macvlan: uplink net1", "static: uplink net1"]);
    cnitool(&node, "del", "uplink", "net1").expect("the plugins are there");
    assert_eq!(needed(&node), [""; 0]);
    assert_eq!(node.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
}
