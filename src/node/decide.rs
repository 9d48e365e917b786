//! Deciding what is to be done: a verified bundle, a node as it was observed and its owner's wishes in, a plan out.
//!
//! Pure. Ownership is *ours* (in the receipt, or in the journal with the content that it names), *adopted* (taken over
//! on request, the original kept) or *foreign* (never touched).

use std::collections::{BTreeMap, BTreeSet};

use super::observe::{Found, Observed, ObservedDirectory};
use super::plan::{Change, PLUGIN_MODE, Plan, Step};
use super::receipt::{InstalledFile, JournalEntry, Original, Owner};
use super::root::HostPath;
use crate::bundle::PluginFile;
use crate::model::{Code, Digest, Finding, PluginName, visible};
use crate::trust::{Bundle, Strength, Verified};

/// Runs for every pod, also where nothing else of a bundle does: another installer's is not replaced unless it is named.
const LOOPBACK: &str = "loopback";

/// What the node's owner wants besides the bundle.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// What happens to somebody else's file with a wanted name and other bytes.
    pub foreign: ForeignRule,
    /// The only plugins that are wanted; without it, all of the bundle.
    pub only: Option<BTreeSet<PluginName>>,
}

/// What happens to somebody else's file with a wanted name and other bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ForeignRule {
    /// Nothing is installed.
    #[default]
    Refuse,
    /// It stays, and its name is not installed.
    Keep,
    /// It is replaced and kept in the state directory.
    Adopt,
    /// These are adopted; any other refuses.
    AdoptNamed(BTreeSet<PluginName>),
}

