//! One change of a node, stopped at every system call that changes something, each time from the beginning; and the
//! judge of what that leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use super::node;
use super::release::Release;
use super::strace::{Fault, Point, Strace};
use super::support::Scene;

/// What nodes run, where it is built; else the program of this build, whose installation is the same.
pub(super) fn program() -> PathBuf {
    let node = std::env::var_os("CNISTER_NODE_BINARY").map(PathBuf::from).filter(|path| path.is_file());
    node.unwrap_or_else(|| env!("CARGO_BIN_EXE_cnister").into())
}

/// Builds two releases of three plugins. One plugin of the first is not in the second, and the other way round.
pub(super) fn releases(scene: &Scene, size: usize) -> [Release; 2] {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], size);
    [first, Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], size)]
}

/// Everything that stops a run.
pub(super) const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Error("ENOSPC"), Fault::Error("EIO"), Fault::Error("EROFS")];

/// A change of a node, ready to be stopped. The node is `root` in the scene, and `before` is what it was.
pub(super) struct Change {
    /// What people call it.
    pub(super) name: &'static str,
    pub(super) scene: Scene,
    /// What is run, and run again.
    pub(super) words: String,
    /// Whose files may be seen; the first is the one that other words may ask for.
    pub(super) releases: Vec<Release>,
    /// What may be said instead of the same again.
    pub(super) instead: &'static [Instead],
}

/// What a node's owner may say after an interruption, instead of the same again.
pub(super) struct Instead {
    /// Verbs one after the other. `{first}` are the words that install the first release, `{again}` those of the change.
    pub(super) say: &'static [&'static str],
    /// The exit codes that each of them may have.
    pub(super) codes: &'static [i32],
    /// What that leaves.
    pub(super) leaves: Leaves,
}

/// What is on a node in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Whole files, and a check that says yes.
    Proven,
    /// The first release: its installation has nothing to do.
    First,
    /// No file but those of other installers.
    Nothing,
}

/// After an upgrade there are two releases to choose from. A verb that goes back or away is one line here.
const INSTEAD_OF_UPGRADE: &[Instead] = &[
    // The power came back: both sets are good ones, and so is what lies between.
    Instead { say: &["check --root root --at-boot"], codes: &[0], leaves: Leaves::Proven },
    // Whoever changes their mind gets the first set again.
    Instead { say: &["{first}"], codes: &[0], leaves: Leaves::First },
    // Where the second release has no receipt yet, there is nothing to go back to.
    Instead { say: &["rollback --root root"], codes: &[0, 1], leaves: Leaves::Proven },
    Instead { say: &["{again}", "rollback --root root"], codes: &[0], leaves: Leaves::First },
    Instead { say: &["uninstall --root root"], codes: &[0], leaves: Leaves::Nothing },
    Instead { say: &["uninstall --root root", "{first}"], codes: &[0], leaves: Leaves::First },
];

/// Why a node is not as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// A run that failed said it by another exit code, or did not name the error.
    Silent,
    /// A visible file is no whole one, or somebody else's was changed.
    Torn,
    /// A name that was there is not.
    Missing,
    /// A run that could not write or take room has changed plugins nevertheless.
    Early,
    /// The next run fails.
    Stuck,
    /// The third run finds something to do.
    Restless,
    /// A check says no.
    Unproven,
    /// The node is not what an undisturbed run makes of it.
    Different,
}

/// A judgement: what is wrong, and the whole story.
pub(super) type Judgement = Result<(), (Wrong, String)>;

