//! What keeps a run from its end is a refusal before anything changes, and the dry run says the
//! same: ways to hold or to break what a node keeps, and every verb that changes it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde_json::{Value, json};

use super::support::{Run, Scene, forge::Forge, hold::Hold, say_skipped};
use super::{BIN, Release, is_root, node_of, with_own_mounts, within_bound};

const STATE: &str = "root/var/lib/cnister";

/// The verbs; `{b}` and `{c}` install two releases of which the second lacks a plugin.
const VERBS: [&str; 8] = [
    "{b}",
    "{c}",
    "{c} --prune",
    "{staged}",
    "rollback --root root",
    "rollback --root root --prune",
    "uninstall --root root",
    "uninstall --root root --force",
];

/// A node with two generations and an adopted file, and what has the words of the verbs.
struct Node {
    scene: Scene,
    verbs: Vec<String>,
    releases: [Release; 3],
}

impl Node {
    fn new(scene: Scene) -> Self {
        let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
        let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
        let third = Release::new(&scene, "c", "1.2.0", &["bridge", "macvlan"], 0);
        fs::create_dir_all(scene.at("root/var/lib/cni")).unwrap();
        scene.write(&format!("{BIN}/vlan"), "another installer's");
        scene.run_ok(&first.install_from_layout_args());
        scene.run_ok(&format!("{} --foreign adopt", second.install_from_layout_args()));
        let verbs = VERBS.map(|verb| {
            verb.replace("{b}", &second.install_from_layout_args())
                .replace("{c}", &third.install_from_layout_args())
                .replace("{staged}", &third.install_args())
        });
        let node = Self { scene, verbs: verbs.into(), releases: [first, second, third] };
        node.copy("root", "kept");
        node
    }

    fn copy(&self, from: &str, to: &str) {
        let run = self.scene.command("cp").arg("-a").args([from, to]).status();
        assert!(run.is_ok_and(|status| status.success()));
    }

    /// Puts the node back, and changes it.
    fn reset(&self, change: impl FnOnce(&Self)) {
        fs::remove_dir_all(self.scene.at("root")).unwrap();
        self.copy("kept", "root");
        change(self);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.scene.at("root").join(path)
    }

    /// The node's copy of a plugin of a release.
    fn stored(&self, release: usize, plugin: &str) -> PathBuf {
        let digest = cnister::model::Digest::of(&self.releases[release].files[plugin]);
        self.scene.at(STATE).join("store").join(digest.hex())
    }

    /// The one file in a directory of the state directory.
    fn only(&self, directory: &str) -> PathBuf {
        let mut entries = fs::read_dir(self.scene.at(STATE).join(directory)).unwrap();
        entries.next().unwrap().unwrap().path()
    }
}

fn said(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

fn refusals(run: &Run) -> (i32, Vec<&str>) {
    (run.code, run.stdout.lines().filter(|line| line.starts_with("no: ")).collect())
}

/// Compares what the dry run and the run say; returns the exit code.
fn compare(dry: &Run, real: &Run, what: &str) -> i32 {
    assert_eq!(refusals(dry), refusals(real), "{what}: {} and {}", said(dry), said(real));
    assert!(real.code <= 1, "{what}: {}", said(real));
    real.code
}

fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, what: &str) {
    let differs = |(path, _): &(&String, &String)| before.get(*path) != after.get(*path);
    let differing: Vec<_> = before.iter().chain(after).filter(differs).collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
}

/// What is held; a name that is not there is created: a directory if it ends in a slash.
const PLACES: [&str; 24] = [
    "opt/cni/bin",
    "opt/cni/bin/macvlan",
    "opt/cni/bin/.cnister",
    "opt/cni/bin/.cnister/",
    "opt/cni/bin/.cnister/bridge",
    "etc/cnister",
    "etc/cnister/policy.yaml",
    "etc/cnister/.cnister-0123",
    "var/lib/cnister",
    "var/lib/cnister/lock",
    "var/lib/cnister/receipt.json",
    "var/lib/cnister/floors.json",
    "var/lib/cnister/ready",
    "var/lib/cnister/.cnister-0123",
    "var/lib/cnister/store",
    "var/lib/cnister/store/.cnister-0123",
    "var/lib/cnister/store/garbage",
    "var/lib/cnister/evidence",
    "var/lib/cnister/evidence/garbage",
    "var/lib/cnister/generations",
    "var/lib/cnister/generations/1.json",
    "var/lib/cnister/originals",
    "var/lib/cnister/originals/garbage",
    "opt/cni/bin/vlan",
];

