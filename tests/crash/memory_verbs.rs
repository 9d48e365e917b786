//! Every verb of a node in the memory of a small init container, with the worst documents that it
//! reads: what strangers may attach to an image, or write where cnister looks.

use std::fs;

use cnister::model::Digest;
use serde_json::{Value, json};

use super::forge::Forge;
use super::memory::Cgroup;
use super::node;
use super::release::Release;
use super::support::{Scene, node_binary};

const MIB: usize = 1024 * 1024;
/// The most that a verb of a node needs, page cache included, in bytes.
const MOST: u64 = 24 * 1024 * 1024;
const INSTALL: &str = "install --key cosign.pub --root root";

/// A list of as many copies of a value as fit into `size` bytes.
fn many(value: &Value, size: usize) -> Value {
    vec![value.clone(); size / (value.to_string().len() + 1)].into()
}

/// Short values are the worst: what one becomes in memory is many times as long as its text.
fn descriptor() -> Value {
    json!({"mediaType": "a/b", "digest": format!("sha256:{}", "0".repeat(64)), "size": 0})
}

fn flat(size: usize) -> Value {
    many(&json!([]), size)
}

fn nested(size: usize) -> Value {
    many(&json!({"a": {"b": {"c": [{}]}}}), size)
}

fn annotations(size: usize) -> Value {
    let entries = (0..size / 12).map(|number| (format!("{number:x}"), json!("")));
    Value::Object(entries.collect())
}

