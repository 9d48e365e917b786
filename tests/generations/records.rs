//! The records in the state directory, one by one: deleted, damaged, foreign, outdated, or forged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use cnister::model::Digest;
use serde_json::json;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

const STATE: &str = "root/var/lib/cnister";

/// Asks everything that reads the state; none of it may succeed, take long, or change anything in
/// the whole scene.
fn assert_all_refuse(scene: &Scene, verbs: &[&str], code: &str, what: &str) {
    let before = scene.tree(".");
    for words in verbs {
        let run = scene.run(words);
        assert_eq!(run.code, 1, "{what}, {words}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(&format!("{code}: ")), "{what}, {words}: {}", run.stdout);
        node::assert_same(&before, &scene.tree("."), &format!("{what}, {words}"));
    }
}

const CHECKS: [&str; 4] = [
    "check --root root --no-probe",
    "check --root root --at-boot",
    "check --root root --at-boot --repair",
    "rollback --root root",
];

/// A journal as an interrupted installation of this release leaves it.
fn journal(scene: &Scene, release: &Release) -> String {
    let receipt = fs::read(scene.at("old").join("var/lib/cnister/receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    let entry = |(name, bytes): (&&str, &Vec<u8>)| {
        json!({
            "directory": Digest::of(b"/opt/cni/bin"), "name": name, "digest": Digest::of(bytes), "size": bytes.len(),
        })
    };
    let entries: Vec<_> = release.files.iter().map(entry).collect();
    json!({
        "schemaVersion": 1, "index": receipt["index"], "evidence": receipt["evidence"], "entries": entries,
    })
    .to_string()
}

/// A node with the second release over the first, kept as `good`; the state with the first, as
/// `old`.
fn prepare(scene: &Scene) -> (Release, Release) {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(scene);
    scene.run_ok(&first.install_args());
    node::keep_as(scene, "old");
    scene.run_ok(&second.install_from_layout_args());
    node::keep_as(scene, "good");
    (first, second)
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_damaged_journal_or_floor_is_an_answer_and_leads_nowhere() {
    let scene = Scene::in_memory();
    let (first, _) = prepare(&scene);
    scene.write("outside/bridge", "from outside");
    let floors = fs::read_to_string(scene.at(STATE).join("floors.json")).unwrap();
    let journal = journal(&scene, &first);
    let here = Digest::of(b"/opt/cni/bin").to_string();
    for (name, good, leads_out) in [
        ("journal.json", &journal, journal.replace("\"bridge\"", "\"../../../outside/bridge\"")),
        (
            "journal.json",
            &journal,
            journal.replace(&format!("\"{here}\""), "\"/opt/cni/../../outside\""),
        ),
        ("floors.json", &floors, floors.replace("\"test\"", "\"../../../outside/test\"")),
    ] {
        let path = scene.at(STATE).join(name);
        let cases = [
            ("empty", String::new()),
            ("truncated", good[..good.len() / 2].to_owned()),
            ("without its last byte", good.trim_end().strip_suffix('}').unwrap().to_owned()),
            ("another program's", "{}".to_owned()),
            ("a name that leads out", leads_out),
            (
                "of a later program",
                good.replace("\"schemaVersion\":1", "\"schemaVersion\":2")
                    .replace("Version\": 1", "Version\": 2"),
            ),
            ("too long", good.replacen('{', &format!("{{{}", " ".repeat(1 << 20)), 1)),
            ("a key twice", good.replacen('{', "{\"schemaVersion\":1,", 1)),
        ];
        let verbs = [
            &CHECKS[..],
            &["uninstall --root root", "install --key cosign.pub --root root oci:layout-a"],
        ];
        for (what, text) in cases {
            assert_ne!(&text, good, "{what}");
            write(&path, &text, 0o600);
            assert_all_refuse(&scene, &verbs.concat(), "state-damaged", &format!("{name}: {what}"));
        }
        node::bring_back(&scene, "good");
    }
}

#[test]
fn records_that_others_may_have_written_are_not_believed() {
    let scene = Scene::in_memory();
    let (first, _) = prepare(&scene);
    let journal = journal(&scene, &first);
    for name in ["receipt.json", "journal.json", "floors.json"] {
        let path = scene.at(STATE).join(name);
        let present = fs::read_to_string(&path).unwrap_or_else(|_| journal.clone());
        let verbs = [
            &CHECKS[..],
            &["uninstall --root root", "install --key cosign.pub --root root oci:layout-a"],
        ];
        for mode in [0o666, 0o620, 0o602] {
            write(&path, &present, mode);
            assert_all_refuse(
                &scene,
                &verbs.concat(),
                "state-not-private",
                &format!("{name}, mode {mode:o}"),
            );
        }
        write(&path, &present, 0o600);
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(1000), None).unwrap();
            assert_all_refuse(
                &scene,
                &verbs.concat(),
                "state-not-private",
                &format!("{name} of user 1000"),
            );
            chown(&path, Some(0), None).unwrap();
        }
        node::bring_back(&scene, "good");
        scene.run_ok("check --root root");
    }
}

#[test]
fn a_record_that_is_not_a_file_is_reported_at_once() {
    let scene = Scene::in_memory();
    let (first, _) = prepare(&scene);
    scene.write("elsewhere", journal(&scene, &first));
    type Make = fn(&Scene, &Path);
    let makers: [(&str, Make); 3] = [
        ("a directory", |_, path| fs::create_dir(path).unwrap()),
        ("a link", |scene, path| symlink(scene.at("elsewhere"), path).unwrap()),
        ("a FIFO", |_, path| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        }),
    ];
    for name in ["receipt.json", "journal.json", "floors.json", "refusal.json"] {
        for (what, make) in makers {
            node::bring_back(&scene, "good");
            let path = scene.at(STATE).join(name);
            drop(fs::remove_file(&path));
            make(&scene, &path);
            let before = scene.tree(".");
            for words in CHECKS {
                let run = scene.run(words);
                let reads = name != "refusal.json" || words.starts_with("check");
                assert!(!reads || run.code != 0, "{name} is {what}, {words}: {}", run.stdout);
                if words.starts_with("check") {
                    assert_eq!(
                        run.code, 1,
                        "{name} is {what}, {words}: {}{}",
                        run.stdout, run.stderr
                    );
                    node::assert_same(
                        &before,
                        &scene.tree("."),
                        &format!("{name} is {what}, {words}"),
                    );
                }
            }
        }
    }
}

