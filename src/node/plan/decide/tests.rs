//! Decisions about every kind of file that a node can have.

mod takeover_tests;

use std::collections::BTreeSet;

use super::*;
use crate::disk::{Attributes, FileKind};
use crate::model::json;
use crate::node::host::Obstacle;
use crate::node::plan::Leftovers;
use crate::node::state::{InstalledDirectory, Journal, Receipt};
use crate::node::test_support::bundle;

const BIN: &str = "/opt/cni/bin";
const OLD: &[u8] = b"old bytes";
const NEW: &[u8] = b"new bytes";
const THEIRS: &[u8] = b"their bytes";

fn regular(bytes: &[u8], mode: u32) -> Found {
    Found::Regular {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        mode,
        stranger: None,
        attributes: Attributes::default(),
    }
}

/// A file with the mode of a plugin that has capabilities.
fn capable(bytes: &[u8]) -> Found {
    Found::Regular {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        mode: 0o755,
        stranger: None,
        attributes: Attributes { capabilities: true, writers: false },
    }
}

/// A file with the mode of a plugin that belongs to some user.
fn given_away(bytes: &[u8]) -> Found {
    Found::Regular {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        mode: 0o755,
        stranger: Some(1000),
        attributes: Attributes::default(),
    }
}

fn leased() -> Found {
    Found::Unreadable("another process holds a lease on it".to_owned())
}

fn link() -> Found {
    Found::Other(Obstacle::Link("bridge".into()))
}

/// A directory with something in it.
fn folder() -> Found {
    Found::Other(Obstacle::Kind(FileKind::Directory))
}

fn directory(entries: &[(&str, Found)]) -> ObservedDirectory {
    let entries =
        entries.iter().map(|(name, found)| (name.parse().unwrap(), found.clone())).collect();
    ObservedDirectory {
        path: BIN.parse().unwrap(),
        exists: true,
        writable: true,
        held: BTreeSet::new(),
        unfinished: false,
        entries,
    }
}

fn installed(bytes: &[u8], owner: Owner) -> InstalledFile {
    InstalledFile { digest: Digest::of(bytes), size: bytes.len() as u64, owner }
}

/// A receipt as an earlier installation left it.
fn receipt(files: &[(&str, InstalledFile)]) -> Receipt {
    let verified = bundle(&[("bridge", OLD)]);
    let mut receipt = plan(&verified, &Observed::default(), &InstallOptions::default())
        .unwrap()
        .receipt(Digest::of(b""), None);
    let files = files.iter().map(|(name, file)| (name.parse().unwrap(), file.clone())).collect();
    receipt
        .directories
        .insert(BIN.parse().unwrap(), InstalledDirectory { files, ..Default::default() });
    receipt
}

fn names(list: &[&str]) -> BTreeSet<PluginName> {
    list.iter().map(|name| name.parse().unwrap()).collect()
}

/// The step for one plugin, in words, or the codes of the refusal.
fn decision(plugin: &str, observed: &Observed, options: &InstallOptions) -> String {
    let verified = bundle(&[(plugin, NEW)]);
    match plan(&verified, observed, options) {
        Ok(plan) => {
            let steps = plan.steps().iter().map(|step| match step {
                Step::Write { change, owner, .. } => format!("{change:?} {}", word(owner)),
                Step::Satisfied { owner, .. } => format!("Satisfied {}", word(owner)),
                Step::Keep { .. } => "Keep".to_owned(),
                Step::Remove { .. } => "Remove".to_owned(),
                Step::CreateDirectory { .. } => "Create".to_owned(),
                Step::CleanUp { .. } => "CleanUp".to_owned(),
            });
            steps.collect::<Vec<_>>().join(", ")
        }
        Err(findings) => {
            findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>().join(", ")
        }
    }
}

fn word(owner: &Owner) -> &'static str {
    match owner {
        Owner::Ours => "ours",
        Owner::Adopted(_) => "adopted",
        Owner::Foreign => "foreign",
    }
}

