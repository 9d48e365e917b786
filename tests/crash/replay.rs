//! Power cuts: a recorded run is replayed on a model of a disk, and every state that a power cut
//! may leave is judged.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use semver::Version;
use serde_json::Value;

use cnister::model::Digest;

use super::matrix::{Change, Ends, everything, program};
use super::node;
use super::power::{Disk, Found, Kind, Random, State};
use super::strace::Strace;
use super::trace::{self, Call};

/// Where a node's plugins and records are, relative to its root.
const BIN: &str = "opt/cni/bin/";
const STATE: &str = "var/lib/cnister/";

/// About how many states are judged after one call; all of them if there are fewer.
const STATES: usize = 300;
/// The same for the many runs after a killed one.
const FEW_STATES: usize = 40;
/// How many states of a change are written to a directory and passed to the program.
const TRIED: usize = 40;

/// What is wrong with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// A visible file is incomplete, or a foreign one has changed.
    Torn,
    /// A name that existed does not.
    Missing,
    /// A plugin was installed, and neither receipt nor journal names it.
    Untold,
    /// The receipt names a plugin that does not exist.
    Promised,
    /// A record cannot be read, or the evidence that it names does not exist.
    Unproven,
    /// The newest version of the node is forgotten.
    Lowered,
    /// A copy that the node keeps is missing, or the previous receipt is.
    Lost,
}

/// The result of replaying a run.
pub(super) struct Replayed {
    /// Calls that changed something.
    calls: usize,
    /// Distinct states.
    states: usize,
    /// Some of them.
    some: Vec<State>,
}

/// Replays a run, and judges what a power cut leaves after each call. `initial` is the node before
/// the run.
pub(super) fn replay(
    change: &Change,
    initial: &State,
    disk: &mut Disk,
    run: &[Call],
    limit: usize,
) -> Result<Replayed, (Broken, String)> {
    let mut random = Random(1);
    let mut digests = Digests::default();
    let (mut calls, mut seen, mut some) = (0, BTreeSet::new(), Vec::new());
    for call in run {
        if !disk.apply(call) {
            continue;
        }
        calls += 1;
        for state in disk.after_power_cut(limit, &mut random) {
            if !seen.insert(state.fingerprint()) {
                continue;
            }
            judge(change, &mut digests, initial, &state).map_err(|(broken, story)| {
                let names: Vec<_> = state.0.keys().collect();
                (
                    broken,
                    format!(
                        "{}, a power cut after {}: {story}\n{names:?}",
                        change.name,
                        shown(call)
                    ),
                )
            })?;
            // Each of them is kept with the same probability (Vitter's algorithm R).
            if some.len() < TRIED {
                some.push(state);
            } else {
                let place = random.below(seen.len());
                if let Some(kept) = some.get_mut(place) {
                    *kept = state;
                }
            }
        }
    }
    Ok(Replayed { calls, states: seen.len(), some })
}