impl Change {
    /// Nothing was installed before.
    pub(super) fn first_installation() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        let words = first.words_for_staged();
        Self { name: "first installation", scene, words, releases: vec![first], instead: &[] }.kept()
    }

    /// Another release takes the place of one, from a layout.
    pub(super) fn upgrade() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        scene.must(&first.words_for_staged());
        let (words, releases) = (second.words_for_layout(), vec![first, second]);
        Self { name: "upgrade", scene, words, releases, instead: INSTEAD_OF_UPGRADE }.kept()
    }

    /// Somebody else's plugin is taken over.
    pub(super) fn adoption() -> Self {
        let scene = Scene::in_memory();
        let [first, _] = releases(&scene, 0);
        node::new(&scene);
        let theirs = Release { name: "theirs", files: [("bridge", b"theirs".to_vec())].into() };
        let bridge = scene.write(&format!("{}/bridge", node::BIN), "theirs");
        fs::set_permissions(bridge, fs::Permissions::from_mode(0o755)).unwrap();
        let words = format!("{} --foreign adopt", first.words_for_staged());
        Self { name: "adoption", scene, words, releases: vec![first, theirs], instead: &[] }.kept()
    }

    /// Another release, after the installation of one was killed when all plugins had their names and only the journal
    /// said whose they are.
    pub(super) fn second_after_killed() -> Self {
        let scene = Scene::in_memory();
        let [first, second] = releases(&scene, 0);
        node::new(&scene);
        node::keep_as(&scene, "empty");
        if let Some(strace) = Strace::new(&scene, program()) {
            let words = first.words_for_staged();
            let points = strace.points(&words);
            let receipt = points.iter().find(|(point, _)| point.what.ends_with("\"receipt.json\""));
            let (receipt, calls) = receipt.expect("the receipt gets its name");
            node::bring_back(&scene, "empty");
            let (_, reached) = strace.inject(&words, &receipt.call, *calls, Fault::Kill);
            assert_eq!(reached.as_ref(), Some(receipt));
        }
        let (words, releases) = (second.words_for_staged(), vec![first, second]);
        Self { name: "second after a killed first", scene, words, releases, instead: &[] }.kept()
    }

    fn kept(self) -> Self {
        node::keep_as(&self.scene, "before");
        self
    }

    /// The node as it was, and as an undisturbed run makes it.
    pub(super) fn undisturbed(&self) -> Undisturbed {
        node::bring_back(&self.scene, "before");
        let before = self.scene.tree(node::BIN);
        self.scene.must(&self.words);
        Undisturbed { before, after: self.scene.tree("root") }
    }

    /// Stops the change at every point with this fault, and expects that each of them ends well.
    pub(super) fn stop_everywhere(&self, fault: Fault) {
        let Some(strace) = Strace::new(&self.scene, program()) else { return };
        let undisturbed = self.undisturbed();
        let points = at_every_point(&self.scene, &strace, self.name, &self.words, fault, &mut |output, point| {
            if let Err((wrong, story)) = self.judge(&undisturbed, fault, output, point) {
                panic!("{}: {wrong:?}: {story}", self.name);
            }
        });
        assert!(points > 20, "only {points} points");
    }

    /// Judges the node that a run left which was stopped at this point; the next runs are part of that.
    pub(super) fn judge(&self, undisturbed: &Undisturbed, fault: Fault, output: &Output, point: &Point) -> Judgement {
        let what = format!("{fault:?} at {point:?}");
        let releases: Vec<_> = self.releases.iter().collect();
        said(fault, output, &what)?;
        if let Some(unsound) = node::unsound(&self.scene, &releases) {
            return Err((Wrong::Torn, format!("{what}: {unsound}")));
        }
        let found = without_staging(self.scene.tree(node::BIN));
        let before = without_staging(undisturbed.before.clone());
        if let Some(missing) = before.keys().find(|name| !found.contains_key(*name)) {
            return Err((Wrong::Missing, format!("{what}: `{missing}` is missing")));
        }
        // Whatever takes room or writes comes before the first plugin gets its name.
        let takes_room = ["openat", "write", "mkdirat", "fchmod"].contains(&point.call.as_str());
        if fault != Fault::Kill && takes_room && before != found {
            return Err((Wrong::Early, format!("{what}:\n{}", node::difference(&before, &found))));
        }
        self.recovers(undisturbed, &what)
    }

    /// Judges what the next runs make of the node as it stands.
    pub(super) fn recovers(&self, undisturbed: &Undisturbed, what: &str) -> Judgement {
        node::keep_as(&self.scene, "stopped");
        self.finish(&self.words, Leaves::Proven, what)?;
        let difference = node::difference(&undisturbed.after, &self.scene.tree("root"));
        if !difference.is_empty() {
            return Err((Wrong::Different, format!("{what}, and run again:\n{difference}")));
        }
        self.instead.iter().try_for_each(|instead| {
            node::bring_back(&self.scene, "stopped");
            self.say_instead(instead, what)
        })
    }

    fn say_instead(&self, instead: &Instead, what: &str) -> Judgement {
        for say in instead.say {
            let words = say.replace("{first}", &self.releases[0].words_for_layout()).replace("{again}", &self.words);
            let what = format!("{what}, then `{words}`");
            self.say(&words, instead.codes, Wrong::Stuck, &what)?;
            if let Some(unsound) = node::unsound(&self.scene, &self.releases.iter().collect::<Vec<_>>()) {
                return Err((Wrong::Torn, format!("{what}: {unsound}")));
            }
        }
        let what = format!("{what}, then {:?}", instead.say);
        match instead.leaves {
            Leaves::Proven => {
                let checked = self.say("check --root root --at-boot", &[0], Wrong::Unproven, &what)?;
                if checked.contains("\nyes") { Ok(()) } else { Err((Wrong::Unproven, format!("{what}: {checked}"))) }
            }
            Leaves::First => self.finish(&self.releases[0].words_for_layout(), Leaves::First, &what),
            Leaves::Nothing => {
                let ours = self.releases.iter().flat_map(|release| release.files.keys());
                let left: Vec<_> = ours.filter(|name| self.scene.at(node::BIN).join(name).exists()).collect();
                if left.is_empty() { Ok(()) } else { Err((Wrong::Different, format!("{what}: {left:?} are left"))) }
            }
        }
    }

    /// Runs an installation that finishes, again has nothing to do, and a check says yes.
    fn finish(&self, words: &str, leaves: Leaves, what: &str) -> Judgement {
        self.say(words, &[0], Wrong::Stuck, &format!("{what}, finished"))?;
        let finished = self.scene.tree("root");
        let what = format!("{what}, finished, and run a third time");
        let third = self.say(words, &[0], Wrong::Restless, &what)?;
        let difference = node::difference(&finished, &self.scene.tree("root"));
        if !third.ends_with("installed; there was nothing to do\n") || !difference.is_empty() {
            return Err((Wrong::Restless, format!("{what}: {third}\n{difference}")));
        }
        let checked = self.say("check --root root", &[0], Wrong::Unproven, &what)?;
        let version = if leaves == Leaves::First { "\ntest 1.0.0, " } else { "\nyes" };
        // Besides the three of the release there may be one that only the other has.
        if checked.contains("\nyes") && checked.contains(version) && checked.matches("  proven ").count() == 3 {
            return Ok(());
        }
        Err((Wrong::Unproven, format!("{what}: {checked}")))
    }

    fn say(&self, words: &str, codes: &[i32], wrong: Wrong, what: &str) -> Result<String, (Wrong, String)> {
        let run = self.scene.run(self.scene.command(program()).args(words.split_whitespace()));
        if codes.contains(&run.code) {
            return Ok(run.stdout);
        }
        Err((wrong, format!("{what}, `{words}` ends with {}:\n{}{}", run.code, run.stdout, run.stderr)))
    }
}

