//! What the check says a configuration needs, compared with what libcni says when it is used
//! (`cnitool`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cnister::check::{Configurations, Occasion, Report, check_requirements};
use cnister::model::Code;
use cnister::node::Root;

use crate::namespace::{self, Namespace, write_plugin};
use crate::peers;
use crate::rig::text;

const IPAM: &str = "/opt/cni/bin/static";

/// Returns the codes of the check's findings.
fn found(node: &Namespace) -> Vec<Code> {
    let configurations = Configurations {
        directories: vec!["/etc/cni/net.d".parse().expect("a path")],
        ..Configurations::default()
    };
    let mut report = Report::default();
    check_requirements(
        &Root::open(&node.root()).expect("a root"),
        &configurations,
        Occasion::Running,
        &mut report,
    );
    report.findings.iter().map(|finding| finding.code).collect()
}

/// Returns the error of libcni when a pod is added to the network.
///
/// If the IPAM plugin is missing, macvlan leaves its interface in the pod, so each attempt needs
/// another name.
fn added(node: &Namespace, interface: &str) -> Result<String, String> {
    let cnitool = |verb: &str| {
        let mut command = node.command("cnitool");
        command
            .args([verb, "uplink", "/run/netns/pod"])
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_IFNAME", interface);
        text(command.env("NETCONFPATH", "/etc/cni/net.d").output().expect("can run nsenter"))
    };
    let added = cnitool("add");
    if added.is_ok() {
        cnitool("del").expect("what was added can be taken down");
    }
    added
}

#[test]
fn the_check_and_libcni_agree() {
    let programs = ["cni/macvlan", "cni/static", "cnitool"].into_iter().chain(Namespace::PEERS);
    if !peers::present(&programs.collect::<Vec<_>>()) {
        return;
    }
    let node = Namespace::start(namespace::directory(), "ip netns add pod\n");
    for path in ["/opt/cni/bin", "/opt/cni/data", "/etc/cni/net.d"] {
        fs::create_dir_all(node.node(path)).expect("can create a directory");
    }
    let configure = |ipam: &str| {
        let config = format!(
            r#"{{"cniVersion": "0.4.0", "name": "uplink", "type": "macvlan", "master": "uplink", "mode": "bridge",
                 "ipam": {{"type": "{ipam}", "addresses": [{{"address": "10.99.0.2/24"}}]}}}}"#
        );
        fs::write(node.node("/etc/cni/net.d/10-uplink.conf"), config).expect("can write a file");
    };
    configure("static");
    write_plugin(&node.node("/opt/cni/bin/macvlan"), &peers::plugin("macvlan"), 0o755);
    write_plugin(&node.node("/opt/cni/data/static"), &peers::plugin("static"), 0o755);
    let put = |bytes: &[u8], mode: u32| {
        let bytes = bytes.to_vec();
        move |path: &Path| write_plugin(path, &bytes, mode)
    };
    let link =
        |target: &'static str| move |path: &Path| symlink(target, path).expect("can make a link");
    let plugin = peers::plugin("static");
    type Put = Box<dyn Fn(&Path)>;
    type Expected = Option<(&'static str, Code)>;
    let (missing, denied, format) =
        ("failed to find plugin \"static\" in path", "permission denied", "exec format error");
    let cases: [(&str, Put, Expected); 9] = [
        ("a plugin", Box::new(put(&plugin, 0o755)), None),
        ("a plugin for its owner alone", Box::new(put(&plugin, 0o700)), None),
        ("an absolute link", Box::new(link("/opt/cni/data/static")), None),
        ("a relative link", Box::new(link("../data/static")), None),
        ("nothing", Box::new(|_: &Path| {}), Some((missing, Code::PluginNeeded))),
        ("a link to nothing", Box::new(link("/opt/cni/none")), Some((missing, Code::PluginNeeded))),
        (
            "a directory",
            Box::new(|path: &Path| fs::create_dir(path).expect("can create a directory")),
            Some((missing, Code::PluginNeeded)),
        ),
        (
            "a file that is not a program",
            Box::new(put(&plugin, 0o644)),
            Some((denied, Code::PluginUnusable)),
        ),
        ("an empty file", Box::new(put(b"", 0o755)), Some((format, Code::PluginUnusable))),
    ];
    let path = node.node(IPAM);
    for (number, (what, put, expected)) in cases.into_iter().enumerate() {
        put(&path);
        let (added, found) = (added(&node, &format!("net{number}")), found(&node));
        match expected {
            None => assert!(added.is_ok() && found.is_empty(), "{what}: {added:?} {found:?}"),
            Some((words, code)) => {
                let error = added.expect_err(what);
                assert!(error.contains(words), "{what}: {error}");
                assert_eq!(found, [code], "{what}");
            }
        }
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    // The plugin is at the path that the type leads to, and neither follows it.
    write_plugin(&path, &plugin, 0o755);
    configure("../bin/static");
    let error = added(&node, "path").expect_err("the type is a path");
    assert!(error.contains("invalid plugin name: ../bin/static"), "{error}");
    assert_eq!(found(&node), [Code::NotAPluginName]);
    assert_eq!(node.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
}
