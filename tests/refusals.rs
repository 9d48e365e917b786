//! Invalid input: each is refused with its own message and exit code, and the node's directory is
//! unchanged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "refusals/staged.rs"]
mod staged;
mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use forge::Forge;
use serde_json::{Value, json};
use staged::stage;
use support::{Run, Scene, digest_of, forge, image};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];

fn expect(run: &Run, code: i32, words: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in:\n{said}");
    }
}

/// A node with another installer's plugins, which must not be changed.
fn node(scene: &Scene) {
    scene.write("root/opt/cni/bin/flannel", "another owner's");
    scene.write("root/opt/cni/bin/.hidden", "hidden, and another owner's");
}

/// Runs an installation that is refused, and compares the plugin directory before and after.
fn refused_install(scene: &Scene, words: &str, code: &str) {
    let before = scene.tree("root/opt/cni/bin");
    let run = scene.run(words);
    expect(&run, 1, &[code]);
    assert_eq!(scene.tree("root/opt/cni/bin"), before, "{words} changed the plugin directory");
}

#[test]
fn a_definition_with_a_mistake_says_where() {
    let scene = Scene::new();
    let good = image::definition(&NAMES);
    for (from, to, words) in [
        (
            "kind: Bundle",
            "kind: Bundle\ncolour: red",
            &["bundle.yaml:3:1", "unknown field `colour`", "compression"][..],
        ),
        ("platforms: [linux/amd64]", "platforms: linux/amd64", &["bundle.yaml:5:12"]),
        ("[bridge, loopback, macvlan]", "[]", &["bundle.yaml:7:10"]),
        ("bridge, loopback", "../x, loopback", &["bundle.yaml:7", "`../x` contains `/`"]),
        ("bridge, loopback", ".hidden, loopback", &["bundle.yaml:7", "`.hidden` starts with `.`"]),
        ("bridge, loopback", "a/b, loopback", &["bundle.yaml:7", "`a/b` contains `/`"]),
        ("bridge, loopback", "\"a\\eb\", loopback", &["bundle.yaml:7", "\\u{1b}"]),
        (
            "bridge, loopback",
            "&x bridge, *x",
            &["bundle.yaml:7", "anchors and aliases are not accepted"],
        ),
        ("name: test", "name: test\nname: test", &["bundle.yaml:4:1"]),
        ("version: 1.0.0", "version: one", &["bundle.yaml:4"]),
        ("compression", "compression", &[]),
    ] {
        if from == to {
            continue;
        }
        scene.write("bundle.yaml", good.replace(from, to));
        let run = scene.run("build bundle.yaml -o layout --tool nowhere");
        expect(&run, 2, words);
        assert!(!scene.at("layout").exists(), "{to}");
    }
}

#[test]
fn a_source_that_is_not_a_plugin_is_named() {
    let scene = Scene::new();
    if image::unsigned(&scene, "layout", &NAMES).is_none() {
        return;
    }
    let tool = support::node_binary().unwrap();
    let good = fs::read(scene.at("plugins/bridge")).unwrap();
    let build = || scene.run(&format!("build bundle.yaml -o other --tool {}", tool.display()));
    fs::remove_file(scene.at("plugins/bridge")).unwrap();
    expect(&build(), 2, &["has no plugin `bridge`"]);
    fs::create_dir(scene.at("plugins/bridge")).unwrap();
    expect(&build(), 2, &["plugins/bridge` is a directory, expected a regular file"]);
    fs::remove_dir(scene.at("plugins/bridge")).unwrap();
    scene.write("plugins/bridge", "#!/bin/sh\n");
    expect(&build(), 2, &["plugins/bridge`", "script"]);
    let mut other = good.clone();
    other[18] = 183; // e_machine: AArch64
    scene.write("plugins/bridge", other);
    expect(&build(), 2, &["plugins/bridge`", "linux/arm64", "linux/amd64"]);
    scene.write("plugins/bridge", &good[..good.len() / 2]);
    expect(&build(), 2, &["plugins/bridge`"]);
    scene.write("plugins/bridge", good);
    assert_eq!(build().code, 0);
}

