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

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use release::Release;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, makedev, mknodat};
use support::{Run, Scene, peer, release, say_skipped};

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
    fs::create_dir(scene.at("root")).unwrap();
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
fn whatever_replaces_a_plugin_is_named_in_bounded_time_and_replaced() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    type Make = fn(&Path);
    let mut cases: Vec<(&str, &str, Make)> = vec![
        ("in-the-way", "a FIFO", |path| node_of(path, FileType::Fifo)),
        ("in-the-way", "a socket", |path| node_of(path, FileType::Socket)),
        ("in-the-way", "an empty directory", |path| fs::create_dir(path).unwrap()),
        ("in-the-way", "a directory", |path| fs::create_dir_all(path.join("inner")).unwrap()),
        ("in-the-way", "a symbolic link to `bridge`", |path| symlink("bridge", path).unwrap()),
        ("in-the-way", "a symbolic link to `macvlan`", |path| symlink("macvlan", path).unwrap()),
        ("in-the-way", "a symbolic link to `/tmp/\\u{1b}[2J`", |path| {
            symlink("/tmp/\u{1b}[2J", path).unwrap();
        }),
        ("in-the-way", "a symbolic link to `/`", |path| symlink("/", path).unwrap()),
        ("plugin-missing", "gone", |_| {}),
    ];
    if is_root() {
        cases.push(("in-the-way", "a device", |path| node_of(path, FileType::CharacterDevice)));
    }
    let path = scene.at(BIN).join("macvlan");
    let signed = release.files["macvlan"].clone();
    for (code, words, make) in cases {
        fs::remove_file(&path).unwrap();
        make(&path);
        for verb in ["check --root root", "check --root root --at-boot"] {
            let run = within_bound(&scene, verb);
            assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{words}: {}", run.stdout);
            let line = format!("no: {code}: `/opt/cni/bin/macvlan` is {words}\n");
            assert!(run.stdout.contains(&line), "{verb}, {words}: {}", run.stdout);
            assert_eq!(run.stdout.matches("  proven ").count(), 2, "{}", run.stdout);
        }
        let install = release.install_args();
        if words == "a directory" {
            // Only its owner knows whether what is in it is needed.
            let before = scene.tree("root");
            for verb in
                [&install, "check --root root --repair", "check --root root --repair --at-boot"]
            {
                let run = within_bound(&scene, verb);
                assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
                let line = "no: in-the-way: `/opt/cni/bin/macvlan` is a directory\n";
                assert!(run.stdout.contains(line), "{verb}: {}", run.stdout);
                assert_eq!(scene.tree("root"), before, "{verb}");
            }
            fs::remove_dir_all(&path).unwrap();
            scene.run_ok(&install);
            continue;
        }
        let step = match code {
            "plugin-missing" => "  new      /opt/cni/bin/macvlan (".to_owned(),
            _ => format!("  repair   /opt/cni/bin/macvlan ({} bytes; was {words})\n", signed.len()),
        };
        for verb in ["check --root root --repair", "check --root root --repair --at-boot", &install]
        {
            drop(fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)));
            make(&path);
            let run = within_bound(&scene, verb);
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{verb}, {words}: {}", run.stdout);
            assert!(run.stdout.contains(&step), "{verb}, {words}: {}", run.stdout);
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert!(metadata.is_file() && metadata.permissions().mode() & 0o7777 == 0o755);
            assert_eq!(fs::read(&path).unwrap(), signed, "{verb}, {words}");
            // What a link led to is untouched, and nothing is moved aside.
            assert_eq!(fs::read(scene.at(BIN).join("bridge")).unwrap(), release.files["bridge"]);
            assert_eq!(fs::read_dir(scene.at(BIN)).unwrap().count(), PLUGINS.len());
        }
        scene.run_ok("check --root root");
    }
}

/// A file system that lets no plugin be read, for each way in which that is said.
const ERRORS: [&str; 7] = ["EAGAIN", "EIO", "EACCES", "EPERM", "ETXTBSY", "EUCLEAN", "ESTALE"];

