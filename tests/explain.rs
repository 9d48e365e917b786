//! `explain` and hostile texts: what it reads and opens, and how long it takes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Run, Scene, peer};

const LIMIT: usize = 1024 * 1024;
const MISSING: &str = "failed to find plugin \"macvlan\" in path [/opt/cni/bin]";

/// Runs a command with this standard input.
fn feed(command: &mut Command, input: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A text that is too long is not read completely.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn node() -> Scene {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("root/opt/cni/bin")).unwrap();
    scene
}

fn explain(scene: &Scene, words: &[&str], input: &[u8]) -> Run {
    feed(
        scene
            .command(env!("CARGO_BIN_EXE_cnister"))
            .args(["explain", "--root", "root"])
            .args(words),
        input,
    )
}

#[test]
fn the_text_is_an_argument_a_file_or_standard_input() {
    let scene = node();
    scene.write("events", MISSING);
    let expected = explain(&scene, &[], MISSING.as_bytes());
    assert_eq!((expected.code, expected.stderr.as_str()), (0, ""));
    assert!(
        expected.stdout.starts_with("plugin-absent: there is no `macvlan` in `/opt/cni/bin`\n"),
        "{expected:?}"
    );
    assert_eq!(explain(&scene, &["-"], MISSING.as_bytes()), expected);
    assert_eq!(explain(&scene, &["--file", "-"], MISSING.as_bytes()), expected);
    assert_eq!(explain(&scene, &["--file", "events"], b""), expected);
    assert_eq!(explain(&scene, &[MISSING], b""), expected);
    let bytes = [MISSING.as_bytes(), b"\xff"].concat();
    let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
    assert_eq!(
        feed(command.args(["explain", "--root", "root"]).arg(OsStr::from_bytes(&bytes)), b""),
        expected
    );
    for (words, code) in [
        (&["--file", "none"][..], 3),
        (&["--file", "events", "text"], 2),
        (&["--root", "none", MISSING], 2),
        (&["text"], 1),
    ] {
        assert_eq!(explain(&scene, words, b"").code, code, "{words:?}");
    }
}

#[test]
fn a_mebibyte_is_read_and_not_more() {
    let scene = node();
    for (input, code) in
        [(vec![b'x'; LIMIT], 1), (vec![b'x'; LIMIT + 1], 2), (vec![b'x'; 50 * LIMIT], 2)]
    {
        scene.write("text", &input);
        for run in [explain(&scene, &[], &input), explain(&scene, &["--file", "text"], b"")] {
            assert_eq!(run.code, code, "{}", run.stderr);
            assert_eq!(
                run.stderr.contains("is longer than 1048576 bytes"),
                code == 2,
                "{}",
                run.stderr
            );
        }
    }
    // Only the part before the end counts.
    let text = format!("{MISSING}{}", " ".repeat(LIMIT - MISSING.len()));
    assert_eq!(explain(&scene, &[], text.as_bytes()).code, 0);
}

#[test]
fn hostile_texts_end_soon_and_move_no_cursor() {
    let scene = node();
    let long = "A".repeat(LIMIT - 200);
    let texts = [
        format!("failed to find plugin \"{long}\" in path [/opt/cni/bin]").into_bytes(),
        format!("failed to find plugin \"x\" in path [{long}]").into_bytes(),
        b"failed to find plugin \"\x1b[2J\x1b]0;owned\x07\" in path [/\x1b[31m]".to_vec(),
        b"failed to find plugin \"a\x00b\xff\xfe\xe2\x80\xae\" in path [\x00]".to_vec(),
        "plugin type=\"x\" failed (add): ".repeat(10_000).into_bytes(),
        format!("{MISSING}\n").repeat(10_000).into_bytes(),
        (0..10_000)
            .flat_map(|number| {
                format!("failed to find plugin \"p{number}\" in path [/a]\n").into_bytes()
            })
            .collect(),
        "failed to find plugin \"x\" in path [".repeat(LIMIT / 36).into_bytes(),
        "plugin type=\"x\" failed (add): fork/exec /opt/cni/bin/macvlan: exec format error\n"
            .repeat(10_000)
            .into_bytes(),
        vec![0; LIMIT],
        vec![0xff; LIMIT],
        vec![b'\\'; LIMIT],
    ];
    for (number, text) in texts.iter().enumerate() {
        let start = Instant::now();
        for words in [&[][..], &["--format", "json"]] {
            let run = explain(&scene, words, text);
            assert!(matches!(run.code, 0 | 1), "text {number}: {}", run.stderr);
            let harmless = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
            assert!(run.stdout.chars().all(harmless), "text {number}");
            assert!(run.stdout.len() < 256 * 1024, "text {number}: {} bytes", run.stdout.len());
        }
        assert!(start.elapsed() < Duration::from_secs(20), "text {number}: {:?}", start.elapsed());
    }
}