#[test]
fn a_policy_with_a_mistake_says_where() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    let good =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/demo.yaml")).unwrap();
    for (from, to, code, words) in [
        (
            "kind: Policy",
            "kind: Policy\ncolour: red",
            2,
            &["policy.yaml:9:1", "unknown field `colour`"][..],
        ),
        ("name: demo-key", "name: &a demo-key", 2, &["anchors and aliases are not accepted"]),
        ("file: cosign.pub", "file: gone.pub", 3, &["cannot read key `gone.pub`"]),
        ("file: cosign.pub", "file: cosign.key", 2, &["this is a private key"]),
        ("images: [\"**\"]", "images: [\"**\"]\n    images: [\"**\"]", 2, &["policy.yaml:"]),
    ] {
        scene.write("policy.yaml", good.replace(from, to));
        expect(&scene.run("verify --policy policy.yaml oci:layout"), code, words);
    }
    scene.write("policy.yaml", &good);
    scene.run_ok("verify --policy policy.yaml oci:layout");
}

#[test]
fn an_installation_that_the_policy_does_not_allow_changes_nothing() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    node(&scene);
    scene.run_ok("keygen --output-key-prefix other");
    refused_install(&scene, "install --key other.pub --root root oci:layout", "signer-not-allowed");
    let other = cnister::model::Digest::of(b"another release");
    refused_install(
        &scene,
        &format!("install --key cosign.pub --root root --expect {other} oci:layout"),
        "other-release",
    );
    scene.write(
        "policy.yaml",
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policies/demo.yaml")).unwrap(),
    );
    let hex = other.hex();
    let with_digest =
        format!("install --policy policy.yaml --policy-sha256 {hex} --root root oci:layout");
    refused_install(&scene, &with_digest, "policy-digest");
    scene.write(
        "named.yaml",
        fs::read_to_string(scene.at("policy.yaml"))
            .unwrap()
            .replace("\"**\"", "\"ghcr.io/acme/**\""),
    );
    refused_install(
        &scene,
        "install --policy named.yaml --root root oci:layout",
        "no-rule-matches",
    );
    scene.run_ok(&format!(
        "install --policy named.yaml --as ghcr.io/acme/cni --root root --expect {digest} oci:layout"
    ));
}

#[test]
fn what_is_not_a_sound_bundle_is_refused_although_it_is_signed() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    node(&scene);
    type Change = fn(&Forge) -> String;
    let cases: [(&str, Change, &str); 10] = [
        (
            "another artifactType",
            |forge| forge.manifest(|it| it["artifactType"] = json!("text/plain")),
            "not-a-bundle",
        ),
        (
            "no artifactType",
            |forge| forge.manifest(|it| drop(it.as_object_mut().unwrap().remove("artifactType"))),
            "not-a-bundle",
        ),
        (
            "a third layer",
            |forge| {
                forge.manifest(|it| {
                    let layer = it["layers"][1].clone();
                    it["layers"].as_array_mut().unwrap().push(layer);
                })
            },
            "wrong-layers",
        ),
        (
            "two manifests for one platform",
            |forge| {
                forge.index(|it| {
                    let entry = it["manifests"][0].clone();
                    it["manifests"].as_array_mut().unwrap().push(entry);
                })
            },
            "duplicate-platform",
        ),
        (
            "listed for another platform",
            |forge| {
                forge.index(|it| it["manifests"][0]["platform"]["architecture"] = json!("arm64"))
            },
            "platform-missing",
        ),
        (
            "an arm64 manifest listed as amd64",
            |forge| forge.config(|it| it["architecture"] = json!("arm64")),
            "platform-mismatch",
        ),
        (
            "another plugin layer",
            |forge| {
                forge.config(|it| {
                    it["rootfs"]["diff_ids"][0] = json!(cnister::model::Digest::of(b"x"))
                })
            },
            "diff-id-mismatch",
        ),
        ("no label", |forge| forge.config(|it| it["config"]["Labels"] = json!({})), "not-a-bundle"),
        (
            "a label of another bundle.json",
            |forge| {
                forge.config(|it| {
                    it["config"]["Labels"]["dev.cnister.bundle"] =
                        json!(cnister::model::Digest::of(b"x"))
                })
            },
            "broken-chain",
        ),
        (
            "a nested index",
            |forge| {
                let inner = forge.read(&forge.tagged()).to_string();
                let digest = forge.store(inner.as_bytes());
                forge.index(|it| {
                    let entry = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": inner.len()});
                    it["manifests"].as_array_mut().unwrap().push(entry);
                })
            },
            "nested-index",
        ),
    ];
    for (number, (what, change, code)) in cases.into_iter().enumerate() {
        let layout = format!("forged-{number}");
        forge::copy(&scene.at("layout"), &scene.at(&layout));
        change(&Forge::new(scene.at(&layout)));
        scene.run_ok(&format!("sign --key cosign.key oci:{layout}:1.0.0"));
        refused_install(
            &scene,
            &format!("install --key cosign.pub --root root oci:{layout}:1.0.0"),
            code,
        );
        eprintln!("refused: {what}");
    }
}