#[test]
fn a_plugin_that_cannot_be_read_is_a_finding_and_the_others_are_judged_and_repaired() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let Some(strace) = peer("strace") else { return };
    let macvlan = fs::canonicalize(scene.at(BIN)).unwrap().join("macvlan");
    let run = |path: &str, fault: &str, words: &str| {
        let mut command = scene.command(&strace);
        command.args(["-f", "-qq", "-o", "trace", "-e", &format!("inject={fault}"), "-P", path]);
        command.arg(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(words.split(' ')))
    };
    let unread = |error: &str, words: &str| {
        run(macvlan.to_str().unwrap(), &format!("read:error={error}"), words)
    };
    let bridge = scene.at(BIN).join("bridge");
    for error in ERRORS {
        for at_boot in ["", " --at-boot"] {
            fs::write(&bridge, "altered").unwrap();
            let check = format!("check --root root --no-probe{at_boot}");
            let checked = run("macvlan", &format!("openat:error={error}"), &check);
            assert_eq!(checked.code, 1, "{error}: {checked:?}");
            for line in [
                "  UNREADABLE  /opt/cni/bin/macvlan\n",
                "  ALTERED     /opt/cni/bin/bridge\n",
                "  proven      /opt/cni/bin/host-local\n",
                "no: unreadable: `/opt/cni/bin/macvlan` cannot be read: ",
            ] {
                assert!(checked.stdout.contains(line), "{error}, {line}: {}", checked.stdout);
            }
            let before = fs::metadata(&macvlan).unwrap();
            let repaired = unread(error, &format!("{check} --repair"));
            assert_eq!(fs::read(&bridge).unwrap(), release.files["bridge"], "{error}");
            assert_eq!(fs::read(&macvlan).unwrap(), release.files["macvlan"], "{error}");
            let step = "; was unreadable)\n";
            assert!(repaired.stdout.contains(step), "{error}: {repaired:?}");
            assert_ne!(before.ino(), fs::metadata(&macvlan).unwrap().ino(), "{error}: a new file");
        }
    }
    // It is ours, so an installation needs nothing of the old file. Its twin is another
    // installer's: its bytes would have to be kept.
    assert_eq!(unread("EIO", &release.install_args()).code, 0);
    scene.run_ok("uninstall --root root");
    fs::write(&macvlan, "theirs").unwrap();
    let before = scene.tree(BIN);
    for foreign in ["", " --foreign adopt"] {
        let refused = unread("EIO", &format!("{}{foreign}", release.install_args()));
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stdout.contains("no: unreadable: "), "{}", refused.stdout);
        assert_eq!(scene.tree(BIN), before);
    }
    assert_eq!(unread("EIO", &format!("{} --foreign keep", release.install_args())).code, 0);
    assert_eq!(fs::read(&macvlan).unwrap(), b"theirs");
}

#[test]
fn a_lease_on_a_plugin_keeps_no_other_from_being_repaired() {
    let scene = Scene::new();
    let release = installed(&scene);
    let Some(python) = peer("python3") else { return };
    let (bridge, macvlan) = (scene.at(BIN).join("bridge"), scene.at(BIN).join("macvlan"));
    // F_SETLEASE of the whole file, kept when the kernel asks for it.
    let script = "import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), 1024, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()";
    for (verb, code) in [
        ("check --root root --no-probe", 1),
        ("check --root root --at-boot", 1),
        ("check --root root --repair", 0),
        (&*release.install_args(), 0),
    ] {
        fs::write(&bridge, "altered").unwrap();
        let mut holder = Command::new(&python)
            .args(["-c", script])
            .arg(&macvlan)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "held\n" {
            say_skipped("no leases here");
            return;
        }
        let run = within_bound(&scene, verb);
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert_eq!((run.code, run.stderr.as_str()), (code, ""), "{verb}: {}", run.stdout);
        let lease = "no: unreadable: `/opt/cni/bin/macvlan` cannot be read: another process holds a lease on it\n";
        assert_eq!(run.stdout.contains(lease), code == 1, "{verb}: {}", run.stdout);
        assert_eq!(fs::read(&bridge).unwrap() == release.files["bridge"], code == 0, "{verb}");
    }
    scene.run_ok("check --root root");
}

