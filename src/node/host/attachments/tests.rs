use std::os::unix::fs::symlink;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn result(container: &str, network: &str, config: &str) -> String {
    let config = STANDARD.encode(config);
    format!(
        r#"{{"kind":"cniCacheV1","containerId":"{container}","config":"{config}","ifName":"eth0","networkName":"{network}"}}"#
    )
}

fn node() -> (tempfile::TempDir, Root) {
    let temporary = tempfile::tempdir().unwrap();
    for path in ["var/lib/cni/results", "var/lib/cni/multus/results", "var/lib/cni/networks"] {
        std::fs::create_dir_all(temporary.path().join(path)).unwrap();
    }
    let root = Root::open(temporary.path()).unwrap();
    (temporary, root)
}

fn uses_and_messages(found: &Attachments) -> (Vec<String>, Vec<&str>) {
    let users =
        |users: &[Attachment]| users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let needed =
        found.needed.iter().map(|(plugin, all)| format!("{plugin}: {}", users(all))).collect();
    (needed, found.unknown.iter().map(|finding| finding.message.as_str()).collect())
}

#[test]
fn says_for_each_plugin_who_needs_it() {
    let (temporary, root) = node();
    let none = attachments(&root, &CacheDirectories::default()).unwrap();
    assert_eq!(none, Attachments::default());
    let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
    let list = r#"{"plugins":[{"type":"bridge","ipam":{"type":"static"}},{"type":"tuning"}]}"#;
    std::fs::write(at("results/n-c1-eth0"), result("c1", "n", list)).unwrap();
    std::fs::write(at("results/n-c2-eth0"), result("c2", "n", r#"{"type":"bridge"}"#)).unwrap();
    let delegate = r#"{"type":"macvlan","name":"mv"}"#;
    std::fs::write(at("multus/results/mv-c1-net1"), result("c1", "mv", delegate)).unwrap();
    let bytes = STANDARD.encode(delegate);
    std::fs::write(at("multus/c1"), format!(r#"[{{"Name":"demo/mv","Bytes":"{bytes}"}}]"#))
        .unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    let expected = [
        "bridge: container `c1` in network `n`, container `c2` in network `n`",
        "macvlan: container `c1` in network `mv`",
        "static: container `c1` in network `n`",
        "tuning: container `c1` in network `n`",
    ];
    assert_eq!(uses_and_messages(&found), (expected.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(found.of(&"tuning".parse().unwrap()).len(), 1);
    assert_eq!(found.of(&"vlan".parse().unwrap()), []);
}

#[test]
fn reads_what_libcni_and_multus_left() {
    let (temporary, root) = node();
    let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
    // Written by libcni 1.3 (cnitool), and by Multus 4.2.4 with two delegates and by the libcni
    // in it.
    std::fs::write(
        at("results/br-c1-eth0"),
        include_str!("../../../../tests/data/cni/result-list.json"),
    )
    .unwrap();
    std::fs::write(at("multus/c2"), include_str!("../../../../tests/data/cni/multus-4.2.4.json"))
        .unwrap();
    let delegate = include_str!("../../../../tests/data/cni/result-delegate.json");
    std::fs::write(at("multus/results/mv-secondary-c2-net1"), delegate).unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    let first = "container `cnitool-9539caf00070aeae0bd6` in network `br`";
    let (br, mv) = ("container `c2` in network `br`", "container `c2` in network `mv-secondary`");
    let again =
        "pod `demo/samplepod` (container `cnitool-e8cf5da5ab8cb722cfcb`) in network `mv-secondary`";
    let expected = [
        format!("bridge: {br}, {first}"),
        format!("host-local: {br}, {first}"),
        format!("macvlan: {mv}, {again}"),
        format!("static: {mv}, {again}"),
        format!("tuning: {br}, {first}"),
    ];
    assert_eq!(uses_and_messages(&found), (expected.to_vec(), vec![]));
}

#[test]
fn what_cannot_be_read_is_reported_and_never_left_out() {
    let (temporary, root) = node();
    let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
    std::fs::write(at("results/a"), r#"{"cniVersion":"0.3.1"}"#).unwrap();
    std::fs::write(at("results/b"), result("c", "n", r#"{"type":"../../bridge"}"#)).unwrap();
    std::fs::write(at("results/c"), result("c", "n", r#"{"name":"n","plugins":[]}"#)).unwrap();
    symlink("a", at("results/d")).unwrap();
    std::fs::write(at("results/e"), vec![b' '; CACHE_LIMIT + 1]).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("results/f"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::write(at("results/g"), "").unwrap();
    std::fs::write(at("multus/c1\n"), "{}").unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    let of = "the configuration in `/var/lib/cni/results/";
    let expected = [
        "`/var/lib/cni/results/a` is not a cache entry of kind `cniCacheV1`".to_owned(),
        "`/var/lib/cni/results/d` is a symbolic link".to_owned(),
        "`/var/lib/cni/results/e` is longer than 1048576 bytes".to_owned(),
        "`/var/lib/cni/results/f` is a FIFO".to_owned(),
        "`/var/lib/cni/results/g` is not valid: EOF while parsing a value at line 1 column 0"
            .to_owned(),
        "`/var/lib/cni/multus/c1\\u{a}` is not a list of delegates".to_owned(),
        format!(
            "{of}b` does not say what it needs: invalid `type`: plugin name `../../bridge` contains `/`; letters, digits, `-`, `_` and `.` are allowed"
        ),
        format!("{of}c` does not say what it needs: `plugins` must be a non-empty list"),
    ];
    assert_eq!(uses_and_messages(&found), (vec![], expected.iter().map(String::as_str).collect()));
    assert!(
        found
            .unknown
            .iter()
            .all(|finding| finding.code == Code::AttachmentUnknown && finding.is_refusal())
    );
}

#[test]
fn a_cache_that_is_outside_is_not_opened() {
    let (temporary, root) = node();
    std::fs::remove_dir(temporary.path().join("var/lib/cni/results")).unwrap();
    symlink("/etc", temporary.path().join("var/lib/cni/results")).unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    assert_eq!(
        found.unknown.iter().map(|finding| finding.code).collect::<Vec<_>>(),
        [Code::PathEscapes]
    );
}

#[test]
fn an_attachment_in_several_caches_is_listed_once_with_its_pod() {
    let (temporary, root) = node();
    let at = |path: &str| temporary.path().join("var/lib/cni").join(path);
    std::fs::create_dir_all(at("cache/results")).unwrap();
    let arguments = r#""cniArgs":[["K8S_POD_NAMESPACE","demo"],["K8S_POD_NAME","web-0"]],"#;
    let of_pod = |text: String| text.replacen('{', &format!("{{{arguments}"), 1);
    let bridge = r#"{"name":"n","plugins":[{"type":"bridge"}]}"#;
    let macvlan = r#"{"type":"macvlan","name":"mv"}"#;
    // The same in both result caches, and only one of them names the pod.
    std::fs::write(at("results/n-c1-eth0"), of_pod(result("c1", "n", bridge))).unwrap();
    std::fs::write(at("cache/results/n-c1-eth0"), result("c1", "n", bridge)).unwrap();
    // Two interfaces in one network, which Multus lists by the name of its definition.
    let second = result("c1", "mv", macvlan).replace("eth0", "net2");
    std::fs::write(at("multus/results/mv-c1-eth0"), result("c1", "mv", macvlan)).unwrap();
    std::fs::write(at("multus/results/mv-c1-net2"), second).unwrap();
    let delegate = |name: &str, config: &str| {
        format!(r#"{{"Name":"{name}","Bytes":"{}"}}"#, STANDARD.encode(config))
    };
    let all = [delegate("", bridge), delegate("demo/mv", macvlan), delegate("demo/mv", macvlan)];
    std::fs::write(at("multus/c1"), format!("[{}]", all.join(","))).unwrap();
    // Only Multus remembers this one.
    std::fs::write(at("multus/c2"), format!("[{}]", all[1])).unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    let pod = "pod `demo/web-0` (container `c1`) in network";
    let expected = [
        format!("bridge: {pod} `n`"),
        format!("macvlan: {pod} `mv`, {pod} `mv`, container `c2` in network `demo/mv`"),
    ];
    assert_eq!(uses_and_messages(&found), (expected.to_vec(), vec![]));
}

#[test]
fn what_a_part_of_a_node_does_not_show_is_unknown() {
    let cases: [(&[&str], bool); 8] = [
        (&[], false),
        (&["opt/cni/bin", "var/lib/cnister"], false),
        (&["var/lib"], false),
        (&["var/lib/cni"], true),
        (&["var/lib/cni/networks"], true),
        // A whole node without records has no attachments.
        (&["usr/lib"], true),
        (&["lib"], true),
        (&["lib64", "var/lib"], true),
    ];
    for (paths, seen) in cases {
        let temporary = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(temporary.path().join(path)).unwrap();
        }
        let root = Root::open(temporary.path()).unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        let codes: Vec<_> = found.unknown.iter().map(|finding| finding.code).collect();
        let expected: &[Code] = if seen { &[] } else { &[Code::AttachmentUnknown] };
        assert_eq!(codes, expected, "{paths:?}");
    }
}

#[test]
fn what_takes_the_place_of_a_cache_is_unknown_as_well() {
    for path in ["var/lib/cni/results", "var/lib/cni"] {
        let (temporary, root) = node();
        std::fs::remove_dir_all(temporary.path().join(path)).unwrap();
        std::fs::write(temporary.path().join(path), "").unwrap();
        let found = attachments(&root, &CacheDirectories::default()).unwrap();
        let finding = &found.unknown[0];
        assert!(finding.is_refusal(), "{path}");
        assert!(finding.message.contains("/var/lib/cni"), "{}", finding.message);
    }
}

#[test]
fn a_record_of_a_sandbox_that_is_gone_is_reported_and_does_not_count() {
    let (temporary, root) = node();
    let at = |path: &str| temporary.path().join(path);
    let records = at("var/lib/cni");
    let with = |container: &str| {
        let text = result(container, "mv", r#"{"type":"macvlan","name":"mv"}"#);
        text.replacen('{', &format!(r#"{{"netns":"/run/netns/{container}","#), 1)
    };
    let delegate = STANDARD.encode(r#"{"type":"macvlan","name":"mv"}"#);
    for container in ["gone", "known", "runs"] {
        std::fs::write(
            records.join(format!("multus/results/mv-{container}-net1")),
            with(container),
        )
        .unwrap();
        let delegates = format!(r#"[{{"Name":"demo/mv","Bytes":"{delegate}"}}]"#);
        std::fs::write(records.join(format!("multus/{container}")), delegates).unwrap();
    }
    // After a reboot, the runtime still calls the plugin for the containers that it knows.
    let sandboxes = "var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes";
    std::fs::create_dir_all(at(&format!("{sandboxes}/known"))).unwrap();
    std::fs::create_dir_all(at("run/netns")).unwrap();
    std::fs::write(at("run/netns/runs"), "").unwrap();
    // Only a part of a node, which does not say that something is gone.
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    assert_eq!(found.of(&"macvlan".parse().unwrap()).len(), 3);
    std::fs::create_dir_all(at("usr/lib")).unwrap();
    let found = attachments(&root, &CacheDirectories::default()).unwrap();
    let users = "container `known` in network `mv`, container `runs` in network `mv`";
    assert_eq!(uses_and_messages(&found), (vec![format!("macvlan: {users}")], vec![]));
    let note = found.about_stale().unwrap();
    assert_eq!((note.code, note.is_refusal()), (Code::AttachmentStale, false));
    let expected = "`/var/lib/cni/multus/results/mv-gone-net1` and 1 other belongs to a pod that is gone: it has no network namespace, and no runtime knows it";
    assert_eq!(note.message, expected);
}
