//! A release that its owner rolled back stays away, whatever happens in between.

use std::fs;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, take_images_away};

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];

fn releases(scene: &Scene) -> [Release; 3] {
    [("a", "1.0.0"), ("b", "1.1.0"), ("c", "1.2.0")]
        .map(|(name, version)| Release::new(scene, name, version, &PLUGINS, 0))
}

fn words(release: &Release) -> String {
    format!("{} --generations 4", release.install_from_layout_args())
}

#[test]
fn two_rollbacks_keep_both_releases_away() {
    let scene = Scene::in_memory();
    let [first, second, third] = releases(&scene);
    node::new(&scene);
    for release in [&first, &second, &third] {
        scene.run_ok(&words(release));
    }
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &second).len(), 3);
    scene.run_ok("rollback --root root --to 1");
    assert_eq!(of_release(&scene, &first).len(), 3);
    for release in [&second, &third] {
        assert_refused(&scene.run(&words(release)), "rolled-back");
    }
    let status = scene.run_ok("status --root root").stdout;
    assert_eq!(status.matches("\nrolled back from sha256:").count(), 2, "{status}");
    // Nothing that the installation was told to keep is gone.
    assert_eq!(status.matches("  3 plugins in ").count(), 3, "{status}");
    // Rolling back to one of them clears its record, and no other.
    scene.run_ok("rollback --root root --to 4");
    assert_eq!(of_release(&scene, &second).len(), 3);
    assert_refused(&scene.run(&words(&third)), "rolled-back");
    assert_refused(&scene.run(&words(&first)), "rolled-back");
}

#[test]
fn a_refused_rollback_says_nothing_about_any_release() {
    let scene = Scene::in_memory();
    let [first, second, third] = releases(&scene);
    let policy = "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    \
                  rollback: monotonic\n    authorities: [{name: us, key: {file: cosign.pub}}]\n";
    scene.write("policy.yaml", policy);
    let words =
        |release: &Release| words(release).replace("--key cosign.pub", "--policy policy.yaml");
    node::new(&scene);
    for release in [&first, &second, &third] {
        scene.run_ok(&words(release));
    }
    scene.run_ok("rollback --root root");
    let copies = scene.at("root/var/lib/cnister/store");
    for entry in fs::read_dir(&copies).unwrap().map(Result::unwrap) {
        if first.files.values().any(|bytes| fs::read(entry.path()).unwrap() == *bytes) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let before = scene.tree("root");
    for words in ["rollback --root root --to 1", "rollback --root root --to 1 --dry-run"] {
        let run = scene.run(words);
        if !words.ends_with("--dry-run") {
            assert_refused(&run, "no-copy");
        }
        node::assert_same(&before, &scene.tree("root"), words);
    }
    assert_refused(&scene.run(&words(&third)), "rolled-back");
    assert_refused(&scene.run(&words(&first)), "version-below-floor");
    scene.run_ok("check --root root");
}

#[test]
fn a_rollback_of_an_interrupted_installation_goes_to_the_release_before_it() {
    let scene = Scene::in_memory();
    let [first, second, third] = releases(&scene);
    node::new(&scene);
    scene.run_ok(&words(&first));
    scene.run_ok(&words(&second));
    // The state left by an installation that ends when the first plugin has its name.
    fs::create_dir(scene.at("aside")).unwrap();
    fs::rename(scene.at("root"), scene.at("aside/root")).unwrap();
    fs::create_dir(scene.at("root")).unwrap();
    node::new(&scene);
    scene.run_ok(&words(&third));
    let of_third = scene.at("root/var/lib/cnister");
    let receipt: serde_json::Value =
        serde_json::from_slice(&fs::read(of_third.join("receipt.json")).unwrap()).unwrap();
    let directory = "sha256:".to_owned() + &sha256(b"/opt/cni/bin");
    let files = receipt["directories"]["/opt/cni/bin"]["files"].as_object().unwrap();
    let entries: Vec<_> = files
        .iter()
        .map(|(name, file)| {
            serde_json::json!({"directory": directory, "name": name, "digest": file["digest"], "size": file["size"]})
        })
        .collect();
    let journal = serde_json::json!({
        "schemaVersion": 1, "index": receipt["index"], "evidence": receipt["evidence"], "entries": entries
    });
    let bridge = fs::read(scene.at(node::BIN).join("bridge")).unwrap();
    fs::remove_dir_all(scene.at("root")).unwrap();
    fs::rename(scene.at("aside/root"), scene.at("root")).unwrap();
    fs::write(scene.at("root/var/lib/cnister/journal.json"), journal.to_string()).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(
        scene.at("root/var/lib/cnister/journal.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), bridge).unwrap();
    assert_eq!(of_release(&scene, &third), ["bridge"]);

    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &second).len(), 3);
    scene.run_ok("check --root root");
    assert_refused(&scene.run(&words(&third)), "rolled-back");
    node::assert_nothing_to_do(&scene.run_ok(&words(&second)), "the present one");
    take_images_away(&scene);
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
