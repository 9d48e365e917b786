//! Records and copies that cannot be read for a moment: a lease, or a disk that fails. They are not
//! damaged, so nothing that they need may be removed, and nothing is decided without them.

use std::fs;

use cnister::model::Digest;

use super::release::Release;
use super::support::{Run, Scene, peer};
use super::{assert_refused, node, of_release, upgraded};

const STATE: &str = "root/var/lib/cnister";
/// A call of the system that fails, and why.
const FAULTS: [&str; 4] = [
    // A lease (fcntl(2), F_SETLEASE).
    "openat:error=EAGAIN",
    "openat:error=EIO",
    "openat:error=EACCES",
    "read:error=EIO",
];

/// Runs the program; opening or reading the file `name` of this directory fails.
fn failing(scene: &Scene, folder: &str, name: &str, fault: &str, words: &str) -> Option<Run> {
    let strace = peer("strace")?;
    let path = fs::canonicalize(scene.at(STATE).join(folder)).unwrap().join(name);
    // A file is opened by its name in a directory that is open, and read by its descriptor.
    let path = if fault.starts_with("read") { path.to_str().unwrap() } else { name };
    let mut command = scene.command(&strace);
    command.args(["-f", "-qq", "-o", "trace", "-e", &format!("inject={fault}"), "-P", path]);
    command.arg(env!("CARGO_BIN_EXE_cnister"));
    Some(scene.run_command(command.args(words.split(' '))))
}

#[test]
fn a_generation_that_cannot_be_read_for_a_moment_is_kept_with_its_copies() {
    let scene = Scene::new();
    let (first, second) = upgraded(&scene);
    let third = Release::new(&scene, "c", "1.2.0", &["bridge", "vlan"], 0);
    let third = format!("{} --generations 5", third.install_from_layout_args());
    node::keep_as(&scene, "good");
    let unread = "unreadable: `generations/1.json` cannot be read: ";
    for fault in FAULTS {
        let run = |words: &str| failing(&scene, "generations", "1.json", fault, words);
        let Some(collected) = run("gc --root root --generations 1") else { return };
        assert_refused(&collected, "unreadable");
        let good = scene.tree("good");
        node::assert_same(&good, &scene.tree("root"), fault);
        for words in ["rollback --root root", "rollback --root root --to 1"] {
            let refused = run(words).unwrap();
            assert_refused(&refused, "unreadable");
            assert!(refused.stdout.contains(unread), "{fault}, {words}: {}", refused.stdout);
            node::assert_same(&good, &scene.tree("root"), words);
        }
        for words in ["status --root root", "check --root root", "check --root root --at-boot"] {
            let told = run(words).unwrap();
            let said = format!("{fault}, {words}: {}{}", told.stdout, told.stderr);
            assert_eq!(told.code, 0, "{said}");
            assert!(told.stdout.contains(&format!("warning: {unread}")), "{said}");
        }
        let installed = run(&third).unwrap();
        assert_eq!(installed.code, 0, "{fault}: {}{}", installed.stdout, installed.stderr);
        assert!(installed.stdout.contains(&format!("warning: {unread}")), "{}", installed.stdout);
        // Nothing was removed: every generation can be returned to.
        assert_eq!(of_release(&scene, &second).len(), 1, "{fault}");
        scene.run_ok("rollback --root root --to 1");
        assert_eq!(of_release(&scene, &first).len(), 3, "{fault}");
        scene.run_ok("rollback --root root --to 2");
        assert_eq!(of_release(&scene, &second).len(), 3, "{fault}");
        node::bring_back(&scene, "good");
    }
}

#[test]
fn the_number_of_a_generation_that_cannot_be_read_is_not_given_again() {
    let scene = Scene::new();
    let (first, second) = upgraded(&scene);
    // Without a receipt, only the records of generations say which numbers there are.
    fs::remove_file(scene.at(STATE).join("receipt.json")).unwrap();
    let words = second.install_from_layout_args();
    let fault = "openat:error=EIO";
    let Some(run) = failing(&scene, "generations", "1.json", fault, &words) else { return };
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let status = scene.run_ok("status --root root").stdout;
    assert!(status.contains("* 2  test 1.1.0"), "{status}");
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
}

