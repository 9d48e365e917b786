//! The managers for Renovate in `.github/renovate.json` find every version and digest of the
//! shipped definitions. Renovate uses RE2, whose syntax the `regex` crate has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cnister::bundle::Definition;
use regex::Regex;
use serde_json::Value;

use crate::page;

/// A dependency that a manager finds in a text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    source: String,
    name: String,
    version: String,
    digest: Option<String>,
}

/// The managers that read a file of this name: their templates, and their expressions.
fn managers(file: &str) -> Vec<(Value, Vec<Regex>)> {
    let configuration: Value = serde_json::from_str(&page(".github/renovate.json")).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut managers = Vec::new();
    for manager in configuration["customManagers"].as_array().unwrap() {
        assert_eq!(manager["customType"], "regex");
        // A pattern between slashes is an expression, and else a glob.
        let reads = texts(&manager["managerFilePatterns"]).iter().any(|pattern| {
            let pattern = pattern.strip_prefix('/').and_then(|it| it.strip_suffix('/')).unwrap();
            Regex::new(pattern).unwrap().is_match(file)
        });
        if reads {
            let expressions = texts(&manager["matchStrings"]);
            let expressions = expressions.iter().map(|it| Regex::new(it).unwrap());
            managers.push((manager.clone(), expressions.collect()));
        }
    }
    managers
}

fn found(file: &str, text: &str) -> BTreeSet<Dependency> {
    let mut all = BTreeSet::new();
    for (manager, expressions) in managers(file) {
        for found in expressions.iter().flat_map(|it| it.captures_iter(text)) {
            let group = |name: &str| found.name(name).map(|it| it.as_str().to_owned());
            let template = |name: &str| manager[name].as_str().map(str::to_owned);
            let dependency = Dependency {
                source: template("datasourceTemplate").unwrap(),
                name: group("depName").or_else(|| template("depNameTemplate")).unwrap(),
                version: group("currentValue").unwrap(),
                digest: group("currentDigest"),
            };
            all.insert(dependency);
        }
    }
    all
}

fn bundles() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| format!("bundles/{}", name.to_str().unwrap()));
    let names = names.filter(|name| name.ends_with(".yaml"));
    names.map(|name| (name.clone(), page(&name))).collect()
}

#[test]
fn renovate_finds_each_version_and_digest_of_the_shipped_definitions() {
    let expected = |file: &str| -> Vec<(&str, &str, &str)> {
        let base = ("github-releases", "containernetworking/plugins", "v1.9.1");
        let digests = ("github-release-attachments", base.1, base.2);
        match file {
            "bundles/debian.yaml" => vec![],
            "bundles/multus-base.yaml" => vec![digests, digests, base],
            "bundles/from-source.yaml" => vec![
                ("go", "github.com/containernetworking/plugins", "v1.9.1"),
                ("golang-version", "go", "1.26.8"),
            ],
            "bundles/third-party.yaml" => vec![
                ("docker", "ghcr.io/k8snetworkplumbingwg/sriov-cni", "v2.10.0"),
                ("docker", "ghcr.io/k8snetworkplumbingwg/whereabouts", "v0.9.4"),
                digests,
                digests,
                base,
                ("github-releases", "flannel-io/cni-plugin", "v1.9.1-flannel1"),
                ("github-releases", "k8snetworkplumbingwg/multus-cni", "4.3.0"),
            ],
            _ => panic!("no versions are expected for {file}"),
        }
    };
    let digests = Regex::new("[0-9a-f]{64}").unwrap();
    for (file, text) in bundles() {
        let dependencies = found(&file, &text);
        let mut names: Vec<_> = dependencies
            .iter()
            .map(|it| (it.source.as_str(), it.name.as_str(), it.version.as_str()))
            .collect();
        names.sort_unstable();
        let mut expected = expected(&file);
        expected.sort_unstable();
        assert_eq!(names, expected, "{file}");
        let found = dependencies.iter().filter(|it| it.digest.is_some()).count();
        assert_eq!(found, digests.find_iter(&text).count(), "{file}: digests without a version");
    }
}

#[test]
fn what_renovate_replaces_is_a_definition_of_the_new_version() {
    for (file, text) in bundles() {
        let mut changed = text.clone();
        // From behind, so that no range moves before it is replaced.
        let mut ranges: Vec<(std::ops::Range<usize>, String)> = Vec::new();
        for (_, expressions) in managers(&file) {
            for found in expressions.iter().flat_map(|it| it.captures_iter(&text)) {
                let version = found.name("currentValue").unwrap();
                ranges.push((version.range(), format!("{}9", version.as_str())));
                let digest = found.name("currentDigest");
                ranges.extend(digest.map(|it| (it.range(), "0".repeat(64))));
            }
        }
        ranges.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let count = ranges.len();
        for (range, new) in ranges {
            changed.replace_range(range, &new);
        }
        let requests = |text: &str| Definition::parse(&file, text).unwrap().requests();
        let (old, new) = (requests(&text), requests(&changed));
        assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
        let moved = old.iter().filter(|(key, request)| new[key] != **request).count();
        assert_eq!(moved, if count == 0 { 0 } else { old.len() }, "{file}");
    }
}

#[test]
fn renovate_leaves_alone_what_has_no_releases() {
    for (line, finds) in [
        ("image: ghcr.io/acme/cni:v1.2", true),
        ("image: \"registry.example:5000/acme/cni:v1.2@sha256:DIGEST\"", true),
        ("image: oci:whereabouts:v0.9.2", false),
        ("image: oci-archive:images/x.tar:v1", false),
        ("archive: plugins.tgz", false),
        ("from: https://example.com/plugins-{version}.tgz\n      version: v1.2", false),
        ("from: https://github.com/a/b/releases/download/{version}/x.tgz\n  version: v1", true),
        ("from: https://github.com/a/b/releases/download/v{version}/x\n  version: 1.0", true),
        ("module: example.com/cni\n      version: v1.0.0", true),
        ("version: 1.2.3", false),
    ] {
        let text = line.replace("DIGEST", &"0".repeat(64));
        assert_eq!(found("bundles/x.yaml", &text).len(), usize::from(finds), "{line}");
        assert_eq!(found("other/x.yaml", &text).len(), 0, "{line}");
    }
}
