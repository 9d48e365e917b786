//! Canaries: an installed plugin is replaced by a program that would create a file, and the file
//! never appears.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::node;
use super::plugin::{claiming, leaving};
use super::release::Release;
use super::support::Scene;
use super::watch::Watch;

/// A node with a release, in a scene where a confined plugin, as user nobody, could create a file.
struct Cage {
    scene: Scene,
    release: Release,
}

impl Cage {
    fn new() -> Self {
        let scene = Scene::new();
        fs::create_dir(scene.at("open")).unwrap();
        for (path, mode) in [(scene.path().to_owned(), 0o755), (scene.at("open"), 0o777)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 600);
        node::new(&scene);
        scene.run_ok(&release.install_args());
        Self { scene, release }
    }

    fn canary(&self) -> PathBuf {
        self.scene.at("open/canary")
    }

    fn bridge(&self) -> PathBuf {
        self.scene.at(node::BIN).join("bridge")
    }

    /// Puts an executable file in place of a plugin by a rename.
    fn replace(&self, bytes: &[u8]) {
        let path = self.scene.write("open/new", bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(path, self.bridge()).unwrap();
    }

    fn script(&self) -> Vec<u8> {
        format!("#!/bin/sh\ntouch {}\n", self.canary().display()).into_bytes()
    }

    fn script_of_the_right_size(&self) -> Vec<u8> {
        let mut bytes = self.script();
        bytes.resize(self.release.files["bridge"].len(), b'#');
        bytes
    }

    fn program_of_the_right_size(&self) -> Vec<u8> {
        let bytes = leaving(&self.canary(), self.release.files["bridge"].len());
        assert_eq!(bytes.len(), self.release.files["bridge"].len());
        bytes
    }

    /// Executing these bytes leaves a trace; otherwise the tests would prove nothing.
    fn assert_works(&self, bytes: &[u8]) {
        let program =
            self.scene.put_program(&self.scene.write("open/bytes", bytes), "open/program");
        assert!(Command::new(program).status().unwrap().success());
        fs::remove_file(self.canary()).unwrap();
    }

    fn assert_silent(&self, what: &str) {
        assert!(!self.canary().exists(), "{what}: it was executed");
    }
}

#[test]
fn a_replaced_plugin_is_reported_and_never_executed() {
    let cage = Cage::new();
    cage.scene.run_ok("check --root root");
    let bodies = [
        ("a script", cage.script()),
        ("a script of the right size", cage.script_of_the_right_size()),
        ("a program of the right size", cage.program_of_the_right_size()),
        (
            "a program with the plugin behind it",
            [leaving(&cage.canary(), 0), cage.release.files["bridge"].clone()].concat(),
        ),
    ];
    for (what, bytes) in bodies {
        cage.assert_works(&bytes);
        cage.replace(&bytes);
        for words in
            ["check --root root", "check --root root --at-boot", "check --root root --no-probe"]
        {
            let run = cage.scene.run(words);
            cage.assert_silent(what);
            assert_eq!(run.code, 1, "{what}: {}{}", run.stdout, run.stderr);
            assert!(
                run.stdout.contains("ALTERED     /opt/cni/bin/bridge\n"),
                "{what}: {}",
                run.stdout
            );
            assert!(
                run.stdout.contains("no: digest-drift: `/opt/cni/bin/bridge` was altered\n"),
                "{}",
                run.stdout
            );
            assert!(run.stdout.ends_with("\nno\n"), "{}", run.stdout);
        }
        cage.scene.run_ok(&cage.release.install_args());
        cage.assert_silent(what);
        cage.scene.run_ok("check --root root");
    }
}

#[test]
fn a_link_to_a_program_in_place_of_a_plugin_is_reported_and_never_followed() {
    let cage = Cage::new();
    let good = cage.scene.write("open/good", &cage.release.files["bridge"]);
    let script = cage.scene.write("open/script", cage.script());
    for target in [&script, &good, Path::new("host-local"), Path::new("nowhere")] {
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(cage.bridge()).unwrap();
        symlink(target, cage.bridge()).unwrap();
        let run = cage.scene.run("check --root root");
        cage.assert_silent("a link");
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("no: in-the-way: `/opt/cni/bin/bridge` is a symbolic link to `"),
            "{}",
            run.stdout
        );
        // The plugin takes its name back, and what the link led to stays.
        cage.scene.run_ok(&cage.release.install_args());
        assert!(fs::symlink_metadata(cage.bridge()).unwrap().is_file());
        assert!(script.exists() && good.exists());
    }
    cage.assert_silent("a link");
}

