//! Files that have the signed bytes already: another installer's, and those of a node that lost its
//! records.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release};

const PLUGINS: [&str; 2] = ["bridge", "macvlan"];

fn put(scene: &Scene, name: &str, bytes: &[u8], mode: u32) {
    let path = scene.write(&format!("{}/{name}", node::BIN), bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_another_installer_put_there_with_the_signed_bytes_is_taken_over_and_left_as_it_was() {
    for mode in [0o755, 0o555, 0o644, 0o4755, 0o777] {
        let scene = Scene::in_memory();
        let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
        node::new(&scene);
        put(&scene, "bridge", &first.files["bridge"], mode);
        let bridge = scene.at(node::BIN).join("bridge");
        fs::hard_link(&bridge, scene.at("second-name")).unwrap();
        let before = scene.tree(node::BIN);
        for run in [" --dry-run", ""] {
            let run = scene.run_ok(&format!("{}{run}", first.install_from_layout_args()));
            assert!(run.stdout.contains("  take over /opt/cni/bin/bridge ("), "{}", run.stdout);
        }
        let now = fs::metadata(&bridge).unwrap();
        assert_eq!((now.nlink(), now.mode() & 0o7777), (1, 0o755), "{mode:o}");
        node::assert_nothing_to_do(&scene.run_ok(&first.install_from_layout_args()), "again");
        scene.run_ok("check --root root");
        // The first upgrade and the way back are like any other.
        scene.run_ok(&second.install_from_layout_args());
        assert_eq!(of_release(&scene, &second).len(), 2);
        scene.run_ok("rollback --root root");
        scene.run_ok("uninstall --root root");
        let mut wanted = before;
        if mode == 0o4755 {
            // What comes back has no set-user-ID bit.
            put(&scene, "bridge", &first.files["bridge"], 0o755);
            wanted = scene.tree(node::BIN);
        }
        node::assert_same(&wanted, &scene.tree(node::BIN), &format!("{mode:o}"));
    }
}

#[test]
fn a_node_that_lost_its_state_directory_is_installed_and_upgraded_again() {
    for lost in ["root/var/lib/cnister", "root/var/lib/cnister/receipt.json"] {
        let scene = Scene::in_memory();
        let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
        node::new(&scene);
        scene.run_ok(&first.install_from_layout_args());
        let lost = scene.at(lost);
        if lost.is_dir() {
            fs::remove_dir_all(&lost).unwrap();
        } else {
            fs::remove_file(&lost).unwrap();
        }
        let run = scene.run_ok(&first.install_args());
        assert_eq!(run.stdout.matches("  take over ").count(), 2, "{}", run.stdout);
        scene.run_ok("check --root root");
        scene.run_ok(&second.install_from_layout_args());
        assert_eq!(of_release(&scene, &second).len(), 2);
    }
}

#[test]
fn a_receipt_that_leaves_the_signed_bytes_to_their_installer_is_read_as_ours() {
    // An earlier version of this program wrote it, or --foreign keep.
    for next in ["a", "b"] {
        let scene = Scene::in_memory();
        let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
        node::new(&scene);
        put(&scene, "bridge", &first.files["bridge"], 0o755);
        let run = scene.run_ok(&format!("{} --foreign keep", first.install_from_layout_args()));
        let said = [
            "  same     /opt/cni/bin/bridge (another installer's)\n",
            "note: foreign-kept: `/opt/cni/bin/bridge` has the signed content",
        ];
        assert!(said.iter().all(|said| run.stdout.contains(said)), "{}", run.stdout);
        let receipt = scene.at("root/var/lib/cnister/receipt.json");
        assert!(fs::read_to_string(&receipt).unwrap().contains("\"foreign\""));
        let release = if next == "a" { &first } else { &second };
        let run = scene.run_ok(&release.install_from_layout_args());
        assert!(run.stdout.contains("  take over /opt/cni/bin/bridge ("), "{}", run.stdout);
        assert_eq!(of_release(&scene, release).len(), 2);
        scene.run_ok("check --root root");
        scene.run_ok("uninstall --root root");
        let bridge = scene.at(node::BIN).join("bridge");
        assert_eq!(fs::read(bridge).unwrap(), first.files["bridge"]);
    }
}

#[test]
fn a_file_that_differs_or_that_no_rule_lets_a_bundle_bring_is_not_taken_over() {
    let scene = Scene::in_memory();
    let names = ["bridge", "loopback", "macvlan"];
    let release = Release::new(&scene, "a", "1.0.0", &names, 0);
    node::new(&scene);
    for name in names {
        put(&scene, name, &release.files[name], 0o755);
    }
    let before = scene.tree(node::BIN);
    scene.write(
        "policy.yaml",
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    \
         plugins: [bridge, macvlan]\n    authorities: [{name: us, key: {file: cosign.pub}}]\n",
    );
    let words = release.install_from_layout_args();
    let by_rule = words.replace("--key cosign.pub", "--policy policy.yaml");
    assert_refused(&scene.run(&by_rule), "plugin-not-allowed");
    node::assert_same(&before, &scene.tree(node::BIN), "a rule");
    put(&scene, "macvlan", b"others", 0o755);
    assert_refused(&scene.run(&words), "foreign-file");
    put(&scene, "macvlan", &release.files["macvlan"], 0o755);

    let run = scene.run_ok(&words);
    assert!(run.stdout.contains("  same     /opt/cni/bin/loopback (another"), "{}", run.stdout);
    let run = scene.run_ok(&format!("{words} --foreign adopt=loopback"));
    assert!(run.stdout.contains("  take over /opt/cni/bin/loopback ("), "{}", run.stdout);
    scene.run_ok("uninstall --root root");
    node::assert_same(&before, &scene.tree(node::BIN), "uninstalled");
}
