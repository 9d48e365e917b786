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
        "gate `minGo` refuses `host-local`, `macvlan` on linux/amd64: built by go1.",
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
        "gate `minGo` refuses `macvlan`, `tuning` on linux/amd64: built by go1.19.8; take a build",
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
        &["gate `oneToolchain` refuses `ptp` on linux/amd64: built by go1.19.8, most others by go"],
    );
    define(&scene, "directory: mixed", "macvlan, tap", "{oneToolchain: true}");
    accepted(&build(&scene));
}

/// Builds a program of this main package with Go, without any other module.
fn go_build(scene: &Scene, go: &Path, package: &str, name: &str, flags: &[&str]) {
    let folder = format!("source-{name}");
    scene.write(&format!("{folder}/go.mod"), format!("module {package}\n\ngo 1.21\n"));
    scene.write(&format!("{folder}/main.go"), "package main\n\nfunc main() {}\n");
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/go-build"));
    let mut command = scene.command(go);
    command.current_dir(scene.at(&folder)).args(["build", "-o"]);
    command.arg(scene.at("built").join(name)).args(flags).arg(".");
    command.env("GOCACHE", cache.unwrap_or_else(|| scene.at("go-cache")));
    command.envs([("GOFLAGS", ""), ("GOPROXY", "off"), ("GOTOOLCHAIN", "local")]);
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
    let line = "gate `versionMatches` refuses `bridge`, `macvlan` on linux/amd64: says v1.2.3 of \
                itself, expected v1.2.4";
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
    let line = "gate `noPacker` refuses `macvlan` on linux/amd64: packed with UPX; take the";
    refused(&build(&scene), 2, &[line]);
}