/// What is done to a layout or a node, what is run then, and with which exit codes.
type Case = (&'static str, fn(&Scene, &Forge), &'static [&'static str], &'static [i32]);

const IMAGE: &[&str] = &[
    "verify --key cosign.pub oci:layout-a",
    "install --key cosign.pub --root root oci:layout-a",
    "install --key cosign.pub --root root --on-refusal keep oci:layout-a",
];

const CASES: [Case; 18] = [
    (
        "an index.json with many entries",
        |scene, _| {
            let path = scene.at("layout-a/index.json");
            let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let more = many(&descriptor(), 4 * MIB);
            index["manifests"].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
            fs::write(path, index.to_string()).unwrap();
        },
        IMAGE,
        &[3, 3, 0],
    ),
    (
        "an index with many entries",
        |_, forge| {
            forge.keeping_signatures(|forge| {
                forge.index(|index| index["x"] = many(&descriptor(), MIB - 4096))
            });
        },
        IMAGE,
        &[0, 0, 0],
    ),
    (
        "a manifest with many layers",
        |_, forge| drop(forge.manifest(|it| it["layers"] = many(&descriptor(), MIB - 4096))),
        IMAGE,
        &[1, 1, 0],
    ),
    (
        "a manifest with many annotations",
        |_, forge| drop(forge.manifest(|it| it["annotations"] = annotations(MIB - 65536))),
        IMAGE,
        &[1, 1, 0],
    ),
    (
        "a configuration that is nested everywhere",
        |scene, forge| {
            forge.config(|it| it["x"] = nested(MIB - 65536));
            scene.run_ok("sign --key cosign.key oci:layout-a");
        },
        IMAGE,
        &[0, 0, 0],
    ),
    (
        "a manifest of four megabytes",
        |_, forge| drop(forge.manifest(|it| it["x"] = flat(4 * MIB))),
        IMAGE,
        // A file of this machine that is too long will not become shorter.
        &[2, 2, 0],
    ),
    (
        "evidence with many values",
        |scene, _| {
            let text = json!({"mediaType": "application/vnd.cnister.evidence.v1+json",
                "root": descriptor()["digest"], "documents": flat(MIB - 4096), "signatures": []});
            scene.write("hostile.json", text.to_string());
        },
        &[
            "install --key cosign.pub --root root --from staged-a --evidence hostile.json",
            "install --key cosign.pub --root root --from staged-a --evidence hostile.json --on-refusal keep",
        ],
        &[0, 0],
    ),
    (
        "sixteen megabytes of definitions",
        |scene, _| {
            let config = r#"{"cniVersion":"1.0.0","type":"bridge"}"#;
            let one = json!({"kind": "NetworkAttachmentDefinition",
                "metadata": {"name": "n"}, "spec": {"config": config}});
            let list = json!({"kind": "List", "items": many(&one, 15 * MIB / 8)});
            scene.write("nads.json", list.to_string());
            let values = json!({"kind": "List", "items": [{"x": flat(15 * MIB)}]});
            scene.write("values.json", values.to_string());
        },
        &["check --root root --nad nads.json", "check --root root --nad values.json"],
        &[0, 1],
    ),
    (
        "configurations at their limit",
        |scene, _| {
            for number in 0..8 {
                let plugins = many(&json!({"type": "bridge"}), MIB - 4096);
                let text = json!({"cniVersion": "1.0.0", "name": "n", "plugins": plugins});
                let path = format!("root/etc/cni/net.d/{number}.conflist");
                scene.write(&path, text.to_string());
            }
        },
        &["check --root root", "check --root root --at-boot", "explain --root root --file text"],
        &[1, 0, 0],
    ),
    (
        "records of attachments at their limit",
        |scene, _| {
            for number in 0..8 {
                let text = json!({"kind": "cniCacheV1", "x": nested(MIB - 4096)});
                let path = format!("root/var/lib/cni/results/n-{number}-eth0");
                scene.write(&path, text.to_string());
            }
        },
        &[
            "uninstall --root root --dry-run",
            "install --key cosign.pub --root root --prune oci:layout-a",
        ],
        &[1, 0],
    ),
    (
        "records of the state at their limit",
        |scene, _| {
            for name in ["journal.json", "floors.json", "rolled-back.json", "refusal.json"] {
                let path = format!("root/var/lib/cnister/{name}");
                scene.write(&path, json!({"x": nested(MIB - 4096)}).to_string());
            }
        },
        &["check --root root", "status --root root", "rollback --root root", "gc --root root"],
        &[1, 1, 1, 1],
    ),
    (
        "receipts of many generations at their limit",
        |scene, _| generations(scene, |_, receipt| fill_receipt(receipt)),
        GENERATIONS,
        GENERATIONS_CODES,
    ),
    (
        "evidence of many generations at its limit",
        |scene, _| {
            generations(scene, |number, receipt| {
                let digest = receipt["evidence"].as_str().unwrap().strip_prefix("sha256:").unwrap();
                let folder = scene.at(STATE).join("evidence");
                let text = fs::read(folder.join(format!("{digest}.json"))).unwrap();
                let mut evidence: Value = serde_json::from_slice(&text).unwrap();
                let content = format!("{number}{}", "x".repeat(MIB - 128 * 1024));
                let document = json!({"digest": Digest::of(content.as_bytes()),
                    "mediaType": "text/plain", "content": content});
                evidence["documents"].as_array_mut().unwrap().push(document);
                let text = evidence.to_string();
                let digest = Digest::of(text.as_bytes());
                fs::write(folder.join(format!("{}.json", digest.hex())), text).unwrap();
                receipt["evidence"] = digest.to_string().into();
            });
        },
        GENERATIONS,
        GENERATIONS_CODES,
    ),
    (
        "a hundred thousand names of an interrupted run",
        |scene, _| names(scene, "root/opt/cni/bin/.cnister", "f"),
        &["install --key cosign.pub --root root oci:layout-a"],
        &[0],
    ),
    (
        "a hundred thousand temporary names of records",
        |scene, _| names(scene, STATE, ".cnister-"),
        &["gc --root root"],
        &[0],
    ),
    (
        "a hundred thousand names beside the copies",
        |scene, _| names(scene, &format!("{STATE}/store"), "f"),
        &["gc --root root"],
        &[0],
    ),
    (
        "a policy of too many rules",
        |scene, _| {
            // As long as a policy may be, and more values than one may have.
            let rule = "  - name: a\n    images: [a]\n    deny: true\n";
            let count = (MIB - POLICY.len()) / rule.len();
            scene.write("policy.yaml", format!("{POLICY}{}", rule.repeat(count)));
        },
        &["verify --policy policy.yaml oci:layout-a", "check --root root --policy policy.yaml"],
        &[2, 2],
    ),
    (
        "a policy of as many rules as one may have",
        |scene, _| {
            let rules: String = (0..1249)
                .map(|number| {
                    format!("  - name: r{number:0780}\n    images: [r.example/a]\n    deny: true\n")
                })
                .collect();
            scene.write("policy.yaml", format!("{POLICY}{rules}"));
        },
        &["verify --policy policy.yaml oci:layout-a", "check --root root --policy policy.yaml"],
        &[1, 1],
    ),
];

const STATE: &str = "root/var/lib/cnister";

const POLICY: &str = "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n";

const GENERATIONS: &[&str] = &[
    "check --root root",
    "check --root root --at-boot",
    "check --root root --repair",
    "status --root root",
    "install --key cosign.pub --root root --generations 32 --dry-run oci:layout-a",
    "install --key cosign.pub --root root --generations 32 --from staged-a",
    "install --key cosign.pub --root root --generations 32 oci:layout-a",
    "rollback --root root --dry-run",
    "gc --root root",
    "rollback --root root",
    "uninstall --root root",
];

/// The evidence that is kept is for the present one.
const GENERATIONS_CODES: &[i32] = &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0];

