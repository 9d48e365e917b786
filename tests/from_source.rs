//! `bundles/from-source.yaml`: upstream's plugins are compiled to the bytes of the shipped lock,
//! and work.
//!
//! Compiling 18 plugins for six platforms takes minutes: two plugins for two platforms stand for
//! them, unless `CNISTER_FROM_SOURCE=all`, which `make from-source` sets.

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

use cnister::bundle::Definition;
use support::{Run, Scene, digest_of, peer, peers_folder, source};

const TWO: [&str; 2] = ["linux/amd64", "linux/arm64"];

/// What is compiled: platforms and plugins, where none stands for all.
fn part() -> (&'static [&'static str], &'static [&'static str]) {
    match std::env::var_os("CNISTER_FROM_SOURCE") {
        Some(all) if all == "all" => (&[], &[]),
        _ => (&TWO, &["host-local", "macvlan"]),
    }
}

fn run(scene: &Scene, verb: &str, proxy: &str, cache: &str, more: &str) -> Run {
    scene.run(&format!("{verb} bundle.yaml --cache-dir {cache} --goproxy {proxy} {more}"))
}

#[test]
fn the_shipped_lock_is_what_is_compiled_here() {
    let Some(proxy) = source::proxy() else { return };
    let scene = Scene::new();
    let (platforms, plugins) = part();
    source::put(&scene, platforms, plugins);
    scene.run_ok("lock --check bundle.yaml");
    source::new_cache(&scene, "cache");
    // Compiled from nothing that is pinned, and equal to what is.
    let built = run(&scene, "build", &proxy, "cache", "-o layout");
    assert_eq!(built.code, 0, "{}{}", built.stdout, built.stderr);
    assert!(built.stderr.contains("compiling macvlan for linux/arm64"), "{}", built.stderr);
    // Then it is in the cache, and neither a proxy nor Go is needed.
    let again = run(&scene, "build", "off", "cache", "-o again");
    assert_eq!(digest_of(&again), digest_of(&built), "{}", again.stderr);
    assert!(!again.stderr.contains("compiling"), "{}", again.stderr);
    // The origin and the checksum database still say the same.
    let locked = run(&scene, "lock", &proxy, "cache", "");
    assert_eq!(locked.code, 0, "{}{}", locked.stdout, locked.stderr);
    assert!(locked.stdout.contains("`bundle.lock.json` is unchanged"), "{}", locked.stdout);
    for platform in TWO {
        for plugin in ["host-local", "macvlan"] {
            answers_version(&scene, platform, plugin);
        }
    }
}

/// Runs a plugin, under emulation if it is for another machine.
fn answers_version(scene: &Scene, platform: &str, plugin: &str) {
    let (_, architecture) = platform.split_once('/').unwrap();
    let native = [("x86_64", "amd64"), ("aarch64", "arm64")]
        .contains(&(std::env::consts::ARCH, architecture));
    let emulator = match (native, architecture) {
        (true, _) => None,
        (false, "arm64") => Some("qemu-aarch64-static"),
        (false, _) => Some("qemu-x86_64-static"),
    };
    let name = format!("bin-{architecture}/{plugin}");
    let program = scene.put_program(&source::program(scene, "cache", platform, plugin), &name);
    let mut command = match emulator {
        None => Command::new(program),
        Some(emulator) => {
            let Some(emulator) = peer(emulator) else { return };
            let mut command = Command::new(emulator);
            command.arg(program);
            command
        }
    };
    let output = command.env_clear().env("CNI_COMMAND", "VERSION").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{plugin} on {platform}: {said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let versions = said["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&"1.1.0".into()), "{plugin} on {platform}: {said}");
}

#[test]
fn the_go_command_alone_compiles_to_the_same_bytes() {
    let (Some((go, release)), folder) = (source::go(), peers_folder().join("plugins")) else {
        return;
    };
    // The peers are made with `go install PACKAGE@VERSION` and the same flags.
    let described = Command::new(go).args(["version", "-m"]).arg(folder.join("macvlan")).output();
    let described = String::from_utf8(described.unwrap().stdout).unwrap();
    let first = described.lines().next().unwrap_or_default();
    if !first.ends_with(&format!(": go{release}")) || source::proxy().is_none() {
        support::say_skipped("the plugins of the peers were not made with this Go");
        return;
    }
    let scene = Scene::new();
    source::put(&scene, &["linux/amd64"], &[]);
    let lock: serde_json::Value =
        serde_json::from_slice(&fs::read(scene.at("bundle.lock.json")).unwrap()).unwrap();
    let entries = lock["plugins"].as_array().unwrap();
    assert_eq!(entries.len(), 18);
    for entry in entries {
        let content = fs::read(folder.join(entry["name"].as_str().unwrap())).unwrap();
        let digest = cnister::model::Digest::of(&content).to_string();
        assert_eq!(entry["digest"], digest, "{}", entry["name"]);
    }
}

#[test]
fn the_bundle_holds_what_its_comment_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/from-source.yaml");
    let text = fs::read_to_string(path).unwrap();
    let definition = Definition::parse("from-source.yaml", &text).unwrap();
    assert_eq!((definition.plugins.len(), definition.platforms.len()), (18, 6));
    let scene = Scene::new();
    source::put(&scene, &[], &[]);
    let checked = scene.run_ok("lock --check bundle.yaml");
    assert!(checked.stdout.contains("108 pinned files"), "{}", checked.stdout);
    let lock: serde_json::Value =
        serde_json::from_slice(&fs::read(scene.at("bundle.lock.json")).unwrap()).unwrap();
    for entry in lock["plugins"].as_array().unwrap() {
        assert_eq!(entry["level"], "checksum-database", "{entry}");
        assert_eq!(entry["linkage"], "static", "{entry}");
        let release = entry["go"]["go"].as_str().unwrap().trim_start_matches("go");
        assert!(text.contains(&format!("Go {release} ")), "{release}");
    }
}
