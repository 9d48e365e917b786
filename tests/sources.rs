//! Bundles from release archives and bare assets, with the plugins of the system.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod sources {
    mod composed;
}
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::forge::Forge;
use support::web::Web;
use support::{Run, Scene, digest_of, plugin, say_skipped};

const PLUGINS: &str = "/usr/lib/cni";
const NAMES: [&str; 3] = ["bridge", "host-local", "macvlan"];

/// A definition of these plugins from one source with this key and value.
fn define(scene: &Scene, source: &str, plugins: &str) {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64]\nsources:\n  - {{name: upstream, {source}}}\n\
         plugins: [{plugins}]\ntool: none\n"
    );
    scene.write("bundle.yaml", text);
}

/// Locks the definition again and builds it; what both say on standard error.
fn build(scene: &Scene, output: &str) -> Run {
    drop(fs::remove_file(scene.at("bundle.lock.json")));
    // Handmade programs for another machine would run under an emulator until the time is over.
    let locked = scene.run("lock bundle.yaml --no-probe");
    if locked.code != 0 {
        return locked;
    }
    let run = scene.run(&format!("build bundle.yaml -o {output}"));
    Run { stderr: locked.stderr + &run.stderr, ..run }
}

/// An archive of real plugins, as upstream's release script makes one; `None` if there are none.
fn release(scene: &Scene, name: &str, options: &str) -> Option<Vec<u8>> {
    if !Path::new(PLUGINS).join("bridge").exists() {
        say_skipped("there are no plugins in /usr/lib/cni");
        return None;
    }
    let mut command = Command::new("tar");
    command.arg("-C").arg(PLUGINS).args(options.split(' ')).arg("-cf").arg(scene.at(name));
    command.args(NAMES.map(|name| format!("./{name}")));
    assert!(command.status().unwrap().success());
    Some(fs::read(scene.at(name)).unwrap())
}

/// Every file below a directory, by its path in it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).iter().map(|it| format!("{name}/{it}"))),
            false => found.push(name),
        }
    }
    found
}

#[test]
fn a_release_has_the_same_plugins_from_a_directory_an_archive_and_a_server() {
    let scene = Scene::new();
    let Some(archive) = release(&scene, "cni-amd64-v1.tgz", "-z") else { return };
    release(&scene, "cni.tar", "--format=gnu").unwrap();
    let sum = scene
        .run_command(Command::new("sha256sum").arg("cni-amd64-v1.tgz").current_dir(scene.path()));
    let hex = sum.stdout.split(' ').next().unwrap().to_owned();
    let web = Web::serve(&[("/v1/cni-amd64-v1.tgz", archive)], Some(100_000));
    let url = web.url("/{version}/cni-{architecture}-{version}.tgz");
    let sources = [
        format!("directory: {PLUGINS}"),
        "archive: cni.tar".to_owned(),
        "archive: {from: \"cni-{architecture}-{version}.tgz\", version: v1}".to_owned(),
        format!("archive: {{from: \"{url}\", version: v1}}"),
        format!("archive: {{from: \"{url}\", version: v1, sha256: {hex}}}"),
        format!("archive: {{from: \"{url}\", version: v1, sha256: {{linux/amd64: {hex}}}}}"),
    ];
    let built = sources.iter().enumerate().map(|(number, source)| {
        define(&scene, source, &NAMES.join(", "));
        let run = build(&scene, &format!("layout{number}"));
        assert_eq!(run.code, 0, "{source}: {}", run.stderr);
        let forge = Forge::new(scene.at(&format!("layout{number}")));
        let index = forge.read(&forge.tagged());
        let manifest = forge.read(index["manifests"][0]["digest"].as_str().unwrap());
        (digest_of(&run), manifest["layers"][0].to_string())
    });
    let (digests, layers): (Vec<String>, Vec<String>) = built.unzip();
    assert!(layers.iter().all(|layer| *layer == layers[0]), "{layers:?}");
    // `bundle.json` names the origin, which a digest in the definition is not part of.
    assert!(digests[3..].iter().all(|digest| *digest == digests[3]), "{digests:?}");
    let different: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(different.len(), 4, "{digests:?}");
    // The first response was cut off. Each lock asks the origin, and each build the cache.
    let path = "/v1/cni-amd64-v1.tgz";
    let (asset, rest) = (path.to_owned(), format!("{path} from 100000"));
    let requests = web.requests().into_iter().filter(|it| *it == asset || *it == rest);
    assert_eq!(
        requests.collect::<Vec<_>>(),
        [asset.clone(), rest.clone(), asset.clone(), asset.clone()]
    );
    let kept = files(&scene.at(".cache/cnister/sha256"));
    assert!(kept.contains(&hex), "{kept:?}");
    // The plugins, their layer, and the other layer of each different image. No local archive.
    assert_eq!(kept.len(), 1 + NAMES.len() + 1 + different.len(), "{kept:?}");
}

