//! Plugins of an earlier bundle that stayed: judged and repaired as long as the node keeps their
//! generation and today's policy accepts it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

const STATE: &str = "root/var/lib/cnister";

#[test]
fn what_happens_to_a_plugin_of_an_earlier_bundle_is_found_and_repaired() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let bin = scene.at(node::BIN);
    let left = bin.join("host-local");
    let good = scene.tree("root");
    type Alter<'a> = &'a dyn Fn();
    let alterations: [(Alter<'_>, &str); 6] = [
        (&|| fs::remove_file(&left).unwrap(), "plugin-missing"),
        (&|| fs::write(&left, "altered").unwrap(), "digest-drift"),
        (&|| fs::write(&left, &first.files["bridge"]).unwrap(), "digest-drift"),
        (
            &|| fs::set_permissions(&left, fs::Permissions::from_mode(0o777)).unwrap(),
            "digest-drift",
        ),
        (
            &|| {
                fs::remove_file(&left).unwrap();
                symlink("bridge", &left).unwrap();
            },
            "in-the-way",
        ),
        (
            &|| {
                fs::remove_file(&left).unwrap();
                fs::write(bin.join("vlan"), "altered").unwrap();
            },
            "plugin-missing",
        ),
    ];
    for (alter, code) in alterations {
        for occasion in ["--at-boot", "--no-probe"] {
            alter();
            let run = scene.run(&format!("check --root root {occasion}"));
            assert_refused(&run, code);
            assert!(run.stdout.contains("run `cnister check --repair`; or "), "{}", run.stdout);
            let run = scene.run_ok(&format!("check --root root --repair {occasion}"));
            assert!(run.stdout.contains("/opt/cni/bin/host-local ("), "{}", run.stdout);
            assert!(run.stdout.contains("  mixed       /opt/cni/bin/host-local\n"));
            node::assert_same(&good, &scene.tree("root"), code);
        }
    }
    assert_eq!(of_release(&scene, &second).len(), 3);
    // The owner may let it go.
    scene.run_ok(&format!("{} --prune", second.install_from_layout_args()));
    scene.run_ok("check --root root");
}

#[test]
fn what_no_kept_and_accepted_generation_proves_is_not_brought_back() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let left = scene.at(node::BIN).join("host-local");
    let policy = |deny: &str| {
        let policy = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\n{deny}rules:\n  - name: all\n    images: [\"**\"]\n    \
             authorities: [{{name: us, key: {{file: cosign.pub}}}}]\n"
        );
        scene.write("policy.yaml", policy);
    };
    let digest = cnister::model::Digest::of(&first.files["host-local"]);
    policy(&format!("deny: [\"{digest}\"]\n"));
    fs::write(&left, "altered").unwrap();
    for _ in 0..2 {
        let run = scene.run("check --root root --policy policy.yaml --repair");
        assert_refused(&run, "digest-drift");
        assert!(run.stdout.contains("hint: remove it\n"), "{}", run.stdout);
        assert_eq!(fs::read(&left).unwrap(), b"altered");
    }
    policy("");
    scene.run_ok("check --root root --policy policy.yaml --repair");
    assert_eq!(fs::read(&left).unwrap(), first.files["host-local"]);

    // Without a copy it stays as it is, and keeps no other from being repaired.
    node::keep_as(&scene, "good");
    fs::remove_file(scene.at(STATE).join("store").join(digest.hex())).unwrap();
    fs::remove_file(&left).unwrap();
    fs::write(scene.at(node::BIN).join("vlan"), "altered").unwrap();
    let run = scene.run("check --root root --repair");
    assert_refused(&run, "no-copy");
    assert!(run.stdout.contains("  repair   /opt/cni/bin/vlan ("), "{}", run.stdout);
    assert_eq!(of_release(&scene, &second).len(), 3);

    // A third release, and the node does not keep the first any more.
    node::bring_back(&scene, "good");
    let third = Release::new(&scene, "c", "1.2.0", &["bridge", "macvlan", "vlan"], 0);
    scene.run_ok(&third.install_from_layout_args());
    scene.run_ok("check --root root");
    fs::remove_file(&left).unwrap();
    scene.run_ok("check --root root");
}

