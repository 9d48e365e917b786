//! Obstacles: other kinds of files in place of a plugin, a lock that is never released, directories
//! writable by others, files that a runtime finds first, and unsuitable mounts.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "obstacles/answers.rs"]
mod answers;
#[path = "obstacles/denied.rs"]
mod denied;
#[path = "obstacles/foreseen.rs"]
mod foreseen;
#[path = "obstacles/held.rs"]
mod held;
#[path = "obstacles/places.rs"]
mod places;
#[path = "obstacles/replaced.rs"]
mod replaced;
mod support;
#[path = "obstacles/two_places.rs"]
mod two_places;
#[path = "obstacles/verbs.rs"]
mod verbs;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use release::Release;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, makedev, mknodat};
use support::{Run, Scene, peer, release, say_skipped, strace};

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];
const BIN: &str = "root/opt/cni/bin";
/// Far longer than any of the runs takes, but finite.
const BOUND: Duration = Duration::from_secs(10);

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        say_skipped("only root may do this");
    }
    root
}

/// A node with one installed release.
fn installed(scene: &Scene) -> Release {
    let release = Release::new(scene, "a", "1.0.0", &PLUGINS, 0);
    fs::create_dir_all(scene.at("root/var/lib/cni")).unwrap();
    scene.run_ok(&release.install_args());
    release
}

fn node_of(path: &Path, kind: FileType) {
    // Device 1:3 is /dev/null; the other kinds have none.
    let device = if kind == FileType::CharacterDevice { makedev(1, 3) } else { 0 };
    mknodat(
        CWD,
        path,
        kind,
        Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
        device,
    )
    .unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn within_bound(scene: &Scene, words: &str) -> Run {
    let started = Instant::now();
    let run = scene.run(words);
    assert!(started.elapsed() < BOUND, "{words} took {:?}", started.elapsed());
    run
}

#[test]
fn a_lock_that_is_never_released_is_an_error_after_the_limit() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let before = scene.tree("root");
    let held = fs::File::open(scene.at("root/var/lib/cnister/lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let install = release.install_args();
    for words in [
        install.as_str(),
        &format!("{install} --dry-run"),
        "check --root root",
        "check --root root --at-boot",
    ] {
        let run = within_bound(&scene, &format!("{words} --lock-timeout 0"));
        let error = "error: another cnister is running: `root/var/lib/cnister/lock` was still locked after 0 s\n";
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (3, "", error), "{words}");
    }
    assert_eq!(scene.run("check --root root --lock-timeout 3601").code, 2);
    assert_eq!(scene.tree("root"), before);
    drop(held);
    scene.run_ok("check --root root --lock-timeout 0");
}

#[test]
fn directories_that_others_may_write_are_reported_and_the_state_is_refused() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let answers = |run: &Run, code: i32, line: &str| {
        assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(line), "{line} is not in\n{}", run.stdout);
    };
    for (path, line) in [
        ("root/opt/cni/bin", "writable-by-others: any user can change files in `/opt/cni/bin`\n"),
        (
            "root/opt",
            "writable-by-others: any user can replace the directory `/opt/cni/bin`, through \
             `/opt`\n",
        ),
        (
            "root/var/lib",
            "writable-by-others: any user can replace the directory `/var/lib/cnister`, \
             through `/var/lib`\n",
        ),
    ] {
        chmod(&scene.at(path), 0o777);
        answers(&scene.run(&release.install_args()), 0, &format!("warning: {line}"));
        answers(&scene.run("check --root root"), 1, &format!("no: {line}"));
        answers(&scene.run("check --root root --at-boot"), 0, &format!("warning: {line}"));
        chmod(&scene.at(path), 0o755);
        assert!(!scene.run_ok("check --root root").stdout.contains("warning"));
    }
    // The policy that decides, and the way to it.
    for path in ["root/etc/cnister/policy.yaml", "root/etc/cnister", "root/etc"] {
        chmod(&scene.at(path), 0o777);
        let line = "writable-by-others: any user can ";
        answers(&scene.run(&release.install_args()), 0, &format!("warning: {line}"));
        answers(&scene.run("check --root root"), 1, &format!("no: {line}"));
        answers(&scene.run("check --root root --at-boot"), 0, &format!("warning: {line}"));
        chmod(&scene.at(path), if path.ends_with("yaml") { 0o644 } else { 0o755 });
        scene.run_ok("check --root root");
    }
    chmod(&scene.at("root/var/lib/cnister"), 0o770);
    for words in
        [release.install_args().as_str(), "check --root root", "check --root root --at-boot"]
    {
        let run = scene.run(words);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout
                .contains("no: state-not-private: other users can write to the state directory"),
            "{}",
            run.stdout
        );
    }
}