#[test]
fn a_file_of_another_size_is_not_read_whatever_its_length() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 4096);
    let Some(strace) = peer("strace") else { return };
    let (bridge, macvlan) = (scene.at(BIN).join("bridge"), scene.at(BIN).join("macvlan"));
    for length in [1_u64 << 30, 1 << 42, 0, 1] {
        let mut words = vec![
            "check --root root --no-probe".to_owned(),
            "check --root root --at-boot".to_owned(),
            format!("{} --foreign keep --dry-run", second.install_args()),
            "check --root root --at-boot --repair".to_owned(),
            release.install_args(),
        ];
        for words in words.drain(..) {
            for path in [&bridge, &macvlan] {
                fs::File::create(path).unwrap().set_len(length).unwrap();
            }
            let mut command = scene.command(&strace);
            command.args(["-f", "-qq", "-e", "trace=read", "-o", "trace"]);
            command.arg("-P").arg(fs::canonicalize(&macvlan).unwrap());
            command.arg(env!("CARGO_BIN_EXE_cnister")).args(words.split(' '));
            let run = scene.run_command(&mut command);
            let what = format!("{words}, {length}: {}{}", run.stdout, run.stderr);
            assert_eq!(run.stderr, "", "{what}");
            if words.contains("check") && !words.contains("repair") {
                let line = format!(
                    "no: digest-drift: `/opt/cni/bin/macvlan` was altered\n  expected: {} bytes\n  found:    {length} bytes\n",
                    release.files["macvlan"].len()
                );
                assert!(run.code == 1 && run.stdout.contains(&line), "{what}");
            } else {
                assert_eq!(run.code, 0, "{what}");
            }
            // The repaired file is read by the check after it; the sparse one never is.
            if !words.contains("repair") {
                assert_eq!(fs::read_to_string(scene.at("trace")).unwrap(), "", "{what}");
            }
        }
        scene.run_ok("check --root root");
    }
    // The twin: a file of the signed size is read.
    let mut command = scene.command(&strace);
    command.args(["-f", "-qq", "-e", "trace=read", "-o", "trace", "-P"]).arg(&macvlan);
    command.arg(env!("CARGO_BIN_EXE_cnister")).args(["check", "--root", "root", "--at-boot"]);
    assert_eq!(scene.run_command(&mut command).code, 0);
    assert_ne!(fs::read_to_string(scene.at("trace")).unwrap(), "");
}

#[test]
fn what_takes_the_place_of_a_plugin_is_said_in_json_as_well() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let path = scene.at(BIN).join("macvlan");
    fs::remove_file(&path).unwrap();
    symlink("bridge", &path).unwrap();
    let run = scene.run_ok("check --root root --repair --format json");
    assert!(run.stdout.contains("\"was\": \"a symbolic link to `bridge`\""), "{}", run.stdout);
    fs::remove_file(&path).unwrap();
    let run = scene.run_ok(&format!("{} --format json", release.install_args()));
    assert!(!run.stdout.contains("\"was\""), "{}", run.stdout);
}

