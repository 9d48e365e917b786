//! Inputs after public reports, and the right answer of each: what is asked of a node that has all
//! plugins of Debian 12, and of its image. What registries answer is in `src/oci/registry/tests.rs`
//! and `push_tests.rs`, kinds of keys in `src/trust/signature.rs`.

#![cfg(feature = "publish")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Run, Scene, peer, say_skipped};

const DEFINITION: &str = "apiVersion: cnister.dev/v1\nkind: Bundle\nname: debian\nversion: 1.1.1\n\
    platforms: [linux/amd64]\nsources: [{ name: debian, directory: /usr/lib/cni }]\nplugins: [bandwidth, bridge, dhcp, \
    firewall, host-device, host-local, ipvlan, loopback, macvlan, portmap, ptp, sbr, static, tuning, vlan, vrf]\ntool: none\n";

/// The inputs, if they are here.
fn cases() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/cases");
    if !folder.is_dir() {
        say_skipped("the inputs after public reports are not here");
        return None;
    }
    if !Path::new("/usr/lib/cni/vrf").is_file() {
        say_skipped("the plugins of Debian are not here");
        return None;
    }
    Some(folder)
}

/// A signed image of all plugins, in `layout`, and a node that has it, in `root`.
fn node() -> Scene {
    let scene = Scene::new();
    scene.write("all.yaml", DEFINITION);
    scene.run_ok("build all.yaml -o layout");
    scene.run_ok("keygen");
    scene.run_ok("sign --key cosign.key oci:layout");
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    scene
}

/// Checks code and words: those that have to be there, and those after `!` that must not.
fn expect(case: &str, run: &Run, code: i32, words: &[&str]) {
    let output = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{case}: {output}");
    for word in words {
        match word.strip_prefix('!') {
            Some(word) => assert!(!output.contains(word), "{case}: {word}\n{output}"),
            None => assert!(output.contains(word), "{case}: {word}\n{output}"),
        }
    }
}

#[test]
fn definitions_are_judged_as_multus_and_libcni_read_them() {
    let Some(folder) = cases() else { return };
    let scene = node();
    for (case, code, words) in [
        (
            "01-nad-typo-type-colon",
            1,
            &["config-unreadable", "`plugins[1]` has no `type`; it has `type:`"][..],
        ),
        (
            "03-no-cniversion",
            1,
            &[
                "`firewall` is called",
                "`vrf` is called",
                "`bandwidth` is called",
                "CNI 0.1.0",
                "!`bridge` is called",
            ],
        ),
        ("55-empty-cniversion", 0, &["!incompatible-version"]),
        ("56-duplicate-key", 0, &["repeated-key", "`cniVersion` appears twice"]),
    ] {
        let definitions = folder.join(case).join("nads.json");
        let run =
            scene.cnister(["check", "--root", "root", "--nad", definitions.to_str().unwrap()]);
        expect(case, &run, code, words);
    }
}