#[test]
fn a_plugin_of_an_earlier_bundle_that_is_gone_is_forgotten_only_when_nothing_can_bring_it_back() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let left = scene.at(node::BIN).join("host-local");
    let good = scene.tree("root");
    // An init container that starts again, whatever it is told.
    let (again, staged) = (second.install_from_layout_args(), second.install_args());
    for words in [
        again.clone(),
        staged,
        format!("{again} --generations 5"),
        format!("{again} --no-update"),
        format!("{again} --foreign keep"),
        format!("{again} --skip macvlan"),
    ] {
        fs::remove_file(&left).unwrap();
        let run = scene.run_ok(&words);
        let told = "warning: plugin-missing: `/opt/cni/bin/host-local` is from an earlier bundle and is gone\n";
        assert!(run.stdout.contains(told), "{words}: {}", run.stdout);
        for occasion in ["--no-probe", "--at-boot"] {
            assert_refused(&scene.run(&format!("check --root root {occasion}")), "plugin-missing");
        }
        scene.run_ok("check --root root --repair");
        node::assert_same(&good, &scene.tree("root"), &words);
    }
    // Its owner may let it go.
    fs::remove_file(&left).unwrap();
    scene.run_ok(&format!("{again} --prune"));
    assert!(!scene.run_ok("check --root root").stdout.contains("host-local"));

    // It was gone already when its bundle became an earlier one.
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
    fs::remove_file(&left).unwrap();
    assert!(scene.run_ok(&format!("{again} --again")).stdout.contains("host-local` is from an"));
    assert_refused(&scene.run("check --root root"), "plugin-missing");
    scene.run_ok("check --root root --repair");
    assert_eq!(fs::read(&left).unwrap(), first.files["host-local"]);

    // No generation has it any more: it is missed by nobody, and that is said.
    scene.run_ok("gc --root root --generations 1");
    fs::remove_file(&left).unwrap();
    let gone = "note: mixed: `/opt/cni/bin/host-local` is from an earlier bundle and is gone, and no kept generation";
    for words in ["check --root root", &again] {
        let run = scene.run_ok(words);
        assert!(run.stdout.contains(gone), "{words}: {}", run.stdout);
    }
    assert!(!scene.run_ok("check --root root").stdout.contains("host-local"));
}

#[test]
fn a_plugin_is_missed_while_it_is_unknown_which_generation_proves_it() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    let left = scene.at(node::BIN).join("host-local");
    let record = scene.at(STATE).join("generations/1.json");
    let good = fs::read_to_string(&record).unwrap();
    for text in ["", "{}", &good.replace("\"generation\": 1", "\"generation\": 7"), &good[1..]] {
        fs::write(&record, text).unwrap();
        // That the record is damaged is told, as by `status`.
        let damaged = "warning: state-damaged: `generations/1.json`";
        assert!(scene.run_ok("check --root root").stdout.contains(damaged));
        let bytes = fs::read(&left).unwrap();
        fs::remove_file(&left).unwrap();
        for words in ["--no-probe", "--at-boot", "--repair", "--at-boot --repair"] {
            let run = scene.run(&format!("check --root root {words}"));
            assert_refused(&run, "plugin-missing");
            assert!(run.stdout.contains(damaged), "{}", run.stdout);
        }
        fs::write(&left, bytes).unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // With its record it comes back.
    fs::write(&record, &good).unwrap();
    fs::remove_file(&left).unwrap();
    scene.run_ok("check --root root --repair");
    assert!(left.exists());
}

#[test]
fn what_is_said_about_an_altered_plugin_of_an_earlier_bundle_leads_to_a_yes() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let left = scene.at(node::BIN).join("host-local");
    let prune = format!("{} --prune", second.install_from_layout_args());
    let copy = cnister::model::Digest::of(&first.files["host-local"]);
    let copy = scene.at(STATE).join("store").join(copy.hex());
    node::keep_as(&scene, "good");
    type Alter = fn(&Path);
    let alterations: [Alter; 4] = [
        |path| fs::write(path, "altered").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            symlink("bridge", path).unwrap();
        },
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir_all(path.join("full")).unwrap();
        },
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap(),
    ];
    for (number, alter) in alterations.into_iter().enumerate() {
        // It is removed: what has its name is moved away, with its copy or without.
        for has_copy in [true, false] {
            alter(&left);
            if !has_copy {
                fs::remove_file(&copy).unwrap();
                let run = scene.run("check --root root --repair");
                assert_eq!(run.code, 1, "{number}: {}", run.stdout);
            }
            let run = scene.run("check --root root");
            assert_eq!(run.code, 1, "{number}: {}", run.stdout);
            let hint = "or remove it: move it away, and run the install again with --prune\n";
            assert!(run.stdout.contains(hint), "{number}: {}", run.stdout);
            fs::rename(&left, scene.at("away")).unwrap();
            scene.run_ok(&prune);
            assert!(!scene.run_ok("check --root root").stdout.contains("host-local"), "{number}");
            node::bring_back(&scene, "good");
            drop(fs::remove_dir_all(scene.at("away")));
            drop(fs::remove_file(scene.at("away")));
        }
        // As it is, it stays, and is judged; or it is restored and then removed.
        alter(&left);
        let run = scene.run_ok(&prune);
        if number < 3 {
            let hint = "hint: restore it with `cnister check --repair`, or move it away, and run this again: ";
            assert!(run.stdout.contains(hint), "{number}: {}", run.stdout);
            assert_eq!(scene.run("check --root root").code, 1, "{number}");
        }
        if number < 2 {
            scene.run_ok("check --root root --repair");
            scene.run_ok(&prune);
            assert!(!left.exists(), "{number}");
            scene.run_ok("check --root root");
        }
        node::bring_back(&scene, "good");
    }
}