#[test]
fn decides_about_a_file_that_no_record_names() {
    let refuse = ForeignRule::Refuse;
    let named = |name: &str| ForeignRule::AdoptNamed(names(&[name]));
    let cases: [(Found, ForeignRule, &str); 29] = [
        (Found::Absent, refuse.clone(), "New ours"),
        (Found::Absent, ForeignRule::Adopt, "New ours"),
        (regular(NEW, 0o755), refuse.clone(), "TakeOver adopted"),
        (regular(NEW, 0o755), ForeignRule::Adopt, "TakeOver adopted"),
        (regular(NEW, 0o555), refuse.clone(), "TakeOver adopted"),
        (regular(NEW, 0o6777), refuse.clone(), "TakeOver adopted"),
        (regular(NEW, 0o775), ForeignRule::Keep, "Keep"),
        (given_away(NEW), refuse.clone(), "TakeOver adopted"),
        (given_away(NEW), ForeignRule::Keep, "Keep"),
        (given_away(NEW), ForeignRule::Adopt, "TakeOver adopted"),
        (capable(NEW), refuse.clone(), "TakeOver adopted"),
        (capable(NEW), ForeignRule::Keep, "Keep"),
        (capable(NEW), ForeignRule::Adopt, "TakeOver adopted"),
        (regular(NEW, 0o644), refuse.clone(), "TakeOver adopted"),
        (regular(NEW, 0o644), ForeignRule::Adopt, "TakeOver adopted"),
        (regular(THEIRS, 0o755), refuse.clone(), "foreign-file"),
        (regular(THEIRS, 0o755), ForeignRule::Keep, "Keep"),
        (regular(THEIRS, 0o755), ForeignRule::Adopt, "Adopt adopted"),
        (regular(THEIRS, 0o755), named("bridge"), "Adopt adopted"),
        (Found::OtherSize(1), refuse.clone(), "foreign-file"),
        (Found::OtherSize(1), ForeignRule::Keep, "Keep"),
        (Found::OtherSize(1), ForeignRule::Stay, "Keep"),
        (leased(), refuse.clone(), "unreadable"),
        // Its bytes would have to be kept.
        (leased(), ForeignRule::Adopt, "unreadable"),
        (leased(), named("bridge"), "unreadable"),
        (leased(), ForeignRule::Keep, "Keep"),
        (link(), refuse.clone(), "in-the-way"),
        (link(), ForeignRule::Adopt, "in-the-way"),
        (link(), ForeignRule::Keep, "Keep"),
    ];
    for (found, foreign, expected) in cases {
        let observed = Observed {
            directories: vec![directory(&[("bridge", found.clone())])],
            ..Default::default()
        };
        let options = InstallOptions { foreign, ..InstallOptions::default() };
        assert_eq!(decision("bridge", &observed, &options), expected, "{found:?} {options:?}");
    }
    let observed = Observed {
        directories: vec![directory(&[("bridge", regular(THEIRS, 0o755))])],
        ..Default::default()
    };
    let options = InstallOptions { foreign: named("bridge"), ..InstallOptions::default() };
    let two = bundle(&[("bridge", NEW), ("vlan", NEW)]);
    assert!(plan(&two, &observed, &options).is_ok());
    let options = InstallOptions { foreign: named("vlan"), ..InstallOptions::default() };
    assert_eq!(
        plan(&two, &observed, &options).expect_err("bridge is not named")[0].code,
        Code::ForeignFile
    );
}