#[test]
fn the_name_of_the_staging_directory_is_ours() {
    let scene = Scene::in_memory();
    let release = installed(&scene);
    let (staging, bridge) = (scene.at(BIN).join(".cnister"), scene.at(BIN).join("bridge"));
    let precious = scene.write("root/precious/file", "theirs");
    type Make = fn(&Path);
    let makes: [(&str, Make); 5] = [
        ("a file", |path| fs::write(path, "a file").unwrap()),
        ("a link to a directory", |path| symlink("../../../precious", path).unwrap()),
        ("a FIFO", |path| node_of(path, FileType::Fifo)),
        ("a socket", |path| node_of(path, FileType::Socket)),
        ("files", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("bridge"), "half of it").unwrap();
            symlink("/", path.join("link")).unwrap();
        }),
    ];
    let verbs = [release.install_args(), "check --root root --repair".to_owned()];
    for (what, make) in makes {
        for verb in &verbs {
            make(&staging);
            fs::write(&bridge, "altered").unwrap();
            within_bound(&scene, verb);
            scene.run_ok("check --root root");
            assert!(fs::symlink_metadata(&staging).is_err(), "{verb}, {what}");
        }
    }
    assert_eq!(fs::read(&precious).unwrap(), b"theirs");
    // No run makes a directory in it, so it may be somebody's.
    fs::create_dir_all(staging.join("inner")).unwrap();
    fs::write(staging.join("bridge"), "theirs").unwrap();
    fs::write(&bridge, "altered").unwrap();
    let before = scene.tree("root");
    let dry = format!("{} --dry-run", release.install_args());
    for verb in verbs.iter().chain([&dry, &"uninstall --root root".to_owned()]) {
        let run = within_bound(&scene, verb);
        let line = "no: in-the-way: `/opt/cni/bin/.cnister/inner` is a directory\n";
        assert!(run.code == 1 && run.stdout.contains(line), "{verb}: {}{}", run.stdout, run.stderr);
        assert_eq!(scene.tree("root"), before, "{verb}");
    }
    fs::remove_dir(staging.join("inner")).unwrap();
    scene.run_ok(&release.install_args());
    scene.run_ok("check --root root");
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
    let warning = |run: &Run, line: &str| {
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(line), "{line} is not in\n{}", run.stdout);
    };
    for (path, line) in [
        (
            "root/opt/cni/bin",
            "warning: writable-by-others: everybody may change files in `/opt/cni/bin`\n",
        ),
        (
            "root/opt",
            "warning: writable-by-others: everybody may put another directory in the place of `/opt/cni/bin`, through \
             `/opt`\n",
        ),
        (
            "root/var/lib",
            "warning: writable-by-others: everybody may put another directory in the place of `/var/lib/cnister`, \
             through `/var/lib`\n",
        ),
    ] {
        chmod(&scene.at(path), 0o777);
        for words in
            [release.install_args().as_str(), "check --root root", "check --root root --at-boot"]
        {
            warning(&scene.run(words), line);
        }
        chmod(&scene.at(path), 0o755);
        assert!(!scene.run_ok("check --root root").stdout.contains("warning"));
    }
    chmod(&scene.at("root/var/lib/cnister"), 0o770);
    for words in
        [release.install_args().as_str(), "check --root root", "check --root root --at-boot"]
    {
        let run = scene.run(words);
        assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("no: state-not-private: other users may write the state directory"),
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
    let what = "shadowed: CRI-O (`/etc/crio/crio.conf`) calls `/usr/libexec/cni/bridge` and not what is installed in \
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
    let elsewhere = "warning: runtime-looks-elsewhere: no runtime of this node looks in `/opt/cni/bin`: containerd looks \
                     in `/usr/lib/cni` (`/etc/containerd/config.toml`)\n  hint: install where it looks: --bin-dir \
                     /usr/lib/cni\n";
    let install = release.install_args();
    assert!(scene.run_ok(&install).stdout.contains(elsewhere));
    assert!(scene.run_ok("check --root root").stdout.contains(elsewhere));
    let both = format!("{install} --bin-dir /usr/lib/cni --bin-dir /opt/cni/bin");
    assert!(!scene.run_ok(&both).stdout.contains("warning"));
    assert!(!scene.run_ok("check --root root").stdout.contains("warning"));
    scene.write("root/etc/containerd/config.toml", "version = {");
    let run = scene.run_ok("check --root root");
    let unreadable = "warning: runtime-config-unreadable: where a runtime looks for plugins is not sure: \
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
    let expected = "no: not-permitted: `/opt/cni/bin` cannot be written: this process may not write `/opt/cni/bin`\n  \
                    expected: to be writable for user 0\n  found:    user 1000, group 1000, mode 0755\n  \
                    hint: chown 0:0 /opt/cni/bin on the node, or give this process the capability DAC_OVERRIDE\n\
                    refused; nothing was changed\n";
    assert_eq!((refused.code, refused.stdout.as_str(), refused.stderr.as_str()), (1, expected, ""));
    assert_eq!(fs::read_dir(scene.at(BIN)).unwrap().count(), 0);
    // The twin: with the one capability that it needs.
    let allowed = run("-all,+dac_override");
    assert_eq!(allowed.code, 0, "{}{}", allowed.stdout, allowed.stderr);
    assert!(
        allowed.stdout.contains(
            "warning: writable-by-others: user 1000 may change files in `/opt/cni/bin`\n"
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
    let warning = "warning: other-label: `/opt/cni/bin/bridge` has another SELinux label than the directory\n  \
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
    let line = "warning: other-label: `/opt/cni/bin/bridge` and 2 others have another SELinux label than the directory\n";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    assert_eq!(
        fs::read_to_string(scene.at("trace")).unwrap().matches("(INJECTED)").count(),
        PLUGINS.len()
    );
}
