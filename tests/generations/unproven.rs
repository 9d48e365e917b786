//! What is not proven although nothing was altered: wanted plugins that are another installer's,
//! and plugins whose records are gone.

use std::fs;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release};

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];

#[test]
fn wanted_plugins_that_another_installer_has_are_counted_and_not_called_proven() {
    for (theirs, options, said) in [
        (&["bridge"][..], "--foreign keep", "1 of 3 wanted plugins are another installer's"),
        (&["bridge", "macvlan"], "--no-update", "2 of 3 wanted plugins are another installer's"),
        (&PLUGINS, "--foreign keep", "3 of 3 wanted plugins are another installer's"),
    ] {
        let scene = Scene::in_memory();
        let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        let newer = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
        node::new(&scene);
        for name in theirs {
            scene.write(&format!("{}/{name}", node::BIN), "theirs");
        }
        scene.run_ok(&format!("{} {options}", release.install_from_layout_args()));
        let warning = format!("warning: foreign-unproven: {said}, unproven\n");
        for words in ["check --root root", "check --root root --at-boot", "status --root root"] {
            let run = scene.run_ok(words);
            assert!(run.stdout.contains(&warning), "{words}: {}", run.stdout);
            assert!(!run.stdout.contains("every installed file is the one"), "{}", run.stdout);
        }
        // They are no reason to give up the others.
        let words = format!("{} --on-refusal keep", newer.install_from_layout_args());
        assert_eq!(scene.run(&words).code, 0);
        scene.run_ok(&format!("{} --foreign adopt", release.install_from_layout_args()));
        let run = scene.run_ok("check --root root");
        assert!(run.stdout.ends_with("yes: every installed file is the one that was signed\n"));
    }
    // What is left out is not wanted.
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    scene.write(&format!("{}/bridge", node::BIN), "theirs");
    scene.run_ok(&format!("{} --skip bridge", release.install_from_layout_args()));
    for words in ["check --root root", "status --root root"] {
        assert!(!scene.run_ok(words).stdout.contains("foreign-unproven"));
    }
}

#[test]
fn a_node_that_lost_its_records_is_not_mistaken_for_one_where_nothing_was_installed() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    let unsigned = Release::unsigned(&scene, "c", "1.2.0", &PLUGINS, 0);
    node::new(&scene);
    let key = "--root root --key cosign.pub";
    assert_refused(&scene.run(&format!("check {key}")), "not-installed");
    scene.run_ok(&first.install_from_layout_args());
    scene.run_ok(&second.install_from_layout_args());
    node::keep_as(&scene, "good");
    let state = "root/var/lib/cnister";
    let remove = |path: &str| match scene.at(path) {
        path if path.is_dir() => fs::remove_dir_all(path).unwrap(),
        path => fs::remove_file(path).unwrap(),
    };
    let (receipt, floors) = (format!("{state}/receipt.json"), format!("{state}/floors.json"));
    let generations = format!("{state}/generations");
    let policy = "root/etc/cnister".to_owned();
    for (lost, sign) in [
        (&[receipt.clone()][..], "only its newest version, an earlier generation, its policy"),
        (&[receipt.clone(), policy.clone()], "only its newest version, an earlier generation"),
        (&[receipt.clone(), policy.clone(), floors.clone()], "only an earlier generation"),
        (&[receipt.clone(), policy, generations.clone()], "only its newest version"),
        (&[receipt, generations, floors], "only its policy"),
        (&[state.to_owned()], "only its policy"),
    ] {
        node::bring_back(&scene, "good");
        lost.iter().for_each(|path| remove(path));
        for words in ["check", "check --at-boot"] {
            let run = scene.run(&format!("{words} {key}"));
            assert_refused(&run, "records-lost");
            assert!(run.stdout.contains(&format!("found:    {sign}\n")), "{}", run.stdout);
        }
        let status = scene.run("status --root root");
        assert_eq!(status.code, 1);
        assert!(status.stdout.contains("no: records-lost: "), "{}", status.stdout);
        // Without its receipt, nothing is taken back, and a node that had one is not an empty one.
        for words in ["rollback", "rollback --dry-run", "uninstall", "uninstall --dry-run"] {
            let before = scene.tree("root");
            let run = scene.run(&format!("{words} --root root"));
            assert_refused(&run, "records-lost");
            assert!(run.stdout.contains(&format!("found:    {sign}\n")), "{words}: {}", run.stdout);
            node::assert_same(&before, &scene.tree("root"), words);
        }
        // Nothing proves what is there.
        let words = unsigned.install_from_layout_args();
        let run = scene.run(&format!("{words} --on-refusal keep"));
        assert_refused(&run, "records-lost");
        // It is installed again like that.
        scene.run_ok(&second.install_from_layout_args());
        scene.run_ok("check --root root");
        assert_eq!(of_release(&scene, &second).len(), 3);
    }
}

#[test]
fn an_uninstallation_loses_no_records() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    for _ in 0..2 {
        scene.run_ok(&release.install_from_layout_args());
        scene.run_ok("check --root root");
        scene.run_ok("uninstall --root root");
        assert_refused(&scene.run("check --root root"), "not-installed");
        assert!(!scene.run("status --root root").stdout.contains("records-lost"));
    }
    // What is installed later can be lost again.
    scene.run_ok(&release.install_from_layout_args());
    fs::remove_file(scene.at("root/var/lib/cnister/receipt.json")).unwrap();
    assert_refused(&scene.run("check --root root"), "records-lost");
}