#[test]
fn other_names_beside_the_generations_hide_none_of_them() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let generations = scene.at(STATE).join("generations");
    for number in 0..300 {
        fs::write(generations.join(format!("0x{number}.json")), "{}").unwrap();
    }
    scene.run_ok("gc --root root");
    assert_eq!(fs::read_dir(&generations).unwrap().count(), 1);
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &first).len(), 3);
    assert_eq!(node::unsound(&scene, &[&first, &second]), None);
}

#[test]
fn a_copy_that_cannot_be_read_keeps_no_other_file_from_being_repaired() {
    let scene = Scene::new();
    let (first, second) = upgraded(&scene);
    let bin = scene.at(node::BIN);
    node::keep_as(&scene, "good");
    let good = scene.tree("root");
    for fault in FAULTS {
        for (name, bytes) in
            [("bridge", &second.files["bridge"]), ("host-local", &first.files["host-local"])]
        {
            let copy = Digest::of(bytes).hex();
            let run = |words: &str| failing(&scene, "store", &copy, fault, words);
            for occasion in ["--no-probe", "--at-boot"] {
                for name in [name, "macvlan"] {
                    fs::write(bin.join(name), "altered").unwrap();
                }
                let words = format!("check --root root --repair {occasion}");
                let Some(repaired) = run(&words) else { return };
                let said = format!("{fault}, {name}, {words}: {repaired:?}");
                assert_eq!(repaired.code, 1, "{said}");
                assert!(repaired.stdout.contains("no-copy: "), "{said}");
                assert_eq!(fs::read(bin.join("macvlan")).unwrap(), second.files["macvlan"]);
                assert_eq!(fs::read(bin.join(name)).unwrap(), b"altered", "{said}");
            }
            let status = run("status --root root").unwrap();
            assert_eq!(status.code, 0, "{status:?}");
            let counted = status.stdout.contains("     1 of them without a copy");
            assert_eq!(counted, !fault.starts_with("read"), "{fault}: {status:?}");
            let again = run(&second.install_from_layout_args()).unwrap();
            assert_eq!(again.code, 0, "{fault}, {name}: {again:?}");
            scene.run_ok("check --root root --repair");
            node::assert_same(&good, &scene.tree("root"), name);
        }
        // A rollback brings all or nothing.
        let copy = Digest::of(&first.files["bridge"]).hex();
        let words = "rollback --root root";
        assert_refused(&failing(&scene, "store", &copy, fault, words).unwrap(), "no-copy");
        assert_eq!(of_release(&scene, &second).len(), 3, "{fault}");
        node::bring_back(&scene, "good");
    }
}

#[test]
fn evidence_of_an_earlier_generation_that_cannot_be_read_stops_no_check() {
    let scene = Scene::new();
    let (first, second) = upgraded(&scene);
    let record = fs::read(scene.at(STATE).join("generations/1.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let name = format!("{}.json", &record["evidence"].as_str().unwrap()["sha256:".len()..]);
    let bin = scene.at(node::BIN);
    for fault in FAULTS {
        let run = |words: &str| failing(&scene, "evidence", &name, fault, words);
        fs::write(bin.join("vlan"), "altered").unwrap();
        fs::remove_file(bin.join("host-local")).unwrap();
        let Some(checked) = run("check --root root --repair --no-probe") else { return };
        assert_eq!(checked.code, 1, "{fault}: {checked:?}");
        let told = "warning: unreadable: the evidence of generation 1 cannot be read: ";
        for line in [
            told,
            "no: plugin-missing: `/opt/cni/bin/host-local` is from an earlier bundle and is gone, and ",
        ] {
            assert!(checked.stdout.contains(line), "{fault}, {line}: {}", checked.stdout);
        }
        assert_eq!(fs::read(bin.join("vlan")).unwrap(), second.files["vlan"], "{fault}");
        scene.run_ok("check --root root --repair");
        assert_eq!(of_release(&scene, &first), ["host-local"], "{fault}");
    }
}