#[test]
fn a_journal_of_an_earlier_run_is_reported_and_finished_by_the_next() {
    let scene = Scene::in_memory();
    let (first, second) = prepare(&scene);
    let path = scene.at(STATE).join("journal.json");
    write(&path, &journal(&scene, &first), 0o600);
    let installed = scene.tree(node::BIN);
    assert_refused(&scene.run("check --root root"), "interrupted-install");
    let run = scene.run_ok("check --root root --at-boot");
    assert!(run.stdout.contains("warning: interrupted-install: "), "{}", run.stdout);
    assert_refused(&scene.run("gc --root root"), "interrupted-install");
    scene.run_ok(&second.install_from_layout_args());
    assert!(!path.exists());
    scene.run_ok("check --root root");
    node::assert_same(&installed, &scene.tree(node::BIN), "finished");

    // A journal that claims foreign files changes none of them as long as an installation does not
    // need them.
    let flannel = fs::read(scene.at(node::BIN).join("flannel")).unwrap();
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    let forged = journal(&scene, &first)
        .replace("\"host-local\"", "\"flannel\"")
        .replace(&digest(&first.files["host-local"]), &digest(&flannel));
    write(&path, &forged, 0o600);
    assert_refused(&scene.run("check --root root"), "interrupted-install");
    scene.run_ok(&second.install_from_layout_args());
    node::assert_same(&installed, &scene.tree(node::BIN), "finished again");
    assert_eq!(node::unsound(&scene, &[&first, &second]), None);
}

#[test]
fn a_floor_of_an_earlier_run_is_raised_by_the_next_installation_and_by_no_repair() {
    let scene = Scene::in_memory();
    let (_, second) = prepare(&scene);
    let floors = scene.at(STATE).join("floors.json");
    let old = fs::read(scene.at("old/var/lib/cnister/floors.json")).unwrap();
    let new = fs::read(&floors).unwrap();
    assert_ne!(old, new);
    fs::write(&floors, &old).unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    scene.run_ok("check --root root --repair");
    assert_eq!(fs::read(&floors).unwrap(), old);
    scene.run_ok(&second.install_from_layout_args());
    assert_eq!(fs::read(&floors).unwrap(), new);
}

#[test]
fn forged_numbers_and_names_of_generations_lead_nowhere() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let generations = scene.at(STATE).join("generations");
    let good = fs::read_to_string(generations.join("1.json")).unwrap();
    let huge = u64::MAX;
    // Renumbered, at the end of the range.
    let last = good.replace("\"generation\": 1", &format!("\"generation\": {huge}"));
    write(&generations.join(format!("{huge}.json")), &last, 0o600);
    fs::remove_file(generations.join("1.json")).unwrap();
    scene.run_ok(&format!("rollback --root root --to {huge}"));
    assert_eq!(of_release(&scene, &first).len(), 3);
    scene.run_ok("rollback --root root");
    assert_eq!(of_release(&scene, &second).len(), 3);
    scene.run_ok("rollback --root root");
    scene.run_ok("check --root root");
    // Past the range, with a name of its own, owned by user 1000, or too long for a record.
    let present = fs::read_to_string(scene.at(STATE).join("receipt.json")).unwrap();
    for (name, text) in [
        (
            "18446744073709551616.json",
            good.replace("\"generation\": 1", "\"generation\": 18446744073709551616"),
        ),
        ("01.json", good.clone()),
        ("..json", good.clone()),
        (
            "7.json",
            good.replace("\"generation\": 1", "\"generation\": 7")
                .replace("\"bridge\"", "\"../bridge\""),
        ),
        ("8.json", good.replacen('{', &format!("{{{}", " ".repeat(1 << 20)), 1)),
    ] {
        write(&generations.join(name), &text, 0o600);
        scene.run_ok("check --root root");
        assert_refused(&scene.run("rollback --root root --to 7"), "no-generation");
        assert_eq!(
            fs::read_to_string(scene.at(STATE).join("receipt.json")).unwrap(),
            present,
            "{name}"
        );
    }
    // Ten thousand of them take a moment.
    for number in 0..10_000 {
        fs::write(generations.join(format!("x{number}")), "{}").unwrap();
    }
    scene.run_ok("status --root root");
    scene.run_ok(&second.install_from_layout_args().replace("install", "install --again"));
    assert!(fs::read_dir(&generations).unwrap().count() <= 2, "swept");
    assert_eq!(node::unsound(&scene, &[&first, &second]), None);
}
