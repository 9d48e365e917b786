//! Other tools read what we write, and we read what they write.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use cnister::bundle::tar::{Extensions, Kind, MAX_EXTENSIONS, Paths, Rest, Rules, TarError, walk};
use support::release::Release;
use support::{Scene, image, peer, registries};

const NAMES: [&str; 3] = ["bridge", "loopback", "macvlan"];

/// Checks that each plugin in `folder` is the packed one and is executable.
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

/// The names that the archives of GNU tar are made with. Ustar has room for the first ones only.
fn names(format: &str) -> Vec<String> {
    let mut names = vec!["file".to_owned(), "d/e/file".to_owned(), "name ".repeat(19)];
    names.push(format!("{}/{}", "a".repeat(90), "b".repeat(90)));
    if format != "ustar" {
        names.push("c".repeat(200));
        names.push("deep/".repeat(60) + "\u{e4}");
    }
    names
}

#[test]
fn archives_of_gnu_tar_are_read_as_the_tar_crate_reads_them() {
    let Some(gnu_tar) = peer("tar") else { return };
    let scene = Scene::new();
    for format in ["gnu", "oldgnu", "ustar", "pax", "v7"] {
        let folder = scene.at(format);
        fs::create_dir(&folder).unwrap();
        for name in names(format).into_iter().filter(|name| format != "v7" || name.len() < 99) {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        }
        fs::hard_link(folder.join("file"), folder.join("hard link")).unwrap();
        symlink("../".repeat(20) + "target", folder.join("symbolic link")).unwrap();
        if !matches!(format, "ustar" | "v7") {
            symlink("../".repeat(200) + "target", folder.join("long link")).unwrap();
        }
        let archive = format!("{format}.tar");
        let run = scene.run_command(scene.command(&gnu_tar).args([
            &format!("--format={format}"),
            "-C",
            format,
            "-cf",
            &archive,
            ".",
        ]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let bytes = fs::read(scene.at(&archive)).unwrap();
        let rules = Rules {
            members: 2000,
            bytes: u64::MAX,
            kinds: &[Kind::File, Kind::Directory, Kind::HardLink, Kind::SymbolicLink],
            extensions: Extensions::OfOneMember,
            paths: Paths::Relative,
            rest: Rest::Zeros,
            extension_bytes: MAX_EXTENSIONS,
        };
        let mut found = Vec::new();
        walk(bytes.as_slice(), &rules, |member| {
            let mut content = Vec::new();
            member.content.read_to_end(&mut content).map_err(TarError::Read)?;
            let target = member.target.map(str::to_owned);
            found.push((member.path.to_owned(), member.kind.letter(), target, content));
            Ok::<_, TarError>(())
        })
        .unwrap_or_else(|error| panic!("{format}: {error}"));

        let mut expected = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let path = path.strip_prefix("./").unwrap().trim_end_matches('/').to_owned();
            let kind = entry.header().entry_type();
            let links = kind.is_hard_link() || kind.is_symlink();
            let target = entry.link_name_bytes().filter(|_| links);
            let target = target.map(|target| String::from_utf8(target.into_owned()).unwrap());
            expected.push((path, char::from(kind.as_byte()).to_string(), target, content));
        }
        assert_eq!(found, expected, "{format}");
        assert!(found.len() >= 8, "{format}: {}", found.len());
    }
}

#[test]
fn a_layout_in_an_archive_of_gnu_tar_is_installed() {
    let Some(gnu_tar) = peer("tar") else { return };
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge"], 0);
    let mut installed = 0;
    for format in ["gnu", "ustar", "pax"] {
        for members in [".", "./blobs ./index.json ./oci-layout", "blobs oci-layout index.json"] {
            let mut command = scene.command(&gnu_tar);
            command.args([&format!("--format={format}"), "-C", "layout-a", "-cf", "layout.tar"]);
            let run = scene.run_command(command.args(members.split(' ')));
            assert_eq!(run.code, 0, "{}", run.stderr);
            installed += 1;
            let root = format!("root-{installed}");
            fs::create_dir_all(scene.at(&root).join("opt/cni/bin")).unwrap();
            scene.run_ok(&format!("install --key cosign.pub --root {root} oci-archive:layout.tar"));
            let bytes = fs::read(scene.at(&root).join("opt/cni/bin/bridge")).unwrap();
            assert_eq!(bytes, release.files["bridge"], "{format} {members}");
        }
    }
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
        // And back: the pulled copy is verified like the original.
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
