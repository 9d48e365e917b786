//! What a repair and a rollback do if they cannot do everything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

const STATE: &str = "root/var/lib/cnister";

fn receipt(scene: &Scene) -> String {
    fs::read_to_string(scene.at(STATE).join("receipt.json")).unwrap()
}

#[test]
fn a_repair_does_not_forget_a_plugin_whose_place_is_taken() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    let vlan = scene.at(node::BIN).join("vlan");
    let before = receipt(&scene);
    node::keep_as(&scene, "good");
    type Take = fn(&PathBuf);
    let takers: [(&str, Take); 2] = [
        ("a directory", |path| fs::create_dir_all(path.join("inner")).unwrap()),
        ("a directory", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "theirs").unwrap();
        }),
    ];
    for (what, take) in takers {
        node::bring_back(&scene, "good");
        fs::remove_file(&vlan).unwrap();
        fs::remove_file(scene.at(node::BIN).join("bridge")).unwrap();
        take(&vlan);
        for occasion in ["--no-probe", "--at-boot", "--no-probe"] {
            let run = scene.run(&format!("check --root root --repair {occasion}"));
            assert_refused(&run, "in-the-way");
            assert!(
                run.stdout.contains(&format!("/opt/cni/bin/vlan` is {what}")),
                "{}",
                run.stdout
            );
            // It does what it can.
            let bridge = fs::read(scene.at(node::BIN).join("bridge")).unwrap();
            assert_eq!(bridge, second.files["bridge"], "{what}, {occasion}");
            assert_eq!(receipt(&scene), before, "{what}, {occasion}");
        }
    }
    fs::remove_dir_all(&vlan).unwrap();
    scene.run_ok("check --root root --repair");
    assert_eq!(of_release(&scene, &second).len(), 3);
}

#[test]
fn a_repair_remembers_what_belongs_to_others() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let executable = |name: &str, content: &[u8]| {
        let path = scene.write(&format!("{}/{name}", node::BIN), content);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    executable("host-local", b"theirs");
    executable("macvlan", &release.files["macvlan"]);
    scene.run_ok(&format!("{} --foreign keep", release.install_args()));
    let before = receipt(&scene);
    assert!(before.contains("\"kept\"") && before.contains("\"foreign\""), "{before}");
    fs::remove_file(scene.at(node::BIN).join("bridge")).unwrap();
    let run = scene.run_ok("check --root root --repair");
    assert!(run.stdout.contains("  kept        /opt/cni/bin/host-local\n"), "{}", run.stdout);
    assert_eq!(receipt(&scene), before);
    // Their own installer replaced it: that is its right, and the node has to report it as before.
    executable("macvlan", b"a newer one of theirs");
    fs::remove_file(scene.at(node::BIN).join("bridge")).unwrap();
    for _ in 0..2 {
        let run = scene.run("check --root root --repair");
        assert_refused(&run, "digest-drift");
        assert!(
            run.stdout.contains("`/opt/cni/bin/macvlan` was changed by its own installer"),
            "{}",
            run.stdout
        );
        assert_eq!(of_release(&scene, &release), ["bridge"]);
        assert_eq!(receipt(&scene), before);
    }
    assert_eq!(fs::read(scene.at(node::BIN).join("macvlan")).unwrap(), b"a newer one of theirs");
}

#[test]
fn a_repair_does_not_forget_what_is_wanted_and_was_refused() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    scene.run_ok("rollback --root root");
    scene.run_ok(&format!("{} --on-refusal keep", second.install_args()));
    for occasion in ["--no-probe", "--at-boot"] {
        fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
        scene.run(&format!("check --root root --repair {occasion}"));
        assert_eq!(of_release(&scene, &first).len(), 3, "{occasion}");
        assert_refused(&scene.run("check --root root"), "wanted-not-installed");
    }
    // What was wanted is there now.
    scene.run_ok(&format!("{} --again", second.install_args()));
    scene.run_ok("check --root root");
}

#[test]
fn a_rollback_brings_all_of_a_release_or_nothing() {
    let scene = Scene::in_memory();
    let (first, _) = upgraded(&scene);
    let bridge = scene.at(node::BIN).join("bridge");
    fs::remove_file(&bridge).unwrap();
    fs::create_dir_all(bridge.join("inner")).unwrap();
    let before = scene.tree("root");
    let run = scene.run("rollback --root root");
    assert_refused(&run, "in-the-way");
    assert!(run.stdout.contains("hint: move it away, then run this again"), "{}", run.stdout);
    node::assert_same(&before, &scene.tree("root"), "in the way");
    // An empty one makes room.
    fs::remove_dir(bridge.join("inner")).unwrap();
    fs::remove_file(scene.at(node::BIN).join("host-local")).unwrap();
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
}