#[test]
fn the_configuration_is_that_of_the_nodes_runtime() {
    let Some(folder) = cases() else { return };
    let k3s = "root/var/lib/rancher/k3s/agent/etc";
    for (case, files, code, words) in [
        (
            "06-azure-cns",
            &[(
                "net.d/15-azure-swift-overlay.conflist",
                "root/etc/cni/net.d/15-azure-swift-overlay.conflist".to_owned(),
            )][..],
            0,
            &["!azure-cns"][..],
        ),
        (
            "11-k3s-own-conf-dir",
            &[
                ("config.toml", format!("{k3s}/containerd/config.toml")),
                ("00-multus.conf", format!("{k3s}/cni/net.d/00-multus.conf")),
                ("10-flannel.conflist", format!("{k3s}/cni/net.d/10-flannel.conflist")),
            ],
            1,
            &["`multus-shim` is needed", "`flannel` is needed"],
        ),
        (
            "68-crio-conf-dir-multus",
            &[
                ("config.toml", "root/etc/containerd/config.toml".to_owned()),
                ("10-net.conflist", "root/etc/kubernetes/cni/net.d/10-net.conflist".to_owned()),
            ],
            1,
            &["`route-override` is needed by `/etc/kubernetes/cni/net.d/10-net.conflist`"],
        ),
    ] {
        let scene = node();
        let azure = scene.write("root/opt/cni/bin/azure-vnet", "#!/bin/sh\n");
        fs::set_permissions(azure, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for (from, to) in files {
            scene.write(to, fs::read(folder.join(case).join(from)).unwrap());
        }
        expect(case, &scene.run("check --root root"), code, words);
    }
}

#[test]
fn the_causes_of_errors_are_those_of_the_reports() {
    let Some(folder) = cases() else { return };
    let scene = node();
    for (case, code, words) in [
        (
            "17-explain-no-networks-capital",
            0,
            &["no-configuration", "in `/etc/cni/multus/net.d`", "`spec.config`"][..],
        ),
        (
            "25-explain-link-not-found-modern",
            0,
            &["link-not-found", "!the interface `knxbus-network`", "for network knxbus-network"],
        ),
        ("26-explain-describe-two-events-bleed", 1, &["calico", "!nsenter", "!exec-no-such-file"]),
        (
            "27-explain-bridge-operation-not-supported",
            0,
            &["driver-missing", "`bridge` interfaces", "modprobe bridge"],
        ),
        (
            "38-explain-describe-unknown-then-not-initialized",
            0,
            &["no-configuration", "unknown reason: `calico`"],
        ),
        (
            "51-explain-old-libcni-failed-with-nothing",
            0,
            &["plugin-crashed", "printed nothing", "!silent-plugin"],
        ),
        (
            "52-explain-does-not-support-config-version",
            0,
            &["incompatible-versions", "0.1.0", "`flannel`", "no-configuration"],
        ),
        (
            "69-explain-describe-107428",
            0,
            &["no-configuration", "on status", "!on add", "unknown reason: `calico`"],
        ),
    ] {
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        command.args(["explain", "--root", "root", "--file"]).arg(folder.join(case).join("text"));
        expect(case, &scene.run_command(&mut command), code, words);
    }
}

#[test]
fn images_and_keys_are_taken_as_other_tools_leave_them() {
    let Some(folder) = cases() else { return };
    let scene = node();

    let case = "41-dangling-link-source";
    fs::create_dir(scene.at("abs")).unwrap();
    symlink("/usr/libexec/cni/vlan", scene.at("abs/vlan")).unwrap();
    let definition = fs::read_to_string(folder.join(case).join("abs.yaml")).unwrap();
    // The program of this build is linked dynamically, which a tool may not be.
    scene.write("abs.yaml", definition + "tool: none\n");
    let run = scene.run("build abs.yaml -o from-abs");
    expect(
        case,
        &run,
        2,
        &["is a dangling symbolic link: `/usr/libexec/cni/vlan`", "!it has `vlan`"],
    );

    let index: Value =
        serde_json::from_slice(&fs::read(scene.at("layout/index.json")).unwrap()).unwrap();
    let is_image =
        |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == "1.1.1";
    let image = index["manifests"].as_array().unwrap().iter().find(is_image).unwrap().clone();
    let with = |first: Vec<Value>| {
        let rest = index["manifests"].as_array().unwrap().iter().filter(|entry| !is_image(entry));
        let mut index = index.clone();
        index["manifests"] = first.into_iter().chain(rest.cloned()).collect();
        scene.write("layout/index.json", index.to_string());
    };
    let named = |name: &str| {
        let mut image = image.clone();
        image["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
        image
    };

    let case = "44-layout-two-names";
    with(vec![named("localhost/debian:latest"), named("localhost:5000/debian:stable")]);
    for name in ["", ":localhost/debian:latest", ":localhost:5000/debian:stable", ":stable"] {
        let run = scene.run(&format!("verify --key cosign.pub --no-layers oci:layout{name}"));
        expect(&format!("{case} {name}"), &run, 0, &[]);
    }
    let run = scene.run("verify --key cosign.pub --no-layers oci:layout:1.1.1");
    expect(case, &run, 3, &["it has :localhost/debian:latest, :localhost:5000/debian:stable"]);

    let case = "71-copied-without-signatures";
    scene.write(
        "layout/index.json",
        serde_json::json!({"schemaVersion": 2, "manifests": [image]}).to_string(),
    );
    let run = scene.run("verify --key cosign.pub --no-layers oci:layout");
    expect(case, &run, 1, &["no-signature", "copy it with its signatures"]);
    with(vec![image.clone()]);

    let case = "50-archive-forms";
    scene.run_ok("pull oci:layout -o oci-archive:image.tar");
    for program in ["gzip", "zstd"] {
        let Some(program) = peer(program) else { continue };
        let packed = fs::File::create(scene.at("packed")).unwrap();
        let mut command = Command::new(&program);
        command.arg("-c").arg(scene.at("image.tar")).stdout(Stdio::from(packed));
        assert!(command.status().unwrap().success());
        let expected =
            format!("compressed with {}", program.file_name().unwrap().to_string_lossy());
        expect(case, &scene.run("inspect oci-archive:packed"), 2, &[&expected]);
    }

    let case = "46-key-file-forms";
    let Some(openssl) = peer("openssl") else { return };
    let pkcs1 = Command::new(&openssl).args(["genrsa", "2048"]).output().unwrap().stdout;
    let mut child = Command::new(&openssl)
        .args(["rsa", "-RSAPublicKey_out"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&pkcs1).unwrap();
    scene.write("pkcs1.pub", child.wait_with_output().unwrap().stdout);
    let run = scene.run("verify --key pkcs1.pub --no-layers oci:layout");
    expect(case, &run, 1, &["signer-not-allowed"]);
    scene.write("ssh.pub", "ssh-ed25519 AAAA me@here\n");
    let run = scene.run("verify --key ssh.pub --no-layers oci:layout");
    expect(case, &run, 2, &["`ssh.pub`: not a supported PEM public key", "!authority"]);
}
