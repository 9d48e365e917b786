//! The same again: what a build finds in the cache, and how many cores it has, decide how long it
//! takes and nothing else.

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
use std::path::PathBuf;

use support::{Run, Scene, note_peer, plugin};

/// Two plugins for each of two platforms.
fn scene() -> Scene {
    let scene = Scene::new();
    for (architecture, machine) in [("amd64", 62), ("arm64", 183)] {
        for name in ["bridge", "macvlan"] {
            let mut program = plugin::answering(name, 4096);
            program[18] = machine;
            scene.write(&format!("cni-{architecture}/{name}"), program);
        }
    }
    scene.write(
        "bundle.yaml",
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: 1.0.0\n\
         platforms: [linux/amd64, linux/arm64]\n\
         sources: [{name: here, directory: \"cni-{architecture}\"}]\n\
         plugins: [bridge, macvlan]\ntool: none\n",
    );
    scene
}

/// The files of the cache.
fn cached(scene: &Scene) -> Vec<PathBuf> {
    let folders = ["sha256", "notes"].map(|name| scene.at("cache").join(name));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The digest that was built, and what was said about it.
fn built(scene: &Scene, run: impl FnOnce() -> Run) -> (String, String) {
    let run = run();
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    fs::remove_dir_all(scene.at("layout")).unwrap();
    (run.stdout.lines().next().unwrap().to_owned(), run.stderr)
}

#[test]
fn no_cache_changes_a_digest() {
    let scene = scene();
    scene.write("file", "");
    let build = |cache: &str| {
        let sbom = "--sbom cyclonedx,spdx-2.3,spdx-3.0.1";
        built(&scene, || {
            scene.run(&format!("build bundle.yaml -o layout {sbom} --cache-dir {cache}"))
        })
    };
    let (expected, said) = build("file");
    assert_eq!(said, "");
    for state in ["cold", "warm"] {
        assert_eq!(build("cache"), (expected.clone(), String::new()), "{state}");
    }
    // Two layers of two platforms, with a note for each, and the SHA-512 of four plugins.
    let files = cached(&scene);
    assert_eq!(files.len(), 12, "{files:?}");
    let contents: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for damaged in [&b"poison"[..], b""] {
        for path in &files {
            fs::write(path, damaged).unwrap();
        }
        assert_eq!(build("cache"), (expected.clone(), String::new()));
        for (path, content) in files.iter().zip(&contents) {
            assert!(fs::read(path).unwrap() == *content, "{}", path.display());
        }
    }
    fs::set_permissions(scene.at("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    let (found, said) = build("cache");
    assert_eq!(found, expected);
    let words = "the cache is not used: the cache `cache` can be written by others: ";
    assert!(said.contains(words), "{said}");
}

#[test]
fn the_number_of_cores_changes_no_digest() {
    let scene = scene();
    let is_there = std::process::Command::new("taskset").arg("--version").output().is_ok();
    note_peer("taskset", is_there);
    if !is_there {
        return;
    }
    let arguments = ["build", "bundle.yaml", "-o", "layout", "--cache-dir", "file", "--provenance"];
    scene.write("file", "");
    let all = built(&scene, || scene.cnister(arguments));
    let one = built(&scene, || {
        let mut command = scene.command("taskset");
        command.args(["-c", "0", env!("CARGO_BIN_EXE_cnister")]).args(arguments);
        scene.run_command(&mut command)
    });
    assert_eq!(one, all);
}