#[test]
fn a_plugin_that_is_replaced_during_a_check_is_not_executed() {
    let cage = Cage::new();
    let good = &cage.release.files["bridge"];
    // A confined program cannot create a file, but can print.
    let (leaving, claiming) = (cage.program_of_the_right_size(), claiming("9.9.9", good.len()));
    cage.assert_works(&leaving);
    assert_eq!(claiming.len(), good.len());
    let done = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for bytes in [&leaving, good, &claiming, good] {
                    cage.replace(bytes);
                }
            }
        });
        let answers: Vec<_> = (0..100).map(|_| cage.scene.run("check --root root")).collect();
        done.store(true, Ordering::Relaxed);
        answers
    });
    cage.assert_silent("replaced meanwhile");
    for run in answers {
        assert!(
            [0, 1].contains(&run.code) && !run.stdout.contains("9.9.9"),
            "{}{}",
            run.stdout,
            run.stderr
        );
    }
}

#[test]
fn a_watch_reports_a_replaced_plugin_and_never_executes_it() {
    let cage = Cage::new();
    let canary = cage.program_of_the_right_size();
    cage.assert_works(&canary);
    let mut watch = Watch::start(&cage.scene);
    watch.wait_for("yes: every installed file is the one that was signed");
    assert_eq!(cage.scene.run("watch --ready --root root").code, 0);
    cage.replace(&canary);
    watch.wait_for("no: digest-drift: `/opt/cni/bin/bridge` was altered");
    watch.wait_for("no");
    assert_eq!(cage.scene.run("watch --ready --root root").code, 1);
    cage.scene.run_ok(&cage.release.install_args());
    watch.wait_for("yes: every installed file is the one that was signed");
    assert_eq!(watch.stop(), "");
    cage.assert_silent("a watch");
    assert_eq!(cage.scene.run("watch --ready --root root").code, 1);
}

#[test]
fn what_configurations_need_is_inspected_and_never_executed() {
    let cage = Cage::new();
    let config = r#"{"cniVersion":"1.0.0","name":"a","type":"theirs","delegates":[{"type":"../../open/theirs"}]}"#;
    cage.scene.write("root/etc/cni/net.d/10-a.conf", config);
    let definition = format!(
        r#"{{"kind":"NetworkAttachmentDefinition","metadata":{{"name":"x"}},"spec":{{"config":{:?}}}}}"#,
        r#"{"type":"theirs","ipam":{"type":"../../../../../../bin/sh"}}"#
    );
    cage.scene.write("nad.json", definition);
    for (what, bytes) in [("a script", cage.script()), ("a program", leaving(&cage.canary(), 0))] {
        cage.assert_works(&bytes);
        let theirs = cage.scene.put_program(&cage.scene.at("open/bytes"), "open/theirs");
        fs::copy(theirs, cage.scene.at(node::BIN).join("theirs")).unwrap();
        for words in ["", " --at-boot", " --nad nad.json", " --nad nad.json --view root"] {
            let run = cage.scene.run(&format!("check --root root{words}"));
            cage.assert_silent(what);
            assert!(run.stdout.contains("not-a-plugin-name: "), "{}", run.stdout);
            assert!(!run.stdout.contains("plugin-needed: "), "{}", run.stdout);
        }
    }
}