/// Every path that a text can contain, below a directory that the trace would show.
const HOSTILE: &str = r#"
plugin type="/traced/type" failed (add): failed to find plugin "/traced/plugin" in path [/traced/bin ../traced /opt/cni/bin/../../traced]
plugin type="macvlan" failed (add): failed to find plugin "../../../traced/plugin" in path [/opt/cni/bin]
plugin type="macvlan" failed (add): failed to find plugin "macvlan" in path [/traced/bin]
plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /traced/bin/macvlan: permission denied
plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /traced/bin/macvlan: exec format error
plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /traced/bin/macvlan: no such file or directory
plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/../../../traced/macvlan: no such file or directory
plugin type="../../traced/x" failed (add): netplugin failed with no error message: signal: segmentation fault
plugin type="../../traced/x" failed (add): failed to unmarshal raw result: unexpected end of JSON input
invalid plugin name: ../traced
no networks found in /traced/net.d
"#;

#[test]
fn no_path_of_a_text_is_opened_and_nothing_is_executed() {
    let scene = node();
    let Some(strace) = peer("strace") else { return };
    // A plugin that would create a file, at every path in the texts.
    let script = format!("#!/bin/sh\n: > {}\n", scene.at("canary").display());
    for path in [
        "root/traced/bin/macvlan",
        "root/traced/macvlan",
        "root/traced/plugin",
        "root/opt/cni/bin/macvlan",
    ] {
        fs::set_permissions(
            scene.write(path, &script),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    let traced = |words: &[&str]| {
        let mut command = scene.command(&strace);
        command.args([
            "-f",
            "-qq",
            "-o",
            "trace",
            "--trace=%file,%process",
            env!("CARGO_BIN_EXE_cnister"),
        ]);
        let run = feed(command.args(["explain", "--root", "root"]).args(words), HOSTILE.as_bytes());
        (run, fs::read_to_string(scene.at("trace")).unwrap())
    };
    let (run, trace) = traced(&[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.ends_with("\n11 causes\n"), "{}", run.stdout);
    let paths = |trace: &str| {
        trace.lines().filter(|line| line.contains("traced")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(paths(&trace), [""; 0]);
    assert!(trace.contains("macvlan"), "the owner's own directory is looked into");
    // strace's own, which starts the program.
    assert_eq!(trace.matches("execve").count(), 1, "{trace}");
    assert!(!scene.at("canary").exists());
    // The same text, with that directory given by the owner: the trace would have shown it.
    let (_, trace) = traced(&["--bin-dir", "/traced/bin"]);
    assert_ne!(paths(&trace), [""; 0]);
    assert!(!scene.at("canary").exists());
}

#[test]
fn a_fifo_or_a_device_in_place_of_a_plugin_blocks_nothing() {
    let scene = node();
    let plugin = scene.at("root/opt/cni/bin/macvlan");
    let text = "plugin type=\"macvlan\" failed (add): netplugin failed with no error message: fork/exec \
                /opt/cni/bin/macvlan: exec format error";
    assert!(Command::new("mkfifo").arg(&plugin).status().unwrap().success());
    let run = explain(&scene, &[], text.as_bytes());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.starts_with("plugin-not-a-file: `/opt/cni/bin/macvlan` is a FIFO\n"),
        "{}",
        run.stdout
    );
    fs::remove_file(&plugin).unwrap();
    fs::write(&plugin, "").unwrap();
    let run = explain(&scene, &[], text.as_bytes());
    assert!(
        run.stdout.starts_with("plugin-empty: `/opt/cni/bin/macvlan` is an empty file\n"),
        "{}",
        run.stdout
    );
}
