//! What publishers sign with cosign: levels of a lock, verified again offline, and what does not
//! hold.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::upstream::Upstream;
use support::{Run, Scene, peer, plugin, registries};

/// Signing without services, so that nothing is sent over the network.
const OFFLINE: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;
const PROVENANCE: &str = r#"{"buildDefinition":{"buildType":"x","externalParameters":{}},"runDetails":{"builder":{"id":"x"}}}"#;
const PROVENANCE_0_2: &str = r#"{"builder":{"id":"x"},"buildType":"x"}"#;

fn program(edition: &str) -> Vec<u8> {
    plugin::answering(&format!("bridge{edition}"), 4096)
}

fn define(scene: &Scene, source: &str) {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64]\nsources:\n  - {{name: upstream, {source}}}\n\
         plugins: [bridge]\ntool: none\n"
    );
    scene.write("bundle.yaml", text);
}

fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

fn lock(scene: &Scene, more: &str) -> Run {
    scene.run(&format!("lock bundle.yaml --cache-dir cache --no-probe {more}"))
}

/// Locks from nothing.
fn lock_anew(scene: &Scene) -> Run {
    drop(fs::remove_file(scene.at("bundle.lock.json")));
    drop(fs::remove_dir_all(scene.at("bundle.lock.evidence")));
    lock(scene, "")
}

fn entry(scene: &Scene) -> Value {
    let lock = fs::read(scene.at("bundle.lock.json")).unwrap();
    serde_json::from_slice::<Value>(&lock).unwrap()["plugins"][0].clone()
}

/// Runs cosign with the arguments of `line`.
fn cosign(scene: &Scene, program: &Path, line: &str) {
    let run = scene.run_command(scene.command(program).args(line.split_whitespace()));
    assert_eq!(run.code, 0, "{line}\n{}{}", run.stdout, run.stderr);
}

/// Keys of the publisher and of someone else, and an archive with one plugin.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.run_ok("keygen");
    scene.run_ok("keygen --output-key-prefix other");
    scene.write("offline.json", OFFLINE);
    scene.write("provenance.json", PROVENANCE);
    scene.write("provenance02.json", PROVENANCE_0_2);
    publish(&scene, "plugins.tgz", "");
    scene
}

fn publish(scene: &Scene, archive: &str, edition: &str) {
    scene.write("content/bridge", program(edition));
    let script = format!(
        "chmod 755 content/bridge && \
         tar --sort=name --owner=0 --group=0 --mtime=@0 -C content -czf {archive} ."
    );
    let status = Command::new("sh").args(["-ec", &script]).current_dir(scene.path()).status();
    assert!(status.unwrap().success(), "{script}");
}

/// Signs a file in every format: `FILE.sig`, `FILE.sigstore.json`, `FILE.intoto.jsonl` and
/// `FILE.provenance.json`.
fn sign(scene: &Scene, [v3, v2]: [&Path; 2], key: &str, file: &str) {
    let new = format!("-y --key {key} --signing-config offline.json");
    let old = format!("-y --key {key} --tlog-upload=false");
    cosign(scene, v3, &format!("sign-blob {new} --bundle {file}.sigstore.json {file}"));
    cosign(scene, v2, &format!("sign-blob {old} --output-signature {file}.sig {file}"));
    let (one, two) =
        ("--type slsaprovenance1 --predicate provenance.json", "--type slsaprovenance");
    let bundle = format!("--bundle {file}.provenance.json");
    cosign(scene, v3, &format!("attest-blob {new} {one} {bundle} {file}"));
    let envelope = format!("--predicate provenance02.json --output-signature {file}.intoto.jsonl");
    cosign(scene, v2, &format!("attest-blob {old} {two} {envelope} {file}"));
}

