//! The changes of a node that are stopped everywhere: each made ready, with what may be said
//! instead of the same again.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::matrix::{Change, Ends, Instead, Leaves, program, releases};
use super::node;
use super::release::Release;
use super::strace::{Fault, Strace};
use super::support::Scene;

/// After an upgrade there are two releases to choose from.
const INSTEAD_OF_UPGRADE: &[Instead] = &[
    // The power came back: both sets are good ones, and so is what lies between.
    Instead { say: &["check --root root --at-boot"], codes: &[0], leaves: Leaves::Proven },
    Instead { say: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    // Whoever changes their mind gets the first set again.
    Instead { say: &["{first}"], codes: &[0], leaves: Leaves::First },
    // Where the second release has no receipt yet, there is nothing to go back to.
    Instead { say: &["rollback --root root"], codes: &[0, 1], leaves: Leaves::Proven },
    Instead {
        say: &["rollback --root root", "{again} --again"],
        codes: &[0, 1],
        leaves: Leaves::Changed,
    },
    Instead { say: &["{again}", "rollback --root root"], codes: &[0], leaves: Leaves::First },
    Instead { say: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
    Instead {
        say: &["uninstall --root root", "{first} --foreign adopt"],
        codes: &[0],
        leaves: Leaves::First,
    },
];

const INSTEAD_OF_ROLLBACK: &[Instead] = &[
    Instead { say: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    Instead { say: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
];

/// What went already was somebody else's again: an installation takes it over as at the first time.
const INSTEAD_OF_UNINSTALLATION: &[Instead] = &[
    Instead { say: &["{first} --foreign adopt"], codes: &[0], leaves: Leaves::First },
    Instead {
        say: &["{first} --foreign adopt", "uninstall --root root"],
        codes: &[0],
        leaves: Leaves::Nothing,
    },
];

const INSTEAD_OF_PRUNING: &[Instead] = &[
    Instead { say: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    Instead { say: &["rollback --root root"], codes: &[0, 1], leaves: Leaves::Proven },
    Instead { say: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
];

const INSTEAD_OF_REPAIR: &[Instead] =
    &[Instead { say: &["{first}"], codes: &[0], leaves: Leaves::First }];

/// Two plugin directories, as words of an installation.
const TWO_DIRECTORIES: &str = " --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";

/// A plugin that somebody else installed before, and everybody can call.
fn put_theirs(scene: &Scene, name: &'static str) -> Release {
    let path = scene.write(&format!("{}/{name}", node::BIN), "theirs");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    theirs(name)
}

fn theirs(name: &'static str) -> Release {
    Release { name: "theirs", files: [(name, b"theirs".to_vec())].into() }
}

fn nobodys() -> Release {
    Release { name: "nobody's", files: Default::default() }
}

impl Change {
    /// The node as it stands in the scene is the one that is changed by these words.
    fn of(name: &'static str, scene: Scene, words: String, releases: Vec<Release>) -> Self {
        node::keep_as(&scene, "before");
        let (originals, ends) = (nobodys(), Ends::Installed(3));
        Self {
            name,
            scene,
            words,
            releases,
            originals,
            removes: &[],
            ends,
            instead: &[],
            turn: Cell::new(0),
        }
    }

    /// Nothing was installed before.
    pub(super) fn first_installation() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        Self::of("first installation", scene, first.install_args(), vec![first])
    }

    /// Another release takes the place of one that has taken over somebody else's plugin, from a
    /// layout.
    pub(super) fn upgrade() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        let originals = put_theirs(&scene, "bridge");
        scene.run_ok(&format!("{} --foreign adopt", first.install_args()));
        let change =
            Self::of("upgrade", scene, second.install_from_layout_args(), vec![first, second]);
        Self { originals, instead: INSTEAD_OF_UPGRADE, ..change }
    }

    /// The same in two plugin directories at once.
    pub(super) fn upgrade_of_two_directories() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        scene.run_ok(&(first.install_args() + TWO_DIRECTORIES));
        let words = second.install_from_layout_args() + TWO_DIRECTORIES;
        let change = Self::of("upgrade of two directories", scene, words, vec![first, second]);
        Self { ends: Ends::Installed(6), ..change }
    }

    /// Somebody else's plugin is taken over.
    pub(super) fn adoption() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        let theirs = put_theirs(&scene, "bridge");
        let words = format!("{} --foreign adopt", first.install_args());
        Self::of("adoption", scene, words, vec![first, theirs])
    }

    /// Another release, after the installation of one was killed when all plugins had their names
    /// and only the journal said whose they are.
    pub(super) fn second_after_killed() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        node::keep_as(&scene, "empty");
        if let Some(strace) = Strace::new(&scene, program()) {
            let words = first.install_args();
            let points = strace.points(&words);
            let receipt = points.iter().find(|(point, _)| point.what.ends_with("\"receipt.json\""));
            let (receipt, calls) = receipt.expect("the receipt gets its name");
            node::bring_back(&scene, "empty");
            let (_, reached) = strace.inject(&words, &receipt.call, *calls, Fault::Kill);
            assert_eq!(reached.as_ref(), Some(receipt));
        }
        Self::of("second after a killed first", scene, second.install_args(), vec![first, second])
    }

    /// Back to the first release, when no image is anywhere any more.
    pub(super) fn rollback() -> Self {
        let change = Self::upgrade();
        change.scene.run_ok(&change.words);
        for release in &change.releases {
            for what in ["layout", "staged", "image", "plugins"] {
                fs::remove_dir_all(change.scene.at(&format!("{what}-{}", release.name))).unwrap();
            }
        }
        let change = Self { name: "rollback", words: "rollback --root root".to_owned(), ..change };
        node::keep_as(&change.scene, "before");
        Self { ends: Ends::RolledBack, instead: INSTEAD_OF_ROLLBACK, ..change }
    }

    /// Everything goes, and somebody else's plugin comes back.
    pub(super) fn uninstallation() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        let originals = put_theirs(&scene, "bridge");
        scene.run_ok(&format!("{} --foreign adopt", first.install_from_layout_args()));
        let words = "uninstall --root root".to_owned();
        let change = Self::of("uninstallation", scene, words, vec![first, theirs("bridge")]);
        let removes = &["bridge", "host-local", "macvlan"];
        Self {
            originals,
            removes,
            ends: Ends::Uninstalled,
            instead: INSTEAD_OF_UNINSTALLATION,
            ..change
        }
    }

    /// Another release, and of the first one plugin goes and somebody else's comes back.
    pub(super) fn pruning() -> Self {
        let scene = Scene::in_memory();
        let plugins = ["bridge", "dhcp", "host-local", "macvlan"];
        let first = Release::new(&scene, "a", "1.0.0", &plugins, 0);
        let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
        node::new(&scene);
        let originals = put_theirs(&scene, "host-local");
        scene.run_ok(&format!("{} --foreign adopt", first.install_from_layout_args()));
        let words = format!("{} --prune", second.install_from_layout_args());
        let change = Self::of("pruning", scene, words, vec![first, second, theirs("host-local")]);
        Self { originals, removes: &["dhcp", "host-local"], instead: INSTEAD_OF_PRUNING, ..change }
    }

    /// One plugin was altered and one is missing.
    pub(super) fn repair() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        scene.run_ok(&first.install_from_layout_args());
        scene.write(&format!("{}/bridge", node::BIN), "altered");
        fs::remove_file(scene.at(node::BIN).join("macvlan")).unwrap();
        let altered = Release { name: "altered", files: [("bridge", b"altered".to_vec())].into() };
        let words = "check --root root --at-boot --repair".to_owned();
        let change = Self::of("repair", scene, words, vec![first, altered]);
        Self { ends: Ends::Repaired, instead: INSTEAD_OF_REPAIR, ..change }
    }
}
