//! Another installer's file that has the signed bytes.

use super::*;
use crate::node::plan::{Force, Uninstallation};

/// What another installer put there: the signed bytes, and a mode of its own.
fn original() -> Original {
    Original { digest: Digest::of(NEW), size: Some(NEW.len() as u64), mode: 0o555 }
}

fn adopted(bytes: &[u8]) -> InstalledFile {
    installed(bytes, Owner::Adopted(original()))
}

fn observed(name: &str, found: Found) -> Observed {
    Observed { directories: vec![directory(&[(name, found)])], ..Observed::default() }
}

/// The owner that a plan records for the plugin, and the codes of what it tells.
fn outcome(verified: &Verified<Bundle>, observed: &Observed, name: &str) -> (Owner, Vec<Code>) {
    let plan = plan(verified, observed, &InstallOptions::default()).unwrap();
    let receipt = plan.receipt(Digest::of(b""), None);
    let file = receipt.file(&BIN.parse().unwrap(), &name.parse().unwrap()).unwrap().clone();
    (file.owner, plan.notes().iter().map(|note| note.code).collect())
}

#[test]
fn what_has_the_signed_bytes_is_ours_and_its_bytes_and_mode_are_kept() {
    let verified = bundle(&[("bridge", NEW)]);
    let seen = observed("bridge", regular(NEW, 0o555));
    assert_eq!(outcome(&verified, &seen, "bridge"), (Owner::Adopted(original()), vec![]));
    let plan = plan(&verified, &seen, &InstallOptions::default()).unwrap();
    assert_eq!(plan.steps()[0].to_string(), "take over /opt/cni/bin/bridge (9 bytes)");
    assert!(json::readable(&plan).contains("\"change\": \"take-over\""));
}

#[test]
fn what_has_the_signed_bytes_stays_where_it_may_not_be_taken_and_that_is_reported() {
    let left = (Owner::Foreign, vec![Code::ForeignKept]);
    let found = || regular(NEW, 0o755);
    // Nothing can be written there, and nothing has to be.
    let fixed = |name, found| {
        let mut observed = observed(name, found);
        observed.directories[0].writable = false;
        observed
    };
    let signed = bundle(&[("bridge", NEW)]);
    assert_eq!(outcome(&signed, &fixed("bridge", found()), "bridge"), left);
    // What it would take to make these right is reported by the preflight.
    for found in [regular(NEW, 0o644), given_away(NEW), capable(NEW)] {
        let (owner, notes) = outcome(&signed, &fixed("bridge", found.clone()), "bridge");
        assert!(owner.is_ours() && notes.is_empty(), "{found:?}");
    }
    // It is immutable or a mount point.
    let mut held = observed("bridge", found());
    held.directories[0].held.insert("bridge".parse().unwrap());
    assert_eq!(outcome(&signed, &held, "bridge"), left);
    // It is immutable or a mount point.
    let mut held = observed("bridge", found());
    held.directories[0].held.insert("bridge".parse().unwrap());
    assert_eq!(outcome(&signed, &held, "bridge"), left);
    // It runs for every pod, whatever bundle there is.
    let signed = bundle(&[("loopback", NEW)]);
    assert_eq!(outcome(&signed, &observed("loopback", found()), "loopback"), left);
    // These bytes are not signed.
    let unsigned = bundle(&[("bridge", NEW)]).admitted();
    let (owner, notes) = outcome(&unsigned, &observed("bridge", found()), "bridge");
    assert_eq!((owner, notes), (Owner::Foreign, vec![Code::Unproven, Code::ForeignKept]));

    let on_request = [
        ("bridge", ForeignRule::Keep, None, "Satisfied foreign"),
        ("bridge", ForeignRule::Stay, None, "Satisfied foreign"),
        ("loopback", ForeignRule::Adopt, None, "Satisfied foreign"),
        ("loopback", ForeignRule::AdoptNamed(names(&["loopback"])), None, "TakeOver adopted"),
        ("loopback", ForeignRule::Refuse, Some(names(&["loopback"])), "TakeOver adopted"),
    ];
    for (name, foreign, only, expected) in on_request {
        let options = InstallOptions { foreign, only, ..InstallOptions::default() };
        assert_eq!(decision(name, &observed(name, found()), &options), expected, "{options:?}");
    }
    // A rollback takes only what it is told to take.
    let recorded = || Some([(BIN.parse().unwrap(), names(&["bridge"]))].into());
    for (named, expected) in [("vlan", "Satisfied foreign"), ("bridge", "TakeOver adopted")] {
        let foreign = ForeignRule::AdoptNamed(names(&[named]));
        let options = InstallOptions { foreign, recorded: recorded(), ..Default::default() };
        let two = bundle(&[("bridge", NEW), ("vlan", NEW)]);
        let plan = plan(&two, &observed("bridge", found()), &options).unwrap();
        let taken = matches!(plan.steps()[0], Step::Write { change: Change::TakeOver, .. });
        assert_eq!(taken, expected.starts_with("TakeOver"), "{named}");
    }
}

