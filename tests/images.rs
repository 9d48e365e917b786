//! Plugins from container images: of real registries, and of layouts that other tools make.

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

use cnister::model::Digest;
use serde_json::Value;
use support::upstream::{Upstream, layer};
use support::web::Web;
use support::{Run, Scene, digest_of, peer, plugin, registries};

/// `e_machine` of the two platforms.
const MACHINES: [(&str, u8); 2] = [("amd64", 62), ("arm64", 183)];

/// A program of a few KiB for one machine; another `edition` has other bytes.
fn program(machine: u8, edition: &str) -> Vec<u8> {
    let mut bytes = plugin::answering(&format!("whereabouts{edition}"), 4096);
    bytes[18] = machine;
    bytes
}

/// An image for both platforms, with attestations, whose upper layer replaces a file of the lower;
/// the digest of its index.
fn publish(layout: &Upstream, edition: &str) -> String {
    let mut images = Vec::new();
    for (architecture, machine) in MACHINES {
        let program = program(machine, edition);
        let lower: &[(&str, &[u8])] = &[("etc/os-release", b"ID=x\n"), ("whereabouts", b"old")];
        images.push(layout.image(architecture, &[lower, &[("whereabouts", &program)]]));
        images.push(layout.attestation());
    }
    layout.index("v1", &images)
}

fn define(scene: &Scene, source: &str, platforms: &str) {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [{platforms}]\nsources:\n  - {{name: upstream, {source}}}\n\
         plugins: [whereabouts]\ntool: none\n"
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
    scene.run(&format!("lock bundle.yaml --cache-dir cache {more}"))
}

fn build(scene: &Scene, output: &str) -> Run {
    scene.run(&format!("build bundle.yaml --cache-dir cache -o {output}"))
}

fn locked(scene: &Scene) -> Value {
    serde_json::from_slice(&fs::read(scene.at("bundle.lock.json")).unwrap()).unwrap()
}

/// The names in the cache.
fn cached(scene: &Scene) -> Vec<String> {
    scene.tree("cache").into_keys().filter(|name| name.contains('/')).collect()
}

/// Whether everything in the cache has the digest that its name says.
fn is_whole(scene: &Scene) -> bool {
    cached(scene).iter().all(|name| {
        let content = fs::read(scene.at("cache").join(name)).unwrap();
        *name == format!("sha256/{}", Digest::of(&content).hex())
    })
}