/// Makes what is to be held, if it is not there.
fn make(path: &Path, place: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match place.ends_with('/') {
        true => fs::create_dir_all(path).unwrap(),
        false if path.exists() => {}
        false => fs::write(path, "").unwrap(),
    }
}

#[test]
fn what_is_held_is_refused_by_the_dry_run_as_by_the_run_and_nothing_changes() {
    if !is_root() {
        return;
    }
    let node = Node::new(Scene::new());
    'ways: for hold in Hold::ALL {
        let mut refused = 0;
        for place in PLACES {
            for words in [0, 2, 4, 6].map(|number| &node.verbs[number]) {
                let path = node.at(place.trim_end_matches('/'));
                node.reset(|_| make(&path, place));
                let Some(held) = hold.begin(&path) else {
                    say_skipped(&format!("nothing can be held like this here: {hold:?}"));
                    continue 'ways;
                };
                let before = node.scene.tree("root");
                let dry = node.scene.run(&format!("{words} --dry-run"));
                let is_unchanged = node.scene.tree("root") == before;
                let real = node.scene.run(words);
                let after = node.scene.tree("root");
                drop(held);
                let what = format!("{place}, {hold:?}, {words}");
                assert!(is_unchanged, "{what}: a dry run");
                if compare(&dry, &real, &what) == 1 {
                    assert_same(&before, &after, &what);
                    refused += 1;
                    // What the hint says ends it.
                    let path = format!("/{}", place.trim_end_matches('/'));
                    let hint = real.stdout.lines().any(|line| {
                        line.contains("hint: ") && line.split(' ').any(|word| word == path)
                    });
                    assert!(hint, "{what}: {}", said(&real));
                }
            }
        }
        assert!(refused > 15, "{hold:?}: {refused} were refused");
    }
}

