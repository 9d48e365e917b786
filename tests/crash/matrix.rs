//! One change of a node, interrupted at every system call that changes something, each time from
//! the beginning; and the judge of the result.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use super::node;
use super::release::Release;
use super::strace::{Fault, Point, Strace};
use super::support::Scene;

/// The node build if there is one, otherwise the program of this build, which installs in the same
/// way.
pub(super) fn program() -> PathBuf {
    let node =
        std::env::var_os("CNISTER_NODE_BINARY").map(PathBuf::from).filter(|path| path.is_file());
    node.unwrap_or_else(|| env!("CARGO_BIN_EXE_cnister").into())
}

/// Builds two releases of three plugins. Each has one plugin that the other lacks.
pub(super) fn releases(scene: &Scene, size: usize) -> [Release; 2] {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], size);
    [first, Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], size)]
}

/// Everything that interrupts a run.
pub(super) const FAULTS: [Fault; 4] =
    [Fault::Kill, Fault::Error("ENOSPC"), Fault::Error("EIO"), Fault::Error("EROFS")];

/// Whether everything is tried, as in `make crash`; otherwise a part of it, the same in every run,
/// and the output says so.
pub(super) fn everything() -> bool {
    std::env::var_os("CNISTER_CRASH").is_some_and(|value| value == "all")
}

/// A change of a node, ready to be interrupted. The node is `root` in the scene, and `before` is
/// its original state.
pub(super) struct Change {
    /// The name of the change in the output.
    pub(super) name: &'static str,
    pub(super) scene: Scene,
    /// The arguments that are run, and run again.
    pub(super) words: String,
    /// The releases whose files may be visible; the first is the one that alternatives may ask for.
    pub(super) releases: Vec<Release>,
    /// Foreign files that were adopted before: they are restored when ours are removed.
    pub(super) originals: Release,
    /// Names that the change removes or gives back to their previous owner.
    pub(super) removes: &'static [&'static str],
    /// How to tell that the change is done.
    pub(super) ends: Ends,
    /// What may be run instead of the same again.
    pub(super) instead: &'static [Instead],
    /// Which of them is next, if not all of them are tried at every point.
    pub(super) turn: Cell<usize>,
}

/// What a node's owner may run after an interruption, instead of the same again.
pub(super) struct Instead {
    /// Verbs to run in sequence. `{first}` stands for the arguments that install the first release,
    /// `{again}` for those of the change.
    pub(super) run: &'static [&'static str],
    /// The exit codes that each of them may have.
    pub(super) codes: &'static [i32],
    /// The result.
    pub(super) leaves: Leaves,
}

/// The result of an undisturbed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// This many proven plugins; running it again has nothing to do.
    Installed(usize),
    /// The first release; running it again would be another change.
    RolledBack,
    /// No plugin of ours; running it again finds nothing installed.
    Uninstalled,
    /// Every plugin as it was installed; running it again restores nothing.
    Repaired,
}

/// The final state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Whole files, and a check that succeeds.
    Proven,
    /// The first release: installing it has nothing to do.
    First,
    /// The result of the change itself.
    Changed,
    /// Only files of other installers.
    Nothing,
}

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    /// A failed run had another exit code, or did not name the error.
    Silent,
    /// A visible file is incomplete, or a foreign one was changed.
    Torn,
    /// A name that existed does not.
    Missing,
    /// A run that could not write or ran out of space changed plugins nevertheless.
    Early,
    /// The plugins are neither the old set nor the new one, or not the one that the run tells.
    Mixed,
    /// The next run fails.
    Stuck,
    /// The third run still finds something to do.
    Restless,
    /// A check refuses.
    Unproven,
    /// The node differs from the result of an undisturbed run.
    Different,
}

/// A judgement: what is wrong, and the details.
pub(super) type Judgement = Result<(), (Wrong, String)>;

impl Change {
    /// The node before the change, and after an undisturbed run.
    pub(super) fn undisturbed(&self) -> Undisturbed {
        node::bring_back(&self.scene, "before");
        let before = node::plugins(&self.scene);
        self.scene.run_ok(&self.words);
        Undisturbed { before, after: self.scene.tree("root") }
    }