#[test]
fn a_bare_asset_is_a_plugin() {
    let scene = Scene::new();
    let program = plugin::answering("whereabouts", 4096);
    let web = Web::serve(&[("/whereabouts-amd64", program)], None);
    let source = format!("file: \"{}\"", web.url("/{plugin}-{architecture}"));
    define(&scene, &source, "whereabouts");
    let run = build(&scene, "layout");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stderr, format!("fetching {}\n", web.url("/whereabouts-amd64")));
    define(&scene, &source, "whereabouts, other");
    let run = build(&scene, "new");
    assert_eq!((run.code, run.stdout.as_str()), (3, ""));
    let words = format!(
        "error: cannot take `other` for linux/amd64 (source `upstream`) from `{0}`: GET `{0}` returned status 404",
        web.url("/other-amd64")
    );
    assert!(run.stderr.contains(&words), "{}", run.stderr);
    assert!(!scene.at("new").exists());
}

#[test]
fn a_lock_that_is_killed_leaves_nothing_half() {
    let scene = Scene::new();
    let program = plugin::answering("bridge", 1 << 20);
    for signal in ["INT", "KILL"] {
        let web = Web::serve(&[("/bridge", program.clone())], Some(500_000));
        web.hang();
        define(&scene, &format!("file: \"{}\"", web.url("/bridge")), "bridge");
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        command.args(["lock", "bundle.yaml"]).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        // Until it is in the middle of the download.
        while web.requests().is_empty() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        if signal == "INT" {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        } else {
            child.kill().unwrap();
        }
        assert!(!child.wait().unwrap().success());
        assert_eq!(files(&scene.at(".cache")), Vec::<String>::new(), "{signal}");
        assert!(!scene.at("layout").exists(), "{signal}");
        let left: Vec<String> = files(scene.path());
        assert_eq!(left, ["bundle.yaml"], "{signal}");
        // Only the first response is cut off.
        let run = build(&scene, "layout");
        assert_eq!(run.code, 0, "{}", run.stderr);
        for folder in ["layout", ".cache"] {
            fs::remove_dir_all(scene.at(folder)).unwrap();
        }
        fs::remove_file(scene.at("bundle.lock.json")).unwrap();
    }
}

