//! What a bundle's own container may have copied: a staged directory is exactly what was signed, or
//! it is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use super::forge::Forge;
use super::support::Scene;
use super::{NAMES, image, node, refused_install};

/// Copies the bundle's files to `staged`, as its own container would.
pub(super) fn stage(scene: &Scene) {
    scene.run_ok("pull oci:layout -o unpacked-layout");
    drop(fs::remove_dir_all(scene.at("staged")));
    let forge = Forge::new(scene.at("layout"));
    let manifest =
        forge.read(forge.read(&forge.tagged())["manifests"][0]["digest"].as_str().unwrap());
    let text = manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"].as_str().unwrap();
    scene.write("staged/usr/share/cnister/bundle.json", text);
    for name in NAMES {
        scene.write(
            &format!("staged/opt/cni/bin/{name}"),
            fs::read(scene.at("plugins").join(name)).unwrap(),
        );
    }
}

#[test]
fn a_staged_directory_is_exactly_what_was_signed_or_refused() {
    let scene = Scene::new();
    if image::signed(&scene, &NAMES).is_none() {
        return;
    }
    node(&scene);
    scene.run_ok("evidence oci:layout -o evidence.json");
    let install = "install --from staged --evidence evidence.json --key cosign.pub --root root";
    type Change = fn(&Scene);
    let cases: [(&str, Change, &str); 12] = [
        ("one too many", |scene| drop(scene.write("staged/opt/cni/bin/evil", "x")), "extra-entry"),
        (
            "one too many, hidden",
            |scene| drop(scene.write("staged/opt/cni/bin/.evil", "x")),
            "extra-entry",
        ),
        (
            "one too few",
            |scene| fs::remove_file(scene.at("staged/opt/cni/bin/bridge")).unwrap(),
            "missing-entry",
        ),
        (
            "altered",
            |scene| {
                let mut bytes = fs::read(scene.at("staged/opt/cni/bin/bridge")).unwrap();
                bytes[5000] ^= 1;
                scene.write("staged/opt/cni/bin/bridge", bytes);
            },
            "file-altered",
        ),
        ("longer", |scene| append(scene, b"x"), "file-altered"),
        (
            "sparse and of the right length",
            |scene| {
                let length = fs::metadata(scene.at("staged/opt/cni/bin/bridge")).unwrap().len();
                fs::File::create(scene.at("staged/opt/cni/bin/bridge"))
                    .unwrap()
                    .set_len(length)
                    .unwrap();
            },
            "file-altered",
        ),
        (
            "sparse and endless",
            |scene| {
                fs::File::create(scene.at("staged/opt/cni/bin/bridge"))
                    .unwrap()
                    .set_len(1 << 42)
                    .unwrap()
            },
            "file-altered",
        ),
        (
            "a link",
            |scene| replace(scene, |path| symlink("/bin/true", path).unwrap()),
            "not-a-plain-file",
        ),
        (
            "a second name",
            |scene| {
                replace(scene, |path| {
                    fs::hard_link(path.parent().unwrap().join("macvlan"), path).unwrap()
                })
            },
            "not-a-plain-file",
        ),
        (
            "a FIFO",
            |scene| replace(scene, |path| node_of(path, rustix::fs::FileType::Fifo)),
            "not-a-plain-file",
        ),
        (
            "a socket",
            |scene| replace(scene, |path| node_of(path, rustix::fs::FileType::Socket)),
            "not-a-plain-file",
        ),
        (
            "a directory",
            |scene| replace(scene, |path| fs::create_dir(path).unwrap()),
            "not-a-plain-file",
        ),
    ];
    for (what, change, code) in cases {
        stage(&scene);
        change(&scene);
        let started = Instant::now();
        refused_install(&scene, install, code);
        assert!(started.elapsed() < Duration::from_secs(5), "{what} took {:?}", started.elapsed());
    }
    if rustix::process::geteuid().is_root() {
        stage(&scene);
        replace(&scene, |path| node_of(path, rustix::fs::FileType::CharacterDevice));
        refused_install(&scene, install, "not-a-plain-file");
    }
    stage(&scene);
    for number in 0..100_000 {
        scene.at("staged/opt/cni/bin");
        fs::File::create(scene.at("staged/opt/cni/bin").join(format!("extra-{number}"))).unwrap();
    }
    let started = Instant::now();
    refused_install(&scene, install, "extra-entry");
    // A bound on what an attacker can cost, far above what it takes here.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "100,000 entries took {:?}",
        started.elapsed()
    );
    stage(&scene);
    scene.run_ok(install);
}

fn append(scene: &Scene, more: &[u8]) {
    let mut bytes = fs::read(scene.at("staged/opt/cni/bin/bridge")).unwrap();
    bytes.extend_from_slice(more);
    scene.write("staged/opt/cni/bin/bridge", bytes);
}

fn replace(scene: &Scene, make: impl FnOnce(&Path)) {
    let path = scene.at("staged/opt/cni/bin/bridge");
    fs::remove_file(&path).unwrap();
    make(&path);
}

fn node_of(path: &Path, kind: rustix::fs::FileType) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    // Device 1:3 is /dev/null; the other kinds have none.
    let device =
        if kind == rustix::fs::FileType::CharacterDevice { rustix::fs::makedev(1, 3) } else { 0 };
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).unwrap();
}