#[test]
fn decides_about_a_file_of_the_receipt() {
    let original = Original { digest: Digest::of(THEIRS), size: Some(11), mode: 0o755 };
    let (ours, adopted) = (installed(OLD, Owner::Ours), installed(OLD, Owner::Adopted(original)));
    let theirs = installed(OLD, Owner::Foreign);
    let other = |kind| Found::Other(Obstacle::Kind(kind));
    let cases: [(&InstalledFile, Found, &str); 28] = [
        (&ours, regular(OLD, 0o755), "Replace ours"),
        (&ours, regular(NEW, 0o755), "Satisfied ours"),
        (&ours, regular(NEW, 0o4755), "Repair ours"),
        (&ours, given_away(NEW), "Repair ours"),
        (&ours, capable(NEW), "Repair ours"),
        (&ours, regular(NEW, 0o644), "Repair ours"),
        (&ours, regular(THEIRS, 0o755), "Repair ours"),
        (&ours, Found::Absent, "New ours"),
        // Nothing of the old bytes is needed.
        (&ours, leased(), "Repair ours"),
        (&ours, Found::OtherSize(1), "Repair ours"),
        (&adopted, leased(), "Repair adopted"),
        (&theirs, leased(), "unreadable"),
        (&theirs, Found::OtherSize(1), "foreign-file"),
        // A rename takes the place of everything but a directory.
        (&ours, link(), "Repair ours"),
        (&ours, other(FileKind::Fifo), "Repair ours"),
        (&ours, other(FileKind::Socket), "Repair ours"),
        (&ours, other(FileKind::Device), "Repair ours"),
        (&ours, Found::Other(Obstacle::EmptyDirectory), "Repair ours"),
        (&ours, folder(), "in-the-way"),
        (&ours, other(FileKind::Unknown), "in-the-way"),
        (&adopted, link(), "Repair adopted"),
        (&theirs, link(), "in-the-way"),
        (&adopted, regular(OLD, 0o755), "Replace adopted"),
        (&adopted, Found::Absent, "New adopted"),
        // What an earlier version of this program left to its installer for its signed bytes.
        (&theirs, regular(OLD, 0o755), "TakeOver adopted"),
        (&theirs, regular(NEW, 0o755), "TakeOver adopted"),
        (&theirs, regular(THEIRS, 0o755), "foreign-file"),
        (&theirs, Found::Absent, "New ours"),
    ];
    for (recorded, found, expected) in cases {
        let observed = Observed {
            directories: vec![directory(&[("bridge", found.clone())])],
            receipt: Some(receipt(&[("bridge", recorded.clone())])),
            journal: None,
            ..Observed::default()
        };
        assert_eq!(
            decision("bridge", &observed, &InstallOptions::default()),
            expected,
            "{recorded:?} {found:?}"
        );
    }
}

#[test]
fn decides_about_a_file_of_the_journal() {
    let original = Original { digest: Digest::of(THEIRS), size: Some(11), mode: 0o755 };
    let journal = |owner| Journal::of(&receipt(&[("bridge", installed(NEW, owner))]));
    let cases = [
        (journal(Owner::Ours), regular(NEW, 0o755), "Satisfied ours"),
        (journal(Owner::Adopted(original.clone())), regular(NEW, 0o755), "Satisfied adopted"),
        // Not renamed yet: what is there is still another installer's.
        (journal(Owner::Adopted(original)), regular(THEIRS, 0o755), "foreign-file"),
        (journal(Owner::Ours), Found::Absent, "New ours"),
        (journal(Owner::Ours), Found::OtherSize(1), "foreign-file"),
        (journal(Owner::Ours), leased(), "unreadable"),
        (journal(Owner::Ours), link(), "Repair ours"),
        (journal(Owner::Ours), folder(), "in-the-way"),
        (journal(Owner::Foreign), link(), "in-the-way"),
    ];
    for (journal, found, expected) in cases {
        let directories = vec![directory(&[("bridge", found.clone())])];
        let observed = Observed { directories, journal: Some(journal), ..Observed::default() };
        assert_eq!(
            decision("bridge", &observed, &InstallOptions::default()),
            expected,
            "{found:?}"
        );
    }
}

#[test]
fn loopback_is_spared_unless_it_is_named() {
    let observed = |found| Observed {
        directories: vec![directory(&[("loopback", found)])],
        ..Default::default()
    };
    let only = |foreign| InstallOptions {
        foreign,
        only: Some(names(&["loopback"])),
        ..InstallOptions::default()
    };
    let all = |foreign| InstallOptions { foreign, ..InstallOptions::default() };
    let theirs = regular(THEIRS, 0o755);
    let cases = [
        (theirs.clone(), all(ForeignRule::Refuse), "Keep"),
        (theirs.clone(), all(ForeignRule::Adopt), "Keep"),
        (theirs.clone(), all(ForeignRule::AdoptNamed(names(&["loopback"]))), "Adopt adopted"),
        (theirs.clone(), only(ForeignRule::Refuse), "foreign-file"),
        (theirs, only(ForeignRule::Adopt), "Adopt adopted"),
        (link(), all(ForeignRule::Refuse), "Keep"),
        (Found::Absent, all(ForeignRule::Refuse), "New ours"),
    ];
    for (found, options, expected) in cases {
        assert_eq!(
            decision("loopback", &observed(found.clone()), &options),
            expected,
            "{found:?} {options:?}"
        );
    }
    let ours = receipt(&[("loopback", installed(OLD, Owner::Ours))]);
    let observed = Observed { receipt: Some(ours), ..observed(regular(OLD, 0o755)) };
    assert_eq!(
        decision("loopback", &observed, &InstallOptions::default()),
        "Replace ours",
        "ours is not spared"
    );
}