#[test]
fn documents_that_two_readers_would_read_differently_are_refused() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    node(&scene);
    let install = "install --key cosign.pub --root root oci:forged:1.0.0";
    let before = scene.tree("root");
    let forged = || {
        drop(fs::remove_dir_all(scene.at("forged")));
        forge::copy(&scene.at("layout"), &scene.at("forged"));
        Forge::new(scene.at("forged"))
    };
    let forge = forged();
    let text = forge.read(&forge.tagged()).to_string();
    forge.replace_index(text.replacen('{', "{\"layers\":[],", 1).as_bytes());
    expect(&scene.run(install), 1, &["not-the-manifest", "both a manifest and an index"]);
    let forge = forged();
    forge.replace_index(text.replacen('{', "{\"schemaVersion\":2,", 1).as_bytes());
    expect(&scene.run(install), 1, &["not-the-manifest", "the key `schemaVersion` appears twice"]);
    assert_eq!(scene.tree("root"), before);
}

#[test]
fn a_signed_platform_does_not_vouch_for_the_index() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    // A second platform, whose documents are copied from the first.
    let forge = Forge::new(scene.at("layout"));
    let amd64 = forge.read(&forge.tagged())["manifests"][0]["digest"].as_str().unwrap().to_owned();
    forge.index(|it| {
        let mut arm = it["manifests"][0].clone();
        let mut manifest = forge.read(&amd64);
        let mut config = forge.read(manifest["config"]["digest"].as_str().unwrap());
        config["architecture"] = json!("arm64");
        let text = manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"]
            .as_str()
            .unwrap()
            .replace("linux/amd64", "linux/arm64");
        config["config"]["Labels"]["dev.cnister.bundle"] =
            json!(cnister::model::Digest::of(text.as_bytes()));
        manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"] = json!(text);
        let link = |slot: &mut Value, document: &Value| {
            let bytes = document.to_string();
            slot["digest"] = json!(forge.store(bytes.as_bytes()));
            slot["size"] = json!(bytes.len());
        };
        link(&mut manifest["config"], &config);
        link(&mut arm, &manifest);
        arm["platform"] = json!({"os": "linux", "architecture": "arm64"});
        it["manifests"].as_array_mut().unwrap().push(arm);
    });
    let unsigned = scene.run("verify --key cosign.pub oci:layout:1.0.0");
    expect(&unsigned, 1, &["no-signature"]);
    let signed = scene.run_ok(&format!("sign --key cosign.key oci:layout@{amd64}"));
    assert_eq!(digest_of(&signed), amd64);
    scene.run_ok("verify --key cosign.pub --platform linux/amd64 oci:layout:1.0.0");
    expect(
        &scene.run("verify --key cosign.pub --platform linux/arm64 oci:layout:1.0.0"),
        1,
        &["no-signature"],
    );
    expect(&scene.run("verify --key cosign.pub oci:layout:1.0.0"), 1, &["manifest-not-signed"]);
    scene.run_ok("sign --key cosign.key oci:layout:1.0.0");
    scene.run_ok("verify --key cosign.pub oci:layout:1.0.0");
}

#[test]
fn evidence_that_does_not_match_is_ignored_and_none_is_refused() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    node(&scene);
    scene.run_ok("evidence oci:layout -o good.json");
    stage(&scene);
    fs::create_dir(scene.at("evidence")).unwrap();
    let install = "install --from staged --evidence evidence --key cosign.pub --root root";
    refused_install(&scene, install, "no-evidence");
    // Evidence of another release.
    fs::create_dir(scene.at("previous")).unwrap();
    for name in NAMES {
        fs::rename(scene.at("plugins").join(name), scene.at("previous").join(name)).unwrap();
    }
    if image::unsigned(&scene, "other", &NAMES[..2]).is_none() {
        return;
    }
    scene.run_ok("sign --key cosign.key oci:other");
    scene.run_ok("evidence oci:other -o evidence/other.json");
    refused_install(&scene, install, "no-evidence");
    fs::copy(scene.at("good.json"), scene.at("evidence/good.json")).unwrap();
    let run = scene.run_ok(install);
    assert!(run.stdout.contains(&digest), "{}", run.stdout);
}

