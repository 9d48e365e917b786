//! Names that cannot be replaced although their directory may be written, and a rename that fails
//! in the middle.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use super::release::Release;
use super::strace::{Fault, Strace};
use super::support::hold::Hold;
use super::support::{Scene, say_skipped};
use super::{BIN, PLUGINS, installed, is_root};

/// How a plugin is held, and what is said.
const HOLDS: [(Hold, &str, &str); 3] = [
    (
        Hold::Immutable,
        "no: not-permitted: `/opt/cni/bin/macvlan` cannot be replaced: it is immutable\n",
        "chattr -i /opt/cni/bin/macvlan\n",
    ),
    (
        Hold::AppendOnly,
        "no: not-permitted: `/opt/cni/bin/macvlan` cannot be replaced: it is append-only\n",
        "chattr -a /opt/cni/bin/macvlan\n",
    ),
    (
        Hold::Mounted,
        "no: in-the-way: `/opt/cni/bin/macvlan` cannot be replaced: it is a mount point\n",
        "umount /opt/cni/bin/macvlan\n",
    ),
];

#[test]
fn a_name_that_cannot_be_replaced_is_refused_before_anything_changes() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let first = installed(&scene);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    let (install, path) = (second.install_args(), scene.at(BIN).join("macvlan"));
    for (hold, finding, hint) in HOLDS {
        let Some(held) = hold.begin(&path) else {
            say_skipped("nothing can be held like this here");
            continue;
        };
        let before = scene.tree("root");
        let runs = [&format!("{install} --dry-run"), &install, "uninstall --root root"]
            .map(|words| (words.to_owned(), scene.run(words)));
        let after = scene.tree("root");
        drop(held);
        for (words, run) in runs {
            let said = format!("{}{}", run.stdout, run.stderr);
            assert_eq!(run.code, 1, "{words}: {said}");
            assert!(said.contains(finding) && said.contains(hint), "{words}: {said}");
        }
        assert_eq!(before, after, "{finding}");
    }
    scene.run_ok(&install);
    assert_eq!(fs::read(&path).unwrap(), second.files["macvlan"]);
    // A directory is held as a whole.
    if let Some(held) = Hold::Immutable.begin(&scene.at(BIN)) {
        let run = scene.run(&format!("{} --again", first.install_args()));
        drop(held);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("the directory is immutable\n"), "{}", run.stdout);
    }
}

#[test]
fn a_policy_that_cannot_be_replaced_is_refused_before_anything_changes() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    installed(&scene);
    let install = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0).install_args();
    let path = scene.write("root/etc/cnister/policy.yaml", "of an earlier installation");
    for (hold, finding, hint) in HOLDS {
        let Some(held) = hold.begin(&path) else {
            say_skipped("nothing can be held like this here");
            continue;
        };
        let before = scene.tree("root");
        let runs = [&format!("{install} --dry-run"), &install].map(|words| scene.run(words));
        let after = scene.tree("root");
        drop(held);
        for run in runs {
            let said = format!("{}{}", run.stdout, run.stderr);
            for line in [finding, hint] {
                let line = line.replace("/opt/cni/bin/macvlan", "/etc/cnister/policy.yaml");
                assert!(run.code == 1 && said.contains(&line), "{line}: {said}");
            }
        }
        assert_eq!(before, after, "{finding}");
    }
    scene.run_ok(&install);
}

#[test]
fn one_held_plugin_keeps_no_other_from_being_repaired() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let release = installed(&scene);
    let path = scene.at(BIN).join("macvlan");
    fs::write(scene.at(BIN).join("bridge"), "altered").unwrap();
    fs::write(&path, "altered").unwrap();
    let Some(held) = Hold::Immutable.begin(&path) else {
        return say_skipped("no file can be made immutable here");
    };
    let run = scene.run("check --root root --repair");
    drop(held);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("it is immutable\n"), "{}", run.stdout);
    assert_eq!(fs::read(scene.at(BIN).join("bridge")).unwrap(), release.files["bridge"]);
    scene.run_ok("check --root root --repair");
    assert_eq!(fs::read(&path).unwrap(), release.files["macvlan"]);
}