#[test]
fn a_name_that_the_bundle_lacks_is_refused() {
    let verified = bundle(&[("bridge", NEW)]);
    for options in [
        InstallOptions {
            foreign: ForeignRule::Refuse,
            only: Some(names(&["bridge", "bridgee"])),
            ..InstallOptions::default()
        },
        InstallOptions {
            foreign: ForeignRule::AdoptNamed(names(&["bridgee"])),
            ..InstallOptions::default()
        },
    ] {
        let findings = plan(&verified, &Observed::default(), &options).expect_err("bridgee");
        let messages: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages, ["bundle `test` has no plugin `bridgee`"]);
    }
}

#[test]
fn the_receipt_keeps_what_the_plan_does_not_touch() {
    let observed = Observed {
        directories: vec![directory(&[
            ("bridge", regular(OLD, 0o755)),
            ("vlan", regular(OLD, 0o755)),
        ])],
        receipt: Some(receipt(&[
            ("bridge", installed(OLD, Owner::Ours)),
            ("gone", installed(OLD, Owner::Ours)),
            ("theirs", installed(OLD, Owner::Foreign)),
            ("vlan", installed(OLD, Owner::Ours)),
        ])),
        journal: None,
        ..Observed::default()
    };
    let verified = bundle(&[("bridge", NEW), ("vlan", OLD)]);
    let options = InstallOptions {
        foreign: ForeignRule::Refuse,
        only: Some(names(&["bridge"])),
        ..InstallOptions::default()
    };
    let plan = plan(&verified, &observed, &options).unwrap();
    let notes: Vec<_> =
        plan.notes().iter().map(|note| (note.code, note.message.as_str())).collect();
    assert_eq!(
        notes,
        [(Code::Mixed, "`/opt/cni/bin/gone` is from an earlier bundle and was left as it is")]
    );
    let receipt = plan.receipt(Digest::of(b"evidence"), None);
    let directory = &receipt.directories[&BIN.parse().unwrap()];
    let files: Vec<_> =
        directory.files.iter().map(|(name, file)| (name.as_str(), file.digest)).collect();
    assert_eq!(files, [("bridge", Digest::of(NEW)), ("vlan", Digest::of(OLD))]);
    assert_eq!(directory.leftovers.keys().map(PluginName::as_str).collect::<Vec<_>>(), ["gone"]);
}

#[test]
fn forgets_a_leftover_that_is_gone_and_need_not_be_restored() {
    let original = Original { digest: Digest::of(THEIRS), size: Some(11), mode: 0o755 };
    let (ours, adopted) = (installed(OLD, Owner::Ours), installed(OLD, Owner::Adopted(original)));
    // Of a generation that is kept.
    let of_kept = installed(THEIRS, Owner::Ours);
    let cases = [
        (&ours, Some(Found::Absent), ForeignRule::Refuse, false),
        (&of_kept, Some(Found::Absent), ForeignRule::Refuse, true),
        (&ours, Some(regular(OLD, 0o755)), ForeignRule::Refuse, true),
        (&ours, Some(regular(THEIRS, 0o755)), ForeignRule::Refuse, true),
        // It was not observed.
        (&ours, None, ForeignRule::Refuse, true),
        // What was there before can still come back.
        (&adopted, Some(Found::Absent), ForeignRule::Refuse, true),
        // A repair forgets nothing.
        (&ours, Some(Found::Absent), ForeignRule::Stay, true),
    ];
    for (file, found, foreign, stays) in cases {
        let mut seen = directory(&[("bridge", regular(NEW, 0o755))]);
        match &found {
            Some(found) => drop(seen.entries.insert("gone".parse().unwrap(), found.clone())),
            None => seen.path = "/usr/lib/cni".parse().unwrap(),
        }
        let mut present = receipt(&[]);
        let known = present.directories.entry(BIN.parse().unwrap()).or_default();
        known.leftovers.insert("gone".parse().unwrap(), file.clone());
        let mut observed =
            Observed { directories: vec![seen], receipt: Some(present), ..Observed::default() };
        if *file == of_kept {
            let names = ["gone".parse().unwrap()].into();
            observed.restorable.insert(BIN.parse().unwrap(), names);
        }
        let verified = bundle(&[("bridge", NEW)]);
        let plan = plan(
            &verified,
            &observed,
            &InstallOptions { foreign: foreign.clone(), ..InstallOptions::default() },
        )
        .unwrap();
        let what = format!("{file:?} {found:?} {foreign:?}");
        // Either is told.
        assert_eq!(plan.notes().len(), 1, "{what}");
        let receipt = plan.receipt(Digest::of(b""), None);
        let left =
            receipt.directories.get(&BIN.parse().unwrap()).map_or(0, |known| known.leftovers.len());
        assert_eq!(left, usize::from(stays), "{what}");
    }
}