/// Decides what is to be done.
///
/// # Errors
/// The findings that refuse it; nothing is to be done then.
pub fn plan<'v>(bundle: &'v Verified<Bundle>, observed: &Observed, wishes: &Wishes) -> Result<Plan<'v>, Vec<Finding>> {
    let files = &bundle.value().files;
    let mut refusals: Vec<_> = named(wishes)
        .filter(|name| files.plugin(name).is_none())
        .map(|name| Finding::refusal(Code::NotInBundle, format!("bundle `{}` has no plugin `{name}`", files.name)))
        .collect();
    let interrupted = observed.journal.is_some();
    let mut plan = Plan {
        bundle,
        steps: Vec::new(),
        notes: Vec::new(),
        interrupted,
        carried: BTreeMap::new(),
        superseded: Vec::new(),
    };
    if bundle.proof().strength == Strength::Admitted {
        let message = format!("nothing is proven: rule `{}` only warns", visible(&bundle.proof().rule));
        plan.notes.push(Finding::warning(Code::Unproven, message));
    }
    for directory in &observed.directories {
        let mut steps = Vec::new();
        for file in files.plugins.iter().filter(|file| wants(wishes, &file.name)) {
            match decide(directory, file, observed, wishes) {
                Decision::Step(step) => steps.push(step),
                Decision::Keep(step, note) => {
                    steps.push(step);
                    plan.notes.push(note);
                }
                Decision::Refuse(finding) => refusals.push(finding),
            }
        }
        let path = &directory.path;
        if !directory.exists && steps.iter().any(|step| matches!(step, Step::Write { .. })) {
            plan.steps.push(Step::CreateDirectory { directory: path.clone() });
        }
        plan.steps.append(&mut steps);
        if directory.unfinished {
            plan.steps.push(Step::CleanUp { directory: path.clone() });
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    carry(&mut plan, observed, wishes);
    plan.superseded = superseded(&plan.steps, observed);
    Ok(plan)
}

/// The journal's entries of files that are there and about to be replaced. Nothing but the journal says that they are
/// ours, and it is replaced before they are: without them, a second interruption would leave files that look foreign.
fn superseded(steps: &[Step], observed: &Observed) -> Vec<JournalEntry> {
    let replaced = steps.iter().filter_map(|step| match step {
        Step::Write { directory, name, before: Found::Regular { digest, .. }, .. } => Some((directory, name, digest)),
        _ => None,
    });
    let entries = replaced.filter_map(|(directory, name, digest)| {
        let mut entries = observed.journal.iter().flat_map(|journal| journal.entries_of(directory));
        entries.find(|entry| entry.name == *name && entry.digest == *digest).cloned()
    });
    entries.collect()
}

/// The plugins that the wishes name one by one.
fn named(wishes: &Wishes) -> impl Iterator<Item = &PluginName> {
    let adopted = match &wishes.foreign {
        ForeignRule::AdoptNamed(names) => Some(names),
        _ => None,
    };
    wishes.only.iter().chain(adopted).flatten()
}

fn wants(wishes: &Wishes, name: &PluginName) -> bool {
    wishes.only.as_ref().is_none_or(|only| only.contains(name))
}

enum Decision {
    Step(Step),
    Keep(Step, Finding),
    Refuse(Finding),
}

/// Decides about one plugin in one directory.
fn decide(directory: &ObservedDirectory, file: &PluginFile, observed: &Observed, wishes: &Wishes) -> Decision {
    let path = &directory.path;
    let before = directory.found(&file.name);
    let place = || (path.clone(), file.name.clone());
    let satisfied = |owner| {
        let (directory, name) = place();
        Decision::Step(Step::Satisfied { directory, name, owner })
    };
    let write = |change, owner| {
        let (directory, name) = place();
        Decision::Step(Step::Write { directory, name, change, size: file.size, before, owner })
    };
    let (digest, size, mode) = match before {
        Found::Absent => {
            // An adopted file stays adopted when it was deleted meanwhile: what was there before is still kept.
            let owner = known_owner(observed, path, &file.name, None).filter(Owner::is_ours);
            return write(Change::New, owner.unwrap_or(Owner::Ours));
        }
        Found::Other(kind) => {
            let message = format!("`{path}/{}` is {kind}", file.name);
            let refusal = Finding::refusal(Code::InTheWay, message.clone())
                .mismatch("a regular file, or nothing", kind)
                .hint("move it away, or leave it with --foreign keep");
            let kept = wishes.foreign == ForeignRule::Keep || is_spared_loopback(file, wishes);
            return if kept { keep(path, file, message) } else { Decision::Refuse(refusal) };
        }
        Found::Regular { digest, size, mode } => (digest, size, mode),
    };
    let right = digest == file.digest && size == file.size;
    if let Some(owner) = known_owner(observed, path, &file.name, Some(digest)).filter(Owner::is_ours) {
        let recorded = observed.receipt.as_ref().and_then(|receipt| receipt.file(path, &file.name));
        let unaltered = recorded.is_some_and(|recorded| recorded.digest == digest);
        return match (right, mode == PLUGIN_MODE) {
            (true, true) => satisfied(owner),
            (false, true) if unaltered => write(Change::Replace, owner),
            _ => write(Change::Repair, owner),
        };
    }
    if right && mode & 0o111 != 0 {
        return satisfied(Owner::Foreign);
    }
    let message = match right {
        true => format!("`{path}/{}` is another installer's file and cannot be executed", file.name),
        false => format!("`{path}/{}` is another installer's file", file.name),
    };
    if is_spared_loopback(file, wishes) {
        return keep(path, file, message);
    }
    let adopt = match &wishes.foreign {
        ForeignRule::Keep => return keep(path, file, message),
        ForeignRule::Adopt => true,
        ForeignRule::AdoptNamed(names) => names.contains(&file.name),
        ForeignRule::Refuse => false,
    };
    if adopt {
        return write(Change::Adopt, Owner::Adopted(Original { digest, mode }));
    }
    let (expected, found) = match right {
        true => ("mode 0755".to_owned(), format!("mode {mode:04o}")),
        false => (file.digest.to_string(), digest.to_string()),
    };
    Decision::Refuse(Finding::refusal(Code::ForeignFile, message).mismatch(expected, found).hint(format!(
        "leave it with --foreign keep, or replace it (a copy is kept) with --foreign adopt={}",
        file.name
    )))
}

/// Whose a file is, as far as receipt and journal know. A file that is only in the journal is ours if it has the
/// content that the journal names.
fn known_owner(observed: &Observed, directory: &HostPath, name: &PluginName, digest: Option<Digest>) -> Option<Owner> {
    let journaled = observed
        .journal
        .iter()
        .flat_map(|journal| journal.entries_of(directory))
        .find(|entry| entry.name == *name && digest.is_some_and(|digest| digest == entry.digest))
        .map(|entry| Owner::of(entry.original.clone()));
    let recorded = observed.receipt.as_ref().and_then(|receipt| receipt.file(directory, name));
    journaled.or_else(|| recorded.map(|file| file.owner.clone()))
}

fn keep(path: &HostPath, file: &PluginFile, message: String) -> Decision {
    let step = Step::Keep { directory: path.clone(), name: file.name.clone() };
    Decision::Keep(step, Finding::note(Code::ForeignKept, format!("{message}; it was left as it is")))
}

fn is_spared_loopback(file: &PluginFile, wishes: &Wishes) -> bool {
    file.name.as_str() == LOOPBACK && !named(wishes).any(|name| name.as_str() == LOOPBACK)
}

/// Takes over what earlier installations left and this one does not touch.
fn carry(plan: &mut Plan<'_>, observed: &Observed, wishes: &Wishes) {
    let files = &plan.bundle.value().files;
    let untouched = |directory: &HostPath, name: &PluginName| {
        !observed.directories.iter().any(|observed| observed.path == *directory)
            || files.plugin(name).is_none()
            || !wants(wishes, name)
    };
    let mut take = |directory: &HostPath, name: &PluginName, file: InstalledFile| {
        let carried = plan.carried.entry(directory.clone()).or_default();
        if files.plugin(name).is_some_and(|plugin| plugin.digest == file.digest) {
            carried.files.insert(name.clone(), file);
        } else if file.owner.is_ours() {
            let message = format!("`{directory}/{name}` is of an earlier bundle and was left as it is");
            plan.notes.push(Finding::note(Code::Mixed, message));
            carried.leftovers.insert(name.clone(), file);
        }
    };
    let mut known = BTreeSet::new();
    for directory in &observed.directories {
        let entries = observed.journal.iter().flat_map(|journal| journal.entries_of(&directory.path));
        for entry in entries.filter(|entry| untouched(&directory.path, &entry.name)) {
            let found = directory.found(&entry.name);
            let ours = matches!(found, Found::Regular { digest, .. } if digest == entry.digest);
            if ours && known.insert((directory.path.clone(), entry.name.clone())) {
                let owner = Owner::of(entry.original.clone());
                take(&directory.path, &entry.name, InstalledFile { digest: entry.digest, size: entry.size, owner });
            }
        }
    }
    for (path, directory) in observed.receipt.iter().flat_map(|receipt| &receipt.directories) {
        for (name, file) in directory.files.iter().chain(&directory.leftovers) {
            if untouched(path, name) && known.insert((path.clone(), name.clone())) {
                take(path, name, file.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileKind;
    use crate::model::json;
    use crate::node::receipt::{InstalledDirectory, Journal, Receipt};
    use crate::node::test_support::bundle;

    const BIN: &str = "/opt/cni/bin";
    const OLD: &[u8] = b"old bytes";
    const NEW: &[u8] = b"new bytes";
    const THEIRS: &[u8] = b"their bytes";

    fn regular(bytes: &[u8], mode: u32) -> Found {
        Found::Regular { digest: Digest::of(bytes), size: bytes.len() as u64, mode }
    }

    fn directory(entries: &[(&str, Found)]) -> ObservedDirectory {
        let entries = entries.iter().map(|(name, found)| (name.parse().unwrap(), *found)).collect();
        ObservedDirectory { path: BIN.parse().unwrap(), exists: true, unfinished: false, entries }
    }

    fn installed(bytes: &[u8], owner: Owner) -> InstalledFile {
        InstalledFile { digest: Digest::of(bytes), size: bytes.len() as u64, owner }
    }

    /// A receipt as an earlier installation left it.
    fn receipt(files: &[(&str, InstalledFile)]) -> Receipt {
        let verified = bundle(&[("bridge", OLD)]);
        let mut receipt =
            plan(&verified, &Observed::default(), &Wishes::default()).unwrap().receipt(Digest::of(b""), None);
        let files = files.iter().map(|(name, file)| (name.parse().unwrap(), file.clone())).collect();
        receipt.directories.insert(BIN.parse().unwrap(), InstalledDirectory { files, ..Default::default() });
        receipt
    }

    fn names(list: &[&str]) -> BTreeSet<PluginName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// The step for one plugin, in words, or the codes of the refusal.
    fn decision(plugin: &str, observed: &Observed, wishes: &Wishes) -> String {
        let verified = bundle(&[(plugin, NEW)]);
        match plan(&verified, observed, wishes) {
            Ok(plan) => {
                let steps = plan.steps().iter().map(|step| match step {
                    Step::Write { change, owner, .. } => format!("{change:?} {}", word(owner)),
                    Step::Satisfied { owner, .. } => format!("Satisfied {}", word(owner)),
                    Step::Keep { .. } => "Keep".to_owned(),
                    Step::CreateDirectory { .. } => "Create".to_owned(),
                    Step::CleanUp { .. } => "CleanUp".to_owned(),
                });
                steps.collect::<Vec<_>>().join(", ")
            }
            Err(findings) => findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>().join(", "),
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
    fn decides_about_a_file_that_nobody_recorded() {
        let refuse = ForeignRule::Refuse;
        let named = |name: &str| ForeignRule::AdoptNamed(names(&[name]));
        let link = Found::Other(FileKind::SymbolicLink);
        let cases: [(Found, ForeignRule, &str); 14] = [
            (Found::Absent, refuse.clone(), "New ours"),
            (Found::Absent, ForeignRule::Adopt, "New ours"),
            (regular(NEW, 0o755), refuse.clone(), "Satisfied foreign"),
            (regular(NEW, 0o755), ForeignRule::Adopt, "Satisfied foreign"),
            (regular(NEW, 0o555), refuse.clone(), "Satisfied foreign"),
            (regular(NEW, 0o644), refuse.clone(), "foreign-file"),
            (regular(NEW, 0o644), ForeignRule::Adopt, "Adopt adopted"),
            (regular(THEIRS, 0o755), refuse.clone(), "foreign-file"),
            (regular(THEIRS, 0o755), ForeignRule::Keep, "Keep"),
            (regular(THEIRS, 0o755), ForeignRule::Adopt, "Adopt adopted"),
            (regular(THEIRS, 0o755), named("bridge"), "Adopt adopted"),
            (link, refuse.clone(), "in-the-way"),
            (link, ForeignRule::Adopt, "in-the-way"),
            (link, ForeignRule::Keep, "Keep"),
        ];
        for (found, foreign, expected) in cases {
            let observed = Observed { directories: vec![directory(&[("bridge", found)])], ..Default::default() };
            let wishes = Wishes { foreign, only: None };
            assert_eq!(decision("bridge", &observed, &wishes), expected, "{found:?} {wishes:?}");
        }
        let observed =
            Observed { directories: vec![directory(&[("bridge", regular(THEIRS, 0o755))])], ..Default::default() };
        let wishes = Wishes { foreign: named("bridge"), only: None };
        let two = bundle(&[("bridge", NEW), ("vlan", NEW)]);
        assert!(plan(&two, &observed, &wishes).is_ok());
        let wishes = Wishes { foreign: named("vlan"), only: None };
        assert_eq!(plan(&two, &observed, &wishes).expect_err("bridge is not named")[0].code, Code::ForeignFile);
    }

    #[test]
    fn decides_about_a_file_of_the_receipt() {
        let original = Original { digest: Digest::of(THEIRS), mode: 0o755 };
        let (ours, adopted) = (installed(OLD, Owner::Ours), installed(OLD, Owner::Adopted(original)));
        let theirs = installed(OLD, Owner::Foreign);
        let cases: [(&InstalledFile, Found, &str); 11] = [
            (&ours, regular(OLD, 0o755), "Replace ours"),
            (&ours, regular(NEW, 0o755), "Satisfied ours"),
            (&ours, regular(NEW, 0o4755), "Repair ours"),
            (&ours, regular(NEW, 0o644), "Repair ours"),
            (&ours, regular(THEIRS, 0o755), "Repair ours"),
            (&ours, Found::Absent, "New ours"),
            (&ours, Found::Other(FileKind::Directory), "in-the-way"),
            (&adopted, regular(OLD, 0o755), "Replace adopted"),
            (&adopted, Found::Absent, "New adopted"),
            (&theirs, regular(OLD, 0o755), "foreign-file"),
            (&theirs, Found::Absent, "New ours"),
        ];
        for (recorded, found, expected) in cases {
            let observed = Observed {
                directories: vec![directory(&[("bridge", found)])],
                receipt: Some(receipt(&[("bridge", recorded.clone())])),
                journal: None,
            };
            assert_eq!(decision("bridge", &observed, &Wishes::default()), expected, "{recorded:?} {found:?}");
        }
    }

    #[test]
    fn decides_about_a_file_of_the_journal() {
        let original = Original { digest: Digest::of(THEIRS), mode: 0o755 };
        let journal = |owner| Journal::of(&receipt(&[("bridge", installed(NEW, owner))]));
        let cases = [
            (journal(Owner::Ours), regular(NEW, 0o755), "Satisfied ours"),
            (journal(Owner::Adopted(original.clone())), regular(NEW, 0o755), "Satisfied adopted"),
            // Not renamed yet: what is there is still somebody else's.
            (journal(Owner::Adopted(original)), regular(THEIRS, 0o755), "foreign-file"),
            (journal(Owner::Ours), Found::Absent, "New ours"),
        ];
        for (journal, found, expected) in cases {
            let directories = vec![directory(&[("bridge", found)])];
            let observed = Observed { directories, receipt: None, journal: Some(journal) };
            assert_eq!(decision("bridge", &observed, &Wishes::default()), expected, "{found:?}");
        }
    }

    #[test]
    fn loopback_is_spared_unless_it_is_named() {
        let observed = |found| Observed { directories: vec![directory(&[("loopback", found)])], ..Default::default() };
        let only = |foreign| Wishes { foreign, only: Some(names(&["loopback"])) };
        let all = |foreign| Wishes { foreign, only: None };
        let theirs = regular(THEIRS, 0o755);
        let cases = [
            (theirs, all(ForeignRule::Refuse), "Keep"),
            (theirs, all(ForeignRule::Adopt), "Keep"),
            (theirs, all(ForeignRule::AdoptNamed(names(&["loopback"]))), "Adopt adopted"),
            (theirs, only(ForeignRule::Refuse), "foreign-file"),
            (theirs, only(ForeignRule::Adopt), "Adopt adopted"),
            (Found::Other(FileKind::SymbolicLink), all(ForeignRule::Refuse), "Keep"),
            (Found::Absent, all(ForeignRule::Refuse), "New ours"),
        ];
        for (found, wishes, expected) in cases {
            assert_eq!(decision("loopback", &observed(found), &wishes), expected, "{found:?} {wishes:?}");
        }
        let ours = receipt(&[("loopback", installed(OLD, Owner::Ours))]);
        let observed = Observed { receipt: Some(ours), ..observed(regular(OLD, 0o755)) };
        assert_eq!(decision("loopback", &observed, &Wishes::default()), "Replace ours", "ours is not spared");
    }

    #[test]
    fn a_name_that_the_bundle_lacks_is_refused() {
        let verified = bundle(&[("bridge", NEW)]);
        for wishes in [
            Wishes { foreign: ForeignRule::Refuse, only: Some(names(&["bridge", "bridgee"])) },
            Wishes { foreign: ForeignRule::AdoptNamed(names(&["bridgee"])), only: None },
        ] {
            let findings = plan(&verified, &Observed::default(), &wishes).expect_err("bridgee");
            let messages: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
            assert_eq!(messages, ["bundle `test` has no plugin `bridgee`"]);
        }
    }

    #[test]
    fn the_receipt_keeps_what_the_plan_does_not_touch() {
        let observed = Observed {
            directories: vec![directory(&[("bridge", regular(OLD, 0o755)), ("vlan", regular(OLD, 0o755))])],
            receipt: Some(receipt(&[
                ("bridge", installed(OLD, Owner::Ours)),
                ("gone", installed(OLD, Owner::Ours)),
                ("theirs", installed(OLD, Owner::Foreign)),
                ("vlan", installed(OLD, Owner::Ours)),
            ])),
            journal: None,
        };
        let verified = bundle(&[("bridge", NEW), ("vlan", OLD)]);
        let wishes = Wishes { foreign: ForeignRule::Refuse, only: Some(names(&["bridge"])) };
        let plan = plan(&verified, &observed, &wishes).unwrap();
        let notes: Vec<_> = plan.notes().iter().map(|note| (note.code, note.message.as_str())).collect();
        assert_eq!(notes, [(Code::Mixed, "`/opt/cni/bin/gone` is of an earlier bundle and was left as it is")]);
        let receipt = plan.receipt(Digest::of(b"evidence"), None);
        let directory = &receipt.directories[&BIN.parse().unwrap()];
        let files: Vec<_> = directory.files.iter().map(|(name, file)| (name.as_str(), file.digest)).collect();
        assert_eq!(files, [("bridge", Digest::of(NEW)), ("vlan", Digest::of(OLD))]);
        assert_eq!(directory.leftovers.keys().map(PluginName::as_str).collect::<Vec<_>>(), ["gone"]);
    }

    #[test]
    fn a_plan_reads_well_and_serializes() {
        let mut fresh = directory(&[]);
        fresh.exists = false;
        let mut used = directory(&[("bridge", regular(NEW, 0o755)), ("loopback", regular(THEIRS, 0o755))]);
        used.path = "/usr/lib/cni".parse().unwrap();
        used.unfinished = true;
        let observed = Observed { directories: vec![fresh, used], ..Default::default() };
        let verified = bundle(&[("bridge", NEW), ("loopback", NEW)]);
        let plan = plan(&verified, &observed, &Wishes::default()).unwrap();
        let index = verified.value().index;
        assert_eq!(
            plan.to_string(),
            format!(
                "test 1.2.3 for linux/amd64 ({index})\n\
                 \x20 create   /opt/cni/bin\n\
                 \x20 new      /opt/cni/bin/bridge (9 bytes)\n\
                 \x20 new      /opt/cni/bin/loopback (9 bytes)\n\
                 \x20 same     /usr/lib/cni/bridge\n\
                 \x20 keep     /usr/lib/cni/loopback (another installer's)\n\
                 \x20 clean up /usr/lib/cni\n"
            )
        );
        let expected = include_str!("../../tests/data/plan.json").replace("INDEX", &index.to_string());
        assert_eq!(json::readable(&plan), expected);
    }
}