#[test]
fn what_was_only_admitted_is_not_kept_as_a_proven_set() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    node(&scene);
    scene.write(
        "warn.yaml",
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - {name: any, images: [\"**\"], mode: warn}\n",
    );
    scene.run_ok("install --policy warn.yaml --root root oci:layout");
    let checked = scene.run_ok("check --root root");
    expect(&checked, 0, &["unproven", "yes, but not every file is proven"]);
    assert!(!checked.stdout.contains("the one that was signed"), "{}", checked.stdout);
    let other = cnister::model::Digest::of(b"another release");
    let keep = format!("--on-refusal keep --root root --expect {other} oci:layout");
    refused_install(&scene, &format!("install --policy warn.yaml {keep}"), "unproven");
    // The same files, and a policy that proves them.
    expect(
        &scene.run(&format!("install --key cosign.pub {keep}")),
        0,
        &["other-release", "NOT installed"],
    );
    assert!(checked.stdout.starts_with(&digest));
}

#[test]
fn a_foreign_index_json_is_not_overwritten() {
    let scene = Scene::new();
    if image::unsigned(&scene, "layout", &NAMES).is_none() {
        return;
    }
    let node = support::node_binary().expect("the layout was built with it");
    scene.write("site/index.json", "{\"my\": \"site\"}");
    let before = scene.tree("site");
    let run = scene.run(&format!("build bundle.yaml -o site --tool {}", node.display()));
    expect(&run, 3, &["oci:site is not an OCI layout", "`index.json` but no `oci-layout`"]);
    assert_eq!(scene.tree("site"), before);
}

#[test]
fn the_kept_policy_is_read_inside_the_root() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    node(&scene);
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    scene.run_ok("check --root root");
    fs::rename(scene.at("root/etc/cnister"), scene.at("elsewhere")).unwrap();
    symlink(scene.at("elsewhere"), scene.at("root/etc/cnister")).unwrap();
    expect(
        &scene.run("check --root root"),
        1,
        &["path-escapes", "`etc/cnister` leads out of `root`"],
    );
    fs::remove_file(scene.at("root/etc/cnister")).unwrap();
    // A link that stays inside the root is up to the owner.
    fs::rename(scene.at("elsewhere"), scene.at("root/policies")).unwrap();
    symlink("../policies", scene.at("root/etc/cnister")).unwrap();
    scene.run_ok("check --root root");
    fs::rename(scene.at("root/policies/policy.yaml"), scene.at("policy.yaml")).unwrap();
    expect(
        &scene.run("check --root root"),
        1,
        &["not-installed", "policy.yaml", "give the policy with"],
    );
    symlink(scene.at("policy.yaml"), scene.at("root/policies/policy.yaml")).unwrap();
    expect(
        &scene.run("check --root root"),
        1,
        &["in-the-way", "policy.yaml` is a symbolic link, expected a regular file"],
    );
}