#[test]
fn a_file_that_a_runtime_finds_first_is_noted_by_install_and_refused_by_check() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    scene.write(
        "root/etc/crio/crio.conf",
        "[crio.network]\nplugin_dirs = [\"/usr/libexec/cni\", \"/opt/cni/bin\"]\n",
    );
    scene.write("root/usr/libexec/cni/bridge", "an older one");
    let what = "shadowed: CRI-O (`/etc/crio/crio.conf`) runs `/usr/libexec/cni/bridge`, not what is installed in \
                `/opt/cni/bin`\n";
    let install = release.install_args();
    for words in [format!("{install} --dry-run"), install] {
        assert!(scene.run_ok(&words).stdout.contains(&format!("warning: {what}")), "{words}");
    }
    let run = scene.run("check --root root");
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains(&format!("no: {what}")), "{}", run.stdout);
    // A package may have installed it, so it does not keep a node from booting.
    assert!(
        scene.run_ok("check --root root --at-boot").stdout.contains(&format!("warning: {what}"))
    );
    // The signed content is accepted wherever it is.
    fs::copy(scene.at(BIN).join("bridge"), scene.at("root/usr/libexec/cni/bridge")).unwrap();
    assert!(!scene.run_ok("check --root root").stdout.contains("shadowed"));
}

#[test]
fn a_directory_that_no_runtime_searches_is_reported() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    scene.write("root/etc/containerd/config.toml", include_str!("data/runtime/debian-12.toml"));
    let elsewhere = "warning: runtime-looks-elsewhere: no container runtime on this node searches `/opt/cni/bin`: containerd searches \
                     `/usr/lib/cni` (`/etc/containerd/config.toml`)\n  hint: install into a directory that it searches: --bin-dir \
                     /usr/lib/cni\n";
    let install = release.install_args();
    assert!(scene.run_ok(&install).stdout.contains(elsewhere));
    assert!(scene.run_ok("check --root root").stdout.contains(elsewhere));
    let both = format!("{install} --bin-dir /usr/lib/cni --bin-dir /opt/cni/bin");
    assert!(!scene.run_ok(&both).stdout.contains("warning"));
    assert!(!scene.run_ok("check --root root").stdout.contains("warning"));
    scene.write("root/etc/containerd/config.toml", "version = {");
    let run = scene.run_ok("check --root root");
    let unreadable = "warning: runtime-config-unreadable: cannot determine where a runtime searches for plugins: \
                      `/etc/containerd/config.toml`: line 1: ";
    assert!(run.stdout.contains(unreadable), "{}", run.stdout);
}

/// Runs a shell script in its own mount namespace; its arguments are the program and the program's
/// arguments.
fn with_own_mounts(scene: &Scene, script: &str, words: &str) -> Option<Run> {
    let unshare = peer("unshare")?;
    if !is_root() {
        return None;
    }
    if !Command::new(&unshare)
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        say_skipped("no mount namespaces here");
        return None;
    }
    let mut command = scene.command(unshare);
    command
        .args(["--mount", "sh", "-e", "-c", script, env!("CARGO_BIN_EXE_cnister")])
        .args(words.split(' '));
    Some(scene.run_command(&mut command))
}

#[test]
fn a_directory_where_nothing_can_run_is_refused_by_install_and_check() {
    let scene = Scene::new();
    let release = installed(&scene);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    let before = scene.tree("root");
    let script = "mount --bind root/opt/cni/bin root/opt/cni/bin
        mount -o remount,bind,noexec root/opt/cni/bin
        if root/opt/cni/bin/bridge 2>/dev/null; then echo 'it can be executed' >&2; exit 99; fi
        exec \"$0\" \"$@\"";
    let what = "not-executable: `/opt/cni/bin` is on a file system that is mounted noexec: no plugin there can run\n";
    for words in [second.install_from_layout_args(), format!("{} --dry-run", second.install_args())]
    {
        let Some(run) = with_own_mounts(&scene, script, &words) else { return };
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
        assert!(run.stdout.starts_with(&format!("no: {what}")), "{}", run.stdout);
        assert_eq!(scene.tree("root"), before);
    }
    let run = with_own_mounts(&scene, script, "check --root root --no-probe").unwrap();
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert!(run.stdout.contains(&format!("no: {what}")), "{}", run.stdout);
    let run = with_own_mounts(&scene, script, "check --root root --at-boot").unwrap();
    assert!(run.code == 0 && run.stdout.contains(&format!("warning: {what}")), "{}", run.stdout);
    // Nothing is written if everything is present, but the note is still printed.
    let run = with_own_mounts(&scene, script, &release.install_args()).unwrap();
    assert!(run.code == 0 && run.stdout.contains(&format!("warning: {what}")), "{}", run.stdout);
}