#[test]
fn what_cosign_signed_of_an_archive_is_verified_offline() {
    let (Some(v3), Some(v2)) = (peer("cosign"), peer("cosign2")) else { return };
    let scene = scene();
    sign(&scene, [&v3, &v2], "cosign.key", "plugins.tgz");
    let source = |fields: &str| {
        format!("archive: {{from: plugins.tgz, version: v1, key: cosign.pub, {fields}}}")
    };
    for (fields, level) in [
        ("signature: plugins.tgz.sig", "signed"),
        ("signature: plugins.tgz.sigstore.json", "signed"),
        ("provenance: plugins.tgz.provenance.json", "provenance"),
        ("provenance: plugins.tgz.intoto.jsonl", "provenance"),
        ("signature: plugins.tgz.sig, provenance: plugins.tgz.intoto.jsonl", "provenance"),
    ] {
        define(&scene, &source(fields));
        expect(&lock_anew(&scene), 0, &[&format!("level {level}")]);
        let entry = entry(&scene);
        assert_eq!(entry["level"], level, "{fields}");
        let key = entry["request"]["key"].as_str().unwrap();
        assert!(key.starts_with("sha256:"), "{key}");
        expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
        // The same again is the same, and a build neither needs what is signed nor fetches it.
        expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
        let gone = scene.at("gone");
        drop(fs::remove_dir_all(&gone));
        fs::create_dir(&gone).unwrap();
        for ending in ["sig", "sigstore.json", "provenance.json", "intoto.jsonl"] {
            let name = format!("plugins.tgz.{ending}");
            fs::rename(scene.at(&name), gone.join(&name)).unwrap();
        }
        expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
        drop(fs::remove_dir_all(scene.at("layout")));
        scene.run_ok("build bundle.yaml --cache-dir cache -o layout");
        let shown = scene.run_ok("inspect oci:layout").stdout;
        assert!(shown.contains(&format!("level {level}")), "{shown}");
        expect(&lock(&scene, ""), 3, &["plugins.tgz.", "cannot be read"]);
        for ending in ["sig", "sigstore.json", "provenance.json", "intoto.jsonl"] {
            let name = format!("plugins.tgz.{ending}");
            fs::rename(gone.join(&name), scene.at(&name)).unwrap();
        }
    }
}

#[test]
fn a_lock_claims_no_more_than_its_evidence_proves() {
    let (Some(v3), Some(v2)) = (peer("cosign"), peer("cosign2")) else { return };
    let scene = scene();
    sign(&scene, [&v3, &v2], "cosign.key", "plugins.tgz");
    publish(&scene, "another.tgz", " of another release");
    sign(&scene, [&v3, &v2], "cosign.key", "another.tgz");
    define(
        &scene,
        "archive: {from: plugins.tgz, version: v1, key: cosign.pub, signature: plugins.tgz.sig, \
         provenance: plugins.tgz.provenance.json}",
    );
    expect(&lock(&scene, ""), 0, &["level provenance"]);
    let text = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    let check = |code: i32, words: &[&str]| {
        expect(&scene.run("lock --check bundle.yaml"), code, words);
        let run = scene.run("build bundle.yaml --cache-dir cache -o layout");
        assert_eq!(run.code, if code == 0 { 0 } else { 2 }, "{}", run.stderr);
    };
    // Every file that is kept has to be there, as it was.
    for name in scene.tree("bundle.lock.evidence").into_keys() {
        let path = scene.at("bundle.lock.evidence").join(&name);
        let content = fs::read(&path).unwrap();
        fs::write(&path, &content[1..]).unwrap();
        check(1, &["no: the evidence of `bridge` on linux/amd64 does not hold: ", "is not kept"]);
        fs::write(&path, &content).unwrap();
    }
    // An attacker who edits the lock has no other evidence to put there: what the key signed is of
    // another asset, or of the same by another key.
    let keep = |name: &str| {
        let content = fs::read(scene.at(name)).unwrap();
        let digest = cnister::model::Digest::of(&content);
        scene.write(&format!("bundle.lock.evidence/{}", digest.hex()), &content);
        digest.to_string()
    };
    let signed = entry(&scene)["signed"].clone();
    let digest = |field: &str| signed[field].as_str().unwrap().to_owned();
    for (field, file, words) in [
        ("signature", "another.tgz.sig", "it is not a signature of sha256:"),
        ("provenance", "another.tgz.provenance.json", "it is for another asset, sha256:"),
        ("key", "other.pub", "it is kept with the key sha256:"),
    ] {
        scene.write("bundle.lock.json", text.replace(&digest(field), &keep(file)));
        check(1, &[words]);
    }
    scene.write("bundle.lock.json", text.replace("\"provenance\",", "\"signed\","));
    check(1, &["no: the lock says `signed` of", "the kept evidence gives `provenance`"]);
    scene.write("bundle.lock.json", &text);
    check(0, &["yes: "]);
    // Another key is another request.
    fs::copy(scene.at("other.pub"), scene.at("cosign.pub")).unwrap();
    check(1, &["no: `bridge` on linux/amd64 was locked for ", "hint: run `cnister lock"]);
    expect(&lock(&scene, ""), 2, &["the signature `", "it is not a signature of sha256:"]);
    // A key that is not there, and one that is private.
    fs::remove_file(scene.at("cosign.pub")).unwrap();
    expect(&scene.run("lock --check bundle.yaml"), 3, &["cannot read `cosign.pub`"]);
    fs::copy(scene.at("cosign.key"), scene.at("cosign.pub")).unwrap();
    expect(&scene.run("lock --check bundle.yaml"), 2, &["cosign.pub", "this is a private key"]);
}

