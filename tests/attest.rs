//! SBOMs and provenance: written by a build, signed, carried by registries, accepted by cosign, and
//! required by policies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::Path;

use cnister::model::Digest;
use release::Release;
use serde_json::{Value, json};
use support::attachment::store;
use support::forge::Forge;
use support::{Run, Scene, digest_of, peer, plugin, registries, release};

const ALL: &str = "--sbom cyclonedx,spdx-2.3,spdx-3.0.1 --provenance";
const FORMATS: [&str; 3] = ["--sbom cyclonedx", "--sbom spdx-2.3", "--sbom spdx-3.0.1"];

/// A scene with a key, and a bundle of two plugins in `layout` with all that a build attaches.
fn scene() -> Scene {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    scene.run_ok("keygen");
    scene.run_ok(&format!("build bundle-a.yaml -o layout {ALL}"));
    scene
}

fn refused(run: &Run, code: i32, words: &str) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    assert!(said.contains(words), "`{words}` is not in:\n{said}");
}

/// The digest of the only platform's manifest.
fn manifest_of(scene: &Scene, layout: &str) -> String {
    let forge = Forge::new(scene.at(layout));
    forge.read(&forge.tagged())["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// What is printed, as JSON.
fn printed(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap()
}

/// What is attached to the image: each with its kind and subject.
fn attached(scene: &Scene, reference: &str) -> Vec<(String, String)> {
    let report = printed(&scene.run_ok(&format!("inspect --format json {reference}")));
    let referrers = report["referrers"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = referrers
        .map(|it| {
            (text(it.get("predicateType").unwrap_or(&it["artifactType"])), text(&it["subject"]))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_build_attaches_provenance_of_which_the_digest_is_independent() {
    let scene = scene();
    scene.run_ok("build bundle-a.yaml -o plain");
    let digest = digest_of(&scene.run_ok("inspect oci:plain"));
    assert_eq!(digest_of(&scene.run_ok("inspect oci:layout")), digest);
    // The same again is the same.
    scene.run_ok(&format!("build bundle-a.yaml -o again {ALL}"));
    assert_eq!(scene.tree("again"), scene.tree("layout"));
    let run = scene.run_ok("inspect --provenance oci:layout");
    assert_eq!(run.stderr, "the document is not signed\n");
    let provenance = printed(&run);
    let build = &provenance["buildDefinition"];
    assert_eq!(build["buildType"], "https://cnister.dev/compose/v1");
    let text = fs::read(scene.at("bundle-a.yaml")).unwrap();
    let hex = Digest::of(&text).hex();
    let definition = json!({ "name": "bundle-a.yaml", "digest": { "sha256": hex } });
    assert_eq!(build["externalParameters"]["definition"], definition);
    let inputs = build["resolvedDependencies"].as_array().unwrap();
    let names: Vec<_> = inputs.iter().map(|input| input["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bridge", "macvlan"]);
    let levels = inputs.iter().map(|input| input["annotations"]["dev.cnister.level"].clone());
    assert_eq!(levels.collect::<Vec<_>>(), ["none", "none"]);

    // What a job says of itself is an internal parameter, and a secret is not repeated.
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    command.args(["build", "bundle-a.yaml", "-o", "job", "--provenance"]);
    command.env("GITHUB_SHA", "abc").env("GITHUB_TOKEN", "secret").env("CI_JOB_TOKEN", "secret");
    let run = scene.run_command(&mut command);
    assert_eq!((run.code, digest_of(&run)), (0, digest), "{}", run.stderr);
    let run = scene.run_ok("inspect --provenance oci:job --platform linux/amd64");
    assert!(!run.stdout.contains("secret"), "{}", run.stdout);
    let internal = &printed(&run)["buildDefinition"]["internalParameters"];
    assert_eq!(internal["environment"], json!({ "GITHUB_SHA": "abc" }));

    let without = scene.run("inspect --provenance oci:plain");
    refused(&without, 2, "no provenance document of at most 4194304 bytes is attached to sha256:");
    refused(&without, 2, "hint: build the bundle with `--provenance`");
    refused(&scene.run("inspect --provenance --sbom cyclonedx oci:layout"), 2, "cannot be used");
}

#[test]
fn provenance_names_archive_checksum_and_lock_by_digest() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    let script = "tar --sort=name --owner=0 --group=0 --mtime=@0 -C plugins-a -czf p-v1.tgz . && \
                  sha256sum p-v1.tgz > p-v1.tgz.sha256";
    let run = scene.run_command(scene.command("sh").args(["-ec", script]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    scene.write(
        "bundle.yaml",
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64]\nsources:\n  - name: upstream\n    archive: {from: \"p-{version}.tgz\", \
         version: v1}\nplugins: [bridge, macvlan]\ntool: none\n",
    );
    scene.run_ok("lock bundle.yaml --cache-dir cache");
    scene.run_ok("build bundle.yaml --cache-dir cache -o layout --provenance");
    let provenance = printed(&scene.run_ok("inspect --provenance oci:layout"));
    let digest = |name: &str| {
        let bytes = fs::read(scene.at(name)).unwrap();
        json!({ "sha256": Digest::of(&bytes).hex() })
    };
    let build = &provenance["buildDefinition"];
    let lock = json!({ "name": "bundle.lock.json", "digest": digest("bundle.lock.json") });
    assert_eq!(build["externalParameters"]["lock"], lock);
    let inputs = build["resolvedDependencies"].as_array().unwrap();
    let level = "checksum-same-origin";
    let annotations = json!({ "dev.cnister.level": level, "dev.cnister.version": "v1" });
    let archive =
        json!({ "name": "p-v1.tgz", "digest": digest("p-v1.tgz"), "annotations": annotations });
    let sums = json!({ "name": "p-v1.tgz.sha256", "digest": digest("p-v1.tgz.sha256") });
    assert_eq!(inputs[..2], [archive, sums]);
    let bridge = &inputs[2];
    assert_eq!(bridge["digest"]["sha256"], digest("plugins-a/bridge")["sha256"]);
    let from = format!("sha256:{}", digest("p-v1.tgz")["sha256"].as_str().unwrap());
    assert_eq!(
        bridge["annotations"],
        json!({
            "dev.cnister.path": "opt/cni/bin/bridge", "dev.cnister.level": level,
            "dev.cnister.from": from, "dev.cnister.member": "bridge",
        })
    );
}

fn cosign(scene: &Scene, program: &Path, kind: &str, key: &str, image: &str) -> Run {
    let mut command = scene.command(program);
    let fixed = ["verify-attestation", "--insecure-ignore-tlog", "--allow-http-registry"];
    scene.run_command(command.args(fixed).args(["--type", kind, "--key", key, image]))
}

/// The predicate that cosign prints.
fn predicate(run: &Run) -> Value {
    use base64::Engine as _;
    let envelope = printed(run);
    let payload = envelope["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["predicate"].clone()
}

#[test]
fn cosign_verifies_what_a_build_attached_and_we_signed() {
    let Some(program) = peer("cosign") else { return };
    let scene = scene();
    scene.run_ok("keygen --output-key-prefix other");
    let documents: Vec<Value> = FORMATS
        .iter()
        .chain(&["--provenance"])
        .map(|option| printed(&scene.run_ok(&format!("inspect {option} oci:layout"))))
        .collect();
    scene.run_ok("sign --key cosign.key --attest oci:layout");
    let manifest = manifest_of(&scene, "layout");
    for server in registries::both(scene.path()) {
        let repository = format!("{}/cni/test", server.host);
        scene.run_ok(&format!("push oci:layout {repository}:v1"));
        assert_eq!(attached(&scene, &format!("{repository}:v1")), attached(&scene, "oci:layout"));
        let image = format!("{repository}@{manifest}");
        let kinds = ["cyclonedx", "spdxjson", "https://spdx.dev/Document/v3", "slsaprovenance1"];
        for (kind, expected) in kinds.iter().zip(&documents) {
            let run = cosign(&scene, &program, kind, "cosign.pub", &image);
            assert_eq!(run.code, 0, "{} {kind}: {}", server.name, run.stderr);
            assert_eq!(predicate(&run), *expected, "{} {kind}", server.name);
            let run = cosign(&scene, &program, kind, "other.pub", &image);
            assert_ne!(run.code, 0, "{} {kind}: {}", server.name, run.stdout);
        }
        let run = cosign(&scene, &program, "vuln", "cosign.pub", &image);
        assert_ne!(run.code, 0, "{}: {}", server.name, run.stdout);

        // And any other document, about the index and in the registry.
        scene.write("review.json", r#"{"reviewer": "me", "score": 7.5}"#);
        let kind = "https://example.com/review/v1";
        let attest = format!("attest --type {kind} --predicate review.json --key cosign.key");
        let run = scene.run_ok(&format!("{attest} {repository}:v1"));
        let index = digest_of(&run);
        let image = format!("{repository}@{index}");
        let run = cosign(&scene, &program, kind, "cosign.pub", &image);
        assert_eq!(run.code, 0, "{}: {}", server.name, run.stderr);
        assert_eq!(predicate(&run), json!({ "reviewer": "me", "score": 7.5 }));
        let run = cosign(&scene, &program, kind, "cosign.pub", &format!("{repository}@{manifest}"));
        assert_ne!(run.code, 0, "{}: it is about the index", server.name);

        // What comes back is the same.
        let pulled = format!("pulled-{}", server.name);
        scene.run_ok(&format!("pull {repository}:v1 -o {pulled}"));
        let mut expected = attached(&scene, "oci:layout");
        expected.push((kind.to_owned(), index));
        expected.sort();
        assert_eq!(attached(&scene, &format!("oci:{pulled}")), expected, "{}", server.name);
    }
}

#[test]
fn cosigns_words_mean_what_cosign_means() {
    let Some(program) = peer("cosign") else { return };
    let scene = scene();
    let Some(server) = registries::olareg(scene.path()) else { return };
    let image = format!("{}/cni/test:v1", server.host);
    scene.run_ok(&format!("push oci:layout {image}"));
    scene.write("text", "yes\n");
    scene.write("object.json", r#"{"a": 1}"#);
    let words = ["custom", "spdx", "cyclonedx", "openvex", "link", "slsaprovenance1", "vuln"];
    for word in words {
        let file = if word == "custom" { "text" } else { "object.json" };
        let attest = format!("attest --type {word} --predicate {file} --key cosign.key {image}");
        scene.run_ok(&attest);
        let run = cosign(&scene, &program, word, "cosign.pub", &image);
        assert_eq!(run.code, 0, "{word}: {}", run.stderr);
        if word == "custom" {
            assert_eq!(predicate(&run)["Data"], "yes\n");
        }
    }
}

#[test]
fn a_predicate_that_cannot_be_signed_is_refused() {
    let scene = scene();
    let before = scene.tree("layout");
    scene.write("list.json", "[]");
    scene.write("twice.json", r#"{"a": 1, "a": 2}"#);
    scene.write("object.json", "{}");
    scene.write("long.json", format!("{{\"a\": \"{}\"}}", "x".repeat(800_000)));
    // It can be read, and in base64 it does not fit beside the documents of the image.
    scene.write("large.json", format!("{{\"a\": \"{}\"}}", "x".repeat(786_000)));
    let attest = |kind: &str, file: &str, reference: &str| {
        scene.run(&format!("attest --key cosign.key --type {kind} --predicate {file} {reference}"))
    };
    for (kind, file, code, words) in [
        ("slsaprovenance3", "object.json", 2, "expected a URI, such as"),
        ("cyclonedx", "list.json", 2, "`list.json` is not signed: it is not a JSON object"),
        ("cyclonedx", "twice.json", 2, "the key `a` appears twice"),
        ("cyclonedx", "absent.json", 3, "cannot read `absent.json`"),
        ("cyclonedx", "long.json", 2, "must fit into the 1048576 bytes of evidence once signed"),
        ("cyclonedx", "large.json", 2, "bytes of evidence, the limit is 1048576: documents "),
    ] {
        refused(&attest(kind, file, "oci:layout"), code, words);
    }
    scene.run_ok("pull oci:layout -o oci-archive:a.tar");
    let archive = attest("cyclonedx", "object.json", "oci-archive:a.tar");
    refused(&archive, 2, "signatures cannot be added to an archive");
    assert_eq!(scene.tree("layout"), before, "nothing was stored");
    assert_eq!(attest("cyclonedx", "object.json", "oci:layout").code, 0);
}

#[test]
fn what_is_attested_once_is_not_attested_again() {
    let scene = scene();
    let first = scene.run_ok("sign --key cosign.key --attest oci:layout");
    assert_eq!(first.stdout.matches("attested ").count(), 4, "{}", first.stdout);
    let again = scene.run_ok("sign --key cosign.key --attest oci:layout");
    assert_eq!(again.stdout.matches("attested ").count(), 0, "{}", again.stdout);
    assert!(again.stdout.ends_with("4 attestations by this key already present\n"));
    let json = scene.run_ok("sign --key cosign.key --attest --format json oci:layout");
    assert_eq!(printed(&json)["knownAttestations"], 4);
    scene.run_ok("keygen --output-key-prefix other");
    let other = scene.run_ok("sign --key other.key --attest oci:layout");
    assert_eq!(other.stdout.matches("attested ").count(), 4, "{}", other.stdout);
    let shown = scene.run_ok("inspect --provenance oci:layout");
    let remarks = "2 provenance documents are attached; this is the last\n\
                   the document is in a signed statement; who signed it was not verified\n";
    assert_eq!(shown.stderr, remarks);
}

#[test]
fn a_document_about_another_image_or_file_is_not_signed() {
    let scene = scene();
    // Another release with another `bridge`.
    Release::unsigned(&scene, "b", "1.0.0", &["bridge", "macvlan"], 0);
    scene.run_ok(&format!("build bundle-b.yaml -o other {ALL}"));
    let read = |option: &str, layout: &str| {
        scene.run_ok(&format!("inspect {option} oci:{layout}")).stdout.trim_end().to_owned()
    };
    let statement = |predicate: &str, subject: &str| {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "test", "digest": { "sha256": subject.trim_start_matches("sha256:") } }],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": serde_json::from_str::<Value>(predicate).unwrap(),
        })
        .to_string()
    };
    let [ours, theirs] = ["layout", "other"].map(|layout| manifest_of(&scene, layout));
    let bridge = |name: &str| {
        let bytes = fs::read(scene.at(&format!("plugins-{name}/bridge"))).unwrap();
        Digest::of(&bytes).hex()
    };
    let (good, bad) = (bridge("a"), bridge("b"));
    let mut cases = Vec::new();
    for (option, artifact_type) in FORMATS.iter().zip([
        "application/vnd.cyclonedx+json",
        "application/spdx+json",
        "application/spdx+json",
    ]) {
        cases.push((artifact_type, read(option, "other"), format!("it is about {theirs}, not")));
        let edited = read(option, "layout").replace(&good, &bad);
        let words = format!("it says that `opt/cni/bin/bridge` has digest sha256:{bad}, and the");
        cases.push((artifact_type, edited, words));
    }
    let in_toto = "application/vnd.in-toto+json";
    let provenance = read("--provenance", "layout");
    let moved = statement(&read("--provenance", "other"), &theirs);
    cases.push((in_toto, moved, format!("it is about {theirs}, not about {ours}")));
    let edited = statement(&provenance.replace(&good, &bad), &ours);
    cases.push((
        in_toto,
        edited,
        format!("has digest sha256:{bad}, and the image has sha256:{good}"),
    ));
    let shorter = provenance.replace("opt/cni/bin/bridge", "opt/cni/bin/macvlan");
    cases.push((
        in_toto,
        statement(&shorter, &ours),
        "`opt/cni/bin/macvlan` has digest".to_owned(),
    ));
    cases.push((in_toto, "{}".to_owned(), "it is neither CycloneDX, SPDX 2.3".to_owned()));
    cases.push((in_toto, "no".to_owned(), "the document is not valid".to_owned()));
    for (number, (artifact_type, document, words)) in cases.into_iter().enumerate() {
        let layout = format!("layout-{number}");
        scene.run_ok(&format!("build bundle-a.yaml -o {layout} --provenance"));
        store(&scene, &layout, &ours, artifact_type, document.as_bytes());
        let before = scene.tree(&layout);
        let run = scene.run(&format!("sign --key cosign.key --attest oci:{layout}"));
        refused(&run, 2, &words);
        refused(&run, 2, &format!("({artifact_type}) beside {ours} is not signed"));
        assert_eq!(scene.tree(&layout), before, "nothing was stored");
        // Without them, the image is signed.
        scene.run_ok(&format!("sign --key cosign.key oci:{layout}"));
    }
    // The unedited twin.
    store(&scene, "layout", &ours, in_toto, statement(&provenance, &ours).as_bytes());
    scene.run_ok("sign --key cosign.key --attest oci:layout");
    scene.run_ok("build bundle-a.yaml -o plain");
    let nothing = scene.run("sign --key cosign.key --attest oci:plain");
    refused(&nothing, 2, "no SBOM and no provenance is stored beside sha256:");
    refused(&nothing, 2, "hint: build the bundle with --sbom cyclonedx --provenance");
}

/// The definition of a bundle of the plugins in a directory.
fn define(scene: &Scene, name: &str, plugins: &[String]) {
    scene.write(
        &format!("{name}.yaml"),
        format!(
            "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
             platforms: [linux/amd64]\nsources: [{{name: here, directory: {name}}}]\n\
             plugins: [{}]\ntool: none\n",
            plugins.join(", ")
        ),
    );
}

/// Writes so many plugins, each of which links `linked` of `all` modules.
fn write_plugins(scene: &Scene, name: &str, count: usize, linked: usize, all: usize) {
    let module = |number: usize| format!("github.com/organisation-{}/module-{number}", number % 7);
    let names: Vec<String> = (0..count).map(|number| format!("plugin-{number}")).collect();
    for (number, plugin) in names.iter().enumerate() {
        let modules: Vec<String> =
            (0..linked).map(|step| module((number * 5 + step * 3) % all)).collect();
        scene.write(&format!("{name}/{plugin}"), plugin::linking(plugin, &modules));
    }
    define(scene, name, &names);
}

/// A policy that requires provenance and an SBOM of this type.
fn attested_policy(sbom: &str) -> String {
    format!(
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: attested\n    images: [\"**\"]\n    \
         authorities: [{{name: key, key: {{file: cosign.pub}}}}]\n    attestations:\n      \
         - {{name: sbom, predicateType: \"{sbom}\"}}\n      \
         - {{name: provenance, predicateType: slsaprovenance1}}\n"
    )
}

#[test]
fn thirty_two_plugins_with_sbom_and_provenance_fit_into_evidence_and_a_config_map() {
    use base64::Engine as _;
    let scene = Scene::new();
    scene.run_ok("keygen");
    write_plugins(&scene, "large", 32, 18, 60);
    scene.run_ok(&format!("build large.yaml -o layout {ALL}"));
    scene.run_ok("sign --key cosign.key --attest oci:layout");
    scene.write("image/opt/cni/bin/none", "");
    for (number, sbom) in
        ["cyclonedx", "spdxjson", "https://spdx.dev/Document/v3"].into_iter().enumerate()
    {
        scene.write("policy.yaml", attested_policy(sbom));
        scene.run_ok("evidence --policy policy.yaml oci:layout -o evidence.json");
        let evidence = fs::read(scene.at("evidence.json")).unwrap();
        assert!(evidence.len() < 512 * 1024, "{sbom}: {}", evidence.len());
        let tool = format!("ghcr.io/acme/cnister:1@sha256:{}", "0".repeat(64));
        let rendered = scene
            .run_ok(&format!(
                "render --policy policy.yaml --as ghcr.io/acme/cni --tool-image {tool} oci:layout:1.0.0"
            ))
            .stdout;
        // What fits is text, and the rest is compressed.
        let compressed = rendered.split_once("\nbinaryData:\n  ");
        assert_eq!(compressed.is_some(), number > 0, "{sbom}: {}", evidence.len());
        let Some((_, rest)) = compressed else { continue };
        let (key, content) = rest.lines().next().unwrap().split_once(": ").unwrap();
        assert!(key.ends_with(".json.zst\""), "{key}");
        assert!(content.len() < 100 * 1024, "{}", content.len());
        let content = base64::engine::general_purpose::STANDARD.decode(content).unwrap();
        assert_eq!(zstd::bulk::decompress(&content, evidence.len()).unwrap(), evidence);
        scene.write("config-map/evidence.json.zst", content);
    }
    // A node reads it as it reads text.
    let forge = Forge::new(scene.at("layout"));
    let manifest = forge.read(&manifest_of(&scene, "layout"));
    let text = manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"].as_str().unwrap();
    scene.write("image/usr/share/cnister/bundle.json", text);
    fs::remove_dir_all(scene.at("image/opt")).unwrap();
    for number in 0..32 {
        let name = format!("plugin-{number}");
        let bytes = fs::read(scene.at(&format!("large/{name}"))).unwrap();
        scene.write(&format!("image/opt/cni/bin/{name}"), bytes);
    }
    fs::create_dir(scene.at("staged")).unwrap();
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("stage --image image staged");
    let install = "install --policy policy.yaml --root root --from staged --evidence";
    scene.run_ok(&format!("{install} config-map"));
    let mut cut = fs::read(scene.at("config-map/evidence.json.zst")).unwrap();
    cut.truncate(cut.len() - 9);
    scene.write("cut.json.zst", cut);
    fs::create_dir(scene.at("other")).unwrap();
    let other = install.replace("--root root", "--root other");
    refused(&scene.run(&format!("{other} cut.json.zst")), 1, "no evidence covers the staged");
}

#[test]
fn what_does_not_fit_into_evidence_is_refused_when_it_is_built() {
    let scene = Scene::new();
    // Modules that are not shared.
    write_plugins(&scene, "huge", 40, 120, 4801);
    let build = |options: &str| scene.run(&format!("build huge.yaml -o layout {options}"));
    assert_eq!(build("").code, 0);
    let before = scene.tree("layout");
    let run = build("--sbom cyclonedx,spdx-3.0.1 --provenance");
    refused(&run, 2, "bytes of evidence, the limit is 1048576: documents ");
    refused(&run, 2, "https://spdx.dev/Document/v3 ");
    refused(&run, 2, "hint: nodes could not verify them; split the plugins into several bundles");
    assert_eq!(scene.tree("layout"), before, "nothing was attached");
    assert_eq!(build("--provenance").code, 0);
}

#[test]
fn a_bundle_of_an_archive_and_a_directory_is_attested_pushed_verified_and_installed() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &["bridge", "macvlan", "static"], 0);
    let script = "tar --sort=name --owner=0 --group=0 --mtime=@0 -C plugins-a -czf p-v1.tgz \
                  ./bridge ./macvlan && sha256sum p-v1.tgz > p-v1.tgz.sha256 && rm plugins-a/bridge";
    let run = scene.run_command(scene.command("sh").args(["-ec", script]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    scene.write(
        "bundle.yaml",
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64]\nsources:\n  - {name: own, directory: plugins-a}\n  - name: upstream\n    \
         archive: {from: \"p-{version}.tgz\", version: v1}\nplugins:\n  - {name: static, source: own}\n  \
         - {name: bridge, source: upstream}\n  - {name: macvlan, source: upstream}\ntool: none\n",
    );
    scene.run_ok("keygen");
    scene.run_ok("lock bundle.yaml --cache-dir cache");
    let build = "build bundle.yaml --cache-dir cache -o layout --sbom cyclonedx --provenance";
    scene.run_ok(build);
    scene.run_ok("sign --key cosign.key --attest --as ghcr.io/acme/cni oci:layout");
    scene.write("policy.yaml", attested_policy("cyclonedx"));
    for server in registries::both(scene.path()) {
        let image = format!("{}/cni/test:v1", server.host);
        scene.run_ok(&format!("push oci:layout {image}"));
        scene.run_ok(&format!("verify --policy policy.yaml {image}"));
        let root = format!("root-{}", server.name);
        fs::create_dir(scene.at(&root)).unwrap();
        scene.run_ok(&format!("install --policy policy.yaml --root {root} {image}"));
        for name in ["bridge", "macvlan", "static"] {
            assert!(scene.at(&format!("{root}/opt/cni/bin/{name}")).exists(), "{name}");
        }
        // The registry is gone; what the node kept proves it again, attestations included.
        drop(server);
        scene.run_ok(&format!("check --policy policy.yaml --root {root} --no-probe"));
        scene.write(
            "stricter.yaml",
            attested_policy("cyclonedx").replace("provenance1", "provenance"),
        );
        let stricter = format!("check --policy stricter.yaml --root {root} --no-probe");
        refused(&scene.run(&stricter), 1, "no-longer-trusted");
        let status = scene.run_ok(&format!("status --root {root}"));
        assert!(status.stdout.contains("test 1.0.0"), "{}", status.stdout);
    }
    // Each plugin's origin, from the image.
    let provenance = printed(&scene.run_ok("inspect --provenance oci:layout"));
    let inputs = provenance["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let level = |name: &str| {
        let input = inputs.iter().find(|input| input["name"] == name).unwrap();
        input["annotations"]["dev.cnister.level"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        ["bridge", "macvlan", "static"].map(level),
        ["checksum-same-origin", "checksum-same-origin", "none",]
    );
}