#[test]
fn a_plugin_that_cannot_be_removed_stays_and_is_reported() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    installed(&scene);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan"], 0);
    let path = scene.at(BIN).join("host-local");
    let Some(held) = Hold::Immutable.begin(&path) else {
        return say_skipped("no file can be made immutable here");
    };
    let words = format!("{} --prune", second.install_args());
    let (run, again) = (scene.run(&words), scene.run(&words));
    drop(held);
    assert_eq!((run.code, again.code), (0, 0), "{}{}", run.stdout, run.stderr);
    let told = "warning: mixed: `/opt/cni/bin/host-local` could not be removed and stays: ";
    assert!(run.stdout.contains(told) && again.stdout.contains(told), "{}", run.stdout);
    assert!(scene.run_ok("check --root root").stdout.contains("host-local"), "it is not forgotten");
    scene.run_ok(&words);
    assert!(!path.exists());
}

/// The plugins of a node with their content, and whether a journal is there.
fn state(scene: &Scene) -> (BTreeMap<String, Vec<u8>>, bool) {
    let entries = fs::read_dir(scene.at(BIN)).into_iter().flatten().map(Result::unwrap);
    let files = entries.map(|entry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
    });
    (files.collect(), scene.at("root/var/lib/cnister/journal.json").exists())
}

#[test]
fn a_rename_that_fails_in_the_middle_ends_with_what_was_there_before() {
    let program = env!("CARGO_BIN_EXE_cnister");
    for adopts in [false, true] {
        let scene = Scene::in_memory();
        let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
        let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "tap", "vlan"], 0);
        let Some(strace) = Strace::new(&scene, program) else { return };
        fs::create_dir_all(scene.at(BIN)).unwrap();
        fs::write(scene.at(BIN).join("tap"), "another installer's").unwrap();
        let adopt = if adopts { " --foreign adopt" } else { " --skip tap" };
        // With a receipt it goes back to that, without one to nothing.
        for has_receipt in [false, true] {
            if has_receipt {
                scene.run_ok(&format!("{} --skip tap", first.install_args()));
            }
            keep(&scene);
            let before = state(&scene);
            let words = format!("{}{adopt}", second.install_args());
            let mut hit = 0;
            for (point, preceding) in strace.points(&words) {
                back(&scene);
                let names_a_plugin =
                    point.what.contains("/opt/cni/bin") && point.call.starts_with("rename");
                if !names_a_plugin {
                    continue;
                }
                let fault = Fault::Error("EIO");
                let (output, _) = strace.inject(&words, &point.call, preceding, fault);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(3), "{point:?}: {said}");
                assert!(said.contains("all changes were undone"), "{point:?}: {said}");
                assert_eq!(state(&scene), before, "{point:?}, {has_receipt}, {adopts}");
                if has_receipt {
                    scene.run_ok("check --root root");
                }
                scene.run_ok(&words);
                scene.run_ok("check --root root");
                hit += 1;
            }
            assert!(hit >= 3, "{hit} renames failed");
            back(&scene);
        }
    }
}

/// Keeps a copy of the node.
fn keep(scene: &Scene) {
    drop(fs::remove_dir_all(scene.at("kept")));
    let run = Command::new("cp").arg("-a").arg(scene.at("root")).arg(scene.at("kept")).status();
    assert!(run.is_ok_and(|status| status.success()));
}

/// Puts the kept node back.
fn back(scene: &Scene) {
    drop(fs::remove_dir_all(scene.at("root")));
    let run = Command::new("cp").arg("-a").arg(scene.at("kept")).arg(scene.at("root")).status();
    assert!(run.is_ok_and(|status| status.success()));
}