#[test]
fn a_level_that_falls_is_refused_until_it_is_accepted() {
    let (Some(v3), Some(v2)) = (peer("cosign"), peer("cosign2")) else { return };
    let scene = scene();
    sign(&scene, [&v3, &v2], "cosign.key", "plugins.tgz");
    let source = |fields: &str| {
        define(&scene, &format!("archive: {{from: plugins.tgz, version: v1{fields}}}"));
    };
    let signature = ", key: cosign.pub, signature: plugins.tgz.sig";
    source(&format!("{signature}, provenance: plugins.tgz.intoto.jsonl"));
    expect(&lock(&scene, ""), 0, &["level provenance"]);
    for (fields, before, now) in [(signature, "provenance", "signed"), ("", "signed", "tofu")] {
        source(fields);
        let falls = format!("its level falls from {before} to {now}");
        expect(&lock(&scene, ""), 1, &[&falls, "--accept bridge"]);
        assert_eq!(entry(&scene)["level"], before);
        expect(&lock(&scene, "--accept bridge"), 0, &["wrote `bundle.lock.json`"]);
        assert_eq!(entry(&scene)["level"], now);
        expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
    }
    assert!(!scene.at("bundle.lock.evidence").exists(), "nothing is kept any more");
    source(signature);
    expect(&lock(&scene, ""), 0, &["level tofu -> signed"]);
}