#[test]
fn a_plan_reads_well_and_serializes() {
    let mut fresh = directory(&[]);
    fresh.exists = false;
    let mut used =
        directory(&[("bridge", regular(NEW, 0o755)), ("loopback", regular(THEIRS, 0o755))]);
    used.path = "/usr/lib/cni".parse().unwrap();
    used.unfinished = true;
    let observed = Observed { directories: vec![fresh, used], ..Default::default() };
    let verified = bundle(&[("bridge", NEW), ("loopback", NEW)]);
    let plan = plan(&verified, &observed, &InstallOptions::default()).unwrap();
    let index = verified.value().index;
    assert_eq!(
        plan.to_string(),
        format!(
            "test 1.2.3 for linux/amd64 ({index})\n\
             \x20 create   /opt/cni/bin\n\
             \x20 new      /opt/cni/bin/bridge (9 bytes)\n\
             \x20 new      /opt/cni/bin/loopback (9 bytes)\n\
             \x20 take over /usr/lib/cni/bridge (9 bytes)\n\
             \x20 keep     /usr/lib/cni/loopback (another installer's)\n\
             \x20 clean up /usr/lib/cni\n"
        )
    );
    let expected =
        include_str!("../../../../tests/data/plan.json").replace("INDEX", &index.to_string());
    assert_eq!(json::readable(&plan), expected);
}

#[test]
fn leaves_what_is_there_where_only_the_missing_is_wanted() {
    let leave = || InstallOptions { existing: ExistingFiles::Leave, ..InstallOptions::default() };
    let ours = receipt(&[("bridge", installed(OLD, Owner::Ours))]);
    let observed = |found, receipt| Observed {
        directories: vec![directory(&[("bridge", found)])],
        receipt,
        ..Observed::default()
    };
    let cases = [
        (observed(Found::Absent, None), "New ours"),
        (observed(regular(THEIRS, 0o755), None), "Keep"),
        (observed(regular(NEW, 0o755), None), "Satisfied foreign"),
        (observed(folder(), None), "Keep"),
        (observed(link(), Some(ours.clone())), "Keep"),
        (observed(Found::OtherSize(1), Some(ours.clone())), ""),
        (observed(leased(), Some(ours.clone())), ""),
        (observed(leased(), None), "Keep"),
        // Ours also stays, as a plugin of an earlier bundle; altered or not, it is not this run's
        // to write.
        (observed(regular(OLD, 0o755), Some(ours.clone())), ""),
        (observed(regular(NEW, 0o755), Some(ours)), "Satisfied ours"),
    ];
    for (observed, expected) in cases {
        assert_eq!(decision("bridge", &observed, &leave()), expected, "{observed:?}");
    }
    let observed = Observed {
        directories: vec![directory(&[("bridge", Found::Absent)])],
        ..Observed::default()
    };
    let skip = InstallOptions { skip: names(&["bridge", "flannel"]), ..InstallOptions::default() };
    assert_eq!(decision("bridge", &observed, &skip), "");
}

