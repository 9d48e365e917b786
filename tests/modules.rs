//! The modules are ordered, and each imports only from those before it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "modules/imports.rs"]
mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use imports::{Imports, Source};

const ORDER: [&str; 16] = [
    "model", "binary", "bundle", "attest", "cni", "trust", "disk", "net", "oci", "node", "check",
    "watch", "publish", "render", "fleet", "cli",
];

/// The files that touch the world: the node, the network, the clock, processes, the terminal. Every
/// other file is pure, including new ones until they are listed here.
const IMPURE: [&str; 143] = [
    "disk/attributes.rs",
    "disk/changes.rs",
    "disk/directory.rs",
    "disk/drop_in.rs",
    "disk/error.rs",
    "disk/filesystem.rs",
    "disk/hold.rs",
    "disk/input.rs",
    "disk/kind.rs",
    "disk/label.rs",
    "disk/link.rs",
    "disk/lock.rs",
    "disk/lookup.rs",
    "disk/root.rs",
    "disk/sandbox.rs",
    "disk/stamp.rs",
    "disk/write.rs",
    "net/body.rs",
    "net/client.rs",
    "net/download.rs",
    "net/response.rs",
    "net/server.rs",
    "oci/files.rs",
    "oci/layout_writer.rs",
    "oci/registry.rs",
    "oci/registry/download.rs",
    "oci/registry/push.rs",
    "node/apply/bring.rs",
    "node/apply/copies.rs",
    "node/apply/directory.rs",
    "node/apply/engine.rs",
    "node/apply/held.rs",
    "node/apply/install.rs",
    "node/apply/preflight.rs",
    "node/apply/records.rs",
    "node/apply/restore.rs",
    "node/apply/stage.rs",
    "node/apply/undo.rs",
    "node/apply/uninstall.rs",
    "node/boot/intact.rs",
    "node/boot/mod.rs",
    "node/host/attachments.rs",
    "node/host/file.rs",
    "node/host/observe.rs",
    "node/host/runtime/compare.rs",
    "node/host/runtime/files.rs",
    "node/host/runtime/read.rs",
    "node/host/sandboxes.rs",
    "node/host/surroundings.rs",
    "node/lost.rs",
    "node/payload/layer.rs",
    "node/payload/stage.rs",
    "node/payload/staged.rs",
    "node/state/claim.rs",
    "node/state/earlier.rs",
    "node/state/floor.rs",
    "node/state/generation.rs",
    "node/state/held.rs",
    "node/state/kept.rs",
    "node/state/lock.rs",
    "node/state/names.rs",
    "node/state/store.rs",
    "check/explain/look.rs",
    "check/explain/mod.rs",
    "check/installed.rs",
    "check/installed/tests/proof.rs",
    "check/node_check.rs",
    "check/probe/confine.rs",
    "check/probe/mod.rs",
    "check/requirements.rs",
    "check/requirements/plugins.rs",
    "check/requirements/searches.rs",
    "check/view.rs",
    "watch/driver.rs",
    "watch/event_loop.rs",
    "watch/lookout.rs",
    "watch/node_condition.rs",
    "watch/ready.rs",
    "publish/contents.rs",
    "publish/ask.rs",
    "publish/lock.rs",
    "publish/source/archive.rs",
    "publish/source/asset.rs",
    "publish/source/cache.rs",
    "publish/source/cache/notes.rs",
    "publish/source/cache/prune.rs",
    "publish/source/checksums.rs",
    "publish/source/directory.rs",
    "publish/source/file_ranges.rs",
    "publish/source/from_start.rs",
    "publish/source/image.rs",
    "publish/source/go/build.rs",
    "publish/source/go/command.rs",
    "publish/source/go/interrupt.rs",
    "publish/source/go/recipe.rs",
    "publish/source/go/room.rs",
    "publish/source/go/work.rs",
    "publish/source/license.rs",
    "publish/source/mod.rs",
    "publish/source/spool.rs",
    "publish/source/taken.rs",
    "cli/boot.rs",
    "cli/check.rs",
    "cli/document.rs",
    "cli/explain.rs",
    "cli/gc.rs",
    "cli/install.rs",
    "cli/mod.rs",
    "cli/node.rs",
    "cli/node_condition.rs",
    "cli/policy.rs",
    "cli/proof.rs",
    "cli/publishing/attest.rs",
    "cli/publishing/build.rs",
    "cli/publishing/cache.rs",
    "cli/publishing/definition_input.rs",
    "cli/publishing/diff.rs",
    "cli/publishing/evidence.rs",
    "cli/publishing/image_output.rs",
    "cli/publishing/init.rs",
    "cli/publishing/inspect.rs",
    "cli/publishing/keygen.rs",
    "cli/publishing/lock.rs",
    "cli/publishing/mod.rs",
    "cli/publishing/new_file.rs",
    "cli/publishing/password.rs",
    "cli/publishing/pull.rs",
    "cli/publishing/push.rs",
    "cli/publishing/render.rs",
    "cli/publishing/report.rs",
    "cli/publishing/sign.rs",
    "cli/publishing/signer.rs",
    "cli/publishing/source_date.rs",
    "cli/publishing/tool_image.rs",
    "cli/rollback.rs",
    "cli/stage.rs",
    "cli/status.rs",
    "cli/terminal.rs",
    "cli/termination.rs",
    "cli/uninstall.rs",
    "cli/verdict.rs",
    "cli/verify.rs",
    "cli/watch.rs",
];

