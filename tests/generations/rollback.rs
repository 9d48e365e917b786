//! Rolling back offline, and staying there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, take_images_away, upgraded};

#[test]
fn a_rollback_brings_the_earlier_release_back_and_a_second_one_goes_forward() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let wide = scene.tree(node::BIN);
    take_images_away(&scene);
    let planned = scene.run_ok("rollback --root root --dry-run");
    assert!(planned.stdout.contains("  replace  /opt/cni/bin/bridge"), "{}", planned.stdout);
    node::assert_same(&wide, &scene.tree(node::BIN), "planned");

    let run = scene.run_ok("rollback --root root");
    assert!(run.stdout.contains("\ntest 1.0.0, generation 3\n"), "{}", run.stdout);
    assert!(run.stdout.ends_with("rolled back from test 1.1.0\n"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first), ["bridge", "host-local", "macvlan"]);
    // A plugin that only the later release has stays for the pods that use it.
    assert_eq!(of_release(&scene, &second), ["vlan"]);
    assert_eq!(node::unsound(&scene, &[&first, &second]), None);
    assert!(scene.run_ok("check --root root").stdout.contains("\ntest 1.0.0, "));
    scene.run_ok("check --root root --at-boot");
    let status = scene.run_ok("status --root root").stdout;
    assert!(status.starts_with("* 3  test 1.0.0  3 plugins in /opt/cni/bin\n"), "{status}");
    assert!(status.contains("\n  2  test 1.1.0  3 plugins in /opt/cni/bin\n"), "{status}");
    assert!(status.contains("\nrolled back from sha256:"), "{status}");

    let run = scene.run_ok("rollback --root root");
    assert!(run.stdout.ends_with("rolled back from test 1.0.0\n"), "{}", run.stdout);
    node::assert_same(&wide, &scene.tree(node::BIN), "forward again");
    scene.run_ok("check --root root");
    assert!(!scene.run_ok("status --root root").stdout.contains("interrupted"));
}

#[test]
fn after_a_rollback_the_release_comes_back_only_when_it_is_asked_for() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    scene.run_ok("rollback --root root");
    let back = scene.tree(node::BIN);
    // The pod of the DaemonSet restarts three times, and the node boots.
    for _ in 0..3 {
        assert_refused(&scene.run(&second.install_from_layout_args()), "rolled-back");
        let kept = scene.run_ok(&format!("{} --on-refusal keep", second.install_args()));
        assert!(
            kept.stdout.ends_with("refused; the installed plugins were kept\n"),
            "{}",
            kept.stdout
        );
        node::assert_same(&back, &scene.tree(node::BIN), "started again");
        scene.run_ok("check --root root --at-boot");
    }
    assert_refused(&scene.run("check --root root"), "wanted-not-installed");
    // What is there may be installed again, which does not affect the other release.
    node::assert_nothing_to_do(&scene.run_ok(&first.install_from_layout_args()), "the present one");
    assert_refused(&scene.run(&second.install_from_layout_args()), "rolled-back");
    let again = scene.run_ok(&format!("{} --again", second.install_from_layout_args()));
    assert!(again.stdout.ends_with("\ninstalled\n"), "{}", again.stdout);
    assert!(scene.run_ok("check --root root").stdout.contains("\ntest 1.1.0, "));

    // A third release makes it history.
    scene.run_ok("rollback --root root");
    let third = Release::new(&scene, "c", "1.2.0", &["bridge", "macvlan"], 0);
    scene.run_ok(&third.install_from_layout_args());
    scene.run_ok(&second.install_from_layout_args());
}

