//! What the verbs print: human output, JSON, and exit codes, compared as a whole.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use release::Release;
use support::{Run, Scene, release, snapshot};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];

/// A command line and its complete output, for a snapshot.
fn transcript(words: &str, run: &Run) -> String {
    let Run { code, stdout, stderr } = run;
    let errors =
        if stderr.is_empty() { String::new() } else { format!("--- standard error\n{stderr}") };
    format!("$ cnister {words}\n{stdout}{errors}--- exit code {code}\n\n")
}

/// Runs commands in sequence and compares all of their output.
fn session(scene: &Scene, name: &str, commands: &[&str]) {
    let text: String = commands.iter().map(|words| transcript(words, &scene.run(words))).collect();
    snapshot(name, &text);
}

#[test]
fn an_image_from_its_build_to_its_evidence() {
    let scene = Scene::new();
    Release::unsigned(&scene, "a", "1.0.0", &NAMES, 0);
    scene.run_ok("keygen");
    session(
        &scene,
        "image.txt",
        &[
            "build bundle-a.yaml -o layout",
            "inspect oci:layout",
            "verify --key cosign.pub oci:layout",
            "evidence oci:layout -o none.json",
            "sign --key cosign.key oci:layout",
            "inspect oci:layout",
            "verify --key cosign.pub oci:layout",
            "verify --key cosign.pub --platform linux/arm64 oci:layout",
            "verify --key cosign.pub oci:layout:2.0.0",
            "pull oci:layout -o oci-archive:image.tar",
            "verify --key cosign.pub oci-archive:image.tar",
            "pull oci:layout -o localhost/x",
            "push oci:layout oci:other",
        ],
    );
}

#[test]
fn the_same_in_json() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    session(
        &scene,
        "image-json.txt",
        &[
            "--format json build bundle-a.yaml -o layout",
            "--format json verify --key cosign.pub oci:layout",
            "--format json verify --key cosign.pub oci:layout-a",
            "--format json inspect oci:layout-a",
            "--format json evidence oci:layout-a -o evidence.json",
        ],
    );
}

#[test]
fn a_node_from_its_first_installation_to_a_repair() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    Release::new(&scene, "b", "1.1.0", &NAMES[..2], 0);
    fs::create_dir(scene.at("root")).unwrap();
    let install = "install --key cosign.pub --root root oci:layout-a";
    session(
        &scene,
        "node.txt",
        &[
            "check --root root",
            &format!("{install} --dry-run"),
            install,
            install,
            "check --root root",
            "check --root root --no-probe --bin-dir /usr/lib/cni",
            "install --key cosign.pub --policy policy.yaml --root root oci:layout-b",
            "install --key cosign.pub --root root oci:layout-b",
            "check --root root",
            "--format json check --root root",
        ],
    );
    scene.write("root/opt/cni/bin/bridge", "altered");
    fs::remove_file(scene.at("root/opt/cni/bin/loopback")).unwrap();
    session(
        &scene,
        "node-altered.txt",
        &[
            "check --root root",
            "check --root root --at-boot",
            "install --key cosign.pub --root root oci:layout-b",
            "check --root root",
        ],
    );
}

#[test]
fn foreign_files_are_left_alone_until_they_are_adopted() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    for name in NAMES {
        scene.write(&format!("root/opt/cni/bin/{name}"), "another owner's");
    }
    let install = "install --key cosign.pub --root root oci:layout-a";
    let before = scene.tree("root/opt/cni/bin");
    session(
        &scene,
        "foreign-refused.txt",
        &[install, &format!("{install} --only nothing"), &format!("{install} --foreign keep")],
    );
    assert_eq!(scene.tree("root/opt/cni/bin"), before);
    session(
        &scene,
        "foreign-adopted.txt",
        &[
            &format!("{install} --foreign adopt=macvlan"),
            &format!("{install} --foreign adopt"),
            &format!("{install} --foreign adopt=loopback"),
            "check --root root --no-probe",
            "--format json check --root root --no-probe",
        ],
    );
}

#[test]
fn a_file_from_before_with_the_signed_bytes_is_taken_over() {
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    scene.write("root/opt/cni/bin/bridge", &release.files["bridge"]);
    session(&scene, "satisfied.txt", &["install --key cosign.pub --root root oci:layout-a"]);
}

#[test]
fn a_node_lacks_what_its_networks_need() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout-a");
    let list = r#"{"cniVersion":"1.1.0","name":"pods","plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"tap"}]}"#;
    scene.write("root/etc/cni/net.d/10-pods.conflist", list);
    let definition = |name: &str, config: &str| {
        format!(
            r#"{{"kind":"NetworkAttachmentDefinition","metadata":{{"namespace":"demo","name":"{name}"}},"spec":{{"config":{config:?}}}}}"#
        )
    };
    let good = definition("good", r#"{"cniVersion":"1.0.0","type":"macvlan"}"#);
    scene.write("good.json", &good);
    let hostile = definition("hostile", r#"{"type":"../../../../bin/sh"}"#);
    scene.write("nad.json", format!(r#"{{"kind":"List","items":[{good},{hostile}]}}"#));
    session(
        &scene,
        "requirements.txt",
        &[
            "check --root root",
            "check --root root --at-boot",
            "check --root root --no-closure",
            "check --root root --conf-dir /etc/cni/none --nad good.json",
            "check --root root --nad nad.json --no-probe",
            "--format json check --root root --no-probe --conf-dir /etc/cni/net.d",
            "check --root root --nad none.json",
            "check --root root --no-closure --nad nad.json",
        ],
    );
    for name in ["host-local", "tap"] {
        scene.write(&format!("root/opt/cni/bin/{name}"), "another owner's");
        fs::set_permissions(
            scene.at(&format!("root/opt/cni/bin/{name}")),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    scene.write("root/etc/cni/net.d/10-pods.conflist", list.replace("1.1.0", "1.0.0"));
    session(&scene, "requirements-met.txt", &["check --root root --nad good.json"]);
}

#[test]
fn an_error_explained_by_what_is_installed() {
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &NAMES, 0);
    fs::create_dir(scene.at("root")).unwrap();
    let missing = "plugin type=\"bridge\" failed (delete): failed to find plugin \"bridge\" in path [/opt/cni/bin]";
    let started = "netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan:";
    scene.write("missing.txt", missing);
    scene.write(
        "events.txt",
        format!(
            "{missing}\n{missing}\nplugin type=\"macvlan\" failed (add): {started} exec format error\n\
             plugin type=\"multus\" failed (add): [a/b/:net]: error adding container to network \"net\": \
             plugin type=\"vlan\" failed (add): failed to find plugin \"vlan\" in path [/opt/cni/bin]\n\
             plugin type=\"calico\" failed (add): no such luck\n"
        ),
    );
    scene.write("nothing.txt", "Normal  Pulled  2s  kubelet  Container image already present\n");
    scene.run_ok("install --key cosign.pub --root root oci:layout-a");
    fs::remove_file(scene.at("root/opt/cni/bin/bridge")).unwrap();
    scene.write("root/opt/cni/bin/macvlan", "");
    session(
        &scene,
        "explain.txt",
        &[
            "explain --root root --file missing.txt",
            "explain --root root --file events.txt",
            "explain --root root --file nothing.txt",
            "--format json explain --root root --file events.txt",
        ],
    );
}
