//! The changes of a node that are interrupted everywhere: how each is prepared, and what an owner
//! may run instead of repeating it.

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
    // After power returns: both sets are valid, and so is a mixture of them.
    Instead { run: &["check --root root --at-boot"], codes: &[0], leaves: Leaves::Proven },
    Instead { run: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    // An owner who changes their mind gets the first set again.
    Instead { run: &["{first}"], codes: &[0], leaves: Leaves::First },
    // If the second release has no receipt yet, there is nothing to roll back to.
    Instead { run: &["rollback --root root"], codes: &[0, 1], leaves: Leaves::Proven },
    Instead {
        run: &["rollback --root root", "{again} --again"],
        codes: &[0, 1],
        leaves: Leaves::Changed,
    },
    Instead { run: &["{again}", "rollback --root root"], codes: &[0], leaves: Leaves::First },
    Instead { run: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
    Instead {
        run: &["uninstall --root root", "{first} --foreign adopt"],
        codes: &[0],
        leaves: Leaves::First,
    },
];

const INSTEAD_OF_ROLLBACK: &[Instead] = &[
    Instead { run: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    Instead { run: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
];

/// What was removed already is foreign again: an installation adopts it as at the first time.
const INSTEAD_OF_UNINSTALLATION: &[Instead] = &[
    Instead { run: &["{first} --foreign adopt"], codes: &[0], leaves: Leaves::First },
    Instead {
        run: &["{first} --foreign adopt", "uninstall --root root"],
        codes: &[0],
        leaves: Leaves::Nothing,
    },
];

/// The files stay, whoever owns them.
const INSTEAD_OF_TAKEOVER: &[Instead] = &[
    Instead { run: &["{first} --foreign keep"], codes: &[0], leaves: Leaves::Proven },
    Instead { run: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
];

const INSTEAD_OF_PRUNING: &[Instead] = &[
    Instead { run: &["check --root root --at-boot --repair"], codes: &[0], leaves: Leaves::Proven },
    Instead { run: &["rollback --root root"], codes: &[0, 1], leaves: Leaves::Proven },
    Instead { run: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
];

const INSTEAD_OF_REPAIR: &[Instead] =
    &[Instead { run: &["{first}"], codes: &[0], leaves: Leaves::First }];

/// Two plugin directories, as arguments of an installation.
const TWO_DIRECTORIES: &str = " --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";

/// A plugin that another installer put there, and that everyone can call.
fn put_theirs(scene: &Scene, name: &'static str) -> Release {
    let path = scene.write(&format!("{}/{name}", node::BIN), "theirs");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    theirs(name)
}

fn theirs(name: &'static str) -> Release {
    Release { name: "theirs", files: [(name, b"theirs".to_vec())].into() }
}

fn no_release() -> Release {
    Release { name: "none", files: Default::default() }
}

impl Change {
    /// The node in the scene is changed by these arguments.
    fn of(name: &'static str, scene: Scene, words: String, releases: Vec<Release>) -> Self {
        node::keep_as(&scene, "before");
        let (originals, ends) = (no_release(), Ends::Installed(3));
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

    /// Another release replaces one that has adopted a foreign plugin, from a layout.
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

    /// A foreign plugin is adopted.
    pub(super) fn adoption() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        let theirs = put_theirs(&scene, "bridge");
        let words = format!("{} --foreign adopt", first.install_args());
        Self::of("adoption", scene, words, vec![first, theirs])
    }

    /// Another installer's files have the signed bytes, one with a mode of its own.
    pub(super) fn takeover() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        for name in ["bridge", "macvlan"] {
            let path = scene.write(&format!("{}/{name}", node::BIN), &first.files[name]);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let files = ["bridge", "macvlan"].map(|name| (name, first.files[name].clone()));
        let originals = Release { name: "theirs", files: files.into() };
        let words = first.install_from_layout_args();
        let change = Self::of("takeover", scene, words, vec![first]);
        Self { originals, instead: INSTEAD_OF_TAKEOVER, ..change }
    }

    /// Another release, after an installation was killed when all plugins had their names and only
    /// the journal recorded whose they are.
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

    /// A rollback to the first release, when no image is available any more.
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

    /// Everything is removed, and the foreign plugin is restored.
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

    /// Another release; one plugin of the first is removed and a foreign one is restored.
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

    /// Another bundle takes the place of the installed one, whose other plugins go.
    pub(super) fn replacement() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        let plugins = ["bridge", "macvlan", "vlan"];
        let other = Release::named(&scene, "other", "c", "0.1.0", &plugins);
        node::new(&scene);
        scene.run_ok(&first.install_from_layout_args());
        let words = format!("{} --replace test --prune", other.install_from_layout_args());
        let change = Self::of("replacement", scene, words, vec![first, other]);
        Self { removes: &["host-local"], ..change }
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

    /// A plugin of an earlier bundle is missing and one of the installed bundle was altered.
    pub(super) fn repair_of_two_bundles() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        scene.run_ok(&first.install_from_layout_args());
        scene.run_ok(&second.install_from_layout_args());
        scene.write(&format!("{}/bridge", node::BIN), "altered");
        fs::remove_file(scene.at(node::BIN).join("host-local")).unwrap();
        let altered = Release { name: "altered", files: [("bridge", b"altered".to_vec())].into() };
        let words = "check --root root --at-boot --repair".to_owned();
        let change = Self::of("repair of two bundles", scene, words, vec![first, second, altered]);
        Self { ends: Ends::Repaired, ..change }
    }

    /// Each plugin was replaced by something that is not a file.
    pub(super) fn replaced_obstacles() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        scene.run_ok(&first.install_from_layout_args());
        let at = |name: &str| scene.at(node::BIN).join(name);
        for name in ["bridge", "host-local", "macvlan"] {
            fs::remove_file(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(node::OBSTACLE, at("bridge")).unwrap();
        // It goes a moment before its plugin gets the name.
        fs::create_dir(at("host-local")).unwrap();
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, at("macvlan"), fifo, mode, 0).unwrap();
        let words = "check --root root --at-boot --repair".to_owned();
        let change = Self::of("obstacles", scene, words, vec![first]);
        let removes = &["host-local"];
        Self { ends: Ends::Repaired, instead: INSTEAD_OF_REPAIR, removes, ..change }
    }
}
