//! A state directory that was deleted, damaged or replaced.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

const STATE: &str = "root/var/lib/cnister";

/// Runs every verb that reads the state; none may succeed, hang, or write anywhere.
fn assert_all_refuse(scene: &Scene, code: &str, what: &str) {
    let before = scene.tree("root");
    for words in [
        "check --root root --no-probe",
        "check --root root --at-boot",
        "check --root root --at-boot --repair",
        "rollback --root root",
        "uninstall --root root",
    ] {
        let run = scene.run(words);
        assert_eq!(run.code, 1, "{what}, {words}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(&format!("{code}: ")), "{what}, {words}: {}", run.stdout);
        node::assert_same(&before, &scene.tree("root"), &format!("{what}, {words}"));
    }
}

#[test]
fn a_damaged_receipt_is_an_answer_and_can_be_cured() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    let path = scene.at(STATE).join("receipt.json");
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        ("empty", String::new()),
        ("truncated", good[..good.len() / 2].to_owned()),
        ("another program's", "{}".to_owned()),
        ("a name that leads out", good.replace("\"bridge\"", "\"../../../etc/bridge\"")),
        ("a directory that leads out", good.replace("\"/opt/cni/bin\"", "\"/opt/../etc\"")),
        ("of a later program", good.replace("\"schemaVersion\": 1", "\"schemaVersion\": 2")),
        ("too long", good.replace('{', &format!("{{{}", " ".repeat(600_000)))),
    ];
    for (what, text) in cases {
        assert_ne!(text, good);
        fs::write(&path, text).unwrap();
        assert_all_refuse(&scene, "state-damaged", what);
        let run = scene.run(&second.install_from_layout_args());
        assert_refused(&run, "state-damaged");
        assert!(run.stdout.contains("hint: remove it and install again"), "{}", run.stdout);
    }
    // The hint works: what is there has the signed content, so it is not touched.
    fs::remove_file(&path).unwrap();
    scene.run_ok(&second.install_from_layout_args());
    scene.run_ok("check --root root");
}

#[test]
fn a_receipt_that_others_may_have_written_is_not_believed() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    let path = scene.at(STATE).join("receipt.json");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_all_refuse(&scene, "state-not-private", "mode 0666");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    scene.run_ok("check --root root");
    if rustix::process::geteuid().is_root() {
        chown(&path, Some(1000), None).unwrap();
        assert_all_refuse(&scene, "state-not-private", "of user 1000");
        chown(&path, Some(0), None).unwrap();
    }
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    scene.write("elsewhere.json", &good);
    symlink(scene.at("elsewhere.json"), &path).unwrap();
    let run = scene.run("check --root root");
    assert_ne!(run.code, 0, "{}", run.stdout);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_ne!(scene.run("check --root root").code, 0);
}

#[test]
fn what_is_deleted_is_missed() {
    for (deleted, code) in [("receipt.json", "records-lost"), ("evidence", "no-evidence")] {
        let scene = Scene::in_memory();
        upgraded(&scene);
        let path = scene.at(STATE).join(deleted);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        assert_refused(&scene.run("check --root root"), code);
    }
    // Without its copies a node is intact but cannot repair itself; the next installation stores
    // them again.
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    fs::remove_dir_all(scene.at(STATE).join("store")).unwrap();
    scene.run_ok("check --root root");
    let status = scene.run_ok("status --root root").stdout;
    assert!(status.contains("     3 of them without a copy in the local store\n"), "{status}");
    assert_refused(&scene.run("rollback --root root"), "no-copy");
    assert_eq!(of_release(&scene, &second).len(), 3);
    node::assert_nothing_to_do(&scene.run_ok(&second.install_args()), "copies");
    fs::remove_file(scene.at(node::BIN).join("vlan")).unwrap();
    scene.run_ok("check --root root --repair");
}

