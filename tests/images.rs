//! Plugins from container images: of real registries, and of layouts that other tools make.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod images {
    mod layers;
}
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use cnister::model::Digest;
use serde_json::Value;
use support::forge::Forge;
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
    scene.run(&format!("lock bundle.yaml --cache-dir cache --no-probe {more}"))
}

fn build(scene: &Scene, output: &str) -> Run {
    scene.run(&format!("build bundle.yaml --cache-dir cache -o {output}"))
}

/// The digests of the plugin layers of a layout: what a build took, wherever it is from.
fn layers(scene: &Scene, layout: &str) -> Vec<Value> {
    let forge = Forge::new(scene.at(layout));
    let index = forge.read(&forge.tagged());
    let manifests = index["manifests"].as_array().unwrap();
    let manifests = manifests.iter().map(|it| forge.read(it["digest"].as_str().unwrap()));
    manifests.map(|manifest| manifest["layers"][0]["digest"].clone()).collect()
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
        expect(&lock(&scene, ""), 0, &["`bundle.lock.json` is unchanged"]);
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
        let fixed = build(&scene, "fixed");
        assert_eq!(layers(&scene, "fixed"), layers(&scene, "layout"), "{fixed:?}");
        // Without the registry: what is compared is compared, what is cached is there.
        drop(server);
        expect(&scene.run("lock --check bundle.yaml"), 0, &["yes: `bundle.lock.json` pins what"]);
        assert_eq!(digest_of(&build(&scene, "offline")), digest_of(&fixed));
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
        "its path `/etc` is a directory, expected a regular file",
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
    layout.index("v1", &[image]);
    let repository = "/v2/acme/whereabouts";
    let serve = |altered: Option<&str>| {
        let mut files = layout.served("acme/whereabouts", "v1");
        for (path, bytes) in &mut files {
            if altered.is_some_and(|hex| path.ends_with(hex)) {
                *bytes.last_mut().unwrap() ^= 1;
            }
        }
        serve(&files, Some(100_000))
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

fn serve(files: &[(String, Vec<u8>)], cut: Option<usize>) -> Web {
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    Web::serve(&files, cut)
}

/// The definition as it is shipped, but for the servers and the digests of what they have.
#[test]
fn the_shipped_definition_of_several_projects_is_locked_and_built_twice_the_same() {
    let scene = Scene::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/bundles/third-party.yaml");
    let mut text = fs::read_to_string(path).unwrap();
    let definition = cnister::bundle::Definition::parse(path, &text).unwrap();
    let github = "https://github.com";
    // What is in each archive and image, by its location, and for which platform.
    let mut contents = BTreeMap::<_, Vec<_>>::new();
    for ((name, platform), request) in definition.requests() {
        let machine = MACHINES.iter().find(|(it, _)| *it == platform.architecture()).unwrap().1;
        let mut program = plugin::answering(name.as_str(), 4096);
        program[18] = machine;
        let member = request.member.clone().unwrap_or_else(|| name.to_string());
        let key = (request.kind, request.location, platform);
        contents.entry(key).or_default().push((member, program));
    }
    let mut served = Vec::new();
    let mut images = BTreeMap::<_, Vec<_>>::new();
    for ((kind, location, platform), files) in &contents {
        let files: Vec<_> = files
            .iter()
            .map(|(path, bytes)| (path.trim_start_matches('/'), bytes.as_slice()))
            .collect();
        if kind == "image" {
            let layout = Upstream::new(scene.at("images").join(location.replace(['/', ':'], "-")));
            let image = layout.image(platform.architecture(), &[&files]);
            images.entry(location.clone()).or_default().push(image);
            continue;
        }
        let archive = layer(&files);
        let path = location.strip_prefix(github).unwrap().to_owned();
        let (folder, file) = path.rsplit_once('/').unwrap();
        let sum = format!("{}  {file}\n", Digest::of(&archive).hex());
        // As these projects publish their sums.
        if path.contains("/flannel-io/") {
            served.push((format!("{path}.sha256"), sum.into_bytes()));
        } else if path.contains("/multus-cni/") {
            let sums = format!("{folder}/checksums.txt");
            match served.iter_mut().find(|(path, _)| *path == sums) {
                Some((_, sums)) => sums.extend_from_slice(sum.as_bytes()),
                None => served.push((sums, sum.into_bytes())),
            }
        } else {
            let pinned = format!("linux/{}: ", platform.architecture());
            let old = text.split(&pinned).nth(1).unwrap()[..64].to_owned();
            text = text.replace(&old, &Digest::of(&archive).hex());
        }
        served.push((path, archive));
    }
    for (location, images) in &images {
        let layout = Upstream::new(scene.at("images").join(location.replace(['/', ':'], "-")));
        let (repository, tag) = location.strip_prefix("ghcr.io/").unwrap().split_once(':').unwrap();
        layout.index(tag, images);
        served.extend(layout.served(repository, tag));
    }
    let web = serve(&served, None);
    let host = web.url("").replace("http://", "");
    let text = text.replace(github, &web.url("")).replace("ghcr.io", &host) + "tool: none\n";
    scene.write("bundle.yaml", text);
    expect(&lock(&scene, ""), 0, &["24 pinned files"]);
    let locked = locked(&scene);
    for (name, level) in [
        ("macvlan", "tofu"),
        ("multus", "checksum-same-origin"),
        ("flannel", "checksum-same-origin"),
        ("whereabouts", "tofu"),
        ("sriov", "tofu"),
    ] {
        let entries = locked["plugins"].as_array().unwrap().iter();
        let levels: Vec<_> =
            entries.filter(|entry| entry["name"] == name).map(|entry| &entry["level"]).collect();
        assert_eq!(levels, [level, level], "{name}");
    }
    let first = build(&scene, "first");
    expect(&first, 0, &[]);
    assert_eq!(digest_of(&build(&scene, "second")), digest_of(&first));
    assert_eq!(scene.tree("second"), scene.tree("first"));
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
        expect(&build(&scene, "layout"), 0, &[]);
        layers(&scene, "layout")
    };
    let built = |scene: &Scene, source: &str| {
        define(scene, source, "linux/amd64");
        expect(&lock(scene, ""), 0, &[]);
        expect(&build(scene, "layout"), 0, &[]);
        assert_eq!(layers(scene, "layout"), expected, "{source}");
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