#[test]
fn a_file_that_was_taken_over_is_a_plugin_like_any_other() {
    let kept = [Digest::of(NEW)].into();
    let with = |recorded: &InstalledFile, found, originals: &BTreeSet<Digest>| Observed {
        receipt: Some(receipt(&[("bridge", recorded.clone())])),
        originals: originals.clone(),
        ..observed("bridge", found)
    };
    let next = |observed: &Observed| {
        let verified = bundle(&[("bridge", THEIRS)]);
        let plan = plan(&verified, observed, &InstallOptions::default()).unwrap();
        match &plan.steps()[0] {
            Step::Write { change, owner, .. } => (*change, owner.clone()),
            step => panic!("{step}"),
        }
    };
    let same = |observed: &Observed| decision("bridge", observed, &InstallOptions::default());
    let now = adopted(NEW);
    assert_eq!(same(&with(&now, regular(NEW, 0o755), &kept)), "Satisfied adopted");
    assert_eq!(same(&with(&now, regular(NEW, 0o700), &kept)), "Repair adopted");
    // The mode of the file that was there first is remembered, whatever has happened since.
    for (found, originals, change) in [
        (regular(NEW, 0o755), &kept, Change::Replace),
        (regular(NEW, 0o700), &kept, Change::Repair),
        (regular(NEW, 0o555), &BTreeSet::new(), Change::Adopt),
        (regular(NEW, 0o755), &BTreeSet::new(), Change::Adopt),
        (regular(OLD, 0o755), &kept, Change::Repair),
    ] {
        let observed = with(&now, found.clone(), originals);
        assert_eq!(next(&observed), (change, Owner::Adopted(original())), "{found:?}");
    }
}

#[test]
fn an_interrupted_run_may_not_have_written_what_it_takes_over() {
    let journal = Journal::of(&receipt(&[("bridge", adopted(NEW))]));
    for found in [regular(NEW, 0o555), regular(NEW, 0o755)] {
        let observed =
            Observed { journal: Some(journal.clone()), ..observed("bridge", found.clone()) };
        let verified = bundle(&[("bridge", NEW)]);
        assert_eq!(
            decision("bridge", &observed, &InstallOptions::default()),
            "TakeOver adopted",
            "{found:?}"
        );
        assert_eq!(outcome(&verified, &observed, "bridge").0, Owner::Adopted(original()));
        // With the receipt it has.
        let receipt = Some(receipt(&[("bridge", adopted(NEW))]));
        let observed = Observed { receipt, ..observed };
        let expected = if found == regular(NEW, 0o755) { "Satisfied" } else { "Adopt" };
        let decided = decision("bridge", &observed, &InstallOptions::default());
        assert_eq!(decided, format!("{expected} adopted"), "{found:?}");
    }
}

#[test]
fn an_uninstallation_gives_back_the_mode_of_what_was_taken_over() {
    let restores = "restore  /opt/cni/bin/bridge (what was there before)";
    let set_id = Owner::Adopted(Original { mode: 0o4555, ..original() });
    for (file, found, expected) in [
        (adopted(NEW), regular(NEW, 0o755), restores),
        (adopted(NEW), regular(NEW, 0o555), ""),
        (installed(NEW, set_id.clone()), regular(NEW, 0o755), restores),
        (installed(NEW, set_id.clone()), regular(NEW, 0o555), ""),
        // An interrupted run did not get as far.
        (installed(NEW, set_id), regular(NEW, 0o4555), ""),
        // A later release, and the first file is back.
        (adopted(OLD), regular(NEW, 0o755), ""),
        (adopted(OLD), regular(OLD, 0o755), restores),
    ] {
        let receipt = Some(receipt(&[("bridge", file.clone())]));
        let observed = Observed {
            receipt,
            originals: [Digest::of(NEW)].into(),
            ..observed("bridge", found.clone())
        };
        let all = Uninstallation::decide(&observed, Force::No).unwrap();
        let steps: Vec<_> = all.steps().iter().map(ToString::to_string).collect();
        assert_eq!(steps.join(""), expected, "{file:?} {found:?}");
        let notes: Vec<_> = all.notes().iter().map(|note| note.message.as_str()).collect();
        let stays = "`/opt/cni/bin/bridge` is as it was before, and stays";
        assert_eq!(notes.join(""), if expected.is_empty() { stays } else { "" });
    }
}