    /// Interrupts the change at every point with this fault, and expects a good result each time.
    pub(super) fn stop_everywhere(&self, fault: Fault) {
        let Some(strace) = Strace::new(&self.scene, program()) else { return };
        let undisturbed = self.undisturbed();
        let step = match fault {
            _ if everything() => 1,
            Fault::Kill | Fault::Error("ENOSPC") => 1,
            // A failing disk leaves the same state as a full one, with other messages.
            Fault::Error(_) => 4,
            // Each of several files.
            Fault::Immutable(_) => 12,
        };
        let points = at_every_point(
            &self.scene,
            &strace,
            self.name,
            &self.words,
            fault,
            step,
            &mut |output, point| {
                if let Err((wrong, story)) = self.judge(&undisturbed, fault, output, point) {
                    panic!("{}: {wrong:?}: {story}", self.name);
                }
            },
        );
        assert!(points > 20 / step, "only {points} points");
    }

    /// Judges the node that an interrupted run left at this point, including the next runs.
    pub(super) fn judge(
        &self,
        undisturbed: &Undisturbed,
        fault: Fault,
        output: &Output,
        point: &Point,
    ) -> Judgement {
        let what = format!("{fault:?} at {point:?}");
        let releases: Vec<_> = self.releases.iter().collect();
        self.names_the_fault(fault, output, &what)?;
        if let Some(unsound) = node::unsound(&self.scene, &releases) {
            return Err((Wrong::Torn, format!("{what}: {unsound}")));
        }
        let found = without_staging(node::plugins(&self.scene));
        let before = without_staging(undisturbed.before.clone());
        let stays = |name: &&String| !self.removes.contains(&name.as_str());
        if let Some(missing) = before.keys().filter(stays).find(|name| !found.contains_key(*name)) {
            return Err((Wrong::Missing, format!("{what}: `{missing}` is missing")));
        }
        // Everything that takes space or writes comes before the first plugin gets its name.
        let takes_room = matches!(fault, Fault::Error(_))
            && ["openat", "write", "mkdirat", "fchmod"].contains(&point.call.as_str());
        // Unless the repair went on file by file, past the fault.
        let went_on = self.ends == Ends::Repaired && output.status.success();
        // And a refusal comes before any change.
        let is_refused = self.ends != Ends::Repaired && output.status.code() == Some(1);
        let changes_nothing = is_refused || (takes_room && !went_on);
        if fault != Fault::Kill && changes_nothing && before != found {
            return Err((Wrong::Early, format!("{what}:\n{}", node::difference(&before, &found))));
        }
        if let Fault::Immutable(_) = fault {
            self.is_whole(undisturbed, output, &what)?;
        }
        // A repair that says yes left nothing out.
        if went_on {
            self.is_proven("\nyes", &what)?;
        }
        self.recovers(undisturbed, everything() && fault == Fault::Kill, &what)
    }

    /// A run leaves the old set with the old receipt, or the new one with the new one, and says
    /// which. What goes from the new one may still be there if the run fails or says so.
    fn is_whole(&self, undisturbed: &Undisturbed, output: &Output, what: &str) -> Judgement {
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let found = without_staging(node::plugins(&self.scene));
        let before = without_staging(undisturbed.before.clone());
        let after = |name: &str| undisturbed.after.get(&format!("opt/cni/bin/{name}"));
        let stays = |name: &str| {
            let told = format!("`/opt/cni/bin/{name}` could not be removed and stays: ");
            let may_stay = output.status.code() == Some(3) || said.contains(&told);
            self.removes.contains(&name) && may_stay && found.get(name) == before.get(name)
        };
        let is_old = found == before;
        let is_new = found.keys().all(|name| found.get(name) == after(name) || stays(name));
        let receipt = "var/lib/cnister/receipt.json";
        let is_recorded = self.scene.tree("root").get(receipt) == undisturbed.after.get(receipt);
        let is_told = match output.status.code() {
            Some(0) => is_new,
            Some(3) if is_recorded => {
                is_new && said.contains("; the plugins and their receipt are in place: ")
            }
            _ => is_old,
        };
        match is_told {
            true => Ok(()),
            false => Err((Wrong::Mixed, format!("{what}: {}: {said}\n{found:#?}", output.status))),
        }
    }