/// Judges a state only by what is on the disk.
fn judge(
    change: &Change,
    digests: &mut Digests,
    initial: &State,
    state: &State,
) -> Result<(), (Broken, String)> {
    let ours = |name: &str| change.releases.iter().any(|release| release.files.contains_key(name));
    let below = |state: &State| -> Vec<(String, Found)> {
        let inside = state
            .0
            .iter()
            .filter_map(|(path, found)| Some((path.strip_prefix(BIN)?.to_owned(), found.clone())));
        inside.filter(|(name, _)| name != ".cnister" && !name.starts_with(".cnister/")).collect()
    };
    let (before, now) = (below(initial), below(state));
    let was = |name: &str| before.iter().find(|(other, _)| other == name).map(|(_, found)| found);
    let goes = |name: &str| change.removes.contains(&name);
    let stays = before.iter().filter(|(name, _)| !goes(name));
    if let Some((missing, _)) =
        stays.into_iter().find(|(name, _)| !now.iter().any(|(other, _)| other == name))
    {
        return Err((Broken::Missing, format!("`{missing}` is missing")));
    }
    for (name, found) in &now {
        let same =
            was(name).is_some_and(|was| was.kind == found.kind && was.content == found.content);
        let whole = || {
            let bytes = &*found.content.bytes;
            let is_released = change
                .releases
                .iter()
                .any(|release| release.files.get(name.as_str()) == Some(bytes));
            found.kind == Kind::File && found.content.mode == 0o755 && is_released
        };
        if !(same || ours(name) && whole()) {
            let (mode, length) = (found.content.mode, found.content.bytes.len());
            return Err((
                Broken::Torn,
                format!("`{name}` has mode {mode:o} and {length} bytes that were never written"),
            ));
        }
    }
    let records = Records::read(state)?;
    let earlier = Records::read(initial)?;
    for (name, found) in now.iter().filter(|(name, found)| found.kind == Kind::File && ours(name)) {
        let digest = digests.of(&found.content.bytes);
        let as_it_was = was(name).is_some_and(|was| was.content == found.content);
        let is_back = change.originals.files.get(name.as_str()) == Some(&*found.content.bytes);
        if !(is_back || records.tell(name, &digest) || as_it_was && !earlier.tell(name, &digest)) {
            return Err((Broken::Untold, format!("no record says whose `{name}` is")));
        }
    }
    for (name, promised) in &records.promised {
        let found = now.iter().find(|(other, _)| other == name);
        let found = found.map(|(_, found)| digests.of(&found.content.bytes));
        let journal = |digest: &String| records.coming.contains(&(name.clone(), digest.clone()));
        // Files are removed before the receipt is; until then the next run knows what is left to
        // do.
        let may_be_gone = change.ends == Ends::Uninstalled && goes(name);
        // Files to be repaired are not what the receipt says.
        let as_it_was = found == was(name).map(|was| digests.of(&was.content.bytes));
        if !may_be_gone
            && !as_it_was
            && !found.as_ref().is_some_and(|found| found == promised || journal(found))
        {
            return Err((
                Broken::Promised,
                format!("the receipt says that `{name}` is {promised}, and it is {found:?}"),
            ));
        }
    }
    let is_lower = |version: &Option<Version>| records.floor < *version;
    // What is installed serves as the floor until the journal is removed.
    if (is_lower(&records.installed) && records.coming.is_empty()) || is_lower(&earlier.floor) {
        let Records { installed, floor, .. } = &records;
        return Err((
            Broken::Lowered,
            format!("{installed:?} is installed, and the floor is {floor:?}"),
        ));
    }
    let kept: BTreeSet<_> = state
        .0
        .iter()
        .filter(|(path, found)| path.starts_with(STATE) && found.kind == Kind::File)
        .map(|(_, found)| digests.of(&found.content.bytes))
        .collect();
    // A foreign file that was adopted is back in place, or its copy is kept.
    let original = |(name, digest): &&(String, String)| {
        let back = now
            .iter()
            .any(|(other, found)| other == name && digests.of(&found.content.bytes) == *digest);
        !back && !kept.contains(digest)
    };
    if let Some((name, _)) = earlier.originals.iter().find(original) {
        return Err((Broken::Lost, format!("what was `{name}` before is nowhere")));
    }
    if change.ends == Ends::Uninstalled {
        return Ok(());
    }
    if let Some(missing) = records.evidence.iter().find(|digest| !kept.contains(*digest)) {
        return Err((Broken::Unproven, format!("the evidence {missing} is not there")));
    }
    let replaced: Vec<_> = before
        .iter()
        .filter(|(name, found)| {
            let altered = earlier.promised.iter().any(|(other, _)| other == name);
            let theirs = !altered && !earlier.tell(name, &digests.of(&found.content.bytes));
            ours(name)
                && theirs
                && now.iter().any(|(other, now)| other == name && now.content != found.content)
        })
        .collect();
    let lost =
        replaced.into_iter().find(|(_, found)| !kept.contains(&digests.of(&found.content.bytes)));
    if let Some((name, _)) = lost {
        return Err((
            Broken::Lost,
            format!("another owner's `{name}` was replaced and is not kept"),
        ));
    }
    // What the receipt promises can be repaired, and the previous release can be rolled back to.
    if let Some((name, _)) = records.promised.iter().find(|(_, digest)| !kept.contains(digest)) {
        return Err((Broken::Lost, format!("the node keeps no copy of `{name}`")));
    }
    if records.index == earlier.index {
        return Ok(());
    }
    let receipt = |state: &State| {
        state.0.get(&format!("{STATE}receipt.json")).map(|found| found.content.clone())
    };
    match receipt(initial).map(|content| digests.of(&content.bytes)) {
        Some(earlier) if !kept.contains(&earlier) => {
            Err((Broken::Lost, "the receipt before is not kept".to_owned()))
        }
        _ => Ok(()),
    }
}