#[test]
fn a_plugin_under_a_mount_where_nothing_can_run_is_refused_by_check() {
    let scene = Scene::new();
    let release = installed(&scene);
    for (covered, what) in [
        ("bridge", "`/opt/cni/bin/bridge` cannot run: "),
        ("bridge macvlan", "`/opt/cni/bin/bridge` and 1 other cannot run: "),
    ] {
        let script = format!(
            "mkdir -p covers && mount -t tmpfs -o noexec tmpfs covers
            for name in {covered}; do
                cp -p root/opt/cni/bin/$name covers && mount --bind covers/$name root/opt/cni/bin/$name
            done
            if root/opt/cni/bin/bridge 2>/dev/null; then echo 'it can be executed' >&2; exit 99; fi
            exec \"$0\" \"$@\""
        );
        let run = |words: &str| with_own_mounts(&scene, &script, words);
        let Some(check) = run("check --root root --no-probe") else { return };
        assert_eq!(check.code, 1, "{}", check.stdout);
        let finding = format!("not-executable: {what}");
        assert!(check.stdout.contains(&format!("no: {finding}")), "{}", check.stdout);
        assert!(check.stdout.contains("hint: umount /opt/cni/bin/bridge\n"), "{}", check.stdout);
        for words in ["check --root root --at-boot", &release.install_args()] {
            let run = run(words).unwrap();
            let expected = format!("warning: {finding}");
            assert!(run.code == 0 && run.stdout.contains(&expected), "{words}: {}", run.stdout);
        }
    }
}

#[test]
fn root_without_capabilities_learns_whose_directory_it_is() {
    let (scene, Some(setpriv)) = (Scene::new(), peer("setpriv")) else { return };
    if !is_root() {
        return;
    }
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    fs::create_dir_all(scene.at(BIN)).unwrap();
    std::os::unix::fs::chown(scene.at(BIN), Some(1000), Some(1000)).unwrap();
    let words = release.install_args();
    let run = |bounding: &str| {
        let mut command = scene.command(&setpriv);
        command
            .args(["--bounding-set", bounding, "--inh-caps=-all"])
            .arg(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(words.split(' ')))
    };
    let refused = run("-all");
    let expected = "no: not-permitted: `/opt/cni/bin` cannot be written: this process is not allowed to write to `/opt/cni/bin`\n  \
                    expected: to be writable by user 0\n  found:    user 1000, group 1000, mode 0755\n  \
                    hint: chown 0:0 /opt/cni/bin on the node, or give this process the capability DAC_OVERRIDE\n\
                    refused; nothing was changed\n";
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.as_str()), (1, expected, ""));
    assert_eq!(fs::read_dir(scene.at(BIN)).unwrap().count(), 0);
    // The twin: with the one capability that it needs.
    let allowed = run("-all,+dac_override");
    assert_eq!(allowed.code, 0, "{}{}", allowed.stdout, allowed.stderr);
    assert!(
        allowed.stdout.contains(
            "warning: writable-by-others: user 1000 can change files in `/opt/cni/bin`\n"
        )
    );
}

#[test]
fn an_adopted_set_user_id_program_loses_the_bit_with_a_note() {
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let path = scene.write(&format!("{BIN}/bridge"), "another owner's");
    chmod(&path, 0o4755);
    let run = scene.run_ok(&format!("{} --foreign adopt", release.install_args()));
    let note = "note: setuid-dropped: `/opt/cni/bin/bridge` ran with the rights of its owner or group\n  \
                expected: mode 0755\n  found:    mode 4755\n";
    assert!(run.stdout.contains(note), "{}", run.stdout);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    let receipt = fs::read_to_string(scene.at("root/var/lib/cnister/receipt.json")).unwrap();
    assert!(receipt.contains("\"4755\""), "{receipt}");
}

#[test]
fn labels_are_those_of_the_directory_and_others_are_reported() {
    use rustix::fs::{XattrFlags, setxattr};
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    fs::create_dir_all(scene.at(BIN)).unwrap();
    let label =
        |path: &Path, text: &[u8]| setxattr(path, "security.selinux", text, XattrFlags::empty());
    if label(&scene.at(BIN), b"system_u:object_r:container_file_t:s0\0").is_err() {
        say_skipped("no labels here");
        return;
    }
    assert!(!scene.run_ok(&release.install_args()).stdout.contains("other-label"));
    assert!(!scene.run_ok("check --root root").stdout.contains("other-label"));
    label(&scene.at(BIN).join("bridge"), b"system_u:object_r:tmp_t:s0\0").unwrap();
    let warning = "warning: other-label: `/opt/cni/bin/bridge` has a different SELinux label from the directory\n  \
                   expected: system_u:object_r:container_file_t:s0\n  found:    system_u:object_r:tmp_t:s0\n  \
                   hint: on the node: restorecon -Rv /opt/cni/bin\n";
    assert!(scene.run_ok("check --root root").stdout.contains(warning));
    // A process that may not set labels still installs, and reports that they are missing.
    let Some(strace) = peer("strace") else { return };
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    let mut command = scene.command(strace);
    command.args(["-f", "-qq", "-o", "trace", "-e", "inject=fsetxattr:error=EPERM"]);
    command.arg(env!("CARGO_BIN_EXE_cnister"));
    let run = scene.run_command(command.args(second.install_args().split(' ')));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let line = "warning: other-label: `/opt/cni/bin/bridge` and 2 others have a different SELinux label from the directory\n";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    assert_eq!(
        fs::read_to_string(scene.at("trace")).unwrap().matches("(INJECTED)").count(),
        PLUGINS.len()
    );
}
