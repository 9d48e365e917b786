//! A dry run gives the answer of the installation, whatever has the place of a directory of ours or
//! of one that leads there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::FileType;

use super::support::{Run, Scene};
use super::{PLUGINS, Release, installed, is_root, node_of, with_own_mounts, within_bound};

/// The directories that an installation writes to, those that lead there, and the policy.
const PLACES: [&str; 9] = [
    "opt/cni/bin",
    "opt/cni",
    "opt",
    "var/lib/cnister",
    "var/lib",
    "var",
    "etc/cnister",
    "etc",
    "etc/cnister/policy.yaml",
];

/// Where a link in a place leads, with `root/` for the way back to the root; the first has no end.
const LINKS: [&str; 10] = [
    "nowhere",
    "nowhere/below",
    "/nowhere",
    "{root}nowhere",
    "{root}chain",
    "{root}there-and-back",
    "{root}file",
    "{root}directory",
    "{root}..",
    "/proc/self/cwd",
];

fn remove(path: &Path) {
    drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
}

/// What the links lead to.
fn targets(scene: &Scene) {
    scene.write("root/file", "x");
    fs::create_dir_all(scene.at("root/directory")).unwrap();
    symlink("nowhere", scene.at("root/chain")).unwrap();
    symlink("back", scene.at("root/there-and-back")).unwrap();
    symlink("there-and-back", scene.at("root/back")).unwrap();
}

fn refusals(run: &Run) -> (i32, Vec<&str>, &str) {
    (run.code, run.stdout.lines().filter(|line| line.starts_with("no: ")).collect(), &run.stderr)
}

/// The node without the state directory: that and its lock are there before the answer is known.
fn tree(scene: &Scene) -> BTreeMap<String, String> {
    without_state(scene.tree("root"))
}

fn without_state(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    // A link may lead to the one in place of the other.
    tree.retain(|path, _| !path.starts_with("var") && !path.starts_with("directory/"));
    tree
}

/// Asks for the dry run and for the installation; returns what both answer.
fn answer(scene: &Scene, words: &str, what: &str) -> i32 {
    let before = scene.tree("root");
    let dry = within_bound(scene, &format!("{words} --dry-run"));
    assert_eq!(scene.tree("root"), before, "{what}: a dry run");
    let real = within_bound(scene, words);
    assert_eq!(refusals(&dry), refusals(&real), "{what}");
    assert!(real.code <= 1, "{what}: {real:?}");
    if real.code == 1 {
        assert_eq!(tree(scene), without_state(before), "{what}: {real:?}");
    }
    real.code
}

/// A node before its first installation, or before its second; and what installs.
fn node(has_release: bool) -> (Scene, String) {
    let scene = Scene::in_memory();
    let words = if has_release {
        installed(&scene);
        Release::new(&scene, "b", "1.1.0", &PLUGINS, 0).install_args()
    } else {
        Release::new(&scene, "a", "1.0.0", &PLUGINS, 0).install_args()
    };
    targets(&scene);
    (scene, words)
}

/// What has a place: nothing, a kind of file, or a link that leads there.
fn put(scene: &Scene, place: &str, thing: &str) {
    let path = scene.at("root").join(place);
    let up = "../".repeat(place.matches('/').count());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    remove(&path);
    match thing {
        "" => {}
        "loop" => symlink(path.file_name().unwrap(), &path).unwrap(),
        "file" => fs::write(&path, "x").unwrap(),
        "FIFO" => node_of(&path, FileType::Fifo),
        "directory" => fs::create_dir(&path).unwrap(),
        link => symlink(link.replace("{root}", &up), &path).unwrap(),
    }
}

/// Puts each thing in each place of a node, and asks both; returns how many were refused.
fn ask(scene: &Scene, places: &[&str], verbs: &[&str]) -> i32 {
    let copy = |from: &str, to: &str| {
        let run = scene.command("cp").arg("-a").args([from, to]).status();
        assert!(run.is_ok_and(|status| status.success()));
    };
    copy("root", "kept");
    let mut refused = 0;
    for place in places {
        for thing in LINKS.iter().copied().chain(["", "loop", "file", "FIFO", "directory"]) {
            for words in verbs {
                remove(&scene.at("root"));
                copy("kept", "root");
                put(scene, place, thing);
                refused += answer(scene, words, &format!("{words}: {place}, {thing:?}"));
            }
        }
    }
    refused
}

#[test]
fn a_dry_run_answers_as_the_first_installation_does_whatever_is_in_the_way() {
    let (scene, words) = node(false);
    let refused = ask(&scene, &PLACES, &[&words]);
    assert!(refused > 60, "{refused} were refused");
}

#[test]
fn a_dry_run_answers_as_the_next_installation_does_whatever_is_in_the_way() {
    let (scene, words) = node(true);
    let places: Vec<_> = PLACES.into_iter().filter(|place| place.contains('/')).collect();
    let refused = ask(&scene, &places, &[&words]);
    assert!(refused > 40, "{refused} were refused");
}

#[test]
fn a_dry_run_answers_as_the_rollback_and_the_uninstallation_do_whatever_is_in_the_way() {
    let (scene, words) = node(true);
    scene.run_ok(&words);
    let verbs = ["rollback --root root", "uninstall --root root"];
    let refused = ask(&scene, &["opt/cni/bin", "var/lib/cnister"], &verbs);
    assert!(refused > 20, "{refused} were refused");
}

#[test]
fn a_dry_run_answers_as_the_installation_does_where_a_link_leads_to_a_read_only_directory() {
    if !is_root() {
        return;
    }
    for has_release in [false, true] {
        for place in PLACES.into_iter().filter(|place| !place.ends_with(".yaml")) {
            let (scene, words) = node(has_release);
            put(&scene, place, "{root}directory");
            let script = "mount --bind root/directory root/directory
                mount -o remount,bind,ro root/directory
                exec \"$0\" \"$@\"";
            let before = tree(&scene);
            let Some(dry) = with_own_mounts(&scene, script, &format!("{words} --dry-run")) else {
                return;
            };
            let real = with_own_mounts(&scene, script, &words).unwrap();
            assert_eq!(refusals(&dry), refusals(&real), "{place}");
            assert_eq!(tree(&scene), before, "{place}");
            // Without its records, the node's plugins are another installer's first.
            let code =
                if has_release && place.starts_with("var") { "foreign-file" } else { "read-only" };
            assert!(real.stdout.contains(&format!("no: {code}: ")), "{place}: {real:?}");
        }
    }
}