#[test]
fn a_rollback_adopts_again_what_was_given_back() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/host-local", node::BIN), "theirs");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    let before = scene.tree(node::BIN);
    scene.run_ok(&format!("{} --foreign adopt", first.install_args()));
    let run = scene.run_ok(&format!("{} --prune", second.install_from_layout_args()));
    assert!(run.stdout.contains("  restore  /opt/cni/bin/host-local"), "{}", run.stdout);
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    let run = scene.run_ok("rollback --root root --prune");
    assert!(run.stdout.contains("  adopt    /opt/cni/bin/host-local"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first).len(), 3);
    // The other file there, which was not adopted, must not be replaced.
    scene.run_ok("rollback --root root --prune");
    fs::write(scene.at(node::BIN).join("host-local"), "another one of theirs").unwrap();
    scene.run_ok("rollback --root root --prune");
    scene.run_ok("uninstall --root root");
    assert_eq!(fs::read(&theirs).unwrap(), b"another one of theirs");
    fs::write(&theirs, "theirs").unwrap();
    node::assert_same(&before, &scene.tree(node::BIN), "uninstalled");
}

#[test]
fn a_rollback_does_not_replace_a_file_that_is_foreign_now() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    scene.run_ok(&format!("{} --prune", second.install_from_layout_args()));
    fs::write(scene.at(node::BIN).join("host-local"), "another owner's, later").unwrap();
    let before = scene.tree("root");
    assert_refused(&scene.run("rollback --root root"), "foreign-file");
    node::assert_same(&before, &scene.tree("root"), "refused");
}

#[test]
fn a_directory_in_the_state_directory_is_left_alone_and_stops_nothing() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let places = ["", "store/", "generations/", "evidence/", "originals/"];
    for place in places {
        scene.write(&format!("{STATE}/{place}.cnister-0123456789abcdef/file"), "foreign");
        scene.write(&format!("{STATE}/{place}directory/file"), "foreign");
    }
    for words in [
        second.install_from_layout_args(),
        "rollback --root root".to_owned(),
        "check --root root".to_owned(),
        format!("{} --generations 1", first.install_from_layout_args()),
        "gc --root root --generations 1".to_owned(),
        "check --root root --repair".to_owned(),
        "uninstall --root root".to_owned(),
    ] {
        scene.run_ok(&words);
    }
    for place in places {
        assert!(scene.at(STATE).join(place).join("directory/file").exists(), "{place}");
    }
    assert!(!scene.at(STATE).join("receipt.json").exists());
    scene.run_ok(&second.install_from_layout_args());
    scene.run_ok("check --root root");
}

