//! The modules are ordered, and each imports only from those before it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::fs;
use std::path::{Path, PathBuf};

const ORDER: [&str; 12] = [
    "model", "binary", "bundle", "sbom", "trust", "disk", "net", "oci", "node", "publish",
    "render", "cli",
];

/// What pure modules may not name: files, network, clock, environment, processes.
const PURE: [&str; 6] = ["model", "binary", "bundle", "sbom", "trust", "render"];
/// The decisions in a module that is not.
const PURE_OF_NODE: [&str; 16] = [
    "node/plan.rs",
    "node/unit.rs",
    "node/decide.rs",
    "node/uninstall.rs",
    "node/in_use.rs",
    "node/metrics.rs",
    "node/cni/attachment_definition.rs",
    "node/cni/cache.rs",
    "node/cni/catalogue.rs",
    "node/cni/config.rs",
    "node/watch/repairs.rs",
    "node/watch/schedule.rs",
    "node/watch/whose.rs",
    "node/explain/cause.rs",
    "node/explain/judge.rs",
    "node/explain/symptom.rs",
];
const WORLD: [&str; 7] = [
    "std::fs",
    "std::net::Tcp",
    "std::env::",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "rustix::",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each source file with its top-level module, its path below `src` and its text without comments
/// and tests.
fn files() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let file = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let (module, _) = below.split_once('/')?;
        Some((module.to_owned(), below.clone(), code_of(&fs::read_to_string(&path).unwrap())))
    };
    found.into_iter().filter_map(file).collect()
}

/// The text before its tests, without comment lines.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The top-level modules that a file of this depth names: by `crate::`, or by climbing out with
/// `super::`.
fn named(code: &str, depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    let climb = "super::".repeat(depth);
    for prefix in ["crate::".to_owned(), climb] {
        for rest in code.split(&prefix).skip(1) {
            let group = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
            let words = group.map_or_else(|| vec![rest], |group| group.split(',').collect());
            for word in words {
                let name: String = word
                    .trim_start()
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect();
                names.push(name);
            }
        }
    }
    names.retain(|name| ORDER.contains(&name.as_str()));
    names
}

#[test]
fn a_module_imports_only_from_those_before_it() {
    let position = |name: &str| ORDER.iter().position(|module| *module == name);
    let mut links = 0;
    for (module, path, code) in files() {
        let here = position(&module)
            .unwrap_or_else(|| panic!("src/{path} is in none of the modules {ORDER:?}"));
        // `src/node/x.rs` reaches the crate's root with two `super::`, `src/node/x/y.rs` with
        // three.
        let depth = path.matches('/').count() + usize::from(!path.ends_with("mod.rs"));
        for name in named(&code, depth) {
            links += 1;
            assert!(
                position(&name) <= Some(here),
                "src/{path} is in `{module}` and names `{name}`, which comes later"
            );
        }
    }
    assert!(links > 50, "only {links} imports were seen; does the test still read the sources?");
}

#[test]
fn the_reader_of_imports_sees_groups_and_climbing() {
    assert_eq!(named("use cnister::node::Plan;", 2), ["node"]);
    assert_eq!(named("use crate::{model::Digest, trust::Policy};", 2), ["model", "trust"]);
    assert_eq!(named("fn f() { super::super::cli::main() }", 2), ["cli"]);
    assert_eq!(named("use super::super::oci;", 3), Vec::<String>::new());
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    for (module, path, code) in files() {
        let pure = PURE.contains(&module.as_str())
            || PURE_OF_NODE.contains(&path.as_str())
            || path.starts_with("node/cni/");
        // What only tests compile may use what tests use.
        if !pure || path.ends_with("test_support.rs") || path.ends_with("/tests.rs") {
            continue;
        }
        // Constants of the compiler, not of the machine it runs on.
        let code = code.replace("std::env::consts", "");
        for word in WORLD {
            assert!(!code.contains(word), "src/{path} is pure and names `{word}`");
        }
    }
}

#[test]
fn one_concept_a_file() {
    for (_, path, code) in files() {
        assert!(code.lines().count() <= 600, "src/{path} has {} lines", code.lines().count());
        let name = path.rsplit('/').next().unwrap();
        assert!(
            !["utils.rs", "util.rs", "helpers.rs", "common.rs"].contains(&name),
            "src/{path} names no concept"
        );
    }
}

#[test]
fn only_two_files_name_the_sigstore_crates_and_one_module_those_of_http() {
    for (module, path, code) in files() {
        let may_sigstore = ["trust/signature.rs", "trust/test_support.rs", "publish/keyless.rs"]
            .contains(&path.as_str());
        assert!(may_sigstore || !code.contains("sigstore_"), "src/{path} names a sigstore crate");
        for name in ["reqwest", "hyper", "tokio"] {
            assert!(module == "net" || !code.contains(name), "src/{path} names {name}");
        }
    }
}