/// Digests of contents seen before: thousands of states hold the same few.
#[derive(Default)]
struct Digests(BTreeMap<u64, String>);

impl Digests {
    fn of(&mut self, bytes: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        self.0.entry(hasher.finish()).or_insert_with(|| Digest::of(bytes).to_string()).clone()
    }
}

/// The names in receipt and journal, with digests.
#[derive(Default)]
struct Records {
    promised: BTreeSet<(String, String)>,
    leftovers: BTreeSet<(String, String)>,
    coming: BTreeSet<(String, String)>,
    evidence: BTreeSet<String>,
    /// Foreign files that were adopted.
    originals: BTreeSet<(String, String)>,
    /// The installed release.
    index: Option<String>,
    /// The installed version, and the newest one that the node ever had.
    installed: Option<Version>,
    floor: Option<Version>,
}

impl Records {
    fn read(state: &State) -> Result<Self, (Broken, String)> {
        let read = |name: &str| match state.0.get(&format!("{STATE}{name}")) {
            None => Ok(Value::Null),
            Some(found) => serde_json::from_slice(&found.content.bytes)
                .map_err(|error| (Broken::Unproven, format!("{name} cannot be read: {error}"))),
        };
        let (receipt, journal, floors) =
            (read("receipt.json")?, read("journal.json")?, read("floors.json")?);
        let version =
            |value: &Value| value.as_str().map(|text| Version::parse(text).expect("a version"));
        let files = |part: &str| {
            let files =
                receipt["directories"]["/opt/cni/bin"][part].as_object().into_iter().flatten();
            files.map(|(name, file)| (name.clone(), text(&file["digest"]))).collect()
        };
        let installed =
            receipt["directories"]["/opt/cni/bin"]["files"].as_object().into_iter().flatten();
        let originals = installed.filter_map(|(name, file)| {
            let digest = file["owner"]["adopted"]["digest"].as_str()?;
            Some((name.clone(), digest.to_owned()))
        });
        let entries = journal["entries"].as_array().into_iter().flatten();
        Ok(Self {
            originals: originals.collect(),
            index: receipt["index"].as_str().map(str::to_owned),
            installed: version(&receipt["version"]),
            floor: version(&floors["bundles"]["test"]["highest"]),
            promised: files("files"),
            leftovers: files("leftovers"),
            coming: entries.map(|entry| (text(&entry["name"]), text(&entry["digest"]))).collect(),
            evidence: [&receipt, &journal]
                .iter()
                .filter(|record| !record.is_null())
                .map(|record| text(&record["evidence"]))
                .collect(),
        })
    }

