//! An older release, or another platform's, put in place of the present one by hand.

use std::fs;
use std::process::Command;

use cnister::model::Digest;

use super::forge::Forge;
use super::plugin::answering;
use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release};

const STATE: &str = "root/var/lib/cnister";

fn policy(scene: &Scene, name: &str, more: &str) {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n  - name: all\n    images: [\"**\"]\n    \
         authorities: [{{name: us, key: {{file: cosign.pub}}}}]\n{more}"
    );
    scene.write(name, text);
}

/// Copies these names from a kept node over those of the present one.
fn put_back(scene: &Scene, from: &str, names: &[&str]) {
    for name in names {
        let to = scene.at("root").join(name);
        if to.is_dir() {
            fs::remove_dir_all(&to).unwrap()
        } else {
            fs::remove_file(&to).unwrap()
        }
        let copied =
            Command::new("cp").arg("-a").arg(scene.at(from).join(name)).arg(&to).status().unwrap();
        assert!(copied.success());
    }
}

/// A node that had the first release, as `old`, and has the second, under a rule that forbids
/// downgrades.
fn went_on(scene: &Scene) -> (Release, Release) {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    policy(scene, "policy.yaml", "    rollback: monotonic\n");
    node::new(scene);
    scene.run_ok(&by_policy(&first.install_args()));
    node::keep_as(scene, "old");
    scene.run_ok(&by_policy(&second.install_from_layout_args()));
    (first, second)
}

fn by_policy(words: &str) -> String {
    words.replace("--key cosign.pub", "--policy policy.yaml")
}

const STATE_OF_RELEASE: [&str; 3] =
    ["var/lib/cnister/receipt.json", "var/lib/cnister/evidence", "var/lib/cnister/store"];

#[test]
fn an_older_release_that_was_put_back_whole_is_below_the_floor() {
    let scene = Scene::in_memory();
    let (first, second) = went_on(&scene);
    put_back(&scene, "old", &STATE_OF_RELEASE);
    put_back(&scene, "old", &["opt/cni/bin"]);
    assert_eq!(of_release(&scene, &first).len(), 3);
    let replayed = scene.tree(node::BIN);
    for occasion in ["", "--at-boot", "--repair", "--at-boot --repair"] {
        let run = scene.run(&format!("check --root root {occasion}"));
        assert_refused(&run, "version-below-floor");
        assert!(
            run.stdout.contains("  expected: 1.1.0 or newer\n  found:    1.0.0\n"),
            "{}",
            run.stdout
        );
        node::assert_same(&replayed, &scene.tree(node::BIN), occasion);
    }
    // Running its installation again is refused for the same reason.
    assert_refused(&scene.run(&by_policy(&first.install_args())), "version-below-floor");
    assert_refused(&scene.run("check --root root --at-boot"), "version-below-floor");
    // Under a rule that allows downgrades, an owner may do that by hand; the policy's own floor
    // reports it.
    policy(&scene, "allowed.yaml", "    minVersion: 1.1.0\n");
    let run = scene.run_ok("check --root root --at-boot --policy allowed.yaml");
    assert!(run.stdout.contains("warning: version-below-floor: "), "{}", run.stdout);
    scene.run_ok(&by_policy(&second.install_from_layout_args()));
    scene.run_ok("check --root root --at-boot");
    assert_eq!(of_release(&scene, &second).len(), 3);
}

#[test]
fn a_rule_that_forbids_downgrades_counts_the_releases_before_it() {
    let scene = Scene::in_memory();
    let (first, second) = went_on(&scene);
    // An earlier policy allowed the way back.
    let from_layout = Release::install_from_layout_args;
    scene.run_ok(&from_layout(&first));
    let before = scene.tree("root");
    for more in ["", " --again", " --dry-run", " --prune"] {
        let run = scene.run(&format!("{}{more}", by_policy(&from_layout(&first))));
        assert_refused(&run, "version-below-floor");
        node::assert_same(&before, &scene.tree("root"), more);
    }
    // The two agree: what is installed here, no rule of this kind accepts afterwards.
    let check = scene.run("check --root root --policy policy.yaml");
    assert_refused(&check, "version-below-floor");
    scene.run_ok(&by_policy(&from_layout(&second)));
    scene.run_ok("check --root root");
}

