//! What the runtimes of a node and Multus take, and where they look.

use super::*;

const V3: &str = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\n";
const CONTAINERD: &str = "/etc/containerd/config.toml";
const CRIO: &str = "/etc/crio/crio.conf";
const NETWORK: &str = "[crio.network]\n";

/// A network of one plugin.
fn network(name: &str, plugin: &str) -> String {
    format!(r#"{{"cniVersion":"0.4.0","name":"{name}","plugins":[{{"type":"{plugin}"}}]}}"#)
}

#[test]
fn plugins_are_searched_for_where_the_runtime_of_the_file_looks() {
    let crio = |dirs: &str| format!("{NETWORK}plugin_dirs = [{dirs}]\n");
    let containerd = |line: &str| format!("{V3}{line}\n");
    let needed = |place: &str| {
        format!(
            "plugin-needed: `macvlan` is needed by `/etc/cni/net.d/1.conflist`, but is not in {place}"
        )
    };
    let lib = needed("`/usr/lib/cni`");
    let both = "/opt/cni/bin', '/usr/lib/cni";
    for (config, text, there, expected) in [
        (CONTAINERD, containerd(&format!("bin_dirs = ['{both}']")), "/usr/lib/cni", vec![]),
        (CRIO, crio(&format!("'{both}/'")), "/usr/lib/cni", vec![]),
        (CONTAINERD, containerd("bin_dir = '/usr/lib/cni'"), "/usr/lib/cni", vec![]),
        (CONTAINERD, containerd("bin_dir = '/usr/lib/cni'"), BIN, vec![lib.as_str()]),
        (CRIO, crio("'/usr/lib/cni'"), BIN, vec![lib.as_str()]),
        (CONTAINERD, containerd("bin_dir = '/usr/./lib//cni/'"), BIN, vec![lib.as_str()]),
    ] {
        let node = Node::new(&["bridge"]);
        node.write(config, &text, 0o644);
        node.configure("1.conflist", &network("n", "macvlan"));
        node.write(&format!("{there}/macvlan"), "x", 0o755);
        let report = node.check_requirements();
        assert_eq!(node.messages(&report), expected, "{text}");
        // A directory that is named is searched for in the same way.
        let named = Configurations {
            directories: vec!["/etc/cni/net.d".parse().unwrap()],
            ..Configurations::default()
        };
        assert_eq!(node.messages(&node.check_with(&named, Occasion::Running)), expected, "{text}");
        if let [finding] = report.findings.as_slice() {
            let hint = "it is in `/opt/cni/bin`: install it into a directory that the runtime searches (`--bin-dir`), or make the runtime search that one";
            assert_eq!(finding.hint.as_deref(), Some(hint));
        }
        // What the owner says comes first.
        let search = vec![there.parse().unwrap()];
        let told = Configurations { usual: true, search, ..Configurations::default() };
        assert_eq!(node.messages(&node.check_with(&told, Occasion::Running)), [""; 0], "{text}");
    }
}

#[test]
fn every_runtime_that_takes_a_file_has_to_find_its_plugins() {
    let node = Node::new(&["bridge"]);
    node.write(CONTAINERD, &format!("{V3}bin_dir = '/usr/lib/cni'\n"), 0o644);
    node.write(CRIO, &format!("{NETWORK}plugin_dirs = ['/opt/cni/bin']\n"), 0o644);
    node.configure("1.conflist", &network("n", "bridge"));
    let report = node.check_requirements();
    let expected = "plugin-needed: `bridge` is needed by `/etc/cni/net.d/1.conflist`, but is not in `/usr/lib/cni`";
    assert_eq!((node.messages(&report), report.is_good()), (vec![expected.to_owned()], false));
    assert_eq!(needs(&report), ["bridge Main of /etc/cni/net.d/1.conflist in nowhere"]);
    node.write("/usr/lib/cni/bridge", "x", 0o755);
    assert_eq!(node.messages(&node.check_requirements()), [""; 0]);
}

#[test]
fn multus_searches_its_own_directory_and_those_of_the_runtime() {
    let item = serde_json::json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "a"}, "spec": {"config": r#"{"type":"macvlan"}"#}});
    let definitions = vec![("it".to_owned(), item.to_string().into_bytes())];
    let asked = Configurations { usual: true, definitions, ..Configurations::default() };
    for (bin_dir, there, expected) in [
        ("", BIN, ""),
        ("", "/usr/lib/cni", ""),
        ("", "/srv/cni", "but is not in `/usr/lib/cni` or `/opt/cni/bin`"),
        (r#""binDir":"/srv/cni","#, "/srv/cni", ""),
        (r#""binDir":"/srv/cni","#, BIN, "but is not in `/srv/cni` or `/usr/lib/cni`"),
    ] {
        let node = Node::new(&["bridge"]);
        node.write(CONTAINERD, &format!("{V3}bin_dir = '/usr/lib/cni'\n"), 0o644);
        let multus = format!(r#"{{{bin_dir}"cniVersion":"0.3.1","name":"m","type":"multus"}}"#);
        node.configure("00-multus.conf", &multus);
        node.write("/usr/lib/cni/multus", "x", 0o755);
        node.write(&format!("{there}/macvlan"), "x", 0o755);
        let told = node.messages(&node.check_with(&asked, Occasion::Running)).join("\n");
        assert!(told.ends_with(expected) && told.is_empty() == expected.is_empty(), "{told}");
    }
}

#[test]
fn cri_o_passes_over_a_network_that_it_cannot_use() {
    let told = |crio: &str, files: &[(&str, String)]| {
        let node = Node::new(&["bridge"]);
        node.write(CRIO, &format!("{NETWORK}{crio}"), 0o644);
        for (name, text) in files {
            node.configure(name, text);
        }
        let report = node.check_requirements();
        (node.messages(&report), report.is_good())
    };
    let missing = |plugin: &str, file: &str| {
        format!(
            "plugin-needed: `{plugin}` is needed by `/etc/cni/net.d/{file}`, but is not in `/opt/cni/bin`"
        )
    };
    let aside = "; no runtime on this node uses that file";
    let (a, b) = (("1.conflist", network("a", "tap")), ("2.conflist", network("b", "bridge")));
    // The first one's plugin is missing, or does not speak the version, or it has no name.
    let passed = vec![missing("tap", "1.conflist") + aside];
    assert_eq!(told("", &[a.clone(), b.clone()]), (passed, true));
    let newer = network("a", "bridge").replace("0.4.0", "1.1.0");
    let (findings, is_good) = told("", &[("1.conflist", newer), b.clone()]);
    assert!(findings[0].starts_with("incompatible-version: ") && findings[0].ends_with(aside));
    assert!(is_good);
    let nameless = network("a", "bridge").replace(r#""name":"a","#, "");
    let refused = "config-unreadable: `/etc/cni/net.d/1.conflist` cannot be used: it has no `name`";
    let (findings, is_good) = told("", &[("1.conflist", nameless.clone()), b.clone()]);
    assert_eq!((findings, is_good), (vec![refused.to_owned()], true));
    let c = ("2.conflist", network("b", "tap"));
    let both = [refused.to_owned(), missing("tap", "2.conflist")];
    assert_eq!(told("", &[("1.conflist", nameless), c.clone()]), (both.to_vec(), false));
    // None of them can be used.
    let both = vec![missing("tap", "1.conflist").replace("`, but", "` and 1 other, but")];
    assert_eq!(told("", &[a.clone(), c.clone()]), (both, false));
    // A network without a name has that of its file.
    let single = ("1.conf", r#"{"cniVersion":"0.4.0","type":"tap"}"#.to_owned());
    let named = "cni_default_network = '1.conf'\n";
    assert_eq!(told(named, &[single, b.clone()]), (vec![missing("tap", "1.conf")], false));
    let single = ("1.conf", r#"{"cniVersion":"0.4.0","type":"bridge"}"#.to_owned());
    assert_eq!(told(named, &[single.clone(), b.clone()]), (vec![], true));
    assert!(told("", &[single, c]).1);
    let empty = ("1.conflist", network("", "bridge"));
    assert_eq!(told("", &[empty]), (vec![], true));
}

#[test]
fn containerd_has_no_network_without_a_name() {
    for (text, expected) in [
        (r#"{"plugins":[{"type":"bridge"}]}"#, "it has no `name`"),
        (r#"{"name":"","plugins":[{"type":"bridge"}]}"#, "it has no `name`"),
        (r#"{"name":null,"plugins":[{"type":"bridge"}]}"#, "`name` is not a string"),
        (
            r#"{"name":"a","disableCheck":"x","plugins":[{"type":"bridge"}]}"#,
            "`disableCheck` is neither true nor false",
        ),
    ] {
        let node = Node::new(&["bridge"]);
        node.write(CONTAINERD, V3, 0o644);
        node.configure("1.conflist", text);
        node.configure("2.conflist", &network("b", "bridge"));
        let report = node.check_requirements();
        let expected =
            format!("config-unreadable: `/etc/cni/net.d/1.conflist` cannot be used: {expected}");
        assert_eq!((node.messages(&report), report.is_good()), (vec![expected], false), "{text}");
    }
}

#[test]
fn a_later_file_of_cri_o_takes_back_what_an_earlier_one_said() {
    for (before, after, needed) in [
        ("cni_default_network = 'other'", "cni_default_network = ''", "/etc/cni/net.d/1.conflist"),
        ("network_dir = '/etc/x'", "network_dir = ''", "/etc/cni/net.d/1.conflist"),
        ("cni_default_network = 'other'", "", ""),
        ("network_dir = '/etc/x'", "", "/etc/x/1.conflist"),
    ] {
        let node = Node::new(&["bridge"]);
        node.write(CRIO, &format!("{NETWORK}{before}\n"), 0o644);
        node.write("/etc/crio/crio.conf.d/10", &format!("{NETWORK}{after}\n"), 0o644);
        node.configure("1.conflist", &network("n", "tap"));
        node.write("/etc/x/1.conflist", &network("n", "tap"), 0o644);
        let report = node.check_requirements();
        let refused: Vec<_> =
            report.findings.iter().filter(|it| it.severity == Severity::Refusal).collect();
        assert_eq!(refused.len(), usize::from(!needed.is_empty()), "{after}: {report:?}");
        assert!(
            refused.iter().all(|it| it.message.contains(&format!("`{needed}`"))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_definition_refers_to_a_network_of_multus_only() {
    let item = serde_json::json!({"kind": "NetworkAttachmentDefinition", "metadata": {"name": "n"}, "spec": {}});
    let told = |file: &str, multus: &str, directories: &[&str]| {
        let node = Node::new(&["bridge", "multus"]);
        node.write(file, &network("n", "bridge"), 0o644);
        node.configure("00-multus.conf", multus);
        let definitions = vec![("it".to_owned(), item.to_string().into_bytes())];
        let directories: Vec<_> = directories.iter().map(|path| path.parse().unwrap()).collect();
        let usual = directories.is_empty();
        let asked = Configurations { usual, directories, definitions, ..Configurations::default() };
        let report = node.check_with(&asked, Occasion::Running);
        report.findings.iter().any(|finding| finding.code == Code::ConfigMissing)
    };
    let multus = r#"{"cniVersion":"0.4.0","name":"m","type":"multus"}"#;
    let own = r#"{"cniVersion":"0.4.0","name":"m","type":"multus","confDir":"/etc/own/net.d"}"#;
    let shared = r#"{"cniVersion":"0.4.0","name":"m","plugins":[{"type":"multus","confDir":"/etc/cni/net.d"}]}"#;
    for (file, multus, directories, is_missing) in [
        ("/etc/cni/net.d/10.conflist", multus, vec![], true),
        ("/etc/cni/multus/net.d/10.conflist", multus, vec![], false),
        ("/run/multus/cni/net.d/10.conflist", multus, vec![], false),
        ("/etc/own/net.d/10.conflist", own, vec![], false),
        ("/etc/own/net.d/10.conflist", multus, vec![], true),
        ("/etc/cni/multus/net.d/10.conflist", own, vec![], true),
        ("/etc/own/net.d/10.conflist", multus, vec!["/etc/own/net.d"], false),
        ("/etc/cni/net.d/10.conflist", multus, vec!["/etc/cni/net.d"], true),
    ] {
        assert_eq!(told(file, multus, &directories), is_missing, "{file} {multus}");
    }
    let node = Node::new(&["bridge", "multus"]);
    node.configure("10.conflist", &network("n", "bridge"));
    node.configure("00-multus.conflist", shared);
    let definitions = vec![("it".to_owned(), item.to_string().into_bytes())];
    let asked = Configurations { usual: true, definitions, ..Configurations::default() };
    assert_eq!(node.messages(&node.check_with(&asked, Occasion::Running)), [""; 0]);
}

#[test]
fn directories_of_configuration_may_be_links_within_the_node() {
    for (target, link) in [
        ("/etc/other", "/etc/cni/net.d"),
        ("../../etc/other", "/etc/cni/net.d"),
        ("/etc/other-cni", "/etc/cni"),
        ("/etc/other", "/etc/cni/multus/net.d"),
    ] {
        let node = Node::new(&[]);
        for real in ["/etc/other", "/etc/other-cni/net.d"] {
            node.write(&format!("{real}/1.conf"), r#"{"name":"n","type":"tap"}"#, 0o644);
            node.write(&format!("{real}/2.conflist"), r#"{"name":"m"}"#, 0o644);
            node.link("/etc/plugins", &format!("{real}/m"));
        }
        node.write("/etc/plugins/1.conf", r#"{"type":"vlan"}"#, 0o644);
        node.link(target, link);
        let found = node.check_requirements();
        let named: Vec<_> = found.needs.iter().map(|need| need.plugin.as_str()).collect();
        assert_eq!(named, ["tap", "vlan"], "{link} {:?}", node.messages(&found));
    }
}
