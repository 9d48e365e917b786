//! Gates, judged over real plugins: upstream's, Debian's, and programs that Go builds here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Run, Scene, note_peer, peer, peers_folder};

const DEBIAN: &str = "/usr/lib/cni";

/// Every gate that upstream's own builds pass, whoever asks them.
const ALL: &str = "{static: true, minGo: \"1.24\", oneToolchain: true, versionMatches: true, \
    mainPackage: true, noDevel: true, noPacker: true, allowSetId: [], kubernetes: \">=1.30\", \
    minLevel: checksum-same-origin}";

/// Writes a definition of these plugins from one source, with these gates.
fn define(scene: &Scene, source: &str, plugins: &str, gates: &str) {
    let text = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64]\nsources: [{{name: here, {source}}}]\nplugins: [{plugins}]\n\
         gates: {gates}\ntool: none\n"
    );
    scene.write("bundle.yaml", text);
}

fn build(scene: &Scene) -> Run {
    let run = scene.run("build bundle.yaml --cache-dir cache -o layout");
    drop(fs::remove_dir_all(scene.at("layout")));
    run
}

fn lock(scene: &Scene, more: &str) -> Run {
    scene.run(&format!("lock bundle.yaml --cache-dir cache {more}"))
}

/// Expects a refusal whose lines these are, in their order.
fn refused(run: &Run, code: i32, lines: &[&str]) {
    let said = format!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, code, "{said}");
    let found: Vec<&str> = said.lines().filter(|line| line.contains("gate `")).collect();
    assert_eq!(found.len(), lines.len(), "{said}");
    for (found, expected) in found.iter().zip(lines) {
        assert!(found.contains(expected), "{expected} is not in: {found}");
    }
}

fn accepted(run: &Run) {
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
}

/// Upstream's plugins as Go builds them here, if there are any.
fn upstream() -> Option<PathBuf> {
    let folder = peers_folder().join("plugins");
    let is_there = folder.join("macvlan").is_file();
    note_peer("upstream's plugins", is_there);
    is_there.then_some(folder)
}

fn debian() -> Option<&'static Path> {
    let folder = Path::new(DEBIAN);
    let is_there = folder.join("macvlan").is_file();
    note_peer("containernetworking-plugins", is_there);
    is_there.then_some(folder)
}

fn shell(scene: &Scene, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(scene.path()).status();
    assert!(status.unwrap().success(), "{script}");
}

/// Packs a folder as a release with its checksum file.
fn publish(scene: &Scene, folder: &Path, version: &str) {
    let archive = format!("plugins-{version}.tgz");
    let script = format!(
        "tar --sort=name -C {} -czf {archive} . && sha256sum {archive} > {archive}.sha256",
        folder.display()
    );
    shell(scene, &script);
}

#[test]
fn a_release_passes_every_gate_and_the_bundle_says_where_it_came_from() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    publish(&scene, &folder, "v1.9.1");
    let source = "archive: {from: \"plugins-{version}.tgz\", version: v1.9.1}";
    define(&scene, source, "macvlan, host-local", ALL);
    accepted(&lock(&scene, ""));
    let locked = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    for said in ["\"module\": \"github.com/containernetworking/plugins\"", "\"GOAMD64\": \"v1\""] {
        assert!(locked.contains(said), "{locked}");
    }
    accepted(&scene.run("lock --check bundle.yaml"));
    accepted(&scene.run("build bundle.yaml --cache-dir cache -o layout"));
    let said = "from archive `plugins-v1.9.1.tgz`, version v1.9.1, level checksum-same-origin: \
                host-local, macvlan";
    let inspected = scene.run_ok("inspect oci:layout").stdout;
    assert!(inspected.contains(said), "{inspected}");
    let inspected = scene.run_ok("inspect oci:layout --format json").stdout;
    for said in ["\"level\": \"checksum-same-origin\"", "\"member\": \"macvlan\""] {
        assert!(inspected.contains(said), "{inspected}");
    }
    // On a node, from the records alone.
    scene.run_ok("keygen");
    scene.run_ok("sign --key cosign.key oci:layout");
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    let status = scene.run_ok("status --root root").stdout;
    assert!(status.contains(said), "{status}");
    let status = scene.run_ok("status --root root --format json").stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let origin = &status["present"]["origins"][1];
    assert_eq!(
        *origin,
        serde_json::json!({
            "name": "macvlan", "kind": "archive", "source": "here", "level": "checksum-same-origin",
            "location": "plugins-v1.9.1.tgz", "member": "macvlan", "version": "v1.9.1",
        })
    );
}