#[test]
fn the_exception_of_a_rollback_ends_when_the_node_goes_forward() {
    let scene = Scene::in_memory();
    let (first, second) = went_on(&scene);
    let install = |release: &Release| by_policy(&release.install_from_layout_args());
    assert_refused(&scene.run(&install(&first)), "version-below-floor");
    scene.run_ok("rollback --root root");
    scene.run_ok("check --root root");
    // While the node is on it, it may be installed again.
    node::assert_nothing_to_do(&scene.run_ok(&install(&first)), "the installed one");
    scene.run_ok("check --root root");
    scene.run_ok(&format!("{} --again", install(&second)));
    assert_refused(&scene.run(&install(&first)), "version-below-floor");
    // A second rollback is a decision of its own, and so is the way back from it.
    scene.run_ok("rollback --root root");
    scene.run_ok("check --root root");
    scene.run_ok("rollback --root root");
    scene.run_ok("check --root root");
    let again = format!("{} --again", install(&first));
    assert_refused(&scene.run(&again), "version-below-floor");
    let floors = fs::read_to_string(scene.at(STATE).join("floors.json")).unwrap();
    scene.run_ok(&install(&second));
    let ended = fs::read_to_string(scene.at(STATE).join("floors.json")).unwrap();
    assert!(floors.contains("exceptions") && !ended.contains("exceptions"), "{floors}{ended}");
}

#[test]
fn a_deleted_floor_is_not_written_again_by_a_repair() {
    let scene = Scene::in_memory();
    let (first, _) = went_on(&scene);
    put_back(&scene, "old", &STATE_OF_RELEASE);
    put_back(&scene, "old", &["opt/cni/bin"]);
    fs::remove_file(scene.at(STATE).join("floors.json")).unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    for _ in 0..2 {
        assert_refused(&scene.run("check --root root --at-boot --repair"), "floor-missing");
        assert_eq!(of_release(&scene, &first).len(), 3, "it repairs what it can");
        assert!(!scene.at(STATE).join("floors.json").exists());
    }
}

#[test]
fn parts_of_an_older_release_prove_nothing() {
    let scene = Scene::in_memory();
    let (_, second) = went_on(&scene);
    node::keep_as(&scene, "new");
    let cases: [(&[&str], &str); 6] = [
        (&["opt/cni/bin"], "digest-drift"),
        (&["var/lib/cnister/receipt.json"], "digest-drift"),
        (&["var/lib/cnister/evidence"], "no-evidence"),
        (&["var/lib/cnister/evidence", "opt/cni/bin"], "no-evidence"),
        (&["var/lib/cnister/receipt.json", "var/lib/cnister/evidence"], "digest-drift"),
        (&["var/lib/cnister/receipt.json", "opt/cni/bin"], "version-below-floor"),
    ];
    for (parts, code) in cases {
        for occasion in ["", "--at-boot"] {
            node::bring_back(&scene, "new");
            put_back(&scene, "old", parts);
            let before = scene.tree(".");
            assert_refused(&scene.run(&format!("check --root root {occasion}")), code);
            node::assert_same(&before, &scene.tree("."), &format!("{parts:?} {occasion}"));
        }
        scene.run("check --root root --at-boot --repair");
        // A repair installs what the receipt names, if its proof is there, and never a file of
        // neither release.
        assert_eq!(node::unsound(&scene, &[&second, &release_a(&scene)]), None, "{parts:?}");
    }
    // The copies alone are not a proof, and none is needed from them.
    node::bring_back(&scene, "new");
    put_back(&scene, "old", &["var/lib/cnister/store"]);
    scene.run_ok("check --root root");
    fs::remove_file(scene.at(node::BIN).join("vlan")).unwrap();
    assert_refused(&scene.run("check --root root --repair"), "no-copy");
}

/// What `went_on` installed first.
fn release_a(scene: &Scene) -> Release {
    let names = ["bridge", "host-local", "macvlan"];
    let read = |name: &'static str| (name, fs::read(scene.at("plugins-a").join(name)).unwrap());
    Release { name: "a", files: names.into_iter().map(read).collect() }
}

