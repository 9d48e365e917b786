//! The policies under `policies/`: each does what its opening comment says.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use release::Release;
use support::{Run, Scene, release};

const NAMES: [&str; 2] = ["bridge", "macvlan"];
const ROOT: &str = "--root root --as ghcr.io/acme/cni";

fn policy(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name)).unwrap()
}

/// Signs with a time this many days ago.
fn sign(scene: &Scene, layout: &str, days: u64) {
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - days * 24 * 3600;
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command
        .args(["sign", "--key", "cosign.key", layout])
        .env("SOURCE_DATE_EPOCH", then.to_string());
    let run = scene.run_command(&mut command);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected =
        format!("signature time from SOURCE_DATE_EPOCH: {}", cnister::model::rfc3339(then));
    assert!(run.stderr.contains(&expected), "{}", run.stderr);
}

fn expect(run: &Run, code: i32, word: &str) {
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains(word), "{word}:\n{}", run.stdout);
}

#[test]
fn every_policy_is_one_of_those_that_are_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    // The schema is compared with the parser next to it.
    assert_eq!(found, ["demo.yaml", "policy.schema.json", "release.yaml"]);
}

#[test]
fn the_demo_allows_what_one_key_signed_and_nothing_else() {
    let scene = Scene::new();
    scene.write("policy.yaml", policy("demo.yaml"));
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    scene.run_ok("verify --policy policy.yaml oci:layout-a");
    scene.run_ok("verify --policy policy.yaml --as quay.io/any/name oci:layout-a");
    scene.run_ok("keygen --output-key-prefix other");
    fs::copy(scene.at("other.pub"), scene.at("cosign.pub")).unwrap();
    expect(&scene.run("verify --policy policy.yaml oci:layout-a"), 1, "signer-not-allowed");
}

#[test]
fn a_release_is_neither_old_nor_below_the_floor() {
    let scene = Scene::new();
    scene.write("release.yaml", policy("release.yaml"));
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("keygen");
    for (name, version) in [("old", "1.0.9"), ("new", "1.1.0")] {
        Release::unsigned(&scene, name, version, &NAMES, 0);
    }
    sign(&scene, "oci:layout-old", 0);
    let install = format!("install --policy release.yaml {ROOT}");
    expect(&scene.run(&format!("{install} oci:layout-old")), 1, "version-below-floor");
    sign(&scene, "oci:layout-new", 181);
    let refused = scene.run(&format!("{install} oci:layout-new"));
    expect(&refused, 1, "signature-too-old");
    assert!(
        refused.stdout.contains("at most 180d old") && refused.stdout.contains("181d old"),
        "{}",
        refused.stdout
    );
    assert!(!scene.at("root/opt/cni/bin").exists());
    expect(
        &scene.run("verify --policy release.yaml --as ghcr.io/acme/cni oci:layout-new"),
        1,
        "signature-too-old",
    );
    expect(
        &scene.run("verify --policy release.yaml --as ghcr.io/acme/other oci:layout-new"),
        1,
        "no-rule-matches",
    );

    sign(&scene, "oci:layout-new", 179);
    scene.run_ok("verify --policy release.yaml --as ghcr.io/acme/cni oci:layout-new");
    let run = scene.run_ok(&format!("{install} oci:layout-new"));
    assert!(!run.stdout.contains("signature"), "{}", run.stdout);
    let run = scene.run_ok("check --policy release.yaml --root root --no-probe");
    assert!(!run.stdout.contains("warning"), "{}", run.stdout);
}

#[test]
fn what_a_node_has_is_kept_with_a_warning() {
    let scene = Scene::new();
    let text = policy("release.yaml");
    scene.write("release.yaml", &text);
    scene.write(
        "before.yaml",
        text.replace("    maxAge: 180d\n", "").replace("minVersion: 1.1.0", "minVersion: 1.0.0"),
    );
    scene.write("never.yaml", text.replace("cosign.pub", "other.pub"));
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("keygen");
    scene.run_ok("keygen --output-key-prefix other");
    Release::unsigned(&scene, "a", "1.0.9", &NAMES, 0);
    sign(&scene, "oci:layout-a", 200);
    scene.run_ok(&format!("install --policy before.yaml {ROOT} oci:layout-a"));
    for occasion in ["--no-probe", "--at-boot"] {
        let run = scene.run_ok(&format!("check --policy release.yaml --root root {occasion}"));
        for code in ["version-below-floor", "signature-too-old"] {
            assert!(run.stdout.contains(&format!("warning: {code}")), "{code}:\n{}", run.stdout);
        }
        assert!(
            run.stdout.contains("proven") && !run.stdout.contains("no-longer-trusted"),
            "{}",
            run.stdout
        );
    }
    expect(&scene.run("check --policy never.yaml --root root --no-probe"), 1, "no-longer-trusted");

    // Another release is wanted and refused: the installed one is good enough to be kept.
    Release::unsigned(&scene, "b", "1.1.0", &NAMES, 0);
    sign(&scene, "oci:layout-b", 200);
    let install = format!("install --policy release.yaml {ROOT} --on-refusal keep");
    expect(&scene.run(&format!("{install} oci:layout-b")), 0, "the installed plugins were kept");
    // It is not good enough to be taken by a node that does not have it.
    expect(
        &scene.run(&format!("{install} oci:layout-a --state-dir /var/lib/other")),
        1,
        "version-below-floor",
    );
}