#[test]
fn generations_are_kept_as_copies_and_as_many_as_were_asked_for() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let store = || fs::read_dir(scene.at("root/var/lib/cnister/store")).unwrap().count();
    assert_eq!(store(), 6, "three of each");
    // A write to an installed file does not reach the copy.
    let bridge = scene.at(node::BIN).join("bridge");
    let mut open = fs::OpenOptions::new().append(true).open(&bridge).unwrap();
    std::io::Write::write_all(&mut open, b"more").unwrap();
    drop(open);
    assert_refused(&scene.run("check --root root"), "digest-drift");
    let repaired = scene.run_ok("check --root root --repair");
    assert!(repaired.stdout.contains("\n  repair   /opt/cni/bin/bridge"), "{}", repaired.stdout);

    let third = Release::new(&scene, "c", "1.2.0", &["bridge", "macvlan"], 0);
    scene.run_ok(&format!("{} --generations 3", third.install_from_layout_args()));
    assert_eq!(store(), 8);
    scene.run_ok("rollback --root root --to 1 --generations 3");
    assert_eq!(of_release(&scene, &first).len(), 3);
    // A generation that is gone cannot be rolled back to.
    let freed = scene.run_ok("gc --root root --generations 1");
    assert!(
        freed.stdout.ends_with(" freed\n") && freed.stdout != "0 B freed\n",
        "{}",
        freed.stdout
    );
    assert_eq!(store(), 3);
    assert_refused(&scene.run("rollback --root root"), "no-generation");
    assert_eq!(scene.run_ok("gc --root root --generations 1").stdout, "0 B freed\n");
    assert_eq!(node::unsound(&scene, &[&first, &second, &third]), None);
}

#[test]
fn what_the_node_keeps_is_not_fetched_again() {
    let scene = Scene::in_memory();
    let (first, _) = upgraded(&scene);
    // Every blob is gone but the manifests are there: a registry asked for a blob would fail.
    let blobs = scene.at("layout-a/blobs/sha256");
    let mut removed = 0;
    for entry in fs::read_dir(blobs).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap();
        if !String::from_utf8_lossy(&bytes).contains("\"schemaVersion\"") {
            fs::remove_file(entry.path()).unwrap();
            removed += 1;
        }
    }
    assert_eq!(
        removed, 6,
        "two layers, the configuration, two signatures and their empty configuration"
    );
    let run = scene.run_ok(&first.install_from_layout_args());
    assert!(run.stdout.ends_with("\ninstalled\n"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first).len(), 3);
}

#[test]
fn a_repair_takes_nothing_that_is_not_proven() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    take_images_away(&scene);
    scene.run_ok("keygen --output-key-prefix other");
    let damage = || {
        fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
        fs::remove_file(scene.at(node::BIN).join("macvlan")).ok();
    };
    damage();
    let broken = scene.tree(node::BIN);
    let run = scene.run("check --root root --repair --key other.pub");
    assert_refused(&run, "signer-not-allowed");
    node::assert_same(&broken, &scene.tree(node::BIN), "not trusted any more");
    // At boot a retired key causes a warning; nothing is proven by it, so nothing is written.
    assert_refused(
        &scene.run("check --root root --at-boot --repair --key other.pub"),
        "signer-not-allowed",
    );
    node::assert_same(&broken, &scene.tree(node::BIN), "not trusted any more, at boot");

    // A copy that was altered is not installed, and that is not a reason to remove a good file.
    let copies = scene.at("root/var/lib/cnister/store");
    let bridge = fs::read_dir(&copies).unwrap().map(|entry| entry.unwrap().path());
    let bridge =
        bridge.into_iter().find(|path| fs::read(path).unwrap() == second.files["bridge"]).unwrap();
    let mut other = second.files["bridge"].clone();
    other[200] ^= 1;
    fs::write(&bridge, other).unwrap();
    let run = scene.run("check --root root --repair");
    assert_refused(&run, "file-altered");
    assert!(
        run.stdout.contains("in the local store is not the file that was signed"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("  new      /opt/cni/bin/macvlan"), "{}", run.stdout);
    let in_place = || fs::read(scene.at(node::BIN).join("bridge")).unwrap();
    assert_eq!(
        (in_place(), of_release(&scene, &second)),
        (b"altered".to_vec(), vec!["macvlan".into(), "vlan".into()])
    );
    fs::remove_file(&bridge).unwrap();
    damage();
    assert_refused(&scene.run("check --root root --repair"), "no-copy");
    assert_eq!(
        (in_place(), of_release(&scene, &second)),
        (b"altered".to_vec(), vec!["macvlan".into(), "vlan".into()])
    );
    damage();
    fs::write(&bridge, &second.files["bridge"]).unwrap();
    fs::set_permissions(&bridge, fs::Permissions::from_mode(0o600)).unwrap();
    let run = scene.run_ok("check --root root --at-boot --repair");
    assert!(run.stdout.contains("  new      /opt/cni/bin/macvlan"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &second).len(), 3);
    scene.run_ok("check --root root");
}

