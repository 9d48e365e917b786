//! A rollback and an uninstallation that are killed, or whose disk is full, at every system call.

use std::os::unix::fs::PermissionsExt;
use std::{fs, path::PathBuf};

use super::matrix::at_every_point;
use super::node;
use super::release::Release;
use super::strace::{Fault, Strace};
use super::support::Scene;

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_cnister").into()
}

/// A node with the second release over the first, which adopted a file, kept as `before`.
fn upgraded(scene: &Scene) -> (Release, Release) {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(scene);
    node::keep_as(scene, "bare");
    scene.must(&first.words_for_staged());
    scene.must(&second.words_for_layout());
    node::keep_as(scene, "before");
    (first, second)
}

/// How many files of this release are there.
fn count(scene: &Scene, release: &Release) -> usize {
    let has = |name: &str| fs::read(scene.at(node::BIN).join(name)).ok();
    release.files.iter().filter(|(name, bytes)| has(name).as_ref() == Some(bytes)).count()
}

#[test]
fn a_rollback_that_is_killed_at_any_system_call_leaves_a_node_that_can_go_either_way() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = upgraded(&scene);
    let before = scene.tree(node::BIN);
    at_every_point(&scene, &strace, "a rollback", "rollback --root root", Fault::Kill, &mut |_, point| {
        let what = format!("killed at {point:?}");
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}");
        node::assert_none_missing(&scene, &before, &what);
        node::keep_as(&scene, "killed");
        // Its owner goes on: to the first release by its number, unless it is there already.
        if !scene.say("check --root root --no-probe").stdout.contains("\ntest 1.0.0, ") {
            scene.must("rollback --root root --to 1");
        }
        // What was interrupted behind the receipt is finished by an installation of what is there.
        scene.must(&first.words_for_layout());
        assert_eq!(count(&scene, &first), 3, "{what}");
        scene.must("check --root root");
        // A DaemonSet comes first, with what was there before: it finishes that, or is told that its owner went back.
        node::bring_back(&scene, "killed");
        let run = scene.say(&second.words_for_layout());
        match run.code {
            0 => assert_eq!(count(&scene, &second), 3, "{what}"),
            _ => {
                assert!(run.stdout.contains("no: rolled-back: "), "{what}: {}{}", run.stdout, run.stderr);
                assert_eq!(count(&scene, &first), 3, "{what}");
            }
        }
    });
}

#[test]
fn a_disk_that_is_full_during_a_rollback_is_said_and_leaves_whole_plugins() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = upgraded(&scene);
    at_every_point(
        &scene,
        &strace,
        "a rollback",
        "rollback --root root",
        Fault::Error("ENOSPC"),
        &mut |output, point| {
            let what = format!("ENOSPC at {point:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}");
            if output.status.success() {
                assert_eq!(count(&scene, &first), 3, "{what}");
                return;
            }
            let all = (count(&scene, &first), count(&scene, &second));
            if scene.say("check --root root --no-probe").code == 0 {
                assert!(all.0 == 3 || all.1 == 3, "{what}: {all:?}");
            }
            scene.must(&format!("{} --again", second.words_for_layout()));
            scene.must("check --root root");
            assert_eq!(count(&scene, &second), 3, "{what}");
        },
    );
}

#[test]
fn an_uninstallation_that_is_killed_at_any_system_call_is_finished_by_the_next() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/bridge", node::BIN), "theirs");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    let bare = scene.tree(node::BIN);
    scene.must(&format!("{} --foreign adopt", release.words_for_staged()));
    node::keep_as(&scene, "before");
    at_every_point(&scene, &strace, "an uninstallation", "uninstall --root root", Fault::Kill, &mut |_, point| {
        let what = format!("killed at {point:?}");
        // The name that others had is never without a whole file.
        let bridge = fs::read(&theirs).unwrap();
        assert!(bridge == b"theirs" || bridge == release.files["bridge"], "{what}");
        node::keep_as(&scene, "killed");
        scene.must("uninstall --root root");
        node::assert_same(&bare, &scene.tree(node::BIN), &what);
        // Or its owner thinks better of it.
        node::bring_back(&scene, "killed");
        scene.must(&format!("{} --foreign adopt", release.words_for_staged()));
        scene.must("check --root root");
        scene.must("uninstall --root root");
        node::assert_same(&bare, &scene.tree(node::BIN), &format!("{what}, installed and uninstalled again"));
    });
}
