//! A build contains everything in its definition, or nothing is written.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs::{self, File};

use support::{Run, Scene, plugin};

/// `e_machine` of the two platforms.
const MACHINES: [(&str, u8); 2] = [("amd64", 62), ("arm64", 183)];

const DEFINITION: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: test
version: 1.0.0
platforms: [linux/amd64, linux/arm64]
sources:
  - name: here
    directory: \"plugins-{architecture}\"
plugins: [bridge, macvlan]
tool: none
";

/// A program of a few KiB for one machine.
fn program(name: &str, machine: u8) -> Vec<u8> {
    let mut bytes = plugin::answering(name, 4096);
    bytes[18] = machine;
    bytes
}

/// A valid definition with its plugins.
fn scene(names: &[&str]) -> Scene {
    let scene = Scene::new();
    scene.write("bundle.yaml", DEFINITION.replace("bridge, macvlan", &names.join(", ")));
    for (architecture, machine) in MACHINES {
        for name in names {
            scene.write(&format!("plugins-{architecture}/{name}"), program(name, machine));
        }
    }
    scene
}

fn build(scene: &Scene, more: &str) -> Run {
    scene.run(&format!("build bundle.yaml {more}"))
}

#[test]
fn a_refused_build_leaves_nothing() {
    let scene = scene(&["bridge", "macvlan"]);
    assert_eq!(build(&scene, "-o layout").code, 0);
    let before = scene.tree("layout");
    let refuse = |more: &str, code: i32, words: &str| {
        let run = build(&scene, &format!("{more} -o new"));
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
        assert!(run.stderr.contains(words), "{words}\n{}", run.stderr);
        assert!(!scene.at("new").exists(), "{words}");
        assert_eq!(build(&scene, &format!("{more} -o layout")).code, code);
        assert_eq!(scene.tree("layout"), before, "{words}");
    };
    // The second platform: the first one is valid and could have been written.
    let path = "plugins-arm64/macvlan";
    let good = fs::read(scene.at(path)).unwrap();
    fs::remove_file(scene.at(path)).unwrap();
    refuse("", 2, "`plugins-arm64` has no plugin `macvlan`; it has `bridge`");
    scene.write(path, program("macvlan", 62));
    refuse("", 2, "`plugins-arm64/macvlan` is built for linux/amd64, expected linux/arm64");
    scene.write(path, &good[..100]);
    refuse("", 2, "`plugins-arm64/macvlan` is cut short");
    scene.write(path, "#!/bin/sh\n");
    refuse("", 2, "`plugins-arm64/macvlan` is not an ELF program");
    fs::rename(scene.at("plugins-arm64"), scene.at("elsewhere")).unwrap();
    refuse("", 3, "cannot read the directory `plugins-arm64` of the source `here`");
    fs::rename(scene.at("elsewhere"), scene.at("plugins-arm64")).unwrap();
    scene.write(path, &good);

    refuse("--directory other=plugins-amd64", 2, "the definition has no source `other`");
    refuse("--directory here=plugins-amd64", 2, "one directory for several platforms");
    let definition = fs::read_to_string(scene.at("bundle.yaml")).unwrap();
    scene.write("bundle.yaml", definition.replace("tool: none\n", ""));
    refuse("--tool plugins-amd64/bridge", 2, "there is no tool for linux/arm64");
    refuse("--tool nowhere", 3, "cannot read `nowhere`");
    scene.write("bundle.yaml", definition);

    let run = build(&scene, "-o layout");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(scene.tree("layout"), before, "the same build again");
}

#[test]
fn a_time_that_no_image_can_have_leaves_nothing() {
    let scene = scene(&["bridge"]);
    let build = |epoch: &str| {
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        command.args(["build", "bundle.yaml", "-o", "layout"]).env("SOURCE_DATE_EPOCH", epoch);
        scene.run_command(&mut command)
    };
    for (epoch, code, words) in [
        ("yesterday", 2, "SOURCE_DATE_EPOCH is `yesterday`"),
        ("8589934592", 3, "cannot pack files with the time 8589934592"),
    ] {
        let run = build(epoch);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(words), "{}", run.stderr);
        assert!(!scene.at("layout").exists(), "{epoch}");
    }
    assert_eq!(build("8589934591").code, 0);
}

#[test]
fn more_plugins_than_files_that_may_be_open() {
    let names: Vec<String> = (0..40).map(|number| format!("plugin{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = scene(&names);
    for (verb, result) in [
        ("build bundle.yaml -o layout", "layout"),
        ("lock bundle.yaml --no-probe", "bundle.lock.json"),
    ] {
        let run = |limit: &str| {
            let mut command = scene.command("sh");
            let line = format!("{limit}; exec \"$0\" {verb}");
            command.args(["-c", &line, env!("CARGO_BIN_EXE_cnister")]);
            scene.run_command(&mut command)
        };
        let refused = run("ulimit -n 32");
        assert_eq!(refused.code, 3, "{verb}: {}", refused.stderr);
        assert!(refused.stderr.contains("Too many open files"), "{verb}: {}", refused.stderr);
        assert!(!scene.at(result).exists(), "{verb}");
        let done = run("ulimit -S -n 32");
        assert_eq!(done.code, 0, "{verb}: {}", done.stderr);
    }
}

#[test]
fn a_large_plugin_is_not_held_in_memory() {
    let scene = scene(&["bridge"]);
    let plugin = File::options().append(true).open(scene.at("plugins-amd64/bridge")).unwrap();
    plugin.set_len(512 << 20).unwrap();
    // The other platform is refused, so that half a gigabyte is hashed and not compressed.
    scene.write("plugins-arm64/bridge", "#!/bin/sh\n");
    let mut command = scene.command("sh");
    command.args(["-c", "ulimit -v 400000; exec \"$0\" build bundle.yaml -o layout"]);
    let run = scene.run_command(command.arg(env!("CARGO_BIN_EXE_cnister")));
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("`plugins-arm64/bridge` is not an ELF program"), "{}", run.stderr);
}