#[test]
fn records_of_an_earlier_run_do_not_bring_old_plugins_back() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    scene.run_ok(&first.install_args());
    let old = fs::read(scene.at(STATE).join("receipt.json")).unwrap();
    let evidence = scene.at(STATE).join("evidence");
    let of_first = fs::read_dir(&evidence).unwrap().next().unwrap().unwrap().path();
    let of_first = (of_first.file_name().unwrap().to_owned(), fs::read(&of_first).unwrap());
    scene.run_ok(&second.install_from_layout_args());
    // Yesterday's receipt with today's files: every file that differs is reported.
    fs::write(scene.at(STATE).join("receipt.json"), &old).unwrap();
    let run = scene.run("check --root root");
    assert_refused(&run, "digest-drift");
    assert!(run.stdout.contains("ALTERED     /opt/cni/bin/bridge\n"), "{}", run.stdout);
    assert_eq!(scene.run("check --root root --at-boot").code, 1);
    // The evidence of one release under the name of the other proves neither.
    scene.run_ok(&second.install_from_layout_args());
    for entry in fs::read_dir(&evidence).unwrap().map(Result::unwrap) {
        if entry.file_name() != of_first.0 {
            fs::write(entry.path(), &of_first.1).unwrap();
        }
    }
    assert_refused(&scene.run("check --root root"), "no-evidence");
    // This is not a retired key: what has no proof at all is refused at boot as well.
    assert_refused(&scene.run("check --root root --at-boot --repair"), "no-evidence");
}

#[test]
fn a_damaged_generation_is_shown_and_not_gone_back_to() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let record = scene.at(STATE).join("generations/1.json");
    let good = fs::read_to_string(&record).unwrap();
    for text in ["", "{}", &good.replace("\"generation\": 1", "\"generation\": 7")] {
        fs::write(&record, text).unwrap();
        let status = scene.run_ok("status --root root").stdout;
        assert!(status.contains("warning: state-damaged: `generations/1.json`"), "{status}");
        assert_refused(&scene.run("rollback --root root"), "no-generation");
        scene.run_ok("check --root root");
    }
    assert_eq!(node::unsound(&scene, &[&first, &second]), None);
    // The next installation removes it.
    scene.run_ok(&first.install_from_layout_args());
    assert!(!scene.run_ok("status --root root").stdout.contains("damaged"));
}

#[test]
fn a_first_installation_that_was_interrupted_or_refused_is_shown() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    let present = fs::read_to_string(scene.at(STATE).join("receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&present).unwrap();
    let index = receipt["index"].as_str().unwrap();
    fs::remove_file(scene.at(STATE).join("receipt.json")).unwrap();
    fs::remove_dir_all(scene.at(STATE).join("generations")).unwrap();
    let run = scene.run("status --root root");
    assert_eq!(run.code, 1);
    let lost = "nothing is installed\nno: records-lost: ";
    assert!(run.stdout.starts_with(lost), "{}", run.stdout);
    let journal = serde_json::json!({
        "schemaVersion": 1, "index": index, "evidence": receipt["evidence"], "entries": []
    });
    let refusal =
        serde_json::json!({ "schemaVersion": 1, "wanted": "oci:layout-b", "reasons": [] });
    for (name, record) in [("journal.json", journal), ("refusal.json", refusal)] {
        let path = scene.write(&format!("{STATE}/{name}"), record.to_string());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let run = scene.run("status --root root");
    let expected = format!(
        "nothing is installed\nthe installation of {index} was interrupted\nthe wanted release `oci:layout-b` was refused\n"
    );
    assert_eq!((run.code, run.stdout), (1, expected));
}

#[test]
fn another_path_of_a_directory_is_the_same_directory() {
    let scene = Scene::in_memory();
    let (first, second) = (
        Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0),
        Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0),
    );
    node::new(&scene);
    fs::create_dir_all(scene.at("root/usr/lib")).unwrap();
    symlink("../../opt/cni/bin", scene.at("root/usr/lib/cni")).unwrap();
    scene.run_ok(&first.install_args());
    let before = scene.tree("root");
    for more in ["", " --foreign adopt", " --dry-run"] {
        let run = scene
            .run(&format!("{} --bin-dir /usr/lib/cni{more}", second.install_from_layout_args()));
        assert_refused(&run, "in-the-way");
        let both = "`/opt/cni/bin` and `/usr/lib/cni` are the same plugin directory";
        assert!(run.stdout.contains(both), "{more}: {}", run.stdout);
        node::assert_same(&before, &scene.tree("root"), more);
    }
    scene.run_ok(&second.install_from_layout_args());
    // A directory of its own, and one that is recorded already.
    fs::remove_file(scene.at("root/usr/lib/cni")).unwrap();
    scene.run_ok(&format!("{} --bin-dir /usr/lib/cni", second.install_from_layout_args()));
    scene.run_ok(&format!("{} --bin-dir /usr/lib/cni", second.install_from_layout_args()));
}