/// A signed bundle for two platforms, staged as each would stage it: `staged-amd64` and
/// `staged-arm64`.
fn two_platforms(scene: &Scene) -> Forge {
    for (platform, machine) in [("amd64", 62), ("arm64", 183)] {
        for name in ["bridge", "macvlan"] {
            let mut bytes = answering(&format!("{name} for {platform}"), 0);
            bytes[18] = machine; // e_machine
            scene.write(&format!("plugins/{platform}/{name}"), bytes);
        }
    }
    scene.write(
        "bundle.yaml",
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\nplatforms: [linux/amd64, linux/arm64]\n\
         sources: [{name: here, directory: \"plugins/{architecture}\"}]\nplugins: [bridge, macvlan]\ntool: none\n",
    );
    scene.run_ok("build bundle.yaml -o layout");
    scene.run_ok("keygen");
    scene.run_ok("sign --key cosign.key oci:layout");
    let forge = Forge::new(scene.at("layout"));
    for (number, platform) in ["amd64", "arm64"].into_iter().enumerate() {
        let index = forge.read(&forge.tagged());
        assert_eq!(index["manifests"][number]["platform"]["architecture"], platform);
        let manifest = forge.read(index["manifests"][number]["digest"].as_str().unwrap());
        let text =
            manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"].as_str().unwrap();
        scene.write(&format!("staged-{platform}/usr/share/cnister/bundle.json"), text);
        for name in ["bridge", "macvlan"] {
            let bytes = fs::read(scene.at(&format!("plugins/{platform}/{name}"))).unwrap();
            scene.write(&format!("staged-{platform}/opt/cni/bin/{name}"), bytes);
        }
        scene.run_ok(&format!(
            "evidence --platform linux/{platform} oci:layout -o evidence-{platform}.json"
        ));
    }
    scene.run_ok("evidence oci:layout -o evidence-both.json");
    forge
}

#[test]
fn evidence_of_one_platform_does_not_prove_the_files_of_another() {
    let scene = Scene::in_memory();
    two_platforms(&scene);
    node::new(&scene);
    // The documents of one platform with the files of the other.
    for (says, has) in [("amd64", "arm64"), ("arm64", "amd64")] {
        let share =
            fs::read(scene.at(&format!("staged-{says}/usr/share/cnister/bundle.json"))).unwrap();
        scene.write(&format!("staged-{says}-{has}/usr/share/cnister/bundle.json"), share);
        for name in ["bridge", "macvlan"] {
            let bytes = fs::read(scene.at(&format!("staged-{has}/opt/cni/bin/{name}"))).unwrap();
            scene.write(&format!("staged-{says}-{has}/opt/cni/bin/{name}"), bytes);
        }
    }
    let before = scene.tree(node::BIN);
    for (staged, evidence, code) in [
        ("arm64", "arm64", "broken-chain"),
        ("arm64", "both", "no-evidence"),
        ("arm64", "amd64", "no-evidence"),
        ("amd64", "arm64", "no-evidence"),
        ("amd64-arm64", "amd64", "file-altered"),
        ("amd64-arm64", "both", "file-altered"),
        ("amd64-arm64", "arm64", "no-evidence"),
        ("arm64-amd64", "arm64", "broken-chain"),
        ("arm64-amd64", "both", "no-evidence"),
    ] {
        let words = format!(
            "--key cosign.pub --root root --from staged-{staged} --evidence evidence-{evidence}.json"
        );
        let run = scene.run(&format!("install {words}"));
        assert_refused(&run, code);
        node::assert_same(&before, &scene.tree(node::BIN), &format!("{staged} with {evidence}"));
    }
    for evidence in ["amd64", "both"] {
        let words = format!(
            "--key cosign.pub --root root --from staged-amd64 --evidence evidence-{evidence}.json"
        );
        scene.run_ok(&format!("install {words}"));
        scene.run_ok("check --root root");
    }

    // On a node that has it: the kept evidence of the other platform, under the name of the right
    // one.
    let kept =
        fs::read_dir(scene.at(STATE).join("evidence")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&kept).unwrap();
    fs::copy(scene.at("evidence-arm64.json"), &kept).unwrap();
    for occasion in ["--no-probe", "--at-boot", "--at-boot --repair"] {
        assert_refused(&scene.run(&format!("check --root root {occasion}")), "broken-chain");
    }
    fs::write(&kept, good).unwrap();
    // And its files in place of those in the evidence.
    fs::copy(scene.at("plugins/arm64/bridge"), scene.at(node::BIN).join("bridge")).unwrap();
    assert_refused(&scene.run("check --root root --at-boot"), "digest-drift");
    let arm64 = Digest::of(&fs::read(scene.at("plugins/arm64/bridge")).unwrap());
    let amd64 = Digest::of(&fs::read(scene.at("plugins/amd64/bridge")).unwrap());
    let receipt = fs::read_to_string(scene.at(STATE).join("receipt.json")).unwrap();
    let forged = receipt
        .replace(&amd64.to_string(), &arm64.to_string())
        .replace("linux/amd64", "linux/arm64");
    assert_ne!(forged, receipt);
    fs::write(scene.at(STATE).join("receipt.json"), forged).unwrap();
    assert_refused(&scene.run("check --root root --at-boot"), "digest-drift");
}