#[test]
fn a_layout_that_lists_one_manifest_1500_times_reads_it_once() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    let forge = Forge::new(scene.at("layout"));
    let heavy = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "a/b", "digest": cnister::model::Digest::of(b""), "size": 0},
        "annotations": {"heavy": "x".repeat(1_000_000)},
    });
    let heavy = heavy.to_string();
    let entry = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": forge.store(heavy.as_bytes()), "size": heavy.len(),
    });
    let mut index: Value =
        serde_json::from_slice(&fs::read(scene.at("layout/index.json")).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().extend(std::iter::repeat_n(entry, 1_500));
    scene.write("layout/index.json", index.to_string());
    let start = Instant::now();
    scene.run_ok("verify --key cosign.pub oci:layout:1.0.0");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn overlapping_directories_are_refused() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    node(&scene);
    let before = scene.tree("root");
    let install = |words: &str| {
        scene.run(&format!("install --key cosign.pub --root root {words} oci:layout"))
    };
    for (words, message) in [
        ("--state-dir /opt/cni/bin", "error: state directory `/opt/cni/bin` and plugin directory"),
        ("--state-dir /opt/cni/bin/.cnister", "` overlap"),
        ("--bin-dir /var/lib/cnister/evidence", "` overlap"),
        ("--policy-dir /opt/cni/bin", "error: policy directory `/opt/cni/bin` "),
    ] {
        expect(&install(words), 2, &[message, "hint: choose another one with --"]);
    }
    assert_eq!(scene.tree("root"), before);
    fs::create_dir(scene.at("root/usr")).unwrap();
    symlink("../opt/cni/bin", scene.at("root/usr/bin")).unwrap();
    let two =
        "install --key cosign.pub --root root --bin-dir /usr/bin --bin-dir /opt/cni/bin oci:layout";
    refused_install(&scene, two, "are the same plugin directory");
    refused_install(
        &scene,
        "install --key cosign.pub --root root --bin-dir /opt/cni/bin --state-dir /usr/bin oci:layout",
        "is the state directory",
    );
}

#[test]
fn a_root_whose_links_lead_outside_is_refused() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    fs::create_dir(scene.at("outside")).unwrap();
    for (link, target) in [("absolute", scene.at("outside")), ("climbing", "../../outside".into())]
    {
        fs::create_dir_all(scene.at(link).join("opt")).unwrap();
        symlink(&target, scene.at(link).join("opt/cni")).unwrap();
        expect(
            &scene.run(&format!("install --key cosign.pub --root {link} oci:layout")),
            1,
            &["path-escapes"],
        );
        assert_eq!(fs::read_dir(scene.at("outside")).unwrap().count(), 0, "{link}");
    }
    // A link that stays inside is up to the host.
    fs::create_dir_all(scene.at("inside/opt")).unwrap();
    fs::create_dir_all(scene.at("inside/usr/lib/cni/bin")).unwrap();
    symlink("../usr/lib/cni", scene.at("inside/opt/cni")).unwrap();
    scene.run_ok("install --key cosign.pub --root inside oci:layout");
    assert!(scene.at("inside/usr/lib/cni/bin/macvlan").is_file());
}

#[test]
fn a_broken_layout_is_named() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    node(&scene);
    let layer = {
        let forge = Forge::new(scene.at("layout"));
        let manifest = forge.read(forge.read(&digest)["manifests"][0]["digest"].as_str().unwrap());
        manifest["layers"][0]["digest"].as_str().unwrap().to_owned()
    };
    let path = Forge::new(scene.at("layout")).blob(&layer);
    let good = fs::read(&path).unwrap();
    let before = scene.tree("root/opt/cni/bin");
    let install = "install --key cosign.pub --root root oci:layout";
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    expect(&scene.run(install), 1, &["broken-chain", &layer, "its descriptor says"]);
    expect(
        &scene.run("verify --key cosign.pub oci:layout"),
        1,
        &["broken-chain", &layer, "its descriptor says"],
    );
    scene.run_ok("verify --key cosign.pub --no-layers oci:layout");
    fs::remove_file(&path).unwrap();
    expect(&scene.run(install), 3, &["has no", &layer]);
    assert_eq!(scene.tree("root/opt/cni/bin"), before);
    expect(
        &scene.run("verify --key cosign.pub oci:nowhere"),
        3,
        &["oci:nowhere is not an OCI layout"],
    );
    expect(
        &scene.run("verify --key cosign.pub nowhere"),
        2,
        &["`nowhere` does not name a registry"],
    );
}

#[test]
fn evidence_that_no_config_map_holds_is_not_written() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    let forge = Forge::new(scene.at("layout"));
    let annotate = |length: usize| {
        forge.manifest(|it| it["annotations"]["filler"] = json!("x".repeat(length)));
        scene.run_ok("sign --key cosign.key oci:layout:1.0.0");
        drop(fs::remove_file(scene.at("evidence.json")));
        scene.run("evidence oci:layout:1.0.0 -o evidence.json")
    };
    expect(
        &annotate(1 << 20),
        2,
        &[
            "the limit of a ConfigMap is 1.0 MB",
            "hint: use --platform to write one file per platform",
        ],
    );
    assert!(!scene.at("evidence.json").exists());
    expect(&annotate(900_000), 0, &["evidence.json: "]);
}