/// A way to break something, and whether a verb is expected to be refused for it.
type Break = (&'static str, fn(&Node), &'static [&'static str]);

const BREAKS: [Break; 14] = [
    (
        "the copy of an earlier plugin is gone",
        |node| {
            fs::remove_file(node.stored(0, "macvlan")).unwrap();
        },
        &["rollback"],
    ),
    (
        "it has other bytes",
        |node| {
            let path = node.stored(0, "macvlan");
            let length = fs::read(&path).unwrap().len();
            fs::write(path, vec![b'x'; length]).unwrap();
        },
        &["rollback"],
    ),
    ("it is shorter", |node| fs::write(node.stored(0, "bridge"), "x").unwrap(), &["rollback"]),
    (
        "it is a link",
        |node| {
            let path = node.stored(0, "bridge");
            fs::rename(&path, path.with_extension("away")).unwrap();
            symlink(path.with_extension("away"), path).unwrap();
        },
        &["rollback"],
    ),
    (
        "it is a FIFO",
        |node| {
            fs::remove_file(node.stored(0, "bridge")).unwrap();
            node_of(&node.stored(0, "bridge"), FileType::Fifo);
        },
        &["rollback"],
    ),
    (
        "the store is gone",
        |node| {
            fs::remove_dir_all(node.scene.at(STATE).join("store")).unwrap();
        },
        &["rollback"],
    ),
    (
        "an original is gone",
        |node| fs::remove_file(node.only("originals")).unwrap(),
        &["uninstall --root root"],
    ),
    (
        "an original has other bytes",
        |node| fs::write(node.only("originals"), "other").unwrap(),
        &["uninstall --root root"],
    ),
    (
        "the originals are gone",
        |node| {
            fs::remove_dir_all(node.scene.at(STATE).join("originals")).unwrap();
        },
        &["uninstall --root root"],
    ),
    (
        "an original is a link",
        |node| {
            let path = node.only("originals");
            fs::remove_file(&path).unwrap();
            symlink("nowhere", path).unwrap();
        },
        &["uninstall --root root"],
    ),
    (
        "a directory is in the staging directory",
        |node| {
            fs::create_dir_all(node.at("opt/cni/bin/.cnister/d")).unwrap();
        },
        &["rollback", "uninstall", "{c}"],
    ),
    (
        "a full directory has the name of a plugin",
        |node| {
            let path = node.at("opt/cni/bin/macvlan");
            fs::remove_file(&path).unwrap();
            fs::create_dir_all(path.join("d")).unwrap();
        },
        &["rollback", "{c}"],
    ),
    (
        "the earlier evidence is gone",
        |node| {
            fs::remove_dir_all(node.scene.at(STATE).join("evidence")).unwrap();
        },
        &["rollback"],
    ),
    ("nothing", |_| {}, &[]),
];

#[test]
fn what_is_broken_is_refused_by_the_dry_run_as_by_the_run_and_nothing_changes() {
    let node = Node::new(Scene::in_memory());
    for (what, change, refused) in BREAKS {
        for (verb, words) in VERBS.iter().zip(&node.verbs) {
            node.reset(change);
            let before = node.scene.tree("root");
            let dry = within_bound(&node.scene, &format!("{words} --dry-run"));
            assert_same(&before, &node.scene.tree("root"), &format!("{what}, {words}: a dry run"));
            let real = within_bound(&node.scene, words);
            let code = compare(&dry, &real, &format!("{what}, {words}"));
            let is_expected = refused.iter().any(|refused| {
                *verb == *refused || (!refused.contains(' ') && verb.starts_with(refused))
            });
            if is_expected {
                assert_eq!(code, 1, "{what}, {words}: {}", said(&real));
            }
            if what == "nothing" {
                assert_eq!(code, 0, "{words}: {}", said(&real));
            }
            if code == 1 {
                assert_same(&before, &node.scene.tree("root"), &format!("{what}, {words}"));
            }
        }
    }
}

#[test]
fn a_full_disk_is_told_by_the_dry_run_as_by_the_run() {
    let node = Node::new(Scene::new());
    for (place, size) in [("root/opt/cni/bin", "200k"), ("root/var/lib/cnister", "400k")] {
        let script = format!(
            "cp -a {place} copy
             mount -t tmpfs -o size={size} none {place}
             cp -a copy/. {place}
             rm -rf copy
             head -c 1M /dev/zero > {place}/filler 2>/dev/null || true
             exec \"$0\" \"$@\""
        );
        // The first has nothing to write.
        for words in node.verbs.iter().skip(1) {
            node.reset(|_| {});
            let before = node.scene.tree("root");
            let run = |words: &str| with_own_mounts(&node.scene, &script, words);
            let Some(dry) = run(&format!("{words} --dry-run")) else { return };
            let real = run(words).unwrap();
            let code = compare(&dry, &real, &format!("{place}, {words}"));
            assert_eq!(code, 1, "{place}, {words}: {}", said(&real));
            assert!(real.stdout.contains("no: no-space: "), "{words}: {}", said(&real));
            assert_same(&before, &node.scene.tree("root"), &format!("{place}, {words}"));
        }
    }
}

/// A way to spoil what is installed from; the words that install it, and the exit codes of both.
type Spoil = (&'static str, fn(&Node), &'static str, i32);

/// The plugin layer of the third release.
fn layer(node: &Node) -> PathBuf {
    let forge = Forge::new(node.scene.at("layout-c"));
    let manifest = forge.read(&forge.tagged())["manifests"][0]["digest"].clone();
    let layers = forge.read(manifest.as_str().unwrap())["layers"].clone();
    forge.blob(layers[0]["digest"].as_str().unwrap())
}

const SPOILS: [Spoil; 11] = [
    ("nothing", |_| {}, "{staged}", 0),
    (
        "an entry more",
        |node| drop(node.scene.write("staged-c/opt/cni/bin/evil", "x")),
        "{staged}",
        1,
    ),
    (
        "a FIFO more",
        |node| node_of(&node.scene.at("staged-c/opt/cni/bin/evil"), FileType::Fifo),
        "{staged}",
        1,
    ),
    (
        "a FIFO for a plugin",
        |node| {
            fs::remove_file(node.scene.at("staged-c/opt/cni/bin/bridge")).unwrap();
            node_of(&node.scene.at("staged-c/opt/cni/bin/bridge"), FileType::Fifo);
        },
        "{staged}",
        1,
    ),
    (
        "a plugin is missing",
        |node| fs::remove_file(node.scene.at("staged-c/opt/cni/bin/bridge")).unwrap(),
        "{staged}",
        1,
    ),
    (
        "a plugin is altered",
        |node| {
            let path = node.scene.at("staged-c/opt/cni/bin/bridge");
            let length = fs::read(&path).unwrap().len();
            fs::write(path, vec![b'x'; length]).unwrap();
        },
        "{staged}",
        1,
    ),
    (
        "a plugin has a second name",
        |node| {
            let path = node.scene.at("staged-c/opt/cni/bin/bridge");
            fs::hard_link(path, node.scene.at("second")).unwrap();
        },
        "{staged}",
        1,
    ),
    ("the layer is gone", |node| fs::remove_file(layer(node)).unwrap(), "{c}", 3),
    ("the layer is short", |node| fs::write(layer(node), "x").unwrap(), "{c}", 1),
    (
        "the layer is altered",
        |node| {
            let length = fs::read(layer(node)).unwrap().len();
            fs::write(layer(node), vec![b'x'; length]).unwrap();
        },
        "{c}",
        1,
    ),
    (
        "the layer is longer",
        |node| {
            let bytes = fs::read(layer(node)).unwrap();
            fs::write(layer(node), [bytes, vec![0]].concat()).unwrap();
        },
        "{c}",
        1,
    ),
];

#[test]
fn what_is_wrong_with_the_files_is_told_by_the_dry_run_as_by_the_run() {
    let node = Node::new(Scene::in_memory());
    let places = ["staged-c", "layout-c"];
    places.iter().for_each(|place| node.copy(place, &format!("good-{place}")));
    for (what, change, verb, expected) in SPOILS {
        for place in places {
            fs::remove_dir_all(node.scene.at(place)).unwrap();
            node.copy(&format!("good-{place}"), place);
        }
        drop(fs::remove_file(node.scene.at("second")));
        change(&node);
        let number = VERBS.iter().position(|known| known == &verb).unwrap();
        for keep in ["", " --on-refusal keep"] {
            let words = format!("{}{keep}", node.verbs[number]);
            let before = node.scene.tree("root");
            let dry = within_bound(&node.scene, &format!("{words} --dry-run"));
            assert_same(&before, &node.scene.tree("root"), &format!("{what}: a dry run"));
            let real = within_bound(&node.scene, &words);
            let both = format!("{what}, {words}: {} and {}", said(&dry), said(&real));
            assert_eq!(refusals(&dry), refusals(&real), "{both}");
            // Whatever the files are, a proven set is kept.
            assert_eq!(real.code, if keep.is_empty() { expected } else { 0 }, "{both}");
            node.reset(|_| {});
        }
    }
}

#[test]
fn a_refusal_keeps_the_installed_set_in_the_dry_run_as_in_the_run() {
    if !is_root() {
        return;
    }
    let node = Node::new(Scene::new());
    let words = format!("{} --on-refusal keep", node.verbs[1]);
    fs::write(layer(&node), "x").unwrap();
    for place in ["", "refusal.json", "lock", ".cnister-0123"] {
        for is_altered in [false, true] {
            let path = node.scene.at(STATE).join(place);
            node.reset(|_| {});
            match place {
                "" => {}
                // A record of an earlier refusal.
                "refusal.json" => drop(node.scene.run_ok(&words)),
                place => make(&path, place),
            }
            if is_altered {
                fs::write(node.at("opt/cni/bin/bridge"), "altered").unwrap();
            }
            let held =
                Some(&path).filter(|_| !place.is_empty()).map(|it| Hold::Immutable.begin(it));
            if matches!(held, Some(None)) {
                return say_skipped("no file can be made immutable here");
            }
            let before = node.scene.tree("root");
            let dry = node.scene.run(&format!("{words} --dry-run"));
            let is_unchanged = node.scene.tree("root") == before;
            let real = node.scene.run(&words);
            drop(held);
            let what = format!("{place:?}, {is_altered}");
            assert!(is_unchanged, "{what}: a dry run");
            let code = compare(&dry, &real, &what);
            assert_eq!(code == 0, place.is_empty() && !is_altered, "{what}: {}", said(&real));
            if code == 0 {
                let ends = "refused; the installed plugins would be kept\n";
                assert!(dry.stdout.ends_with(ends) && dry.stderr.is_empty(), "{}", said(&dry));
                assert!(real.stdout.ends_with("refused; the installed plugins were kept\n"));
                // The same in JSON, of which the outcome is that of the run.
                for (option, is_planned) in [(" --dry-run", json!(true)), ("", json!(null))] {
                    let run = node.scene.run(&format!("{words}{option} --format json"));
                    let report: Value = serde_json::from_str(&run.stdout).unwrap();
                    assert_eq!(
                        (&report["outcome"], &report["isPlanned"]),
                        (&json!("kept"), &is_planned)
                    );
                }
            }
        }
    }
}