    /// Judges what the next runs make of the node: the same again, and every alternative or one of
    /// them in turn.
    pub(super) fn recovers(&self, undisturbed: &Undisturbed, all: bool, what: &str) -> Judgement {
        node::keep_as(&self.scene, "stopped");
        if self.ends == Ends::RolledBack && self.is_done(undisturbed) {
            self.is_proven("\ntest 1.0.0, ", what)?;
        } else {
            self.finish(what)?;
            let found = self.scene.tree("root");
            let difference = match self.ends {
                // A power cut may bring back the staging directory, which only an installation
                // looks for.
                Ends::Repaired => node::difference(
                    &without_staging(undisturbed.after.clone()),
                    &without_staging(found),
                ),
                _ => node::difference(&undisturbed.after, &found),
            };
            if !difference.is_empty() {
                return Err((Wrong::Different, format!("{what}, and run again:\n{difference}")));
            }
        }
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        for (number, instead) in self.instead.iter().enumerate() {
            if all || number == turn % self.instead.len() {
                node::bring_back(&self.scene, "stopped");
                self.say_instead(instead, what)?;
            }
        }
        Ok(())
    }

    /// Returns whether the receipt is the last one and there is no journal. Then a rollback is
    /// done, whatever unneeded files a power cut brought back, and running it again would be
    /// another rollback.
    fn is_done(&self, undisturbed: &Undisturbed) -> bool {
        let found = self.scene.tree("root");
        let receipt = "var/lib/cnister/receipt.json";
        found.get(receipt) == undisturbed.after.get(receipt)
            && !found.contains_key("var/lib/cnister/journal.json")
    }

    fn say_instead(&self, instead: &Instead, what: &str) -> Judgement {
        for run in instead.run {
            let words = run.replace("{first}", &self.first()).replace("{again}", &self.words);
            let what = format!("{what}, then `{words}`");
            let said = self.run(&words, instead.codes, Wrong::Stuck, &what)?;
            let why = [
                "\nrolled back from ",
                "\nback at ",
                "no: no-generation: no earlier generation is kept\n",
            ];
            if words.starts_with("rollback") && !why.iter().any(|why| said.contains(why)) {
                return Err((Wrong::Silent, format!("{what}: {said}")));
            }
            let releases: Vec<_> = self.releases.iter().chain([&self.originals]).collect();
            if let Some(unsound) = node::unsound(&self.scene, &releases) {
                return Err((Wrong::Torn, format!("{what}: {unsound}")));
            }
        }
        let what = format!("{what}, then {:?}", instead.run);
        match instead.leaves {
            Leaves::Proven => {
                let checked =
                    self.run("check --root root --at-boot", &[0], Wrong::Unproven, &what)?;
                if checked.contains("\nyes") {
                    Ok(())
                } else {
                    Err((Wrong::Unproven, format!("{what}: {checked}")))
                }
            }
            Leaves::First => self.finish_installation(&self.first(), "\ntest 1.0.0, ", &what),
            Leaves::Changed => self.finish(&what),
            Leaves::Nothing => self.nothing_left(&what),
        }
    }

    /// The arguments that install the first release from its image.
    fn first(&self) -> String {
        let directories = self.words.find(" --bin-dir").map_or("", |start| &self.words[start..]);
        format!("{}{directories}", self.releases[0].install_from_layout_args())
    }