#[test]
fn what_the_key_did_not_sign_is_an_error_and_no_lower_level() {
    let (Some(v3), Some(v2)) = (peer("cosign"), peer("cosign2")) else { return };
    let scene = scene();
    sign(&scene, [&v3, &v2], "cosign.key", "plugins.tgz");
    publish(&scene, "another.tgz", " of another release");
    sign(&scene, [&v3, &v2], "cosign.key", "another.tgz");
    fs::copy(scene.at("plugins.tgz"), scene.at("theirs.tgz")).unwrap();
    sign(&scene, [&v3, &v2], "other.key", "theirs.tgz");
    let read = |name: &str| fs::read(scene.at(name)).unwrap();
    let half = |name: &str| scene.write(&format!("half-{name}"), &read(name)[..90]);
    half("plugins.tgz.sigstore.json");
    half("plugins.tgz.provenance.json");
    scene
        .write("two.sig", [&read("plugins.tgz.sig")[..], b"\n", &read("plugins.tgz.sig")].concat());
    scene.write("sbom.json", r#"{"spdxVersion":"SPDX-2.3"}"#);
    let new = "-y --key cosign.key --signing-config offline.json";
    let sbom = format!("attest-blob {new} --type spdxjson --predicate sbom.json --bundle x.json");
    cosign(&scene, &v3, &format!("{sbom} plugins.tgz"));
    scene.write("long.json", vec![b'a'; (1 << 20) + 1]);
    for (fields, code, words) in [
        ("signature: theirs.tgz.sig", 2, "it is not a signature of sha256:"),
        ("signature: theirs.tgz.sigstore.json", 2, "it is not a signature of sha256:"),
        ("provenance: theirs.tgz.provenance.json", 2, "it is not signed by the key sha256:"),
        ("provenance: theirs.tgz.intoto.jsonl", 2, "it is not signed by the key sha256:"),
        ("signature: another.tgz.sig", 2, "it is not a signature of sha256:"),
        ("signature: another.tgz.sigstore.json", 2, "it is for another file, sha256:"),
        ("provenance: another.tgz.provenance.json", 2, "it is for another asset, sha256:"),
        ("provenance: another.tgz.intoto.jsonl", 2, "it is for another asset, sha256:"),
        ("signature: half-plugins.tgz.sigstore.json", 2, "Sigstore bundle"),
        ("provenance: half-plugins.tgz.provenance.json", 2, "statement"),
        ("signature: two.sig", 2, "it is neither one signature in base64 nor a Sigstore bundle"),
        ("provenance: x.json", 2, "expected SLSA provenance of version 0.2 or 1"),
        ("provenance: plugins.tgz.sigstore.json", 2, "the bundle signs a message"),
        ("signature: plugins.tgz.provenance.json", 2, "the bundle has a DSSE envelope"),
        ("signature: long.json", 2, "neither one signature in base64 nor"),
        ("provenance: long.json", 2, "it is longer than 1048576 bytes"),
        ("signature: absent.sig", 3, "the signature `absent.sig` cannot be read"),
    ] {
        define(
            &scene,
            &format!("archive: {{from: plugins.tgz, version: v1, key: cosign.pub, {fields}}}"),
        );
        let run = lock(&scene, "");
        let said = run.stderr.replace("DIR/", "");
        assert_eq!(run.code, code, "{fields}: {said}");
        assert!(said.contains(words), "{fields}: {words}: {said}");
        assert!(said.contains("`bridge`"), "{fields}: {said}");
        assert!(!scene.at("bundle.lock.json").exists(), "{fields}");
    }
}

/// Signs an image in a registry as cosign 3 or 2 does.
fn sign_image(scene: &Scene, program: &Path, is_v3: bool, key: &str, image: &str) {
    let how = if is_v3 { "--signing-config offline.json" } else { "--tlog-upload=false" };
    cosign(scene, program, &format!("sign -y --key {key} {how} --allow-http-registry {image}"));
}

#[test]
fn what_cosign_signed_of_an_image_is_found_beside_it() {
    let (Some(v3), Some(v2), Some(skopeo)) = (peer("cosign"), peer("cosign2"), peer("skopeo"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for server in registries::both(folder.path()) {
        for is_v3 in [true, false] {
            let scene = scene();
            let cosign_program = if is_v3 { &v3 } else { &v2 };
            let upstream = Upstream::new(scene.at("upstream"));
            let bytes = program("");
            let image = upstream.image("amd64", &[&[("bridge", bytes.as_slice())]]);
            let index = upstream.index("v1", &[image]);
            let repository = format!("{}/acme/{}", server.host, if is_v3 { "new" } else { "old" });
            let target = format!("{repository}:v1");
            upstream.push(&skopeo, &target);
            let pinned = format!("{repository}@{index}");
            define(&scene, &format!("image: {{from: \"{target}\", key: cosign.pub}}"));
            expect(&lock(&scene, ""), 2, &["nothing of it is signed by the key sha256:"]);
            // By someone else, who may push as well.
            sign_image(&scene, cosign_program, is_v3, "other.key", &pinned);
            let refused = ["nothing of it is signed by the key", "it is not signed by the key"];
            expect(&lock(&scene, ""), 2, &refused);
            assert!(!scene.at("bundle.lock.json").exists());
            sign_image(&scene, cosign_program, is_v3, "cosign.key", &pinned);
            expect(&lock(&scene, ""), 0, &["level signed"]);
            expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
            expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
            scene.run_ok("build bundle.yaml --cache-dir cache -o layout");
            // Without a key, the same image is only what was found first.
            define(&scene, &format!("image: \"{target}\""));
            expect(&lock(&scene, ""), 1, &["its level falls from signed to tofu"]);
            define(&scene, &format!("image: {{from: \"{target}\", key: cosign.pub}}"));
            let attest = "--signing-config offline.json --allow-http-registry \
                          --type slsaprovenance1 --predicate provenance.json";
            let attest = |key: &str| {
                cosign(&scene, &v3, &format!("attest -y --key {key} {attest} {pinned}"));
            };
            attest("other.key");
            expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
            attest("cosign.key");
            expect(&lock(&scene, ""), 0, &["level signed -> provenance"]);
            assert_eq!(entry(&scene)["level"], "provenance", "{}", server.name);
            expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: "]);
        }
    }
}