#[test]
fn a_change_of_gates_makes_no_lock_stale_and_is_judged_offline() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    publish(&scene, &folder, "v1.9.1");
    let source = "archive: {from: \"plugins-{version}.tgz\", version: v1.9.1}";
    define(&scene, source, "macvlan, host-local", "{}");
    accepted(&lock(&scene, ""));
    let before = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    define(&scene, source, "macvlan, host-local", ALL);
    accepted(&scene.run("lock --check bundle.yaml"));
    accepted(&build(&scene));
    define(&scene, source, "macvlan, host-local", "{minLevel: checksum-independent, minGo: 1.99}");
    let lines = [
        "gate `minGo` refuses `host-local`, `macvlan` on linux/amd64: built with go1.",
        "gate `minLevel` refuses `host-local`, `macvlan` on linux/amd64: its origin is verified as \
         `checksum-same-origin`, expected `checksum-independent`; name a checksum file on another",
    ];
    refused(&scene.run("lock --check bundle.yaml"), 1, &lines);
    refused(&build(&scene), 2, &lines);
    refused(&lock(&scene, ""), 1, &lines);
    assert_eq!(fs::read_to_string(scene.at("bundle.lock.json")).unwrap(), before);
    // A lock that says better of a program than its bytes do is refused by the build.
    define(&scene, source, "macvlan, host-local", "{minGo: 1.99}");
    let go = before.split("\"go\": \"").nth(1).unwrap().split('"').next().unwrap();
    scene.write("bundle.lock.json", before.replace(go, "go1.99"));
    accepted(&scene.run("lock --check bundle.yaml"));
    let run = build(&scene);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("its Go build information is go1."), "{}", run.stderr);
}

#[test]
fn all_that_debians_plugins_are_not_is_said_at_once() {
    let Some(folder) = debian() else { return };
    let scene = Scene::new();
    let source = format!("directory: {}", folder.display());
    let lines = [
        "gate `static` refuses `macvlan`, `tuning` on linux/amd64: linked dynamically, needs `/lib",
        "gate `minGo` refuses `macvlan`, `tuning` on linux/amd64: built with go1.19.8; use a build",
        "gate `versionMatches` refuses `macvlan`, `tuning` on linux/amd64: its source has no ver",
        "gate `noDevel` refuses `macvlan`, `tuning` on linux/amd64: its main module has no version",
        "gate `kubernetes` refuses `macvlan`, `tuning` on linux/amd64: the modules that it links",
        "gate `minLevel` refuses `macvlan`, `tuning` on linux/amd64: its origin is verified as",
    ];
    define(&scene, &source, "tuning, macvlan", ALL);
    refused(&build(&scene), 2, &lines);
    assert!(!scene.at("layout").exists());
    refused(&lock(&scene, ""), 1, &lines);
    assert!(!scene.at("bundle.lock.json").exists());
    let gates = "{static: false, minGo: \"1.19\", oneToolchain: true, mainPackage: true, \
                 noPacker: true, allowSetId: [], minLevel: none}";
    define(&scene, &source, "tuning, macvlan", gates);
    accepted(&build(&scene));
    accepted(&lock(&scene, ""));
}