    fn tell(&self, name: &str, digest: &str) -> bool {
        let told = (name.to_owned(), digest.to_owned());
        [&self.promised, &self.leftovers, &self.coming].iter().any(|record| record.contains(&told))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Renders a call for people.
fn shown(call: &Call) -> String {
    let mut shown = format!("{call:?}");
    shown.truncate(400);
    shown
}

/// Records an undisturbed run on the node in its original state.
pub(super) fn record(change: &Change, strace: &Strace<'_>) -> (Disk, Vec<Call>) {
    node::bring_back(&change.scene, "before");
    let disk = Disk::read(&change.scene.at("root"));
    let (output, trace) = strace.record(&change.words, None);
    assert!(output.status.success(), "{output:?}");
    (disk, trace::parse(&trace))
}

/// Judges every state after every call, and passes some of them to the program.
fn survives(change: &Change) {
    let Some(strace) = Strace::new(&change.scene, program()) else { return };
    let started = Instant::now();
    let undisturbed = change.undisturbed();
    let (mut disk, calls) = record(change, &strace);
    let found = Disk::read(&change.scene.at("root")).durable().fingerprint();
    let replayed = replay(change, &disk.durable(), &mut disk, &calls, STATES)
        .unwrap_or_else(|(broken, story)| panic!("{broken:?}: {story}"));
    // The model has seen everything that the run did.
    assert_eq!(disk.now().fingerprint(), found, "{}", change.name);
    for (number, state) in replayed.some.iter().enumerate() {
        state.materialize(&change.scene.at("root"));
        if let Err((wrong, story)) =
            change.recovers(&undisturbed, false, &format!("power cut, state {number}"))
        {
            panic!("{}: {wrong:?}: {story}", change.name);
        }
    }
    let Replayed { calls, states, some } = replayed;
    let seconds = started.elapsed().as_secs_f64();
    let tried = some.len();
    eprintln!(
        "states: {states:5} {} after {calls} calls, {tried} of them tried ({seconds:.1} s)",
        change.name
    );
    assert!(calls > 20 && states > 50 && tried > 20);
}

#[test]
fn a_power_cut_during_a_first_installation_leaves_what_the_next_run_finishes() {
    survives(&Change::first_installation());
}

#[test]
fn a_power_cut_during_an_upgrade_leaves_what_the_next_run_finishes() {
    survives(&Change::upgrade());
}

#[test]
fn a_power_cut_during_an_adoption_leaves_what_the_next_run_finishes() {
    survives(&Change::adoption());
}

#[test]
fn a_power_cut_during_a_release_after_a_killed_one_leaves_what_the_next_run_finishes() {
    survives(&Change::second_after_killed());
}

#[test]
fn a_power_cut_during_a_rollback_leaves_what_the_next_run_finishes() {
    survives(&Change::rollback());
}

#[test]
fn a_power_cut_during_an_uninstallation_leaves_what_the_next_run_finishes() {
    survives(&Change::uninstallation());
}

#[test]
fn a_power_cut_during_a_pruning_leaves_what_the_next_run_finishes() {
    survives(&Change::pruning());
}

#[test]
fn a_power_cut_during_a_repair_leaves_what_the_next_run_finishes() {
    survives(&Change::repair());
}

/// Kills a run at every point, runs it again, and judges every state after every call of the second
/// run.
fn survives_after_kill(change: &Change) {
    let Some(strace) = Strace::new(&change.scene, program()) else { return };
    let started = Instant::now();
    node::bring_back(&change.scene, "before");
    let points = strace.points(&change.words);
    let (mut killed, mut states) = (0, 0);
    let step = if everything() { 1 } else { 6 };
    for (point, calls) in points.iter().step_by(step) {
        node::bring_back(&change.scene, "before");
        let mut disk = Disk::read(&change.scene.at("root"));
        let initial = disk.durable();
        // The number of preceding calls that only read varies a little, and any point is a good
        // one.
        let (output, first) = strace.record(&change.words, Some((&point.call, *calls)));
        killed += usize::from(!output.status.success());
        // Every state after a call of the first run is one of an undisturbed run.
        for call in trace::parse(&first) {
            disk.apply(&call);
        }
        let (output, second) = strace.record(&change.words, None);
        assert!(output.status.success(), "{output:?}");
        let replayed = replay(change, &initial, &mut disk, &trace::parse(&second), FEW_STATES);
        let replayed = replayed
            .unwrap_or_else(|(broken, story)| panic!("killed at {point:?}: {broken:?}: {story}"));
        states += replayed.states;
        // What was reported as removed stays removed.
        let end = disk.after_power_cut(FEW_STATES, &mut Random(1));
        let receipt = |state: &State| state.0.contains_key(&format!("{STATE}receipt.json"));
        let back = change.ends == Ends::Uninstalled && end.iter().any(receipt);
        assert!(!back, "killed at {point:?}: the receipt may come back after the next run");
    }
    let seconds = started.elapsed().as_secs_f64();
    let part =
        if step == 1 { String::new() } else { format!(", one in {step} of {}", points.len()) };
    eprintln!(
        "states: {states:5} {} after {killed} killed runs and the next ({seconds:.1} s{part})",
        change.name
    );
    assert!(killed + 3 > points.len() / step);
}

#[test]
fn a_power_cut_after_a_killed_installation_and_the_next_one_leaves_what_a_third_finishes() {
    survives_after_kill(&Change::first_installation());
}

#[test]
fn a_power_cut_after_a_killed_upgrade_and_the_next_one_leaves_what_a_third_finishes() {
    survives_after_kill(&Change::upgrade());
}

#[test]
fn a_power_cut_after_a_killed_uninstallation_and_the_next_one_brings_nothing_back() {
    survives_after_kill(&Change::uninstallation());
}
