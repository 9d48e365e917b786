//! Signatures in both directions: cosign verifies what we sign, we verify what cosign signs, and
//! both refuse what was altered, if both verify it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use release::Release;
use support::{Run, Scene, digest_of, peer, registries, release};

/// A signed bundle of small programs in `layout`; these tests are about signatures.
fn signed(scene: &Scene) -> String {
    Release::new(scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    fs::rename(scene.at("layout-a"), scene.at("layout")).unwrap();
    digest_of(&scene.run_ok("inspect oci:layout"))
}

fn cosign(scene: &Scene, program: &Path, arguments: &[&str]) -> Run {
    scene.run_command(scene.command(program).args(arguments))
}

fn cosign_verify(scene: &Scene, program: &Path, key: &str, image: &str) -> Run {
    cosign(
        scene,
        program,
        &["verify", "--key", key, "--insecure-ignore-tlog", "--allow-http-registry", image],
    )
}

/// A signing configuration without services, so that nothing is sent over the network.
fn sign_offline(scene: &Scene, program: &Path, image: &str, more: &[&str]) -> Run {
    let config = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
    scene.write("offline.json", config);
    let arguments = [
        "sign",
        "-y",
        "--key",
        "cosign.key",
        "--signing-config",
        "offline.json",
        "--allow-http-registry",
        image,
    ];
    cosign(scene, program, &[&arguments, more].concat())
}

#[test]
fn a_signed_time_is_written_and_read_by_both() {
    let Some(program) = peer("cosign") else { return };
    let scene = Scene::new();
    signed(&scene);
    scene.run_ok("build bundle-a.yaml -o unsigned");
    let Some(server) = registries::olareg(scene.path()) else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let time = |ago: u64| format!("dev.cnister.signed-at={}", cnister::model::rfc3339(now - ago));

    let ours = format!("{}/cni/ours:v1", server.host);
    let run = scene.run_command(
        scene
            .command(env!("CARGO_BIN_EXE_cnister"))
            .args(["sign", "--key", "cosign.key", "oci:unsigned"])
            .env("SOURCE_DATE_EPOCH", (now - 60).to_string()),
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    scene.run_ok(&format!("push oci:unsigned {ours}"));
    for (annotation, is_good) in [(time(60), true), (time(61), false)] {
        let verify =
            ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry"];
        let run = cosign(&scene, &program, &[&verify[..], &["-a", &annotation, &ours]].concat());
        assert_eq!(run.code == 0, is_good, "{annotation}: {}", run.stderr);
    }

    fs::remove_dir_all(scene.at("unsigned")).unwrap();
    scene.run_ok("build bundle-a.yaml -o unsigned");
    let theirs = format!("{}/cni/theirs:v1", server.host);
    let digest = digest_of(&scene.run_ok(&format!("push oci:unsigned {theirs}")));
    let pinned = format!("{}/cni/theirs@{digest}", server.host);
    let demo =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/demo.yaml")).unwrap();
    scene.write("aged.yaml", demo + "    maxAge: 36h\n");
    for (annotations, expected) in [
        (vec![], "signature-time-unknown"),
        (vec!["-a".to_owned(), "dev.cnister.signed-at=today".to_owned()], "signature-time-unknown"),
        (vec!["-a".to_owned(), time(37 * 3600)], "signature-too-old"),
        (vec!["-a".to_owned(), time(35 * 3600)], "yes:"),
    ] {
        let more: Vec<&str> = annotations.iter().map(String::as_str).collect();
        let run = sign_offline(&scene, &program, &pinned, &more);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let run = scene.run(&format!("verify --policy aged.yaml {theirs}"));
        assert_eq!(
            run.code,
            i32::from(expected != "yes:"),
            "{annotations:?}: {}{}",
            run.stdout,
            run.stderr
        );
        assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
    }
}

#[test]
fn cosign_verifies_what_we_signed() {
    let Some(program) = peer("cosign") else { return };
    let scene = Scene::new();
    let digest = signed(&scene);
    for server in registries::both(scene.path()) {
        let image = format!("{}/cni/test:v1", server.host);
        let pushed = scene.run_ok(&format!("push oci:layout {image}"));
        assert_eq!(digest_of(&pushed), digest, "{}", server.name);
        let run = cosign_verify(&scene, &program, "cosign.pub", &image);
        assert_eq!(run.code, 0, "{}: {}", server.name, run.stderr);
        assert!(run.stdout.contains(&digest), "{}: {}", server.name, run.stdout);
        scene.run_ok(&format!("verify --key cosign.pub {image}"));

        scene.run_ok("keygen --output-key-prefix other");
        let (theirs, ours) = (
            cosign_verify(&scene, &program, "other.pub", &image),
            scene.run(&format!("verify --key other.pub {image}")),
        );
        assert_ne!(theirs.code, 0, "{}: {}", server.name, theirs.stdout);
        assert_eq!(ours.code, 1, "{}: {}", server.name, ours.stdout);
        assert!(ours.stdout.contains("signer-not-allowed"), "{}", ours.stdout);
        for name in ["other.key", "other.pub"] {
            fs::remove_file(scene.at(name)).unwrap();
        }
    }
}

#[test]
fn we_verify_what_cosign_signed_with_our_key() {
    let Some(program) = peer("cosign") else { return };
    let scene = Scene::new();
    signed(&scene);
    // The same image without our signatures: a layout that lists nothing else.
    scene.run_ok("build bundle-a.yaml -o unsigned");
    for server in registries::both(scene.path()) {
        let image = format!("{}/cni/unsigned:v1", server.host);
        let digest = digest_of(&scene.run_ok(&format!("push oci:unsigned {image}")));
        let before = scene.run(&format!("verify --key cosign.pub {image}"));
        assert_eq!(before.code, 1, "{}", before.stdout);
        assert!(before.stdout.contains("no-signature"), "{}", before.stdout);

        let pinned = format!("{}/cni/unsigned@{digest}", server.host);
        let run = sign_offline(&scene, &program, &pinned, &[]);
        assert_eq!(run.code, 0, "{}: {}", server.name, run.stderr);
        scene.run_ok(&format!("verify --key cosign.pub {image}"));
    }
}

#[test]
fn an_sbom_attestation_by_cosign_is_not_a_signature() {
    let Some(program) = peer("cosign") else { return };
    let scene = Scene::new();
    signed(&scene);
    scene.run_ok("build bundle-a.yaml -o attested");
    let Some(server) = registries::olareg(scene.path()) else { return };
    let image = format!("{}/cni/attested:v1", server.host);
    let digest = digest_of(&scene.run_ok(&format!("push oci:attested {image}")));
    sign_offline(&scene, &program, "ignored", &[]);
    scene.write("sbom.json", r#"{"spdxVersion":"SPDX-2.3"}"#);
    let pinned = format!("{}/cni/attested@{digest}", server.host);
    let arguments = [
        "attest",
        "-y",
        "--key",
        "cosign.key",
        "--signing-config",
        "offline.json",
        "--allow-http-registry",
        "--type",
        "spdxjson",
        "--predicate",
        "sbom.json",
        &pinned,
    ];
    let run = cosign(&scene, &program, &arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    // cosign accepts the attestation as a signature; that is why we must check the predicate type.
    let run = scene.run(&format!("verify --key cosign.pub {image}"));
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains("not-a-signature"), "{}", run.stdout);
}

/// The blobs of a layout by role: the index, the platform's manifest, its configuration, its plugin
/// layer, and the bundle of the index's signature.
fn blobs(scene: &Scene, layout: &str, index: &str) -> Vec<(&'static str, PathBuf)> {
    let blob = |digest: &str| {
        scene.at(layout).join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    };
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let manifest = json(&blob(index))["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let document = json(&blob(&manifest));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    vec![
        ("index", blob(index)),
        ("manifest", blob(&manifest)),
        ("config", blob(&text(&document["config"]["digest"]))),
        ("layer", blob(&text(&document["layers"][0]["digest"]))),
    ]
}

#[test]
fn a_flipped_byte_is_refused_wherever_it_is() {
    let scene = Scene::new();
    let digest = signed(&scene);
    for (what, path) in blobs(&scene, "layout", &digest) {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).unwrap();
        fs::create_dir_all(scene.at("root")).unwrap();
        let run = scene.run("install --key cosign.pub --root root oci:layout");
        assert_eq!(run.code, 1, "{what}: {}{}", run.stdout, run.stderr);
        let verified = scene.run("verify --key cosign.pub oci:layout");
        assert_eq!(verified.code, 1, "{what}: {}{}", verified.stdout, verified.stderr);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("altered") || said.contains("digest"), "{what}: {said}");
        assert!(!scene.at("root/opt/cni/bin/bridge").exists(), "{what}");
        fs::write(&path, good).unwrap();
    }
    scene.run_ok("install --key cosign.pub --root root oci:layout");
}

#[test]
fn a_flipped_byte_in_index_or_signature_is_refused_by_both() {
    let Some(program) = peer("cosign") else { return };
    let scene = Scene::new();
    let digest = signed(&scene);
    let Some(server) = registries::docker_registry(scene.path()) else { return };
    let image = format!("{}/cni/test:v1", server.host);
    scene.run_ok(&format!("push oci:layout {image}"));
    let store = scene.at("docker-registry/docker/registry/v2/blobs/sha256");
    let stored = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        store.join(&hex[..2]).join(hex).join("data")
    };
    let inspected = scene.run_ok(&format!("inspect --format json oci:layout@{digest}"));
    let inspected: serde_json::Value = serde_json::from_str(&inspected.stdout).unwrap();
    let referrers = inspected["referrers"].as_array().unwrap();
    // Only the index's signature is left, so that it alone decides.
    let signature = referrers.iter().find(|entry| entry["subject"] == digest.as_str()).unwrap();
    for entry in referrers.iter().filter(|entry| entry["subject"] != digest.as_str()) {
        fs::remove_file(stored(entry["digest"].as_str().unwrap())).unwrap();
    }
    let referrer: serde_json::Value =
        serde_json::from_slice(&fs::read(stored(signature["digest"].as_str().unwrap())).unwrap())
            .unwrap();
    let bundle = referrer["layers"][0]["digest"].as_str().unwrap();
    assert_eq!(cosign_verify(&scene, &program, "cosign.pub", &image).code, 0);
    scene.run_ok(&format!("verify --key cosign.pub {image}"));
    for (what, path) in [("index", stored(&digest)), ("signature", stored(bundle))] {
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).unwrap();
        let theirs = cosign_verify(&scene, &program, "cosign.pub", &image);
        let ours = scene.run(&format!("verify --key cosign.pub {image}"));
        assert_ne!(theirs.code, 0, "{what}: {}", theirs.stdout);
        assert_eq!(ours.code, 1, "{what}: {}{}", ours.stdout, ours.stderr);
        fs::write(&path, good).unwrap();
    }
}