#[test]
fn an_image_is_locked_by_digest_and_a_tag_that_moves_changes_no_build() {
    let Some(skopeo) = peer("skopeo") else { return };
    let registry_folder = tempfile::tempdir().unwrap();
    for server in registries::both(registry_folder.path()) {
        let scene = Scene::new();
        let upstream = Upstream::new(scene.at("upstream"));
        let index = publish(&upstream, "");
        let target = format!("{}/acme/whereabouts:v1", server.host);
        upstream.push(&skopeo, &target);
        define(&scene, &format!("image: \"{target}\""), "linux/amd64, linux/arm64");
        let run = build(&scene, "layout");
        expect(&run, 2, &["the source `upstream` is not a directory", "run `cnister lock bundle"]);
        let run = lock(&scene, "");
        let fetching = format!("fetching {target}");
        expect(&run, 0, &["+ whereabouts linux/arm64: digest ", "level tofu", &fetching]);
        assert_eq!(run.stderr.matches(&fetching).count(), 1, "{}", run.stderr);
        assert!(is_whole(&scene));
        let first = locked(&scene);
        for (entry, (architecture, machine)) in
            first["plugins"].as_array().unwrap().iter().zip(MACHINES)
        {
            assert_eq!(entry["platform"], format!("linux/{architecture}"));
            assert_eq!(entry["request"]["kind"], "image");
            assert_eq!(entry["request"]["location"], target);
            assert_eq!(entry["member"], "/whereabouts");
            let content = program(machine, "");
            assert_eq!(entry["digest"], Digest::of(&content).to_string());
            assert_eq!(entry["image"]["index"], index);
            let top = layer(&[("whereabouts", &content)]);
            assert_eq!(entry["image"]["layer"], Digest::of(&top).to_string());
        }
        let before = fs::read(scene.at("bundle.lock.json")).unwrap();
        expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is as it was"]);
        let built = build(&scene, "layout");
        expect(&built, 0, &[]);
        assert_eq!(built.stderr, "", "all of it is in the cache");
        // The tag is moved: builds do not see it, with the cache or without it.
        publish(&upstream, " rebuilt");
        upstream.push(&skopeo, &target);
        fs::remove_dir_all(scene.at("cache")).unwrap();
        let again = build(&scene, "again");
        expect(&again, 0, &["fetching "]);
        assert_eq!(digest_of(&again), digest_of(&built));
        expect(
            &lock(&scene, ""),
            1,
            &[
                "~ whereabouts linux/amd64: artefact ",
                "upstream's bytes changed under the same location",
            ],
        );
        assert_eq!(fs::read(scene.at("bundle.lock.json")).unwrap(), before);
        expect(&lock(&scene, "--accept whereabouts"), 0, &["index ", "wrote `bundle.lock.json`"]);
        let rebuilt = build(&scene, "rebuilt");
        assert_ne!(digest_of(&rebuilt), digest_of(&built));
        // A definition that fixes the index gets the first again, and no other.
        define(&scene, &format!("image: \"{target}@{index}\""), "linux/amd64, linux/arm64");
        expect(&build(&scene, "fixed"), 2, &["was locked for image `", "the definition asks for"]);
        expect(&lock(&scene, ""), 0, &["from "]);
        assert_eq!(digest_of(&build(&scene, "fixed")), digest_of(&built));
        // Without the registry: what is compared is compared, what is cached is there.
        drop(server);
        expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: `bundle.lock.json` pins what"]);
        assert_eq!(digest_of(&build(&scene, "offline")), digest_of(&built));
        fs::remove_dir_all(scene.at("cache")).unwrap();
        expect(&build(&scene, "never"), 3, &["cannot take `whereabouts` for linux/amd64"]);
        expect(&lock(&scene, ""), 3, &["cannot take `whereabouts` for linux/amd64"]);
        assert!(!scene.at("never").exists() && cached(&scene).is_empty());
    }
}

#[test]
fn what_an_image_does_not_have_is_said_with_source_plugin_and_platform() {
    let scene = Scene::new();
    publish(&Upstream::new(scene.at("upstream")), "");
    let refused = |source: &str, platforms: &str, code: i32, words: &str| {
        define(&scene, source, platforms);
        let run = lock(&scene, "");
        expect(&run, code, &[words, "(source `upstream`) from `oci:upstream:v"]);
        assert!(!scene.at("bundle.lock.json").exists() && !scene.at("cache").exists());
    };
    let image = "image: \"oci:upstream:v1\"";
    refused(
        image,
        "linux/amd64, linux/s390x",
        2,
        "cannot take `whereabouts` for linux/s390x (source `upstream`) from `oci:upstream:v1`: it \
         is not for linux/s390x, only for linux/amd64, linux/arm64",
    );
    let path = |path: &str| {
        format!("image: {{from: \"oci:upstream:v1\", paths: {{whereabouts: {path}}}}}")
    };
    refused(
        &path("/bin/whereabouts"),
        "linux/amd64",
        2,
        "it has no file `/bin/whereabouts`; it has `/whereabouts`",
    );
    refused(
        &path("/etc"),
        "linux/amd64",
        2,
        "`/etc` in it is a directory, expected a regular file",
    );
    define(&scene, &path("/etc/os-release"), "linux/amd64");
    expect(&lock(&scene, ""), 2, &["`/etc/os-release` in `oci:upstream:v1` is not an ELF program"]);
    refused("image: \"oci:upstream:v2\"", "linux/amd64", 3, "has no tag `v2`; it has :v1");
    define(&scene, image, "linux/amd64, linux/arm64");
    expect(&lock(&scene, ""), 0, &[]);
}

