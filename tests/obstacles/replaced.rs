//! What takes the place of a plugin, or keeps one from being read: it is named, and replaced.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::FileType;

use super::release::Release;
use super::support::{Scene, peer, say_skipped};
use super::{BIN, PLUGINS, installed, is_root, node_of, within_bound};

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
            holder.wait().unwrap();
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
fn what_takes_the_place_of_a_plugin_is_reported_in_json_as_well() {
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
    // No run makes a directory in it, so it may be another program's.
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