/// What an undisturbed run begins with and ends with.
pub(super) struct Undisturbed {
    before: BTreeMap<String, String>,
    after: BTreeMap<String, String>,
}

/// An error is said with the kernel's words, and with the exit code for what could not be done.
fn said(fault: Fault, output: &Output, what: &str) -> Judgement {
    let Fault::Error(name) = fault else { return Ok(()) };
    let text = match name {
        "ENOSPC" => ": No space left on device",
        "EIO" => ": Input/output error",
        "EROFS" => ": Read-only file system",
        _ => panic!("{name}"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) && stderr.contains("error: ") && stderr.contains(text) {
        return Ok(());
    }
    Err((Wrong::Silent, format!("{what}: {}: {stderr}", output.status)))
}

/// The staging directory is no plugin.
fn without_staging(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tree.retain(|name, _| !Path::new(name).starts_with(".cnister"));
    tree
}

/// Starts `words` on the node that was kept as `before` and stops it at every point, each time from the beginning.
/// `judge` looks at what that leaves. A point counts only where the fault was seen in the trace;
/// returns how many there were.
pub(super) fn at_every_point(
    scene: &Scene,
    strace: &Strace<'_>,
    name: &str,
    words: &str,
    fault: Fault,
    judge: &mut dyn FnMut(&Output, &Point),
) -> usize {
    let started = Instant::now();
    node::bring_back(scene, "before");
    let points = strace.points(words);
    let mut hit = BTreeSet::new();
    for (point, calls) in &points {
        // A second thread reads files, so how many the first one opens differs between runs by a few.
        let nearby = (0..40).map(|attempt| calls.saturating_add_signed([0, 1, -1, 2, -2, 3, -3][attempt % 7]));
        for calls in nearby {
            if hit.contains(point) {
                break;
            }
            node::bring_back(scene, "before");
            let (output, reached) = strace.inject(words, &point.call, calls, fault);
            // A neighbour may be a call that only reads. A process can be killed there too; but a disk that is full does
            // not refuse it, so an error there would be a state that no disk makes.
            let possible = |reached: &Point| fault == Fault::Kill || points.iter().any(|(point, _)| point == reached);
            if let Some(reached) = reached.filter(|reached| possible(reached) && !hit.contains(reached)) {
                judge(&output, &reached);
                hit.insert(reached);
            }
        }
        assert!(hit.contains(point), "no run was stopped at {point:?}, only at {hit:?}");
    }
    let kind = if let Fault::Error(name) = fault { name } else { "SIGKILL" };
    eprintln!("points: {:4} {kind:7} {name} ({:.1} s)", points.len(), started.elapsed().as_secs_f64());
    points.len()
}