#[test]
fn a_bundle_of_two_toolchains_names_those_that_differ() {
    let (Some(upstream), Some(debian)) = (upstream(), debian()) else { return };
    let scene = Scene::new();
    fs::create_dir(scene.at("mixed")).unwrap();
    for (folder, name) in [(upstream.as_path(), "macvlan"), (&upstream, "tap"), (debian, "ptp")] {
        fs::copy(folder.join(name), scene.at("mixed").join(name)).unwrap();
    }
    define(&scene, "directory: mixed", "macvlan, tap, ptp", "{oneToolchain: true}");
    refused(
        &build(&scene),
        2,
        &[
            "gate `oneToolchain` refuses `ptp` on linux/amd64: built with go1.19.8, most others with go",
        ],
    );
    define(&scene, "directory: mixed", "macvlan, tap", "{oneToolchain: true}");
    accepted(&build(&scene));
}

/// Builds a program of this main package with Go, without any other module.
fn go_build(scene: &Scene, go: &Path, package: &str, name: &str, flags: &[&str]) {
    go_build_of(scene, go, "amd64", package, name, flags, "func main() { os.Exit(0) }");
}

/// The same with this content, for an architecture.
fn go_build_of(
    scene: &Scene,
    go: &Path,
    architecture: &str,
    package: &str,
    name: &str,
    flags: &[&str],
    body: &str,
) {
    let folder = format!("source-{name}");
    scene.write(&format!("{folder}/go.mod"), format!("module {package}\n\ngo 1.21\n"));
    let source = format!("package main\n\nimport \"os\"\n\n{body}\n");
    scene.write(&format!("{folder}/main.go"), source);
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/go-build"));
    let mut command = scene.command(go);
    command.current_dir(scene.at(&folder)).args(["build", "-o"]);
    command.arg(scene.at("built").join(name)).args(flags).arg(".");
    command.env("GOCACHE", cache.unwrap_or_else(|| scene.at("go-cache")));
    command.envs([("GOFLAGS", ""), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
    command.envs([("GOARCH", architecture), ("GOOS", "linux")]);
    command.envs([("CGO_ENABLED", "0"), ("GOENV", "off"), ("GOWORK", "off")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_go_builds_is_held_to_its_name_and_version() {
    let Some(go) = peer("go") else { return };
    let scene = Scene::new();
    let version = ["-ldflags=-X main.version=v1.2.3"];
    go_build(&scene, &go, "example.com/ipvlan", "macvlan", &version);
    go_build(&scene, &go, "example.com/cni/bridge", "bridge", &version);
    shell(&scene, "tar -C built -czf built.tgz .");
    let source = |version: &str| format!("archive: {{from: built.tgz, version: {version}}}");
    let both = "macvlan, bridge";
    define(&scene, &source("v1.2.3"), both, "{mainPackage: true}");
    let line = "gate `mainPackage` refuses `macvlan` on linux/amd64: its main package is \
                `example.com/ipvlan`; if it is the right one, write `mainPackage: {macvlan: exam";
    refused(&lock(&scene, ""), 1, &[line]);
    let named = "{mainPackage: {macvlan: example.com/ipvlan}, versionMatches: true}";
    define(&scene, &source("v1.2.3"), both, named);
    accepted(&lock(&scene, ""));
    accepted(&build(&scene));
    define(&scene, &source("1.2.3"), both, named);
    accepted(&lock(&scene, ""));
    define(&scene, &source("v1.2.4"), both, named);
    let line = "gate `versionMatches` refuses `bridge`, `macvlan` on linux/amd64: records \
                version v1.2.3, expected v1.2.4";
    refused(&lock(&scene, ""), 1, &[line]);
    // A module that is built where it is has no version.
    define(&scene, &source("v1.2.3"), both, "{noDevel: true}");
    let line = "gate `noDevel` refuses `bridge`, `macvlan` on linux/amd64: its main module has no";
    refused(&lock(&scene, ""), 1, &[line]);
}

#[test]
fn set_id_bits_and_capabilities_are_refused_unless_they_are_named() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    let path = scene.put_program(&folder.join("macvlan"), "own/macvlan");
    let judge = |source: &str, refusal: Option<&str>| {
        define(&scene, source, "macvlan", "{allowSetId: []}");
        match refusal {
            Some(found) => {
                let line = format!("gate `allowSetId` refuses `macvlan` on linux/amd64: {found}");
                refused(&lock(&scene, ""), 1, &[&line]);
                define(&scene, source, "macvlan", "{allowSetId: [macvlan]}");
                accepted(&lock(&scene, ""));
            }
            None => accepted(&lock(&scene, "")),
        }
        drop(fs::remove_file(scene.at("bundle.lock.json")));
    };
    for (mode, refusal) in [
        (0o755, None),
        (0o4755, Some("its file has the set-user-ID bit in the source; find out why")),
        (0o2755, Some("its file has the set-group-ID bit in the source")),
    ] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        judge("directory: own", refusal);
        shell(&scene, "tar -C own -czf own.tgz .");
        judge("archive: own.tgz", refusal);
    }
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let Some(setcap) = peer("setcap") else { return };
    let set = Command::new(setcap).arg("cap_net_admin+ep").arg(&path).output().unwrap();
    if !set.status.success() {
        support::say_skipped("this file system has no capabilities");
        return;
    }
    let refusal = Some("its file has file capabilities in the source");
    judge("directory: own", refusal);
    shell(&scene, "tar --xattrs --xattrs-include='*' -C own -czf own.tgz .");
    judge("archive: own.tgz", refusal);
    // The bundle has neither, whatever the source has.
    define(&scene, "directory: own", "macvlan", "{allowSetId: [macvlan]}");
    accepted(&build(&scene));
}

/// A plugin in Go that answers VERSION with these versions.
fn answering(scene: &Scene, go: &Path, architecture: &str, versions: &str) {
    let answer =
        format!("{{\\\"cniVersion\\\":\\\"1.0.0\\\",\\\"supportedVersions\\\":[{versions}]}}");
    let body = format!("func main() {{ println(\"asked\"); os.Stdout.WriteString(\"{answer}\") }}");
    go_build_of(scene, go, architecture, "example.com/cni/asked", "asked", &[], &body);
}

#[test]
fn a_lock_asks_once_and_a_build_repeats_the_answer() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    scene.put_program(&folder.join("macvlan"), "own/macvlan");
    define(&scene, "directory: own", "macvlan", "{cniVersion: 1.1.0}");
    let run = lock(&scene, "");
    accepted(&run);
    let locked = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    assert!(locked.contains("\"asked\": \"native\""), "{locked}");
    let facts = || {
        scene.run_ok("build bundle.yaml -o layout");
        let inspected = scene.run_ok("inspect oci:layout --format json").stdout;
        fs::remove_dir_all(scene.at("layout")).unwrap();
        let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        inspected["platforms"][0]["bundle"]["plugins"][0]["facts"]["cniVersions"].clone()
    };
    let versions = facts();
    assert!(versions.as_array().unwrap().contains(&"1.1.0".into()), "{versions}");
    // The next lock and a build believe what is locked: neither asks again.
    scene.write("bundle.lock.json", locked.replace("\"1.1.0\"", "\"1.1.7\""));
    define(&scene, "directory: own", "macvlan", "{cniVersion: 1.1.7}");
    accepted(&lock(&scene, "--update"));
    assert!(fs::read_to_string(scene.at("bundle.lock.json")).unwrap().contains("1.1.7"));
    accepted(&scene.run("lock --check bundle.yaml"));
    assert!(facts().as_array().unwrap().contains(&"1.1.7".into()));
    let line = "gate `cniVersion` refuses `macvlan` on linux/amd64: supports CNI 0.1.0, 0.2.0, ";
    define(&scene, "directory: own", "macvlan", "{cniVersion: 1.1.0}");
    refused(&build(&scene), 2, &[line]);
    // Without a lock, and where nothing may be executed, they are unknown.
    fs::remove_file(scene.at("bundle.lock.json")).unwrap();
    let line = "gate `cniVersion` refuses `macvlan` on linux/amd64: its CNI versions are unknown: it \
                was not asked; run `cnister lock` where it can be executed";
    refused(&build(&scene), 2, &[line]);
    refused(&lock(&scene, "--no-probe"), 1, &[line]);
    define(&scene, "directory: own", "macvlan", "{}");
    accepted(&lock(&scene, "--no-probe"));
    assert_eq!(facts(), serde_json::Value::Null);
    let run = lock(&scene, "");
    accepted(&run);
    assert!(run.stdout.contains("CNI versions unknown -> 0.1.0, 0.2.0"), "{}", run.stdout);
}

#[test]
fn what_is_refused_otherwise_is_not_executed() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    scene.put_program(&folder.join("macvlan"), "own/macvlan");
    define(&scene, "directory: own", "macvlan", "{cniVersion: 9.9.9, minLevel: tofu}");
    // Only the level is said: to know the versions, it would have to be executed.
    let line = "gate `minLevel` refuses `macvlan` on linux/amd64: its origin is verified as `none`";
    refused(&lock(&scene, ""), 1, &[line]);
    define(&scene, "directory: own", "macvlan", "{cniVersion: 9.9.9}");
    let line = "gate `cniVersion` refuses `macvlan` on linux/amd64: supports CNI 0.1.0, 0.2.0, ";
    refused(&lock(&scene, ""), 1, &[line]);
}

#[test]
fn a_plugin_that_gives_no_answer_stays_unknown() {
    let Some(go) = peer("go") else { return };
    let scene = Scene::new();
    for (versions, reason) in [
        ("", "it does not answer with a list of versions"),
        ("7", "it does not answer like a CNI plugin"),
    ] {
        answering(&scene, &go, "amd64", versions);
        define(&scene, "directory: built", "asked", "{}");
        let run = lock(&scene, "");
        accepted(&run);
        let note = format!("note: CNI versions of `asked` on linux/amd64 are unknown: {reason}");
        assert!(run.stdout.contains(&note), "{}", run.stdout);
    }
}

#[test]
fn a_plugin_for_another_processor_is_asked_by_an_emulator() {
    let (Some(go), Some(qemu)) = (peer("go"), peer("qemu-aarch64-static")) else { return };
    let scene = Scene::new();
    answering(&scene, &go, "arm64", "\\\"0.4.0\\\",\\\"1.0.0\\\"");
    define(&scene, "directory: built", "asked", "{cniVersion: 1.0.0}");
    let text = fs::read_to_string(scene.at("bundle.yaml")).unwrap();
    scene.write("bundle.yaml", text.replace("linux/amd64", "linux/arm64"));
    let with_path = |path: &Path| {
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(["lock", "bundle.yaml"]).env("PATH", path))
    };
    let run = with_path(Path::new("/nowhere"));
    let line = "gate `cniVersion` refuses `asked` on linux/arm64: its CNI versions are unknown: ";
    refused(&run, 1, &[line]);
    let note = "note: CNI versions of `asked` on linux/arm64 are unknown: it cannot be executed \
                here: `qemu-aarch64` is not installed";
    assert!(run.stdout.contains(note), "{}", run.stdout);
    accepted(&with_path(qemu.parent().unwrap()));
    let locked = fs::read_to_string(scene.at("bundle.lock.json")).unwrap();
    assert!(locked.contains("\"asked\": \"qemu\""), "{locked}");
    // What was answered once is known where there is no emulator.
    accepted(&with_path(Path::new("/nowhere")));
    accepted(&build(&scene));
}

#[test]
fn a_packed_program_is_refused() {
    let Some(folder) = upstream() else { return };
    let scene = Scene::new();
    let path = scene.put_program(&folder.join("macvlan"), "own/macvlan");
    define(&scene, "directory: own", "macvlan", "{noPacker: true}");
    accepted(&build(&scene));
    // What UPX leaves at the end of a program.
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"UPX!\x0d\x16\x0e\x0a");
    bytes.resize(bytes.len() + 28, 0);
    fs::write(&path, bytes).unwrap();
    let line = "gate `noPacker` refuses `macvlan` on linux/amd64: packed with UPX; use the";
    refused(&build(&scene), 2, &[line]);
}