#[test]
fn brings_to_each_directory_what_it_had() {
    let mut other = directory(&[]);
    other.path = "/usr/lib/cni".parse().unwrap();
    let observed = Observed { directories: vec![directory(&[]), other], ..Observed::default() };
    let verified = bundle(&[("bridge", NEW), ("vlan", NEW)]);
    let recorded = [
        (BIN.parse().unwrap(), names(&["bridge"])),
        ("/usr/lib/cni".parse().unwrap(), names(&["vlan", "gone"])),
    ];
    let options = InstallOptions { recorded: Some(recorded.into()), ..InstallOptions::default() };
    let plan = plan(&verified, &observed, &options).unwrap();
    let steps: Vec<_> = plan.steps().iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        ["new      /opt/cni/bin/bridge (9 bytes)", "new      /usr/lib/cni/vlan (9 bytes)"]
    );
}

#[test]
fn prunes_what_is_ours_and_unaltered_and_free() {
    use crate::node::host::{Attachment, Attachments};
    let original = Original { digest: Digest::of(THEIRS), size: Some(11), mode: 0o755 };
    let (ours, adopted) = (installed(OLD, Owner::Ours), installed(OLD, Owner::Adopted(original)));
    let foreign = installed(OLD, Owner::Foreign);
    let in_use = |name: &str| {
        let user = Attachment {
            container: "1".to_owned(),
            network: "front".to_owned(),
            interface: None,
            pod: None,
        };
        Attachments {
            needed: [(name.parse().unwrap(), vec![user])].into(),
            ..Attachments::default()
        }
    };
    let unreadable =
        Attachments { unknown: vec![Finding::refusal(Code::InUse, "x")], ..Attachments::default() };
    let free = Attachments::default;
    let cases = [
        (&ours, regular(OLD, 0o755), free(), "remove   /opt/cni/bin/gone", ""),
        (&ours, regular(OLD, 0o755), in_use("other"), "remove   /opt/cni/bin/gone", ""),
        (&ours, regular(OLD, 0o755), in_use("gone"), "", "in-use"),
        (&ours, regular(OLD, 0o755), unreadable, "", "in-use"),
        (&ours, regular(THEIRS, 0o755), free(), "", "mixed"),
        (&ours, link(), free(), "", "mixed"),
        (&ours, Found::OtherSize(1), free(), "", "mixed"),
        (&ours, leased(), free(), "", "mixed"),
        (&ours, Found::Absent, free(), "", ""),
        (
            &adopted,
            regular(OLD, 0o755),
            free(),
            "restore  /opt/cni/bin/gone (what was there before)",
            "",
        ),
        (&adopted, Found::Absent, free(), "restore  /opt/cni/bin/gone (what was there before)", ""),
        // The original takes its place: it is not lost.
        (
            &adopted,
            regular(OLD, 0o755),
            in_use("gone"),
            "restore  /opt/cni/bin/gone (what was there before)",
            "",
        ),
        // It is back already.
        (&adopted, regular(THEIRS, 0o755), free(), "", ""),
        (&foreign, regular(OLD, 0o755), free(), "", ""),
    ];
    for (file, found, in_use, expected, note) in cases {
        let observed = Observed {
            directories: vec![directory(&[
                ("bridge", regular(NEW, 0o755)),
                ("gone", found.clone()),
            ])],
            receipt: Some(receipt(&[
                ("bridge", installed(NEW, Owner::Ours)),
                ("gone", file.clone()),
            ])),
            in_use,
            originals: [Digest::of(THEIRS)].into(),
            ..Observed::default()
        };
        let verified = bundle(&[("bridge", NEW)]);
        let options = InstallOptions { leftovers: Leftovers::Prune, ..InstallOptions::default() };
        let plan = plan(&verified, &observed, &options).unwrap();
        let steps: Vec<_> = plan.steps().iter().map(ToString::to_string).collect();
        let what = format!("{file:?} {found:?}");
        assert_eq!(
            steps
                .last()
                .map(String::as_str)
                .filter(|step| !step.starts_with("same"))
                .unwrap_or_default(),
            expected,
            "{what}"
        );
        assert_eq!(plan.notes().first().map_or("", |note| note.code.as_str()), note, "{what}");
        // What stays is remembered, so that it can go later.
        let receipt = plan.receipt(Digest::of(b""), None);
        let kept = receipt.directories[&BIN.parse().unwrap()].leftovers.len();
        assert_eq!(kept, usize::from(!note.is_empty()), "{what}");
    }
}