/// Returns the directory of a fixture made by cosign, if it is present.
fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/cosign");
    if !folder.is_dir() {
        eprintln!("skipped: the fixtures made by cosign are not here");
        return None;
    }
    Some(folder)
}

#[test]
fn referrers_that_cosign_stored_are_found_and_named() {
    let Some(folder) = fixtures() else { return };
    let scene = Scene::new();
    for (fixture, expected) in [
        ("v3-key-sign-index-ref", &["https://sigstore.dev/cosign/sign/v1"][..]),
        ("v3-key-sign-index-fbtag", &["https://sigstore.dev/cosign/sign/v1"]),
        ("v3-key-attest-index-fbtag", &["https://spdx.dev/Document"]),
        ("x-no-annotations", &["https://sigstore.dev/cosign/sign/v1"]),
        ("x-sig-with-attest-annotation", &["https://sigstore.dev/cosign/sign/v1"]),
        ("n-unrelated-referrer", &["application/spdx+json"]),
    ] {
        let reference = format!("oci:{}:v1", folder.join(fixture).display());
        let run = scene.cnister(["inspect", "--format", "json", &reference]);
        assert_eq!(run.code, 0, "{fixture}: {}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        let found: Vec<_> = report["referrers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let kind = entry.get("predicateType").unwrap_or(&entry["artifactType"]);
                kind.as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(found, expected, "{fixture}");
    }
}
