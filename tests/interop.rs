//! What we write, the field's tools read.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/registries.rs"]
mod registries;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{Scene, peer};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];

/// Whether each plugin in `folder` is the one that was packed, and can be executed.
fn assert_plugins(scene: &Scene, folder: &str) {
    for name in NAMES {
        let path = scene.at(folder).join("opt/cni/bin").join(name);
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(scene.at("plugins").join(name)).unwrap(),
            "{name}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755, "{name}");
    }
}

#[test]
fn skopeo_inspects_and_copies_the_layout() {
    let Some(skopeo) = peer("skopeo") else { return };
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    let run =
        scene.run_command(scene.command(&skopeo).args(["inspect", "--raw", "oci:layout:1.0.0"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(cnister::model::Digest::of(run.stdout.as_bytes()).to_string(), digest);
    let run = scene.run_command(scene.command(&skopeo).args(["inspect", "oci:layout:1.0.0"]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = scene.run_command(scene.command(&skopeo).args([
        "copy",
        "--all",
        "oci:layout:1.0.0",
        "oci:copy:1.0.0",
    ]));
    assert_eq!(run.code, 0, "{}", run.stderr);
    // skopeo drops referrers; the image itself is the same.
    let copied = scene.run("verify --key cosign.pub oci:copy:1.0.0");
    assert!(copied.stdout.starts_with(&digest), "{}{}", copied.stdout, copied.stderr);
}

#[test]
fn umoci_unpacks_the_layout() {
    let Some(umoci) = peer("umoci") else { return };
    let scene = Scene::new();
    let Some(_) = image::signed(&scene, &NAMES) else { return };
    let run = scene.run_command(scene.command(&umoci).args([
        "unpack",
        "--rootless",
        "--image",
        "layout:1.0.0",
        "unpacked",
    ]));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_plugins(&scene, "unpacked/rootfs");
    assert!(scene.at("unpacked/rootfs/usr/bin/cnister").is_file());
    assert!(scene.at("unpacked/rootfs/usr/share/cnister/bundle.json").is_file());
}

#[test]
fn oras_and_regctl_see_the_referrers_in_the_layout() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    let wanted = "application/vnd.dev.sigstore.bundle.v0.3+json";
    if let Some(oras) = peer("oras") {
        let reference = format!("layout@{digest}");
        let run = scene.run_command(scene.command(&oras).args([
            "discover",
            "--oci-layout",
            "--format",
            "json",
            &reference,
        ]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(wanted), "{}", run.stdout);
    }
    if let Some(regctl) = peer("regctl") {
        let reference = format!("ocidir://layout@{digest}");
        let run = scene.run_command(scene.command(&regctl).args([
            "artifact",
            "list",
            "--format",
            "{{jsonPretty .}}",
            &reference,
        ]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains(wanted), "{}", run.stdout);
    }
}

#[test]
fn oras_and_crane_see_what_was_pushed() {
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    for server in registries::both(scene.path()) {
        let target = format!("{}/cni/test:v1", server.host);
        scene.run_ok(&format!("push oci:layout {target}"));
        if let Some(crane) = peer("crane") {
            let run = scene.run_command(scene.command(&crane).args(["digest", &target]));
            assert_eq!(run.stdout.trim(), digest, "{}: {}", server.name, run.stderr);
        }
        if let Some(oras) = peer("oras") {
            let run = scene.run_command(scene.command(&oras).args([
                "discover",
                "--plain-http",
                "--format",
                "json",
                &target,
            ]));
            assert_eq!(run.code, 0, "{}: {}", server.name, run.stderr);
            assert!(
                run.stdout.contains("vnd.dev.sigstore.bundle"),
                "{}: {}",
                server.name,
                run.stdout
            );
        }
        // And back: the pulled copy verifies as the original does.
        let name = server.name;
        scene.run_ok(&format!("pull {target} -o pulled-{name}"));
        scene.run_ok(&format!("verify --key cosign.pub oci:pulled-{name}:v1"));
        scene.run_ok(&format!("pull {target} -o oci-archive:{name}.tar:v1"));
        scene.run_ok(&format!("verify --key cosign.pub oci-archive:{name}.tar"));
    }
}

#[test]
fn the_ocidir_crate_opens_the_layout() {
    use ocidir::OciRead;
    use ocidir::cap_std::fs::Dir;
    let scene = Scene::new();
    let Some(digest) = image::signed(&scene, &NAMES) else { return };
    let directory =
        Dir::open_ambient_dir(scene.at("layout"), ocidir::cap_std::ambient_authority()).unwrap();
    let layout = ocidir::OciDir::open(directory).unwrap();
    let index = layout.read_index().unwrap();
    let tagged = index.manifests().iter().find(|entry| {
        entry
            .annotations()
            .as_ref()
            .and_then(|all| all.get("org.opencontainers.image.ref.name"))
            .is_some_and(|tag| tag == "1.0.0")
    });
    assert_eq!(tagged.unwrap().digest().to_string(), digest);
    let image = layout.open_image_this_platform(Some("1.0.0")).unwrap();
    assert_eq!(image.manifest.layers().len(), 2);
}
