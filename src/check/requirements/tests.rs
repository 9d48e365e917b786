use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::check::probe::Versions;
use crate::check::report::{FileState, PluginReport};

const BIN: &str = "/opt/cni/bin";

struct Node {
    temporary: tempfile::TempDir,
    report: Report,
}

impl Node {
    /// A node with these plugins, each of which supports 0.1.0, 0.4.0 and 1.0.0.
    fn new(plugins: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let report = Report::default();
        let mut node = Self { temporary, report };
        for name in plugins {
            node.write(&format!("{BIN}/{name}"), "a program", 0o755);
            node.report.plugins.push(PluginReport {
                directory: BIN.parse().unwrap(),
                name: name.parse().unwrap(),
                state: FileState::Proven,
                versions: Some(Versions {
                    supported: ["0.1.0", "0.4.0", "1.0.0"].map(str::to_owned).to_vec(),
                }),
            });
        }
        node
    }

    fn write(&self, path: &str, content: &str, mode: u32) {
        let path = self.temporary.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.temporary.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn configure(&self, name: &str, text: &str) {
        self.write(&format!("/etc/cni/net.d/{name}"), text, 0o644);
    }

    fn check_with(&self, configurations: &Configurations, occasion: Occasion) -> Report {
        let mut report = self.report.clone();
        check_requirements(
            &Root::open(self.temporary.path()).unwrap(),
            configurations,
            occasion,
            &mut report,
        );
        report
    }

    /// What a running check of the usual directories finds.
    fn check_requirements(&self) -> Report {
        let usual = Configurations { usual: true, ..Configurations::default() };
        self.check_with(&usual, Occasion::Running)
    }

    /// The findings as `code: message`, with this node's place in the file system as ROOT.
    fn messages(&self, report: &Report) -> Vec<String> {
        let root = self.temporary.path().to_str().unwrap();
        let tell = |finding: &Finding| {
            format!("{}: {}", finding.code, finding.message).replace(root, "ROOT")
        };
        report.findings.iter().map(tell).collect()
    }
}

fn needs(report: &Report) -> Vec<String> {
    let tell = |need: &NeedReport| {
        let found = need.found_in.as_ref().map_or("nowhere", HostPath::as_str);
        format!("{} {:?} of {} in {found}", need.plugin, need.role, need.configuration)
    };
    report.needs.iter().map(tell).collect()
}

#[test]
fn a_node_that_has_what_it_needs_says_so() {
    let node = Node::new(&["bridge", "host-local", "tuning"]);
    assert_eq!(
        (node.check_requirements().needs, node.check_requirements().findings),
        (vec![], vec![])
    );
    node.configure("10-a.conflist", r#"{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"tuning"}]}"#);
    // Somebody else's plugin is as good; backups and directories are not read.
    node.write("/opt/cni/bin/foreign", "x", 0o700);
    node.configure("20-b.conf", r#"{"name":"b","type":"foreign"}"#);
    node.configure("10-a.conflist.cni-bak", "{");
    node.write("/etc/cni/net.d/multus.d/daemon-config.json", "{", 0o644);
    node.configure("30.d.conf/x", "");
    let report = node.check_requirements();
    assert_eq!(node.messages(&report), [""; 0]);
    let expected = [
        "bridge Main of /etc/cni/net.d/10-a.conflist in /opt/cni/bin",
        "host-local Ipam of /etc/cni/net.d/10-a.conflist in /opt/cni/bin",
        "tuning Chained of /etc/cni/net.d/10-a.conflist in /opt/cni/bin",
        "foreign Main of /etc/cni/net.d/20-b.conf in /opt/cni/bin",
    ];
    assert_eq!(needs(&report), expected);
}

#[test]
fn says_what_is_missing_for_whom_and_where_it_comes_from() {
    let node = Node::new(&["bridge"]);
    node.configure("10-a.conf", r#"{"name":"a","type":"bridge","ipam":{"type":"whereabouts"}}"#);
    node.configure("20-b.conf", r#"{"name":"b","type":"tap","ipam":{"type":"whereabouts"}}"#);
    node.configure("30-c.conf", r#"{"name":"c","type":"own","ipam":{"type":"whereabouts"}}"#);
    let report = node.check_requirements();
    let expected = [
        "plugin-needed: `whereabouts` is needed by `/etc/cni/net.d/10-a.conf` and 2 others, but is not in `/opt/cni/bin`",
        "plugin-needed: `own` is needed by `/etc/cni/net.d/30-c.conf`, but is not in `/opt/cni/bin`; no runtime on this node uses that file",
        "plugin-needed: `tap` is needed by `/etc/cni/net.d/20-b.conf`, but is not in `/opt/cni/bin`; no runtime on this node uses that file",
    ];
    assert_eq!(node.messages(&report), expected);
    assert_eq!(
        report.findings[2].hint.as_deref(),
        Some(
            "`tap` has been part of containernetworking/plugins since v1.3.0; add it to the bundle"
        )
    );
    assert!(!report.is_good());
    node.write("/opt/cni/bin/whereabouts", "x", 0o755);
    let report = node.check_requirements();
    assert_eq!(
        (node.messages(&report), report.is_good()),
        (expected[1..].iter().map(ToString::to_string).collect(), true)
    );
}

#[test]
fn finds_what_libcni_finds() {
    let node = Node::new(&["bridge"]);
    node.configure("10-a.conf", r#"{"name":"a","type":"macvlan"}"#);
    let search = |paths: &[&str]| {
        let search = paths.iter().map(|path| path.parse().unwrap()).collect();
        node.check_with(
            &Configurations { usual: true, search, ..Configurations::default() },
            Occasion::Running,
        )
    };
    let both = [BIN, "/usr/lib/cni"];
    let needed = "plugin-needed: `macvlan` is needed by `/etc/cni/net.d/10-a.conf`, but is not in `/opt/cni/bin` or `/usr/lib/cni`";
    assert_eq!(node.messages(&search(&both)), [needed]);
    // A directory, and a link to nothing: libcni says the same of all three.
    std::fs::create_dir(node.temporary.path().join("opt/cni/bin/macvlan")).unwrap();
    node.link("/opt/elsewhere/macvlan", "/usr/lib/cni/macvlan");
    assert_eq!(
        node.messages(&search(&both)),
        [format!(
            "{needed}: `/opt/cni/bin/macvlan` is a directory, `/usr/lib/cni/macvlan` is a dangling symbolic link"
        )]
    );
    // The first regular file counts, whether it can be executed or not.
    node.write("/opt/elsewhere/macvlan", "x", 0o755);
    assert_eq!(needs(&search(&both)), ["macvlan Main of /etc/cni/net.d/10-a.conf in /usr/lib/cni"]);
    std::fs::remove_dir(node.temporary.path().join("opt/cni/bin/macvlan")).unwrap();
    for (content, mode, reason) in [
        ("x", 0o644, "has mode 0644 (\"permission denied\")"),
        ("", 0o755, "is empty (\"exec format error\")"),
    ] {
        node.write("/opt/cni/bin/macvlan", content, mode);
        let report = search(&both);
        assert_eq!(needs(&report), ["macvlan Main of /etc/cni/net.d/10-a.conf in /opt/cni/bin"]);
        let expected = "plugin-unusable: `macvlan` is needed by `/etc/cni/net.d/10-a.conf`, but cannot be executed: `/opt/cni/bin/macvlan`";
        assert_eq!(node.messages(&report), [format!("{expected} {reason}")]);
        std::fs::remove_file(node.temporary.path().join("opt/cni/bin/macvlan")).unwrap();
    }
    assert_eq!(node.messages(&search(&["/usr/lib/cni"])), [""; 0]);
}

#[test]
fn a_plugin_must_speak_the_version_it_is_called_with() {
    let node = Node::new(&["bridge", "static"]);
    let list = |version: &str| {
        format!(
            r#"{{"cniVersion":"{version}","name":"a","plugins":[{{"type":"bridge","ipam":{{"type":"static"}}}}]}}"#
        )
    };
    node.configure("10-a.conflist", &list("1.1.0"));
    let report = node.check_requirements();
    let expected = ["bridge", "static"].map(|name| {
        format!("incompatible-version: `{name}` is called by `/etc/cni/net.d/10-a.conflist` with a CNI version that it does not support")
    });
    assert_eq!(node.messages(&report), expected);
    let finding = &report.findings[0];
    assert_eq!(
        (finding.expected.as_deref(), finding.found.as_deref()),
        (Some("CNI 1.1.0"), Some("CNI 0.1.0, 0.4.0, 1.0.0"))
    );
    node.configure("10-a.conflist", &list("1.0.0"));
    assert_eq!(node.messages(&node.check_requirements()), [""; 0]);
}

#[test]
fn a_configuration_without_a_version_is_called_with_the_oldest() {
    let mut node = Node::new(&["bridge", "static"]);
    for plugin in &mut node.report.plugins {
        let supported = ["0.4.0", "1.0.0"].map(str::to_owned).to_vec();
        plugin.versions = Some(Versions { supported });
    }
    let messages = "incompatible-version: `bridge` is called by `/etc/cni/net.d/10-a.conf` with a CNI version that it does not support";
    for version in ["", r#""cniVersion":"","#, r#""cniVersion":"0.3.1","#] {
        node.configure("10-a.conf", &format!(r#"{{{version}"name":"a","type":"bridge"}}"#));
        let report = node.check_requirements();
        assert_eq!(node.messages(&report), [messages], "{version}");
        let expected = if version.contains("0.3.1") { "CNI 0.3.1" } else { "CNI 0.1.0" };
        assert_eq!(report.findings[0].expected.as_deref(), Some(expected));
        assert_eq!(
            report.findings[0].hint.as_deref(),
            Some(
                "raise `cniVersion` in the configuration; one that is missing or empty means 0.1.0"
            )
        );
    }
    node.configure("10-a.conf", r#"{"cniVersion":"0.4.0","name":"a","type":"bridge"}"#);
    assert_eq!(node.messages(&node.check_requirements()), [""; 0]);
}

#[test]
fn the_directory_and_the_file_are_those_that_the_runtime_takes() {
    let node = Node::new(&["bridge"]);
    let needs = |plugin: &str, file: &str| {
        format!("plugin-needed: `{plugin}` is needed by `{file}`, but is not in `/opt/cni/bin`")
    };
    let k3s = "/var/lib/rancher/k3s/agent/etc/cni/net.d";
    let config = format!(
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = \"{k3s}\"\n"
    );
    node.write("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", &config, 0o644);
    let multus = r#"{"cniVersion":"1.0.0","name":"m","type":"multus-shim"}"#;
    let flannel = r#"{"name":"cbr0","cniVersion":"1.0.0","plugins":[{"type":"flannel"}]}"#;
    node.write(&format!("{k3s}/00-multus.conf"), multus, 0o644);
    node.write(&format!("{k3s}/10-flannel.conflist"), flannel, 0o644);
    node.write(&format!("{k3s}/20-old.conf"), r#"{"name":"o","type":"weave-net"}"#, 0o644);
    node.configure("10-a.conf", r#"{"name":"a","type":"calico"}"#);
    let aside = "; no runtime on this node uses that file";
    let report = node.check_requirements();
    let list = format!("{k3s}/10-flannel.conflist");
    let expected = [
        needs("flannel", &list),
        needs("host-local", &list),
        needs("multus-shim", &format!("{k3s}/00-multus.conf")),
        needs("calico", "/etc/cni/net.d/10-a.conf") + aside,
        needs("weave-net", &format!("{k3s}/20-old.conf")) + aside,
    ];
    assert_eq!(node.messages(&report), expected);
    assert!(!report.is_good());
    for name in ["flannel", "host-local", "multus-shim"] {
        node.write(&format!("{BIN}/{name}"), "x", 0o755);
    }
    let report = node.check_requirements();
    assert_eq!((node.messages(&report), report.is_good()), (expected[3..].to_vec(), true));
}

#[test]
fn a_repeated_key_is_a_warning_and_the_last_value_is_needed() {
    let node = Node::new(&["bridge"]);
    node.configure(
        "10-a.conf",
        r#"{"cniVersion":"1.0.0","name":"a","type":"vlan","type":"bridge"}"#,
    );
    let report = node.check_requirements();
    let expected = "repeated-key: `/etc/cni/net.d/10-a.conf`: the key `type` appears twice at line 1 column 53; the last value counts";
    assert_eq!(node.messages(&report), [expected]);
    assert_eq!((needs(&report).len(), report.is_good()), (1, true));
}

#[test]
fn definitions_need_plugins_too() {
    let node = Node::new(&["bridge"]);
    node.write("/etc/cni/multus/net.d/x.conf", r#"{"name":"on-node","type":"bridge"}"#, 0o644);
    let item = |name: &str, config: &str| serde_json::json!({"kind": "NetworkAttachmentDefinition", "metadata": {"namespace": "demo", "name": name}, "spec": {"config": config}});
    let list = serde_json::json!({"kind": "List", "items": [
        item("mv", r#"{"type":"macvlan"}"#), item("on-node", ""), item("elsewhere", ""),
        item("path", r#"{"type":"../../../tmp/x"}"#), item("broken", "{"),
    ]});
    let definitions = vec![("standard input".to_owned(), list.to_string().into_bytes())];
    let configurations = Configurations { usual: true, definitions, ..Configurations::default() };
    let report = node.check_with(&configurations, Occasion::Running);
    let expected = [
        "config-missing: `demo/elsewhere` refers to a CNI configuration on the node, but there is none with that name",
        "not-a-plugin-name: `demo/path` has a plugin type that is not a file name: plugin name `../../../tmp/x` contains `/`; letters, digits, `-`, `_` and `.` are allowed",
        "config-unreadable: the configuration of `demo/broken` is not valid: EOF while parsing an object at line 1 column 1",
        "plugin-needed: `macvlan` is needed by `demo/mv`, but is not in `/opt/cni/bin`",
    ];
    assert_eq!(node.messages(&report), expected);
    assert_eq!(needs(&report)[1], "macvlan Main of demo/mv in nowhere");
}

#[test]
fn at_boot_only_what_was_asked_for_by_name_decides() {
    let node = Node::new(&[]);
    node.configure("10-a.conf", r#"{"name":"a","type":"macvlan"}"#);
    node.configure("20-b.conf", "{");
    let path = || vec!["/etc/cni/net.d".parse().unwrap()];
    let usual = Configurations { usual: true, ..Configurations::default() };
    let given = Configurations { directories: path(), ..Configurations::default() };
    for (configurations, occasion, good) in [
        (&usual, Occasion::Running, false),
        (&usual, Occasion::Boot, true),
        (&given, Occasion::Running, false),
        (&given, Occasion::Boot, false),
    ] {
        let report = node.check_with(configurations, occasion);
        assert_eq!((report.findings.len(), report.is_good()), (2, good), "{report:?}");
    }
    let none = Configurations {
        directories: vec!["/etc/none".parse().unwrap()],
        ..Configurations::default()
    };
    assert_eq!(
        node.messages(&node.check_with(&none, Occasion::Running)),
        ["config-unreadable: there is no directory `/etc/none`"]
    );
}

#[test]
fn a_list_may_leave_its_plugins_to_a_directory_with_its_name() {
    let node = Node::new(&["bridge"]);
    node.configure("10-a.conflist", r#"{"cniVersion":"1.0.0","name":"a"}"#);
    let alone = node.check_requirements();
    assert_eq!(
        node.messages(&alone),
        [
            "config-unreadable: `/etc/cni/net.d/10-a.conflist` names no plugin, and neither does `/etc/cni/net.d/a`"
        ]
    );
    node.configure("a/1.conf", r#"{"type":"bridge"}"#);
    node.configure("a/2.conf", r#"{"type":"vlan"}"#);
    let expected = [
        "bridge Main of /etc/cni/net.d/a/1.conf in /opt/cni/bin",
        "vlan Chained of /etc/cni/net.d/a/2.conf in nowhere",
    ];
    assert_eq!(needs(&node.check_requirements()), expected);
    // The name of a network is not a path.
    node.write("/etc/cni/other/1.conf", r#"{"type":"secret"}"#, 0o644);
    for name in ["../other", "..", "a/../../other", "/etc/cni/other", ""] {
        node.configure("10-a.conflist", &format!(r#"{{"name":"{name}"}}"#));
        let report = node.check_requirements();
        let messages = node.messages(&report);
        assert_eq!((needs(&report).len(), messages.len()), (0, 1), "{name}: {messages:?}");
        let expected = "config-unreadable: `/etc/cni/net.d/10-a.conflist` cannot be used: ";
        assert!(
            messages[0].starts_with(expected) && messages[0].contains("`name`"),
            "{messages:?}"
        );
    }
}

#[test]
fn nothing_outside_the_root_is_opened_and_nothing_in_the_way_stops_it() {
    let node = Node::new(&["bridge"]);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x.conf"), r#"{"name":"x","type":"secret"}"#).unwrap();
    // A link is followed as the node's programs follow it: what it names is not in this root.
    node.link(outside.path().join("x.conf").to_str().unwrap(), "/etc/cni/net.d/10-link.conf");
    node.link("../../../../../../../etc/cni/net.d/real", "/etc/cni/net.d/20-inside.conf");
    node.configure("real", r#"{"name":"y","type":"bridge"}"#);
    node.link("40-loop.conf", "/etc/cni/net.d/40-loop.conf");
    let fifo = node.temporary.path().join("etc/cni/net.d/50-fifo.conf");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo, rustix::fs::Mode::RWXU).unwrap();
    node.configure("60-long.conf", &" ".repeat(CONFIG_LIMIT + 1));
    node.configure("70-deep.conf", &r#"{"type":"m","delegates":["#.repeat(10_000));
    node.configure("80-\u{1b}[2J.conf", "[]");
    let report = node.check_requirements();
    let expected = [
        "config-unreadable: `/etc/cni/net.d/10-link.conf` is a dangling symbolic link",
        "config-unreadable: cannot look up `ROOT/etc/cni/net.d/40-loop.conf`: Too many levels of symbolic links (os error 40)",
        "config-unreadable: `ROOT/etc/cni/net.d/50-fifo.conf` is a FIFO, expected a regular file",
        "config-unreadable: `ROOT/etc/cni/net.d/60-long.conf` is longer than 1048576 bytes",
        "config-unreadable: `/etc/cni/net.d/70-deep.conf` is nested more than 127 levels deep",
        "config-unreadable: `/etc/cni/net.d/80-\\u{1b}[2J.conf` is not a JSON object",
    ];
    assert_eq!(node.messages(&report), expected);
    assert_eq!(needs(&report), ["bridge Main of /etc/cni/net.d/20-inside.conf in /opt/cni/bin"]);

    std::fs::remove_dir_all(node.temporary.path().join("etc/cni/net.d")).unwrap();
    node.link(outside.path().to_str().unwrap(), "/etc/cni/net.d");
    let report = node.check_requirements();
    assert_eq!((needs(&report), node.messages(&report)), (vec![], vec![]));
}

#[test]
fn many_files_and_many_plugins_are_bounded() {
    let node = Node::new(&[]);
    for number in 0..=FILE_LIMIT {
        node.configure(
            &format!("{number:05}.conf"),
            &format!(r#"{{"name":"n","type":"plugin-{number}"}}"#),
        );
    }
    let report = node.check_requirements();
    assert_eq!(report.needs.len(), FILE_LIMIT);
    let messages = node.messages(&report);
    assert_eq!(
        (messages.len(), messages[0].as_str()),
        (FINDING_LIMIT + 3, "config-unreadable: `/etc/cni/net.d` has more than 1024 files")
    );
    let decides = "plugin-needed: `plugin-0` is needed by `/etc/cni/net.d/00000.conf`, but is not in `/opt/cni/bin`";
    assert_eq!(messages[1], decides);
    assert_eq!(messages.last().unwrap(), "plugin-needed: 959 more of this kind were left out");
}

#[test]
fn lists_that_share_a_large_directory_are_bounded() {
    let node = Node::new(&["bridge"]);
    for number in 0..70 {
        node.configure(&format!("{number:02}.conflist"), r#"{"name":"a"}"#);
    }
    let long = format!(r#"{{"type":"bridge"}}{}"#, " ".repeat(CONFIG_LIMIT - 17));
    node.configure("a/1.conf", &long);
    let report = node.check_requirements();
    assert_eq!(report.needs.len(), 63);
    let messages = node.messages(&report);
    let limit = "config-unreadable: the configurations are more than 67108864 bytes; `/etc/cni/net.d/a/1.conf` and later ones were not read";
    assert_eq!(messages, [limit]);
}

mod runtimes;
