//! The first definition and policy are ones that build, sign, verify and install.

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

use support::{Scene, plugin};

const IMAGE: &str = "--image ghcr.io/acme/cni";

#[test]
fn what_is_written_builds_and_is_allowed() {
    let scene = Scene::new();
    for name in ["macvlan", "host-local"] {
        scene.write(&format!("plugins/{name}"), plugin::answering(name, 0));
    }
    let run =
        scene.run_ok(&format!("init base --directory plugins --plugin macvlan,host-local {IMAGE}"));
    // What comes next is what it says comes next.
    let next: Vec<_> =
        run.stdout.lines().filter_map(|line| line.strip_prefix("  cnister ")).collect();
    assert_eq!(next, ["build bundle.yaml -o layout", "keygen", "sign --key cosign.key oci:layout"]);
    // The program of this test is not static, so it cannot be the tool of an image.
    let text = fs::read_to_string(scene.at("bundle.yaml")).unwrap();
    scene.write("bundle.yaml", text + "tool: none\n");
    next.iter().for_each(|line| drop(scene.run_ok(line)));
    let verify = "verify --policy policy.yaml oci:layout --as";
    scene.run_ok(&format!("{verify} ghcr.io/acme/cni"));
    let run = scene.run(&format!("{verify} ghcr.io/acme/other"));
    assert_eq!(run.code, 1, "{run:?}");
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --policy policy.yaml --as ghcr.io/acme/cni --root root oci:layout");

    let before = scene.tree(".");
    let run = scene.run(&format!("init base --upstream v1.9.1 {IMAGE}"));
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("`bundle.yaml` already exists"), "{run:?}");
    assert_eq!(scene.tree("."), before);
}

#[test]
fn the_release_of_upstream_is_locked_first() {
    let scene = Scene::new();
    fs::create_dir(scene.at("new")).unwrap();
    let run = scene.run_ok(&format!(
        "init base --upstream v1.9.1 --platform linux/amd64,linux/arm64 {IMAGE} -o new"
    ));
    assert!(run.stdout.contains("\n  cnister lock new/bundle.yaml\n"), "{run:?}");
    let text = fs::read_to_string(scene.at("new/bundle.yaml")).unwrap();
    let definition = cnister::bundle::Definition::parse("bundle.yaml", &text).unwrap();
    assert_eq!((definition.platforms.len(), definition.plugins.len()), (2, 9));
    assert!(text.contains("      version: v1.9.1\n"), "{text}");
    let run = scene.run("build new/bundle.yaml -o layout");
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("cnister lock"), "{run:?}");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let scene = Scene::new();
    for (arguments, code, words) in [
        (format!("base {IMAGE}"), 2, "--upstream <VERSION>"),
        (format!("Base --directory x {IMAGE}"), 2, "Base"),
        (format!("base --upstream latest {IMAGE}"), 2, "latest"),
        ("base --directory x".to_owned(), 2, "--image <REPO>"),
        ("base --directory x --image ghcr.io/acme/cni:1.0".to_owned(), 2, "ghcr.io/acme/cni:1.0"),
        (
            format!("base --directory x --platform linux/amd64,linux/arm64 {IMAGE}"),
            2,
            "{architecture}",
        ),
        (format!("base --directory x --plugin a,a {IMAGE}"), 2, "`a`"),
        (format!("base --directory x --plugin '' {IMAGE}"), 2, "--plugin"),
        (format!("base --directory x {IMAGE} -o nowhere"), 3, "nowhere/bundle.yaml"),
    ] {
        let run = scene.run(&format!("init {arguments}"));
        assert_eq!(run.code, code, "{arguments}: {run:?}");
        assert!(run.stderr.contains(words), "{arguments}: {run:?}");
        assert_eq!(scene.tree(".").len(), 0, "{arguments}");
    }
    // The second file: the first is taken back.
    std::os::unix::fs::symlink("/nowhere/x", scene.at("policy.yaml")).unwrap();
    let run = scene.run(&format!("init base --directory x {IMAGE}"));
    assert_eq!(run.code, 2, "{run:?}");
    assert!(!scene.at("bundle.yaml").exists());
}
