//! A node in a scene: its root is `root`, and its plugin directory contains files of other
//! installers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::release::Release;
use super::support::{Run, Scene};

/// The plugin directory.
pub(super) const BIN: &str = "root/opt/cni/bin";
/// Another one, where only this program installs, and only on request.
const OTHER_BIN: &str = "root/usr/lib/cni";

/// Where a link leads that a test puts in the place of a plugin.
pub(super) const OBSTACLE: &str = "/nowhere/obstacle";

/// Files of other installers, some with names that a careless program would touch.
const FOREIGN: [(&str, &str, u32); 4] = [
    ("flannel", "another owner's", 0o755),
    (".hidden", "also another owner's", 0o755),
    (".cnister-0123456789abcdef", "looks like ours", 0o600),
    ("data/.cnister/bridge", "deeper", 0o644),
];

/// Creates a node in a scene that has none.
pub(super) fn new(scene: &Scene) {
    for (name, content, mode) in FOREIGN {
        let path = scene.write(&format!("{BIN}/{name}"), content);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("flannel", scene.at(BIN).join("link")).unwrap();
    // Where runtimes keep the records of attachments: this part of a node has none.
    fs::create_dir_all(scene.at("root/var/lib/cni")).unwrap();
}

/// Keeps a copy of the node under another name.
pub(super) fn keep_as(scene: &Scene, name: &str) {
    copy(scene, "root", name);
}

/// Restores the node from that copy.
pub(super) fn bring_back(scene: &Scene, name: &str) {
    copy(scene, name, "root");
}

/// Copies a directory of the scene, in the place of what was there.
pub(super) fn copy(scene: &Scene, from: &str, to: &str) {
    drop(fs::remove_dir_all(scene.at(to)));
    let copied =
        Command::new("cp").arg("-a").arg(scene.at(from)).arg(scene.at(to)).status().unwrap();
    assert!(copied.success());
}

/// Returns what is wrong with the plugin directory after an interruption, if anything: every file
/// in it must be complete and from one of these releases, or foreign and unchanged.
pub(super) fn unsound(scene: &Scene, releases: &[&Release]) -> Option<String> {
    let foreign =
        FOREIGN.into_iter().map(|(name, content, mode)| (name, (content, mode))).collect();
    let other = || {
        scene
            .at(OTHER_BIN)
            .exists()
            .then(|| unsound_in(scene, OTHER_BIN, releases, BTreeMap::new()))
    };
    unsound_in(scene, BIN, releases, foreign).or_else(|| other().flatten())
}

/// Returns everything in the plugin directories, by path, starting with the first.
pub(super) fn plugins(scene: &Scene) -> BTreeMap<String, String> {
    let mut all = scene.tree(BIN);
    if scene.at(OTHER_BIN).exists() {
        all.extend(
            scene
                .tree(OTHER_BIN)
                .into_iter()
                .map(|(name, what)| (format!("{OTHER_BIN}/{name}"), what)),
        );
    }
    all
}

fn unsound_in(
    scene: &Scene,
    bin: &str,
    releases: &[&Release],
    mut foreign: BTreeMap<&str, (&str, u32)>,
) -> Option<String> {
    let mut pending = vec![String::new()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(scene.at(bin).join(&folder)).unwrap().map(Result::unwrap) {
            let name = Path::new(&folder).join(entry.file_name()).to_str().unwrap().to_owned();
            let metadata = entry.path().symlink_metadata().unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if name == ".cnister" {
                // No runtime looks into a directory, and only its owner can look into this one.
                if !metadata.is_dir() || mode != 0o700 {
                    return Some(format!("{name} is {mode:o} {:?}", metadata.file_type()));
                }
            } else if metadata.is_dir() {
                pending.push(name);
            } else if metadata.is_symlink() {
                let is_obstacle = fs::read_link(entry.path()).unwrap() == Path::new(OBSTACLE);
                if name != "link" && !is_obstacle {
                    return Some(format!("{name} is a link"));
                }
            } else if metadata.file_type().is_fifo() {
                // A test put it there; nothing of this program makes one.
            } else {
                let content = fs::read(entry.path()).unwrap();
                let whole = match foreign.remove(name.as_str()) {
                    Some((expected, expected_mode)) => {
                        content == expected.as_bytes() && mode == expected_mode
                    }
                    None => {
                        mode == 0o755
                            && releases
                                .iter()
                                .any(|release| release.files.get(&*name) == Some(&content))
                    }
                };
                if !whole {
                    return Some(format!(
                        "{name} has mode {mode:o} and {} other bytes",
                        content.len()
                    ));
                }
            }
        }
    }
    foreign.into_keys().next().map(|name| format!("{name} is gone"))
}

/// Asserts that no name that existed is missing, not even for a moment: a runtime may call it just
/// then.
pub(super) fn assert_none_missing(scene: &Scene, before: &BTreeMap<String, String>, what: &str) {
    let found = scene.tree(BIN);
    let missing: Vec<_> =
        before.keys().filter(|name| *name != ".cnister" && !found.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{what}: {missing:?} missing");
}

/// Runs an interrupted installation again: it finishes, then has nothing to do, and a check
/// succeeds.
pub(super) fn finish(scene: &Scene, program: &Path, words: &str, what: &str) {
    let run =
        |words: &str| scene.run_command(scene.command(program).args(words.split_whitespace()));
    let run_ok = |words: &str| {
        let run = run(words);
        assert_eq!(run.code, 0, "{what}, then `{words}`:\n{}{}", run.stdout, run.stderr);
        run
    };
    run_ok(words);
    let finished = scene.tree("root");
    assert_nothing_to_do(&run_ok(words), what);
    assert_same(&finished, &scene.tree("root"), &format!("{what}, finished, and run a third time"));
    // Besides the three of the release there may be one that only the other one has.
    let checked = run_ok("check --root root").stdout;
    assert!(
        checked.contains("\nyes") && checked.matches("  proven ").count() == 3,
        "{what}: {checked}"
    );
}

pub(super) fn assert_nothing_to_do(run: &Run, what: &str) {
    assert!(
        run.stdout.ends_with("already up to date; no file changed\n"),
        "{what}: {}",
        run.stdout
    );
}

/// Compares two trees and shows only the differences.
pub(super) fn assert_same(
    expected: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
    what: &str,
) {
    let difference = difference(expected, found);
    assert!(difference.is_empty(), "{what}:\n{difference}");
}

/// Returns the differences between two trees, one per line.
pub(super) fn difference(
    expected: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
) -> String {
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differing = names.into_iter().filter(|name| expected.get(*name) != found.get(*name));
    let lines: Vec<_> = differing
        .map(|name| {
            format!("{name}: expected {:?}, found {:?}", expected.get(name), found.get(name))
        })
        .collect();
    lines.join("\n")
}