#[test]
fn a_lock_that_was_edited_by_hand_builds_nothing() {
    let scene = Scene::new();
    let upstream = Upstream::new(scene.at("upstream"));
    publish(&upstream, "");
    define(&scene, "image: \"oci:upstream:v1\"", "linux/amd64");
    expect(&lock(&scene, ""), 0, &[]);
    let good = locked(&scene);
    let other = Digest::of(b"other").to_string();
    let edit = |path: &str, value: &str| {
        let mut lock = good.clone();
        *lock["plugins"][0].pointer_mut(path).unwrap() = value.into();
        scene.write("bundle.lock.json", lock.to_string());
    };
    let old = good["plugins"][0]["artefact"]["digest"].as_str().unwrap().to_owned();
    let pinned = format!("it is {old}, and {other} is pinned");
    for (path, value, check, words) in [
        ("/artefact/digest", other.as_str(), 0, pinned.as_str()),
        ("/image/index", &other, 0, "has no manifest sha256:"),
        ("/image/layer", &other, 0, "is not what is locked: its layer is sha256:"),
        ("/member", "/bin/sh", 0, "its member is /whereabouts, the lock says /bin/sh"),
        ("/digest", &other, 0, "is not what is locked: its digest is sha256:"),
        ("/request/kind", "archive", 1, "was locked for archive `oci:upstream:v1`"),
        ("/level", "checksum-same-origin", 1, "the kept evidence gives `tofu`"),
    ] {
        edit(path, value);
        expect(&scene.run("lock --check bundle.yaml"), check, &[]);
        let run = build(&scene, "layout");
        let code = if path == "/image/index" { 3 } else { 2 };
        expect(&run, code, &[words]);
        assert!(!scene.at("layout").exists(), "{path}");
    }
    scene.write("bundle.lock.json", good.to_string());
    expect(&build(&scene, "layout"), 0, &[]);
}