#[test]
fn an_uninstallation_that_is_refused_leaves_no_trace_in_any_directory() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    for directory in [node::BIN, "root/usr/lib/cni"] {
        let path = scene.write(&format!("{directory}/bridge"), format!("theirs in {directory}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (opt, usr) = (scene.tree(node::BIN), scene.tree("root/usr/lib/cni"));
    let two = "--foreign adopt --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";
    scene.run_ok(&format!("{} {two}", release.install_args()));
    let lost = cnister::model::Digest::of(b"theirs in root/usr/lib/cni");
    let lost = scene.at(STATE).join("originals").join(lost.hex());
    fs::rename(&lost, scene.at("original")).unwrap();
    let before = scene.tree("root");
    assert_refused(&scene.run("uninstall --root root"), "original-lost");
    node::assert_same(&before, &scene.tree("root"), "refused");
    fs::rename(scene.at("original"), &lost).unwrap();
    scene.run_ok("uninstall --root root");
    node::assert_same(&opt, &scene.tree(node::BIN), "the first directory");
    node::assert_same(&usr, &scene.tree("root/usr/lib/cni"), "the second directory");
}

#[test]
fn a_repair_brings_back_what_it_can() {
    for occasion in ["--no-probe", "--at-boot"] {
        let scene = Scene::in_memory();
        let (_, second) = upgraded(&scene);
        let copy = |name: &str| {
            scene
                .at(STATE)
                .join("store")
                .join(cnister::model::Digest::of(&second.files[name]).hex())
        };
        let before = receipt(&scene);
        fs::rename(copy("vlan"), scene.at("copy")).unwrap();
        for name in ["bridge", "macvlan", "vlan"] {
            fs::remove_file(scene.at(node::BIN).join(name)).unwrap();
        }
        for _ in 0..2 {
            let run = scene.run(&format!("check --root root --repair {occasion}"));
            assert_refused(&run, "no-copy");
            assert!(run.stdout.contains("no copy of `vlan`"), "{}", run.stdout);
            assert_eq!(of_release(&scene, &second), ["bridge", "macvlan"], "{occasion}");
            assert_eq!(receipt(&scene), before, "{occasion}");
            assert!(!scene.at(STATE).join("journal.json").exists());
        }
        fs::rename(scene.at("copy"), copy("vlan")).unwrap();
        scene.run_ok(&format!("check --root root --repair {occasion}"));
        assert_eq!(of_release(&scene, &second).len(), 3);
    }
}

#[test]
fn what_others_installed_and_removed_stops_no_repair_and_no_rollback() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/macvlan", node::BIN), &first.files["macvlan"]);
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    scene.run_ok(&format!("{} --foreign keep", first.install_args()));
    assert!(receipt(&scene).contains("\"foreign\""));
    let status = scene.run_ok("status --root root").stdout;
    assert!(!status.contains("without a copy"), "{status}");
    node::keep_as(&scene, "good");
    // It counts as installed, and so it is restored.
    fs::remove_file(&theirs).unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    scene.run_ok("check --root root --repair");
    assert_eq!(of_release(&scene, &first).len(), 3);
    // If there is no copy of it, as an earlier version of this program left none, the others still
    // do.
    node::bring_back(&scene, "good");
    let copy = cnister::model::Digest::of(&first.files["macvlan"]);
    fs::remove_file(scene.at(STATE).join("store").join(copy.hex())).unwrap();
    assert!(
        scene
            .run_ok("status --root root")
            .stdout
            .contains("     1 of them without a copy in the local store\n")
    );
    fs::remove_file(&theirs).unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    let run = scene.run("check --root root --repair");
    assert_refused(&run, "no-copy");
    assert_eq!(of_release(&scene, &first), ["bridge", "host-local"]);
    // Replaced by a later release, it returns with the generation that counted it.
    node::bring_back(&scene, "good");
    scene.run_ok(&format!("{} --foreign adopt", second.install_from_layout_args()));
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
    scene.run_ok("uninstall --root root");
    assert_eq!(fs::read(&theirs).unwrap(), first.files["macvlan"], "it was there before");
}

#[test]
fn why_nothing_was_repaired_is_not_reported_twice() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    scene.run_ok("keygen --output-key-prefix other");
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    for (occasion, words) in [("at boot", "--at-boot"), ("running", "--no-probe")] {
        let run = scene.run(&format!("check --root root --key other.pub --repair {words}"));
        assert_refused(&run, "digest-drift");
        assert_eq!(
            run.stdout.matches("signer-not-allowed: ").count(),
            1,
            "{occasion}: {}",
            run.stdout
        );
    }
}

#[test]
fn a_repair_says_what_was_found_with_its_digest_and_what_was_done() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    let bin = scene.at(node::BIN);
    let altered = vec![b'x'; second.files["bridge"].len()];
    let digest = cnister::model::Digest::of(&altered);
    for format in ["", " --format json"] {
        fs::write(bin.join("bridge"), &altered).unwrap();
        fs::remove_file(bin.join("vlan")).unwrap();
        fs::set_permissions(bin.join("macvlan"), fs::Permissions::from_mode(0o777)).unwrap();
        let run = scene.run_ok(&format!("check --root root --repair{format}"));
        if format.is_empty() {
            for said in [
                "before: digest-drift: `/opt/cni/bin/bridge` was altered\n",
                &format!("  found:    {digest}\n"),
                "before: plugin-missing: `/opt/cni/bin/vlan` is gone\n",
                "before: digest-drift: `/opt/cni/bin/macvlan` ",
                "  repair   /opt/cni/bin/bridge (",
                "  new      /opt/cni/bin/vlan (",
            ] {
                assert!(run.stdout.contains(said), "{said}\n{}", run.stdout);
            }
        } else {
            let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
            let drift = report["drift"].as_array().unwrap();
            assert_eq!(drift.len(), 3, "{}", run.stdout);
            assert!(drift.iter().any(|it| it["found"] == digest.to_string()), "{}", run.stdout);
            assert_eq!(report["repaired"].as_array().unwrap().len(), 3, "{}", run.stdout);
        }
    }
    // Where nothing is repaired, nothing is said of it.
    assert!(!scene.run_ok("check --root root --repair").stdout.contains("before: "));
}
