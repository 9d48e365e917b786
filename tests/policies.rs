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
use serde_json::Value;
use support::forge::Forge;
use support::{Run, Scene, attachment, release};

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
    assert_eq!(found, ["attested.yaml", "demo.yaml", "policy.schema.json", "release.yaml"]);
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

/// Replaces the statement of the attestation of this type that is stored beside an image by what
/// `change` makes of it; the signature stays what it was.
fn edit_attestation(scene: &Scene, layout: &str, kind: &str, change: impl Fn(&mut Value)) {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let forge = Forge::new(scene.at(layout));
    let report = scene.run_ok(&format!("inspect --format json oci:{layout}"));
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let referrers = report["referrers"].as_array().unwrap();
    let attestation = referrers.iter().find(|it| it["predicateType"] == kind).unwrap();
    let referrer = forge.read(attestation["digest"].as_str().unwrap());
    let mut bundle = forge.read(referrer["layers"][0]["digest"].as_str().unwrap());
    let payload = base64.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap()).unwrap();
    let mut statement: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut statement);
    bundle["dsseEnvelope"]["payload"] = base64.encode(statement.to_string()).into();
    // Only the edited one is left.
    for entry in referrers.iter().filter(|it| it["predicateType"] == kind) {
        fs::remove_file(forge.blob(entry["digest"].as_str().unwrap())).unwrap();
    }
    let subject = attestation["subject"].as_str().unwrap();
    let artifact_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    attachment::store(scene, layout, subject, artifact_type, bundle.to_string().as_bytes());
}

#[test]
fn an_attested_release_has_an_sbom_and_provenance_by_the_key() {
    let scene = Scene::new();
    scene.write("attested.yaml", policy("attested.yaml"));
    scene.run_ok("keygen");
    scene.run_ok("keygen --output-key-prefix other");
    Release::unsigned(&scene, "a", "1.0.0", &NAMES, 0);
    let build = |layout: &str, options: &str| {
        scene.run_ok(&format!("build bundle-a.yaml -o {layout} {options}"));
    };
    let both = "--sbom cyclonedx --provenance";
    let (sbom, provenance) = ("https://cyclonedx.org/bom", "https://slsa.dev/provenance/v1");
    let missing = |kind: &str| format!("expected: {kind}\n  found:    none");
    let sign = |layout: &str, key: &str, attest: &str| {
        scene.run_ok(&format!("sign --key {key}.key {attest} oci:{layout}"));
    };
    for layout in ["good", "moved", "edited-sbom", "edited-subject", "signature-only"] {
        build(layout, both);
    }
    build("no-provenance", "--sbom cyclonedx");
    build("other-type", "--sbom spdx-2.3 --provenance");
    build("other-key", both);
    for layout in ["good", "moved", "edited-sbom", "edited-subject", "no-provenance", "other-type"]
    {
        sign(layout, "cosign", "--attest");
    }
    sign("signature-only", "cosign", "");
    sign("other-key", "cosign", "");
    sign("other-key", "other", "--attest");
    edit_attestation(&scene, "edited-sbom", sbom, |statement| {
        statement["predicate"]["components"][0]["version"] = "9.9.9".into();
    });
    // One that the key made, about another image.
    let elsewhere = cnister::model::Digest::of(b"another image").hex();
    edit_attestation(&scene, "edited-subject", provenance, |statement| {
        statement["subject"][0]["digest"]["sha256"] = elsewhere.clone().into();
    });
    Release::unsigned(&scene, "b", "1.0.0", &NAMES, 0);
    scene.run_ok(&format!("build bundle-b.yaml -o another {both}"));
    sign("another", "cosign", "--attest");
    attachment::exchange(&scene, "another", "moved", provenance);

    for (layout, refusal) in [
        ("good", None),
        ("signature-only", Some(missing(sbom))),
        ("no-provenance", Some(missing(provenance))),
        ("other-type", Some(missing(sbom))),
        ("other-key", Some(missing(sbom))),
        ("edited-sbom", Some(missing(sbom))),
        ("edited-subject", Some(missing(provenance))),
        ("moved", Some(missing(provenance))),
    ] {
        let code = i32::from(refusal.is_some());
        let policy = "--policy attested.yaml";
        let verified =
            scene.run(&format!("verify {policy} --as ghcr.io/acme/cni oci:{layout}:1.0.0"));
        // A node decides the same from a file, without the image.
        scene.run_ok(&format!("evidence {policy} oci:{layout}:1.0.0 -o {layout}.json"));
        fs::create_dir(scene.at(&format!("root-{layout}"))).unwrap();
        let installed = scene.run(&format!(
            "install {policy} --root root-{layout} --as ghcr.io/acme/cni --from staged-a \
             --evidence {layout}.json"
        ));
        let words = refusal.unwrap_or_else(|| "bridge".to_owned());
        for run in [&verified, &installed] {
            assert_eq!(run.code, code, "{layout}: {}{}", run.stdout, run.stderr);
        }
        assert!(verified.stdout.contains(&words) || code == 0, "{layout}: {}", verified.stdout);
        assert!(installed.stdout.contains(&words), "{layout}: {}", installed.stdout);
        let is_there = scene.at(&format!("root-{layout}/opt/cni/bin/bridge")).exists();
        assert_eq!(is_there, code == 0, "{layout}");
        // What is installed stays good without a registry.
        if code == 0 {
            let check = format!("check {policy} --root root-{layout} --no-probe");
            scene.run_ok(&check);
        }
    }
}