#[test]
fn a_rollback_is_judged_by_the_policy_of_today() {
    let scene = Scene::in_memory();
    let (first, _) = upgraded(&scene);
    let policy = |more: &str| {
        let text = format!(
            "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    \
             authorities: [{{name: us, key: {{file: cosign.pub}}}}]\n{more}"
        );
        scene.write("policy.yaml", text);
    };
    let before = scene.tree("root");
    let index = scene.run_ok("inspect oci:layout-a").stdout;
    let index =
        index.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned();
    policy(&format!("deny: [\"{index}\"]\n"));
    assert_refused(&scene.run("rollback --root root --policy policy.yaml"), "denied-by-rule");
    scene.run_ok("keygen --output-key-prefix other");
    assert_refused(&scene.run("rollback --root root --key other.pub"), "signer-not-allowed");
    node::assert_same(&before, &scene.tree("root"), "refused");
    // A floor keeps old releases out, but not in: a generation kept on the node can be rolled back
    // to.
    policy("    minVersion: 1.1.0\n");
    let run = scene.run_ok("rollback --root root --policy policy.yaml");
    assert!(run.stdout.contains("warning: version-below-floor: "), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first).len(), 3);
    // So is a revert in the repository that a pipeline applies.
    scene.run_ok(
        &super::release::Release::install_from_layout_args(&first)
            .replace("--key cosign.pub", "--policy policy.yaml"),
    );
}

#[test]
fn a_rule_that_forbids_to_go_back_outlives_receipt_and_uninstallation() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    scene.write(
        "policy.yaml",
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    rollback: monotonic\n    \
         authorities: [{name: us, key: {file: cosign.pub}}]\n",
    );
    let words = |release: &Release| {
        release.install_from_layout_args().replace("--key cosign.pub", "--policy policy.yaml")
    };
    node::new(&scene);
    scene.run_ok(&words(&first));
    scene.run_ok(&words(&second));
    let run = scene.run(&words(&first));
    assert_refused(&run, "version-below-floor");
    assert!(
        run.stdout.contains("  expected: 1.1.0 or newer\n  found:    1.0.0\n"),
        "{}",
        run.stdout
    );
    let state = scene.at("root/var/lib/cnister");
    fs::remove_file(state.join("receipt.json")).unwrap();
    assert_refused(&scene.run(&words(&first)), "version-below-floor");
    scene.run_ok(&words(&second));
    scene.run_ok("uninstall --root root");
    assert_refused(&scene.run(&words(&first)), "version-below-floor");
    scene.run_ok(&words(&second));

    // Without its record the rule cannot be enforced, and the node reports that until it is written
    // again.
    let floors = fs::read(state.join("floors.json")).unwrap();
    fs::remove_file(state.join("floors.json")).unwrap();
    assert_refused(&scene.run("check --root root"), "floor-missing");
    assert_refused(&scene.run("check --root root --at-boot"), "floor-missing");
    fs::write(state.join("floors.json"), &floors[..20]).unwrap();
    assert_refused(&scene.run("check --root root"), "state-damaged");
    fs::remove_file(state.join("floors.json")).unwrap();
    scene.run_ok(&words(&second));
    scene.run_ok("check --root root");

    // The owner may roll back on this node, and then in the pipeline as well.
    fs::remove_dir_all(scene.at("root")).unwrap();
    node::new(&scene);
    scene.run_ok(&words(&first));
    scene.run_ok(&words(&second));
    scene.run_ok("rollback --root root");
    scene.run_ok("check --root root");
    scene.run_ok("check --root root --at-boot");
    node::assert_nothing_to_do(&scene.run_ok(&words(&first)), "an exception");
    // A newer release makes it history.
    scene.run_ok(&format!("{} --again", words(&second)));
    let third = Release::new(&scene, "c", "1.2.0", &["bridge", "macvlan"], 0);
    scene.run_ok(&words(&third));
    assert_refused(&scene.run(&words(&first)), "version-below-floor");
    assert_refused(&scene.run(&words(&second)), "version-below-floor");
}