    /// Runs the change again until it is done, and checks that it is.
    fn finish(&self, what: &str) -> Judgement {
        let again = |wrong, what: &str| self.run(&self.words, &[0], wrong, what);
        let (finished, third) = (format!("{what}, finished"), format!("{what}, and a third time"));
        match self.ends {
            Ends::Installed(_) => self.finish_installation(&self.words, "\nyes", what),
            Ends::RolledBack => {
                again(Wrong::Stuck, &finished)?;
                self.is_proven("\ntest 1.0.0, ", &finished)
            }
            Ends::Uninstalled => {
                again(Wrong::Stuck, &finished)?;
                self.nothing_left(&finished)?;
                let before = self.scene.tree("root");
                let said = again(Wrong::Restless, &third)?;
                let difference = node::difference(&before, &self.scene.tree("root"));
                if said == "nothing is installed; no file changed\n" && difference.is_empty() {
                    return Ok(());
                }
                Err((Wrong::Restless, format!("{third}: {said}\n{difference}")))
            }
            Ends::Repaired => {
                again(Wrong::Stuck, &finished)?;
                let before = self.scene.tree("root");
                let said = again(Wrong::Restless, &third)?;
                let difference = node::difference(&before, &self.scene.tree("root"));
                if said.contains("  repair ") || said.contains("  new ") || !difference.is_empty() {
                    return Err((Wrong::Restless, format!("{third}: {said}\n{difference}")));
                }
                self.is_proven("\nyes", &finished)
            }
        }
    }

    /// Runs an installation that finishes, then has nothing to do, and a check that succeeds.
    fn finish_installation(&self, words: &str, version: &str, what: &str) -> Judgement {
        self.run(words, &[0], Wrong::Stuck, &format!("{what}, finished"))?;
        let finished = self.scene.tree("root");
        let what = format!("{what}, finished, and run a third time");
        let third = self.run(words, &[0], Wrong::Restless, &what)?;
        let difference = node::difference(&finished, &self.scene.tree("root"));
        if !third.ends_with("already up to date; no file changed\n") || !difference.is_empty() {
            return Err((Wrong::Restless, format!("{what}: {third}\n{difference}")));
        }
        self.is_proven(version, &what)
    }

    fn is_proven(&self, text: &str, what: &str) -> Judgement {
        let proven = if let Ends::Installed(proven) = self.ends { proven } else { 3 };
        let checked = self.run("check --root root", &[0], Wrong::Unproven, what)?;
        // Besides those of the release there may be one that only the other one has.
        if checked.contains("\nyes")
            && checked.contains(text)
            && checked.matches("  proven ").count() == proven
        {
            return Ok(());
        }
        Err((Wrong::Unproven, format!("{what}: {checked}")))
    }

    /// No plugin is ours any more, and what was there before is there again.
    fn nothing_left(&self, what: &str) -> Judgement {
        if let Some(unsound) = node::unsound(&self.scene, &[&self.originals]) {
            return Err((Wrong::Different, format!("{what}: {unsound}")));
        }
        let bin = self.scene.at(node::BIN);
        match self.originals.files.keys().find(|name| !bin.join(name).exists()) {
            Some(name) => {
                Err((Wrong::Different, format!("{what}: what was `{name}` before is not back")))
            }
            None if bin.join(".cnister").exists() => {
                Err((Wrong::Different, format!("{what}: `.cnister` is left")))
            }
            None => Ok(()),
        }
    }