#[test]
fn a_cache_is_emptied_and_one_that_others_write_to_is_refused_with_a_hint() {
    let scene = Scene::new();
    let web = Web::serve(&[("/bridge", plugin::answering("bridge", 4096))], None);
    define(&scene, &format!("file: \"{}\"", web.url("/bridge")), "bridge");
    let prune = || scene.run("cache prune --cache-dir cache");
    assert_eq!(prune().stdout, "0 files removed, 0 B freed\n");
    scene.run_ok("lock bundle.yaml --cache-dir cache");
    scene.write("cache/sha256/.cnister-0123456789abcdef", "half");
    let json = scene.run_ok("--format json cache prune --cache-dir cache");
    assert!(json.stdout.contains("\"removed\": 2"), "{}", json.stdout);
    assert_eq!(files(&scene.at("cache")), Vec::<String>::new());
    scene.run_ok("build bundle.yaml --cache-dir cache -o layout");
    // The asset, two layers, and three notes.
    assert_eq!(prune().stdout, "6 files removed, 5.6 kB freed\n");
    // The default is the one of the user.
    scene.run_ok("lock bundle.yaml");
    assert_eq!(scene.run("cache prune").stdout, "1 file removed, 4.1 kB freed\n");
    fs::set_permissions(scene.at("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    for line in ["cache prune", "lock bundle.yaml", "build bundle.yaml -o new"] {
        let run = scene.run(&format!("{line} --cache-dir cache"));
        assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{line}");
        let words = "the cache `cache` can be written by others: it belongs to user ";
        assert!(run.stderr.contains(words), "{}", run.stderr);
        let hint = "\nhint: chmod go-w cache, or name another directory with --cache-dir\n";
        assert!(run.stderr.ends_with(hint), "{}", run.stderr);
    }
    fs::set_permissions(scene.at("cache"), fs::Permissions::from_mode(0o755)).unwrap();
    scene.run_ok("build bundle.yaml --cache-dir cache -o new");
}

#[test]
fn a_refused_archive_leaves_no_layout() {
    let scene = Scene::new();
    let Some(archive) = release(&scene, "good.tgz", "-z") else { return };
    scene.write("cut.tgz", &archive[..archive.len() / 2]);
    scene.write("page.tgz", "<!DOCTYPE html><html><title>Sign in</title></html>");
    let mut command = Command::new("tar");
    command.args(["-C", PLUGINS, "-czf"]).arg(scene.at("hostile.tgz"));
    command.args(["-P", "--transform=s,^,../,", "bridge"]);
    assert!(command.status().unwrap().success());
    for (name, code, words) in [
        ("cut", 2, "the archive cannot be read"),
        ("page", 2, "it is an HTML or XML page"),
        ("hostile", 2, "entry `../bridge`: it is not a relative path of plain names"),
        ("absent", 3, "cannot read it: No such file or directory"),
    ] {
        define(&scene, &format!("archive: {name}.tgz"), "bridge");
        let run = build(&scene, "layout");
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
        let start = format!(
            "error: cannot take `bridge` for linux/amd64 (source `upstream`) from `{name}.tgz`: {words}"
        );
        assert!(run.stderr.starts_with(&start), "{}", run.stderr);
        assert!(!scene.at("layout").exists(), "{name}");
    }
    define(&scene, "archive: good.tgz", "dummy");
    let run = build(&scene, "layout");
    assert!(
        run.stderr.contains("it has no member `dummy`; it has `bridge`, `host-local`, `macvlan`"),
        "{}",
        run.stderr
    );
    define(&scene, "archive: good.tgz", "bridge");
    assert_eq!(build(&scene, "layout").code, 0);
}

/// The definition as it is shipped, but for the server and the digests of what that has.
#[test]
fn the_shipped_definition_of_upstreams_release_is_locked_and_built_twice_the_same() {
    let scene = Scene::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/bundles/multus-base.yaml");
    let mut text = fs::read_to_string(path).unwrap();
    let definition = cnister::bundle::Definition::parse(path, &text).unwrap();
    assert_eq!(definition.plugins.len(), 18);
    let mut served = Vec::new();
    // `e_machine` of each architecture.
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        for wanted in &definition.plugins {
            let module = "github.com/containernetworking/plugins";
            let version = format!("-X {module}/pkg/utils/buildversion.BuildVersion=v1.9.1");
            let lines = format!(
                "path\t{module}/plugins/main/{}\nmod\t{module}\t(devel)\t\n\
                 build\t-ldflags=\"{version}\"\n",
                wanted.name
            );
            let program = plugin::by_go(machine, "go1.24.3", &lines);
            scene.write(&format!("{architecture}/{}", wanted.name), program);
        }
        for more in ["LICENSE", "README.md"] {
            scene.write(&format!("{architecture}/{more}"), more);
        }
        let name = format!("cni-plugins-linux-{architecture}-v1.9.1.tgz");
        let mut tar = Command::new("tar");
        tar.args(["-C", architecture, "-czf", &name, "."]).current_dir(scene.path());
        assert!(tar.status().unwrap().success());
        let archive = fs::read(scene.at(&name)).unwrap();
        let pinned = format!("linux/{architecture}: ");
        let old = text.split(&pinned).nth(1).unwrap()[..64].to_owned();
        text = text.replace(&old, &cnister::model::Digest::of(&archive).hex());
        let sums = format!("{}  {name}\n", cnister::model::Digest::of(&archive).hex());
        served.push((format!("/v1.9.1/{name}"), archive));
        served.push((format!("/v1.9.1/{name}.sha256"), sums.into_bytes()));
    }
    let served: Vec<_> =
        served.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let web = Web::serve(&served, None);
    let upstream = "https://github.com/containernetworking/plugins/releases/download";
    assert!(text.contains(upstream));
    scene.write("bundle.yaml", text.replace(upstream, &web.url("")) + "tool: none\n");
    let first = build(&scene, "first");
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(digest_of(&build(&scene, "second")), digest_of(&first));
    assert_eq!(scene.tree("second"), scene.tree("first"));
    // What upstream would exchange is refused: the definition fixes it.
    let web =
        Web::serve(&[(served[0].0, b"other".to_vec()), (served[2].0, served[2].1.clone())], None);
    let definition = fs::read_to_string(path).unwrap();
    scene.write("bundle.yaml", definition.replace(upstream, &web.url("")) + "tool: none\n");
    let refused = build(&scene, "third");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("b98f74a0f8522f0a"), "{}", refused.stderr);
    assert!(!scene.at("third").exists());
}
