//! `bundles/from-source.yaml` and its lock, or a part of them, in a scene.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Scene, peer, peers_required, say_skipped};

/// The release of Go that is installed, without `go` before it, and its program.
pub fn go() -> Option<(PathBuf, String)> {
    let program = peer("go")?;
    let release = env(&program, "GOVERSION").trim_start_matches("go").to_owned();
    Some((program, release))
}

/// The program of another release of Go, which the installed one downloads.
pub fn another_go(release: &str) -> Option<PathBuf> {
    let mut command = Command::new(peer("go")?);
    command.args(["env", "GOROOT"]).env("GOTOOLCHAIN", format!("go{release}"));
    let output = command.output().expect("go runs");
    if !output.status.success() {
        let reason = format!("Go {release} cannot be downloaded");
        assert!(!peers_required(), "{reason}: {}", String::from_utf8_lossy(&output.stderr));
        say_skipped(&reason);
        return None;
    }
    let root = String::from_utf8(output.stdout).expect("text");
    Some(Path::new(root.trim()).join("bin/go"))
}

fn env(program: &Path, name: &str) -> String {
    let printed = Command::new(program).args(["env", name]).output().expect("go runs").stdout;
    String::from_utf8(printed).expect("text").trim().to_owned()
}

/// The module proxies of this machine; `None` if the release of Go is not the one of the shipped
/// lock, or modules only come from version control.
pub fn proxy() -> Option<String> {
    let (program, release) = go()?;
    let text = shipped("from-source.yaml");
    if !text.contains(&format!("toolchain: {release}\n")) {
        let reason = format!("bundles/from-source.lock.json was not made with Go {release}");
        assert!(!peers_required(), "{reason}");
        say_skipped(&reason);
        return None;
    }
    let all = env(&program, "GOPROXY");
    let proxies: Vec<&str> = all.split([',', '|']).filter(|it| *it != "direct").collect();
    if proxies.is_empty() || proxies == ["off"] {
        say_skipped("this machine has no module proxy");
        return None;
    }
    Some(proxies.join(","))
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles").join(name);
    fs::read_to_string(path).expect("a shipped file")
}

/// Puts a part of the shipped definition into a scene as `bundle.yaml`, with that part of its lock.
/// An empty list stands for all.
pub fn put(scene: &Scene, platforms: &[&str], plugins: &[&str]) {
    let is_wanted = |name: &str| plugins.is_empty() || plugins.contains(&name);
    let has_platform = |name: &str| platforms.is_empty() || platforms.contains(&name);
    let mut text = String::new();
    for line in shipped("from-source.yaml").lines() {
        let package = line.strip_prefix("        ").and_then(|rest| rest.split_once(": ./"));
        let name = package.map(|(name, _)| name).or_else(|| line.strip_prefix("  - "));
        match line.strip_prefix("platforms: ") {
            Some(_) if !platforms.is_empty() => {
                text += &format!("platforms: [{}]\n", platforms.join(", "));
            }
            _ if name.is_some_and(|name| !name.starts_with("name: ") && !is_wanted(name)) => {}
            _ => text += &format!("{line}\n"),
        }
    }
    scene.write("bundle.yaml", text + "tool: none\n");
    let mut lock: Value = serde_json::from_str(&shipped("from-source.lock.json")).expect("JSON");
    lock["plugins"].as_array_mut().expect("a list").retain(|entry| {
        let text = |key: &str| entry[key].as_str().expect("text");
        is_wanted(text("name")) && has_platform(text("platform"))
    });
    scene.write("bundle.lock.json", lock.to_string());
    let evidence = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/from-source.lock.evidence");
    for file in fs::read_dir(evidence).expect("evidence").map(|it| it.expect("an entry")) {
        let name = file.file_name().into_string().expect("a digest");
        let content = fs::read(file.path()).expect("evidence");
        scene.write(&format!("bundle.lock.evidence/{name}"), content);
    }
}

/// Makes a cache that has what this machine downloaded and compiled for earlier tests, but no
/// result. Compiling the standard library is what takes long.
pub fn new_cache(scene: &Scene, name: &str) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(scene.at(name).join("go")).expect("a folder");
    for (here, there) in [("go/build", "go-build"), ("go/pkg", "go-modules")] {
        fs::create_dir_all(shared.join(there)).expect("a folder");
        symlink(shared.join(there), scene.at(name).join(here)).expect("a link");
    }
}

/// The program that a cache has of a plugin, after it was compiled.
pub fn program(scene: &Scene, cache: &str, platform: &str, plugin: &str) -> PathBuf {
    let lock = fs::read(scene.at("bundle.lock.json")).expect("a lock");
    let lock: Value = serde_json::from_slice(&lock).expect("JSON");
    let entries = lock["plugins"].as_array().expect("a list");
    let entry = entries.iter().find(|it| it["name"] == plugin && it["platform"] == platform);
    let digest = entry.expect("an entry")["digest"].as_str().expect("a digest");
    scene.at(cache).join("sha256").join(&digest[7..])
}
