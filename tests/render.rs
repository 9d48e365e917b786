//! `render` as a user runs it: what it refuses and what it prints.

#![cfg(feature = "publish")]

mod support;

use std::time::SystemTime;

use cnister::model::Platform;
use cnister::trust::{Evidence, Policy, Presence, Verifier};
use serde_json::Value;
use support::{Scene, digest_of, image, snapshot};

const TOOL: &str = "ghcr.io/acme/cnister:0.1.0@sha256:7c9bbe5ec9b3fb774e8fa0f54247e93c34ddf8e5d16fe3073420de0ae81a262d";
const AS: &str = "--as ghcr.io/acme/cni --key cosign.pub";

#[test]
fn prints_the_manifest_alone() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &["macvlan"]) else { return };
    let human = scene.run_ok(&format!("render oci:layout:1.0.0 {AS} --tool-image {TOOL}"));
    assert_eq!(human.stderr, "");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&human.stdout).unwrap();
    let images: Vec<_> = ["initContainers", "containers"]
        .iter()
        .flat_map(|list| documents[3]["spec"]["template"]["spec"][list].as_array().unwrap())
        .map(|container| container["image"].as_str().unwrap())
        .collect();
    let bundle = format!("ghcr.io/acme/cni:1.0.0@{digest}");
    assert_eq!(images, [&*bundle, TOOL, TOOL]);
    let json: Value = serde_json::from_str(
        &scene
            .run_ok(&format!("--format json render oci:layout:1.0.0 {AS} --tool-image {TOOL}"))
            .stdout,
    )
    .unwrap();
    assert_eq!(json["manifest"], human.stdout);
    assert_eq!((&json["verified"], &json["digest"]), (&true.into(), &digest.into()));
}

#[test]
fn what_it_writes_down_is_enough_to_prove_the_image() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &["macvlan"]) else { return };
    let manifest =
        scene.run_ok(&format!("render oci:layout:1.0.0 {AS} --tool-image {TOOL}")).stdout;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&manifest).unwrap();
    let key = format!("{}.json", &digest["sha256:".len()..][..12]);
    let evidence = Evidence::parse(documents[2]["data"][key].as_str().unwrap().as_bytes()).unwrap();
    let text = documents[1]["data"]["policy.yaml"].as_str().unwrap();
    let policy = Policy::parse("", text, &mut |_| panic!("it reads no key files")).unwrap();
    let name = "ghcr.io/acme/cni".parse().unwrap();
    let verifier = Verifier {
        policy: &policy,
        name: Some(&name),
        platform: &Platform::host(),
        now: SystemTime::now(),
    };
    let bundle = verifier.verify(&evidence, Presence::New).unwrap();
    assert_eq!(bundle.value().index.to_string(), digest);
}

#[test]
fn renders_nothing_that_nodes_would_refuse() {
    let scene = Scene::new();
    let Some(_) = image::signed(&scene, &["macvlan"]) else { return };
    scene.run_ok("keygen --output-key-prefix other");
    let bundle = digest_of(&scene.run_ok("inspect oci:layout"));
    let untagged = TOOL.replace(":0.1.0", "");
    let cases = [
        (
            "another key",
            format!("oci:layout:1.0.0 --as ghcr.io/acme/cni --key other.pub --tool-image {TOOL}"),
            1,
        ),
        (
            "a platform it lacks",
            format!("oci:layout:1.0.0 {AS} --tool-image {TOOL} --platform linux/s390x"),
            1,
        ),
        (
            "another release",
            format!("oci:layout:1.0.0 {AS} --tool-image {TOOL} --expect sha256:{}", "0".repeat(64)),
            1,
        ),
        ("no repository", format!("oci:layout:1.0.0 --key cosign.pub --tool-image {TOOL}"), 2),
        ("no tag", format!("oci:layout {AS} --tool-image {TOOL}"), 2),
        ("no policy", format!("oci:layout:1.0.0 --as ghcr.io/acme/cni --tool-image {TOOL}"), 2),
        ("no tool", format!("oci:layout:1.0.0 {AS}"), 2),
        (
            "a tool without a digest",
            format!("oci:layout:1.0.0 {AS} --tool-image ghcr.io/acme/cnister:0.1.0"),
            2,
        ),
        ("a tool without a tag", format!("oci:layout:1.0.0 {AS} --tool-image {untagged}"), 2),
        (
            "the bundle as the tool",
            format!("oci:layout:1.0.0 {AS} --tool-image ghcr.io/acme/cni:1.0.0@{bundle}"),
            2,
        ),
        (
            "a bad namespace",
            format!("oci:layout:1.0.0 {AS} --tool-image {TOOL} --namespace Kube_System"),
            2,
        ),
        (
            "a relative path",
            format!("oci:layout:1.0.0 {AS} --tool-image {TOOL} --bin-dir opt/cni/bin"),
            2,
        ),
    ];
    let mut said = String::new();
    for (title, words, code) in cases {
        let run = scene.run(&format!("render {words}"));
        assert_eq!(run.code, code, "{title}\n{}{}", run.stdout, run.stderr);
        assert!(!run.stdout.contains("kind: DaemonSet"), "{title}");
        said += &format!("# {title}: {code}\n{}{}\n", run.stdout, run.stderr);
    }
    snapshot("render-refusals.txt", &said);
}
