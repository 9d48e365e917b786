//! Something else in the place of a plugin directory, of the state directory, or of the lock or a
//! record in it.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::FileType;

use super::support::Scene;
use super::{installed, is_root, node_of, within_bound};

/// What has the place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thing {
    File,
    Directory,
    Dangling,
    /// A link to a regular file.
    Link,
    Node(FileType),
}

const FIFO: Thing = Thing::Node(FileType::Fifo);
const SOCKET: Thing = Thing::Node(FileType::Socket);
const DEVICE: Thing = Thing::Node(FileType::CharacterDevice);

impl Thing {
    fn put(self, scene: &Scene, place: &str) {
        let path = scene.at("root").join(place);
        match path.is_dir() {
            true => drop(fs::remove_dir_all(&path)),
            false => drop(fs::remove_file(&path)),
        }
        match self {
            Self::File => fs::write(&path, "x").unwrap(),
            Self::Directory => fs::create_dir(&path).unwrap(),
            Self::Dangling => symlink("nowhere", &path).unwrap(),
            Self::Link => {
                let up = "../".repeat(place.matches('/').count());
                scene.write("root/elsewhere", "x");
                symlink(format!("{up}elsewhere"), &path).unwrap();
            }
            Self::Node(kind) => node_of(&path, kind),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::File => "a regular file",
            Self::Directory => "a directory",
            Self::Dangling | Self::Link => "a symbolic link",
            FIFO => "a FIFO",
            SOCKET => "a socket",
            _ => "a device",
        }
    }
}

/// Puts each thing in the place; all verbs have to say what it is and change nothing.
fn assert_refused(place: &str, things: &[Thing], code: &str, expected: &str, verbs: &[&str]) {
    for thing in things {
        if *thing == DEVICE && !is_root() {
            continue;
        }
        let scene = Scene::in_memory();
        let release = installed(&scene);
        thing.put(&scene, place);
        let before = scene.tree("root");
        let install = [release.install_args(), format!("{} --dry-run", release.install_args())];
        for words in verbs.iter().copied().chain(install.iter().map(String::as_str)) {
            let run = within_bound(&scene, words);
            let what = format!("{place}, {thing:?}, {words}: {}{}", run.stdout, run.stderr);
            assert_eq!(run.code, 1, "{what}");
            let line =
                format!("no: {code}: `root/{place}` is {}, expected {expected}\n", thing.name());
            assert!(run.stdout.contains(&line), "{what}");
            assert!(run.stdout.contains("  hint: find out what put it there, "), "{what}");
            assert_eq!(scene.tree("root"), before, "{what}");
        }
    }
}

const CHECKS: [&str; 3] = [
    "check --root root --no-probe",
    "check --root root --at-boot",
    "check --root root --at-boot --repair",
];
const ALL: [&str; 7] = [
    CHECKS[0],
    CHECKS[1],
    CHECKS[2],
    "status --root root",
    "rollback --root root",
    "gc --root root",
    "uninstall --root root",
];

#[test]
fn what_is_no_plugin_directory_is_an_answer() {
    let verbs = [CHECKS.as_slice(), &["uninstall --root root"]].concat();
    let things = [Thing::File, FIFO, SOCKET, DEVICE, Thing::Link];
    assert_refused("opt/cni/bin", &things, "in-the-way", "a directory", &verbs);
    assert_refused("opt/cni", &[Thing::File, FIFO], "in-the-way", "a directory", &verbs);
}

#[test]
fn what_is_no_state_directory_is_an_answer() {
    let things = [Thing::File, FIFO, Thing::Link];
    assert_refused("var/lib/cnister", &things, "in-the-way", "a directory", &ALL);
    assert_refused("var/lib", &[Thing::File], "in-the-way", "a directory", &ALL);
}

#[test]
fn a_lock_that_is_no_file_is_an_answer() {
    let things = [FIFO, SOCKET, DEVICE, Thing::Directory, Thing::Dangling, Thing::Link];
    assert_refused("var/lib/cnister/lock", &things, "state-damaged", "a regular file", &ALL);
}

#[test]
fn records_that_are_no_files_are_an_answer() {
    for (name, thing) in [
        ("receipt.json", FIFO),
        ("journal.json", SOCKET),
        ("refusal.json", Thing::Directory),
        ("rolled-back.json", Thing::Directory),
        ("floors.json", Thing::Dangling),
    ] {
        let place = format!("var/lib/cnister/{name}");
        assert_refused(&place, &[thing], "state-damaged", "a regular file", &ALL);
    }
    for (name, thing) in [
        ("generations", Thing::File),
        ("store", FIFO),
        ("evidence", Thing::Dangling),
        ("originals", Thing::Link),
    ] {
        let place = format!("var/lib/cnister/{name}");
        assert_refused(&place, &[thing], "state-damaged", "a directory", &ALL);
    }
}

#[test]
fn a_dangling_link_in_the_place_of_a_directory_is_an_answer() {
    for place in ["opt/cni/bin", "opt/cni", "var/lib/cnister"] {
        let scene = Scene::in_memory();
        let release = installed(&scene);
        Thing::Dangling.put(&scene, place);
        let run = within_bound(&scene, &release.install_args());
        assert_eq!(run.code, 1, "{place}: {}{}", run.stdout, run.stderr);
        let line =
            format!("no: in-the-way: `root/{place}` is a symbolic link, expected a directory\n");
        assert!(run.stdout.contains(&line), "{place}: {}", run.stdout);
    }
}
