use super::*;
use crate::attest::contents::Contents;
use crate::binary::{GoBuild, Linkage};
use crate::bundle::Facts;
use crate::model::Digest;

fn side(version: &str) -> Side {
    Side {
        from: format!("oci:l:{version}"),
        name: "base".parse().unwrap(),
        version: Some(version.parse().unwrap()),
        digest: None,
    }
}

fn plugin(content: &str, version: &str, modules: &[(&str, &str)]) -> ContainedPlugin {
    let modules = modules.iter().map(|(path, version)| ((*path).to_owned(), (*version).to_owned()));
    ContainedPlugin {
        digest: Digest::of(content.as_bytes()),
        size: 1_000_000 + content.len() as u64,
        linkage: Linkage::Static,
        go: Some(GoBuild {
            go: "go1.26.8".to_owned(),
            path: "example.com/cni/bridge".to_owned(),
            version: Some(version.to_owned()),
        }),
        facts: Facts::default(),
        modules: Some(modules.collect()),
    }
}

fn contents(version: &str, plugins: &[(&str, &str, ContainedPlugin)]) -> Contents {
    let key = |name: &str, platform: &str| (name.parse().unwrap(), platform.parse().unwrap());
    let plugins = plugins.iter().map(|(name, on, it)| (key(name, on), it.clone()));
    Contents { side: side(version), plugins: plugins.collect() }
}

const AMD64: &str = "linux/amd64";
const ARM64: &str = "linux/arm64";

#[test]
fn what_is_the_same_does_not_differ() {
    let plugins = [("bridge", AMD64, plugin("a", "v1.0.0", &[("m", "v1")]))];
    let difference =
        Difference::between(&contents("1.0.0", &plugins), &contents("1.0.1", &plugins));
    assert!(difference.is_empty());
    assert_eq!(difference.to_string(), "no difference");
    assert!(difference.markdown().ends_with("\n\nNo difference.\n"));
}

#[test]
fn what_is_unknown_on_one_side_is_not_compared() {
    let old = plugin("a", "v1.0.0", &[("m", "v1")]);
    for (release, modules) in
        [(Some("v1".to_owned()), None), (None, Some(BTreeMap::from([("m".into(), "v1".into())])))]
    {
        let origin = release.map(|version| PluginOrigin {
            kind: "archive".to_owned(),
            source: None,
            location: None,
            member: None,
            version: Some(version),
            level: "tofu".to_owned(),
        });
        let facts = Facts { origin, ..Facts::default() };
        let new = ContainedPlugin { facts, modules, ..old.clone() };
        let (old, new) = ([("bridge", AMD64, old.clone())], [("bridge", AMD64, new)]);
        let difference = Difference::between(&contents("1.0.0", &old), &contents("1.0.0", &new));
        assert!(difference.is_empty(), "{difference:?}");
    }
}

#[test]
fn plugins_that_differ_alike_are_shown_once() {
    let old = [
        ("bridge", AMD64, plugin("a", "v1.0.0", &[("m", "v1"), ("gone", "v1")])),
        ("bridge", ARM64, plugin("bb", "v1.0.0", &[("m", "v1")])),
        ("tap", AMD64, plugin("t", "v1.0.0", &[])),
        ("vlan", AMD64, plugin("v", "v1.0.0", &[("m", "v1")])),
    ];
    let new = [
        ("bridge", AMD64, plugin("ccc", "v1.1.0", &[("m", "v2")])),
        ("bridge", ARM64, plugin("dddd", "v1.1.0", &[("m", "v2"), ("new", "v0")])),
        ("vlan", AMD64, plugin("v", "v1.0.0", &[("m", "v2")])),
        ("vrf", AMD64, plugin("r", "v1.1.0", &[])),
    ];
    let (old, new) = (contents("1.0.0", &old), contents("1.1.0", &new));
    let difference = Difference::between(&old, &new);
    let digest =
        |text: &str| Digest::of(text.as_bytes()).hex().chars().take(12).collect::<String>();
    let expected = format!(
        "--- base 1.0.0 (oci:l:1.0.0)
+++ base 1.1.0 (oci:l:1.1.0)
~ bridge (linux/amd64, linux/arm64)
    version   v1.0.0 -> v1.1.0
    size      2.00 MB -> 2.00 MB
- tap (linux/amd64)
    version   v1.0.0
    toolchain go1.26.8
    package   example.com/cni/bridge
    linkage   static
    size      1.00 MB
    digest    sha256:{}
+ vrf (linux/amd64)
    version   v1.1.0
    toolchain go1.26.8
    package   example.com/cni/bridge
    linkage   static
    size      1.00 MB
    digest    sha256:{}
- module gone v1 (bridge)
~ module m v1 -> v2 (bridge, vlan)
+ module new v0 (bridge)
",
        digest("t"),
        digest("r")
    );
    assert_eq!(difference.to_string(), expected);
    let markdown = difference.markdown();
    let row = "| `bridge` | `linux/amd64`, `linux/arm64` | changed | version `v1.0.0` → `v1.1.0`\
               <br>size `2.00 MB` → `2.00 MB` |\n";
    assert!(markdown.contains(row), "{markdown}");
    assert!(markdown.contains("| `m` | `v1` | `v2` | `bridge, vlan` |\n"), "{markdown}");
    assert!(markdown.contains("| `gone` | `v1` | not linked | `bridge` |\n"), "{markdown}");
    // The other way round, what was added was removed.
    let back = Difference::between(&new, &old);
    assert_eq!(back.plugins.len(), difference.plugins.len());
    assert!(back.to_string().contains("- vrf (linux/amd64)") && back.to_string().contains("+ tap"));
}

#[test]
fn what_a_program_says_stays_text() {
    for hostile in [
        "`](https://example.com) <script>",
        "a | b | c |",
        "a\\|b",
        "\\",
        "a\n\n# b",
        "\u{1b}[2J",
        "\u{202e}",
        "@someone #1 https://example.com",
        "",
    ] {
        let old = [("bridge", AMD64, plugin("a", "v1.0.0", &[]))];
        let new = [("bridge", AMD64, plugin("b", hostile, &[(hostile, hostile)]))];
        let difference = Difference::between(&contents("1.0.0", &old), &contents("1.0.0", &new));
        let markdown = difference.markdown();
        assert!(!markdown.contains(['\u{1b}', '\u{202e}']), "{markdown}");
        for line in markdown.lines().filter(|line| line.starts_with("| `")) {
            // The bars of the table's cells and the marks of code spans, and no others.
            assert_eq!(line.matches('|').count(), 5, "{line}");
            let outside: String = line.split('`').step_by(2).collect();
            assert_eq!(line.matches('`').count() % 2, 0, "{line}");
            for mark in ["<s", "@", "#", "http", "["] {
                assert!(!outside.contains(mark), "{line}");
            }
        }
        let shown = difference.to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        assert!(shown.lines().all(|line| !line.starts_with("# b")), "{shown}");
    }
}
