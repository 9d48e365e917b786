//! What differs between two bundles is shown to a reviewer, and nothing else is.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;

use forge::Forge;
use release::Release;
use serde_json::{Value, json};
use support::{Run, Scene, forge, note_peer, peers_folder, release};

fn expect(run: &Run, code: i32, lines: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for line in lines {
        assert!(run.stdout.lines().any(|it| it == *line), "{line}\n{}", run.stdout);
    }
}

#[test]
fn plugins_that_were_added_removed_and_changed_are_shown() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge", "tap"], 0);
    Release::unsigned(&scene, "b", "1.1.0", &["bridge", "vrf"], 0);
    let run = scene.run("diff oci:layout-a oci:layout-b");
    let lines = [
        "--- test 1.0.0 (oci:layout-a)",
        "+++ test 1.1.0 (oci:layout-b)",
        "~ bridge (linux/amd64)",
        "- tap (linux/amd64)",
        "+ vrf (linux/amd64)",
    ];
    expect(&run, 0, &lines);
    expect(&scene.run("diff --exit-code oci:layout-a oci:layout-b"), 1, &lines);
    expect(&scene.run("diff --no-modules oci:layout-a oci:layout-b"), 0, &lines);
    expect(&scene.run("diff --exit-code oci:layout-a oci:layout-a"), 0, &["no difference"]);

    let run = scene.run_ok("diff --format json oci:layout-a oci:layout-b");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["new"]["version"], "1.1.0");
    let kinds: Vec<_> =
        report["plugins"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["changed", "removed", "added"]);
    let run = scene.run_ok("diff --format markdown oci:layout-a oci:layout-b");
    assert!(run.stdout.starts_with("### `test 1.0.0 (oci:layout-a)` → `"), "{}", run.stdout);
    assert!(run.stdout.contains("| `tap` | `linux/amd64` | removed |"), "{}", run.stdout);
    let run = scene.run("verify --format markdown --key cosign.pub oci:layout-a");
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("only `diff` has a report in Markdown"), "{run:?}");
}

#[test]
fn locks_are_compared_without_any_image() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge", "tap"], 0);
    Release::unsigned(&scene, "b", "1.0.0", &["bridge"], 0);
    scene.run_ok("lock bundle-a.yaml");
    let none = scene.run("diff bundle-a.yaml bundle-b.yaml");
    assert_eq!(none.code, 2, "{none:?}");
    assert!(none.stderr.contains("there is no `bundle-b.lock.json`"), "{none:?}");
    scene.run_ok("lock bundle-b.yaml");
    let lines = ["--- test (bundle-a.yaml)", "~ bridge (linux/amd64)", "- tap (linux/amd64)"];
    expect(&scene.run("diff bundle-a.yaml bundle-b.yaml"), 0, &lines);
    expect(&scene.run("diff bundle-a.lock.json bundle-b.lock.json"), 0, &lines[1..]);
    // A lock and what was built from it.
    expect(&scene.run("diff --exit-code bundle-a.yaml oci:layout-a"), 0, &["no difference"]);
    // A definition that its lock does not match.
    let text = fs::read_to_string(scene.at("bundle-b.yaml")).unwrap();
    scene.write("bundle-b.yaml", text.replace("plugins-b", "plugins-a"));
    let run = scene.run("diff bundle-a.yaml bundle-b.yaml");
    expect(&run, 0, &lines);
    assert!(run.stderr.contains("does not match its definition"), "{run:?}");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge"], 0);
    Release::unsigned(&scene, "b", "1.1.0", &["bridge"], 0);
    let refuse = |arguments: &str, code: i32, words: &str| {
        let run = scene.run(&format!("diff {arguments}"));
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{arguments}: {run:?}");
        assert!(run.stderr.contains(words), "{arguments}: {run:?}");
    };
    refuse("oci:layout-a oci:nothing", 3, "is not an OCI layout");
    refuse("oci:layout-a nothing.yaml", 2, "there is no `nothing.lock.json`");
    scene.write("bad.lock.json", "{}");
    refuse("bad.lock.json oci:layout-a", 2, "`bad.lock.json`");
    // An image that is no bundle.
    forge::copy(&scene.at("layout-b"), &scene.at("layout-c"));
    let forge = Forge::new(scene.at("layout-c"));
    forge.manifest(|manifest| drop(manifest["layers"].as_array_mut().unwrap().pop()));
    refuse("oci:layout-a oci:layout-c", 2, "is not a bundle");
    // A layer that is not what bundle.json says: nothing is said of its modules.
    let forge = Forge::new(scene.at("layout-b"));
    let digest = forge.manifest(|manifest| {
        let layer = &mut manifest["layers"][0];
        layer["digest"] = json!(forge.store(&[0; 100]));
        layer["size"] = json!(100);
    });
    refuse("oci:layout-a oci:layout-b", 3, "cannot read the plugins for linux/amd64");
    let run = scene.run("diff --no-modules oci:layout-a oci:layout-b");
    assert_eq!(run.code, 0, "{digest}: {run:?}");
}

#[test]
fn modules_of_real_plugins_are_compared() {
    let upstream = peers_folder().join("plugins");
    let debian = "/usr/lib/cni";
    for (name, folder) in
        [("upstream plugins", upstream.as_path()), ("Debian's plugins", debian.as_ref())]
    {
        note_peer(name, folder.join("macvlan").exists());
    }
    if !upstream.join("macvlan").exists() || !fs::exists(format!("{debian}/macvlan")).unwrap() {
        return;
    }
    let scene = Scene::new();
    for (name, folder) in [("old", debian), ("new", upstream.to_str().unwrap())] {
        scene.write(
            &format!("{name}.yaml"),
            format!(
                "apiVersion: cnister.dev/v1\nkind: Bundle\nname: cni\nversion: 1.0.0\nplatforms: \
                 [linux/amd64]\nsources: [{{name: here, directory: {folder}}}]\nplugins: [macvlan, \
                 vlan]\ntool: none\n"
            ),
        );
        scene.run_ok(&format!("build {name}.yaml -o {name}"));
    }
    let run = scene.run_ok("diff oci:old oci:new");
    let go = |version: &str| run.stdout.contains(version);
    assert!(go("    toolchain go1.19"), "{}", run.stdout);
    assert!(go("~ module stdlib 1.19") && go(" (macvlan, vlan)"), "{}", run.stdout);
    assert!(go("module github.com/vishvananda/netlink v"), "{}", run.stdout);
    // What the two tools of Go say, in the same words.
    let json = scene.run_ok("diff --format json oci:old oci:new");
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let modules = report["modules"].as_array().unwrap();
    let netlink = modules.iter().find(|it| it["path"] == "github.com/vishvananda/netlink").unwrap();
    let listed = scene.command("go").args(["version", "-m"]).arg(upstream.join("macvlan")).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let expected = format!("github.com/vishvananda/netlink\t{}", netlink["new"].as_str().unwrap());
    assert!(listed.contains(&expected), "{expected}\n{listed}");
}