    /// An error contains the kernel's message and has the exit code for failures. A check answers
    /// that the node is not as it should be; that it could not be repaired is one of its lines.
    fn names_the_fault(&self, fault: Fault, output: &Output, what: &str) -> Judgement {
        let name = match fault {
            Fault::Kill => return Ok(()),
            // It may be that nothing had to be changed any more.
            Fault::Immutable(_) if output.status.success() => return Ok(()),
            Fault::Immutable(_) => "EPERM",
            Fault::Error(name) => name,
        };
        let (text, refusal) = match name {
            "ENOSPC" => (": No space left on device", Some("no: no-space: ")),
            "EIO" => (": Input/output error", None),
            "EPERM" => (": Operation not permitted", Some("no: not-permitted: ")),
            "EROFS" => (": Read-only file system", Some("no: read-only: ")),
            _ => panic!("{name}"),
        };
        let (code, before, stream) = match self.ends {
            Ends::Repaired => (1, "no: not-repaired: ", &output.stdout),
            _ => (3, "error: ", &output.stderr),
        };
        let message = String::from_utf8_lossy(stream);
        // After the receipt, what cannot be removed is reported, and the installation succeeds.
        let answer = String::from_utf8_lossy(&output.stdout);
        if answer.contains(" could not be removed and stays: ") && answer.contains(text) {
            return Ok(());
        }
        // What the system denies before any change is a refusal; a repair tries file by file.
        let is_refusal = output.status.code() == Some(1)
            && (answer.contains(text) || refusal.is_some_and(|refusal| answer.contains(refusal)));
        let is_repaired = self.ends == Ends::Repaired && output.status.code() == Some(0);
        if is_refusal || is_repaired {
            return Ok(());
        }
        if output.status.code() == Some(code) && message.contains(before) && message.contains(text)
        {
            return Ok(());
        }
        Err((Wrong::Silent, format!("{what}: {}: {message}", output.status)))
    }

    fn run(
        &self,
        words: &str,
        codes: &[i32],
        wrong: Wrong,
        what: &str,
    ) -> Result<String, (Wrong, String)> {
        let run =
            self.scene.run_command(self.scene.command(program()).args(words.split_whitespace()));
        if codes.contains(&run.code) {
            return Ok(run.stdout);
        }
        Err((
            wrong,
            format!("{what}, `{words}` ends with {}:\n{}{}", run.code, run.stdout, run.stderr),
        ))
    }
}

/// The state before and after an undisturbed run.
pub(super) struct Undisturbed {
    before: BTreeMap<String, String>,
    after: BTreeMap<String, String>,
}

/// The staging directory is not a plugin.
fn without_staging(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tree.retain(|name, _| Path::new(name).components().all(|part| part.as_os_str() != ".cnister"));
    tree
}

/// Runs `words` on the node that was kept as `before` and interrupts it at every point, each time
/// from the beginning. `judge` inspects the result; one point in `step` is taken. A point counts
/// only if the fault was seen in the trace; returns their number.
pub(super) fn at_every_point(
    scene: &Scene,
    strace: &Strace<'_>,
    name: &str,
    words: &str,
    fault: Fault,
    step: usize,
    judge: &mut dyn FnMut(&Output, &Point),
) -> usize {
    let started = Instant::now();
    node::bring_back(scene, "before");
    let points = strace.points(words);
    let mut hit = BTreeSet::new();
    for (point, calls) in points.iter().step_by(step) {
        // A second thread reads files, so the number of files that the first one opens differs a
        // little between runs, and more with two directories.
        let nearby = (0..150).map(|attempt| {
            let (step, ahead) = (attempt % 17 / 2 + attempt % 17 % 2, attempt % 2 == 1);
            if ahead { calls + step } else { calls.saturating_sub(step) }
        });
        for calls in nearby {
            if hit.contains(point) {
                break;
            }
            node::bring_back(scene, "before");
            let (output, reached) = strace.inject(words, &point.call, calls, fault);
            // The next call may be one that only reads. A process can be killed there as well, but
            // a full disk does not refuse it, so an error there would be a state that no disk
            // causes.
            let possible = |reached: &Point| {
                fault == Fault::Kill || points.iter().any(|(point, _)| point == reached)
            };
            if let Some(reached) =
                reached.filter(|reached| possible(reached) && !hit.contains(reached))
            {
                judge(&output, &reached);
                hit.insert(reached);
            }
        }
        assert!(hit.contains(point), "no run was stopped at {point:?}, only at {hit:?}");
    }
    let kind = match fault {
        Fault::Kill => "SIGKILL",
        Fault::Error(name) => name,
        Fault::Immutable(file) => file,
    };
    let part =
        if step == 1 { String::new() } else { format!(", of {}: one in {step}", points.len()) };
    eprintln!(
        "points: {:4} {kind:7} {name} ({:.1} s{part})",
        hit.len(),
        started.elapsed().as_secs_f64()
    );
    hit.len()
}