/// Keeps as many earlier generations as a node may, each with the receipt that `change` makes.
fn generations(scene: &Scene, change: impl Fn(u64, &mut Value)) {
    let path = scene.at(STATE).join("receipt.json");
    let mut present: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for number in 1..32 {
        let mut receipt = present.clone();
        let release = Digest::of(number.to_string().as_bytes()).to_string();
        (receipt["generation"], receipt["index"]) = (number.into(), release.clone().into());
        receipt["bundleJson"] = release.into();
        change(number, &mut receipt);
        scene.write(&format!("{STATE}/generations/{number}.json"), receipt.to_string());
    }
    present["generation"] = 40.into();
    fs::write(path, present.to_string()).unwrap();
}

/// Adds files until the receipt is nearly as long as one may be, each of other content.
fn fill_receipt(receipt: &mut Value) {
    for number in 0..3800 {
        // The same in all receipts: what the kernel remembers of each name that it looked for in
        // vain is charged to the cgroup until it is reclaimed, and is not the program's need.
        let digest = Digest::of(format!("{number}").as_bytes()).to_string();
        let file = json!({"digest": digest, "size": 1, "owner": "ours"});
        let directory = format!("/opt/cni/bin{}", number / 100);
        let files = &mut receipt["directories"][directory]["files"];
        files[format!("p-{number:060}")] = file;
    }
}

/// Fills a directory with empty files.
fn names(scene: &Scene, folder: &str, prefix: &str) {
    fs::create_dir_all(scene.at(folder)).unwrap();
    for number in 0..100_000 {
        fs::File::create(scene.at(folder).join(format!("{prefix}{number:0200}"))).unwrap();
    }
}

#[test]
fn no_verb_of_a_node_needs_more_than_its_container_has_whatever_it_reads() {
    let Some(program) = node_binary() else { return };
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    node::new(&scene);
    scene.run_ok(&format!("{INSTALL} --from staged-a --evidence evidence-a.json"));
    for name in ["root", "layout-a"] {
        node::copy(&scene, name, &format!("good-{name}"));
    }
    scene.write("text", "failed to find plugin \"macvlan\" in path [/opt/cni/bin]\n".repeat(8192));
    for (what, change, verbs, codes) in CASES {
        change(&scene, &Forge::new(scene.at("layout-a")));
        assert_eq!(verbs.len(), codes.len(), "{what}");
        for (words, code) in verbs.iter().zip(codes) {
            // Its peak is that of one run.
            let Some(cgroup) = Cgroup::new("verbs") else { return };
            let run = cgroup.run(&scene, &program, words);
            let peak = cgroup.peak();
            assert_eq!(run.code, *code, "{what}, {words}: {}{}", run.stdout, run.stderr);
            eprintln!("{what}, {words}: exit code {code}, {peak} bytes");
            assert!(peak <= MOST, "{what}, {words}: {peak} bytes");
        }
        for name in ["root", "layout-a"] {
            node::copy(&scene, &format!("good-{name}"), name);
        }
    }
}