#[test]
fn a_layer_that_breaks_off_is_resumed_and_one_with_other_bytes_is_not_kept() {
    let scene = Scene::new();
    let layout = Upstream::new(scene.at("upstream"));
    let mut content = program(62, "");
    // Larger than what is cut off, also when it is compressed.
    let mut state = 1_u32;
    content.extend(
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(300_000),
    );
    let image = layout.image("amd64", &[&[("whereabouts", &content)]]);
    let index = layout.index("v1", &[image]);
    let repository = "/v2/acme/whereabouts";
    let serve = |altered: Option<&str>| {
        let mut files = Vec::new();
        for entry in fs::read_dir(scene.at("upstream/blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let hex = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut bytes = fs::read(&path).unwrap();
            if altered == Some(hex.as_str()) {
                *bytes.last_mut().unwrap() ^= 1;
            }
            if index.ends_with(&hex) {
                files.push((format!("{repository}/manifests/v1"), bytes.clone()));
            }
            files.push((format!("{repository}/manifests/sha256:{hex}"), bytes.clone()));
            files.push((format!("{repository}/blobs/sha256:{hex}"), bytes));
        }
        let files: Vec<_> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
        Web::serve(&files, Some(100_000))
    };
    let top = Digest::of(&layer(&[("whereabouts", &content)]));
    let define = |web: &Web| {
        let host = web.url("").replace("http://", "");
        define(&scene, &format!("image: \"{host}/acme/whereabouts:v1\""), "linux/amd64");
    };
    let web = serve(None);
    define(&web);
    expect(&lock(&scene, ""), 0, &[]);
    let blob = format!("{repository}/blobs/{top}");
    let asked: Vec<String> =
        web.requests().into_iter().filter(|it| it.starts_with(&blob)).collect();
    assert_eq!(asked, [blob.clone(), format!("{blob} from 100000")]);
    assert!(is_whole(&scene) && cached(&scene).contains(&format!("sha256/{}", top.hex())));
    fs::remove_dir_all(scene.at("cache")).unwrap();
    fs::remove_file(scene.at("bundle.lock.json")).unwrap();
    let web = serve(Some(&top.hex()));
    define(&web);
    expect(
        &lock(&scene, ""),
        2,
        &[&format!("blob {top} in "), "is altered: its content has digest"],
    );
    assert!(is_whole(&scene) && !cached(&scene).contains(&format!("sha256/{}", top.hex())));
    assert!(!scene.at("bundle.lock.json").exists());
}

fn run(scene: &Scene, program: &Path, arguments: &str) {
    let mut command: Command = scene.command(program);
    let run = scene.run_command(command.args(arguments.split_whitespace()));
    assert_eq!(run.code, 0, "{arguments}: {}{}", run.stdout, run.stderr);
}

/// As the file is in an image that each of these tools makes, over other files.
#[test]
fn images_of_other_tools_are_read() {
    let content = program(62, "");
    let expected = {
        let scene = Scene::new();
        scene.write("files/whereabouts", &content);
        define(&scene, "directory: files", "linux/amd64");
        digest_of(&build(&scene, "layout"))
    };
    let built = |scene: &Scene, source: &str| {
        define(scene, source, "linux/amd64");
        expect(&lock(scene, ""), 0, &[]);
        assert_eq!(digest_of(&build(scene, "layout")), expected, "{source}");
    };
    if let Some(umoci) = peer("umoci") {
        let scene = Scene::new();
        scene.write("old/x", "x");
        scene.write("bin/whereabouts", &content);
        run(&scene, &umoci, "init --layout image");
        run(&scene, &umoci, "new --image image:v1");
        run(&scene, &umoci, "config --image image:v1 --architecture amd64 --os linux");
        run(&scene, &umoci, "insert --rootless --image image:v1 old /usr/bin");
        run(
            &scene,
            &umoci,
            "insert --rootless --image image:v1 bin/whereabouts /usr/bin/whereabouts",
        );
        built(&scene, "image: \"oci:image:v1\"");
        // An opaque directory hides it.
        run(&scene, &umoci, "insert --rootless --opaque --image image:v1 old /usr/bin");
        define(&scene, "image: \"oci:image:v1\"", "linux/amd64");
        expect(&lock(&scene, ""), 2, &["it has no file `whereabouts` in `/`, `/bin`, "]);
    }
    let registry_folder = tempfile::tempdir().unwrap();
    let Some(server) = registries::docker_registry(registry_folder.path()) else { return };
    if let Some(crane) = peer("crane") {
        // Docker's media types, unless it is told otherwise.
        let scene = Scene::new();
        scene.write("usr/local/bin/whereabouts", &content);
        let tar = Command::new("tar")
            .args(["-cf", "files.tar", "usr"])
            .current_dir(scene.path())
            .status();
        assert!(tar.unwrap().success());
        let target = format!("{}/acme/docker:v1", server.host);
        run(&scene, &crane, &format!("append --insecure -f files.tar -t {target}"));
        run(
            &scene,
            &crane,
            &format!("mutate --insecure --set-platform linux/amd64 -t {target} {target}"),
        );
        let manifest =
            scene.run_command(scene.command(&crane).args(["manifest", "--insecure", &target]));
        assert!(
            manifest.stdout.contains("vnd.docker.distribution.manifest.v2"),
            "{}",
            manifest.stdout
        );
        built(&scene, &format!("image: \"{target}\""));
        if let Some(skopeo) = peer("skopeo") {
            let from = format!("docker://{target}");
            let copy = format!(
                "--insecure-policy copy --src-tls-verify=false {from} oci-archive:image.tar:v1"
            );
            run(&scene, &skopeo, &copy);
            built(&scene, "image: \"oci-archive:image.tar:v1\"");
            let copy = format!(
                "--insecure-policy copy --src-tls-verify=false --dest-compress-format zstd {from} oci:zstd:v1"
            );
            run(&scene, &skopeo, &copy);
            built(&scene, "image: \"oci:zstd:v1\"");
        }
    }
}