/// What a pure file may not name: files, network, clock, environment, processes.
const WORLD: [&str; 9] = [
    "std::fs",
    "std::net::Tcp",
    "std::env::",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "rustix::",
    "tokio::",
    "std::os::",
];
/// What a pure file may not import: handles through which the world is reached.
const HANDLES: [&str; 14] = [
    "Directory",
    "RegularFile",
    "Lock",
    "Changes",
    "Looked",
    "Client",
    "Server",
    "Root",
    "State",
    "Reading",
    "Writing",
    "Terminal",
    "open_file",
    "open_input",
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
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    // The declaration of a file of tests.
    let mut text = text.to_owned();
    while let Some(start) = text.find("#[cfg(test)]\n") {
        let rest = &text[start..];
        let lines: usize = rest.split_inclusive('\n').take(2).map(str::len).sum();
        text.replace_range(start..start + lines, "");
    }
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
    assert_eq!(named("use crate::node::Plan;", 2), ["node"]);
    assert_eq!(named("use crate::{model::Digest, trust::Policy};", 2), ["model", "trust"]);
    assert_eq!(named("fn f() { super::super::cli::main() }", 2), ["cli"]);
    assert_eq!(named("use super::super::oci;", 3), Vec::<String>::new());
}

#[test]
fn a_file_is_pure_unless_it_is_listed() {
    let mut listed: Vec<&str> = IMPURE.to_vec();
    for (module, path, code) in files() {
        // What only tests compile may use what tests use.
        let only_tests = ["test_support.rs", "test_server.rs", "tests.rs"];
        if only_tests.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let named = worldly(&code);
        if let Some(position) = listed.iter().position(|impure| *impure == path) {
            listed.remove(position);
            let pure = ["model", "binary", "bundle", "attest", "cni", "trust", "render", "fleet"];
            assert!(!pure.contains(&module.as_str()), "`{module}` is pure, and src/{path} is not");
            assert!(named.is_some(), "src/{path} is pure; take it off the list");
        } else {
            assert_eq!(named, None, "src/{path} is not in the list of files that touch the world");
        }
    }
    assert_eq!(listed, Vec::<&str>::new(), "these files do not exist");
}

/// The first thing that a file names which a pure one may not.
fn worldly(code: &str) -> Option<&'static str> {
    // Constants of the compiler, not of the machine it runs on.
    let code = code.replace("std::env::consts", "");
    let imported = imports::paths(&code);
    let named = WORLD.into_iter().find(|word| {
        // A group names its members without their path.
        code.contains(word) || imported.iter().any(|path| format!("{path}::").starts_with(word))
    });
    named.or_else(|| {
        let imported = imports::names(&code);
        HANDLES.into_iter().find(|handle| imported.iter().any(|name| name == handle))
    })
}

#[test]
fn files_do_not_import_in_a_circle() {
    let sources: Vec<Source> = files()
        .into_iter()
        .map(|(_, path, code)| {
            let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
            Source { module: module.split('/').map(str::to_owned).collect(), path, code }
        })
        .collect();
    let imports = Imports::of(&sources);
    let links: usize = (0..sources.len()).map(|file| imports.of_file(file).len()).sum();
    assert!(links > 600, "only {links} imports were seen; does the test still read the sources?");
    assert_eq!(imports.circles(), Vec::<Vec<&str>>::new());
}

#[test]
fn no_room_holds_more_than_a_quarter() {
    let mut lines = BTreeMap::<String, usize>::new();
    for (module, _, code) in files() {
        *lines.entry(module).or_default() += code.lines().count();
    }
    let all: usize = lines.values().sum();
    for (module, count) in lines {
        assert!(count * 4 <= all, "`{module}` holds {count} of {all} lines");
    }
}

#[test]
fn a_file_holds_one_concept() {
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
fn a_comment_has_at_most_a_hundred_columns() {
    // rustfmt wraps code, and leaves comments as they are.
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        let is_long =
            |line: &&str| line.trim_start().starts_with("//") && line.chars().count() > 100;
        assert_eq!(text.lines().find(is_long), None, "{}", path.display());
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
