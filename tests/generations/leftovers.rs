//! Plugins of an earlier bundle that stayed: judged and repaired as long as the node keeps their
//! generation and today's policy accepts it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

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
            assert!(run.stdout.contains("`check --repair`; or remove it"), "{}", run.stdout);
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
