//! Defective installers, and what matrix and replay find about them: a run whose fsync does
//! nothing, one without a journal, and programs that write in place.
//!
//! The program has no switch for this. strace answers some of its calls in place of the kernel, and
//! reports success.

use std::collections::{BTreeMap, BTreeSet};

use super::matrix::{Change, Wrong, at_every_point, program};
use super::node;
use super::power::Disk;
use super::replay::{Broken, record, replay};
use super::strace::{Fault, Strace};
use super::trace::{self, Call};

/// About how many states are judged after one call.
const STATES: usize = 100;

/// Returns the first problem found in the replay of a run.
fn found(change: &Change, disk: &Disk, calls: &[Call]) -> Option<Broken> {
    replay(change, &disk.durable(), &mut disk.clone(), calls, STATES)
        .err()
        .map(|(broken, _)| broken)
}

#[test]
fn a_run_whose_fsync_does_nothing_fails_the_replay() {
    for change in [Change::first_installation(), Change::upgrade()] {
        let Some(strace) = Strace::new(&change.scene, program()) else { return };
        let (disk, calls) = record(&change, &strace);
        assert_eq!(found(&change, &disk, &calls), None);
        let (disk, calls) = record(&change, &strace.skipping(&["fsync"]));
        assert!(calls.iter().filter(|call| call.name == "fsync").all(|call| call.lied));
        let broken = found(&change, &disk, &calls);
        assert!(broken.is_some(), "{}: every state after it is a good one", change.name);
        eprintln!("mutant: {} without fsync: {broken:?}", change.name);
    }
}

#[test]
fn a_run_without_any_single_fsync_fails_the_replay() {
    let change = Change::upgrade();
    let Some(strace) = Strace::new(&change.scene, program()) else { return };
    let (disk, calls) = record(&change, &strace);
    let mut unnoticed = Vec::new();
    let mut kinds = BTreeMap::new();
    let mut so_far = disk.clone();
    for number in 0..calls.len() {
        // Files that are durable already were synced only in case an earlier run was interrupted.
        if !so_far.apply(&calls[number]) || calls[number].name != "fsync" {
            continue;
        }
        let mut without = calls.clone();
        let call = without.remove(number);
        match found(&change, &disk, &without) {
            Some(broken) => *kinds.entry(broken).or_insert(0) += 1,
            None => unnoticed
                .push(call.descriptor(0).1.replace(change.scene.path().to_str().unwrap(), "")),
        }
    }
    eprintln!("mutant: one fsync less: {kinds:?}; unnoticed: {unnoticed:?}");
    // Two of them repeat what an interrupted run may have done, for names that do not matter. The
    // one after the receipt is followed by that of the floor. After the last, a completed journal
    // may remain: the next run removes it.
    let state = "/root/var/lib/cnister";
    assert_eq!(unnoticed, ["/root/opt/cni/bin", state, state, state]);
    assert!(kinds.values().sum::<usize>() > 10);
}

#[test]
fn a_run_without_a_journal_fails_matrix_and_replay() {
    let change = Change::upgrade();
    let Some(strace) = Strace::new(&change.scene, program()) else { return };
    let undisturbed = change.undisturbed();
    node::bring_back(&change.scene, "before");
    let points = strace.points(&change.words);
    let at = points.iter().position(|(point, _)| point.what.ends_with("\"journal.json\"")).unwrap();
    let (journal, before) = &points[at];
    let mutant = strace.skipping(&[&format!("{}:when={}", journal.call, before + 1)]);

    let (disk, calls) = record(&change, &mutant);
    assert_eq!(found(&change, &disk, &calls), Some(Broken::Untold));

    // From the moment the plugins have their names until the receipt has its own.
    let receipt =
        points.iter().position(|(point, _)| point.what.ends_with("\"receipt.json\"")).unwrap();
    let mut wrong = BTreeSet::new();
    for (point, calls) in points[at..receipt].iter().filter(|(point, _)| point.call == "fsync") {
        node::bring_back(&change.scene, "before");
        let (output, reached) = mutant.inject(&change.words, &point.call, *calls, Fault::Kill);
        let judgement = change.judge(&undisturbed, Fault::Kill, &output, &reached.unwrap());
        wrong.extend(judgement.err().map(|(wrong, _)| wrong));
    }
    eprintln!("mutant: without a journal: {wrong:?}");
    assert!(!wrong.is_empty());
}

#[test]
fn programs_that_write_in_place_fail_matrix_and_replay() {
    let change = Change::upgrade();
    let undisturbed = change.undisturbed();
    let plugins =
        "staged-b/opt/cni/bin/bridge staged-b/opt/cni/bin/macvlan staged-b/opt/cni/bin/vlan";
    for (program, words, expected) in [
        // The file is truncated and written again.
        ("cp", format!("-t root/opt/cni/bin {plugins}"), Wrong::Torn),
        // The file is removed and another one created.
        ("install", format!("-m 755 -t root/opt/cni/bin {plugins}"), Wrong::Missing),
    ] {
        let Some(strace) = Strace::new(&change.scene, program) else { return };
        let mut wrong = BTreeMap::new();
        at_every_point(
            &change.scene,
            &strace,
            program,
            &words,
            Fault::Kill,
            1,
            &mut |output, point| {
                if let Err((kind, _)) = change.judge(&undisturbed, Fault::Kill, output, point) {
                    *wrong.entry(kind).or_insert(0) += 1;
                }
            },
        );
        eprintln!("mutant: {program}: {wrong:?}");
        assert!(wrong.contains_key(&expected), "{program}: {wrong:?}");

        node::bring_back(&change.scene, "before");
        let disk = Disk::read(&change.scene.at("root"));
        let (output, text) = strace.record(&words, None);
        assert!(output.status.success(), "{output:?}");
        let broken = found(&change, &disk, &trace::parse(&text));
        assert!(matches!(broken, Some(Broken::Torn | Broken::Missing)), "{program}: {broken:?}");
    }
}
