//! Deciding what changes: a verified bundle, an observed node and its owner's options in, a plan
//! out.
//!
//! Pure: nothing is read or changed here. Ownership is *ours* (in the receipt, or in the journal
//! with the content that it names), *adopted* (taken over on request or with the signed bytes, the
//! original kept) or *foreign* (never touched).

use std::collections::BTreeMap;

use super::carry::carry;
use super::options::{ExistingFiles, ForeignRule, InstallOptions, wants};
use super::owner::{known_owner, owner_by_name, recorded_as_ours};
use super::{Change, PLUGIN_MODE, Plan, Step};
use crate::bundle::PluginFile;
use crate::model::{Code, Digest, Finding, HostPath, PluginName, visible};
use crate::node::host::{ForeignFiles, Found, Observed, ObservedDirectory};
use crate::node::state::{InstalledFile, JournalEntry, Original, Owner, Release};
use crate::trust::{Bundle, Strength, Verified};

/// Runs for every pod, even if no other plugin of a bundle does: another installer's is not
/// replaced unless it is named.
const LOOPBACK: &str = "loopback";

/// Decides what is to be done.
///
/// # Errors
/// The findings that refuse it; nothing is to be done then.
pub fn plan<'v>(
    bundle: &'v Verified<Bundle>,
    observed: &Observed,
    options: &InstallOptions,
) -> Result<Plan<'v>, Vec<Finding>> {
    let files = &bundle.value().files;
    let mut refusals: Vec<_> = named(options)
        .filter(|name| files.plugin(name).is_none())
        .map(|name| {
            Finding::refusal(
                Code::NotInBundle,
                format!("bundle `{}` has no plugin `{name}`", files.name),
            )
        })
        .collect();
    let receipt = observed.receipt.as_ref();
    // A repair brings back what was accepted before.
    let is_repair = options.recorded.is_some()
        && receipt.is_some_and(|present| present.release().is(&Release::of(bundle.value())));
    if !is_repair {
        refusals.extend(observed.floors.against(bundle, receipt));
    }
    let interrupted = observed.journal.is_some();
    let mut plan = Plan {
        bundle,
        steps: Vec::new(),
        notes: Vec::new(),
        interrupted,
        generation: generation(bundle, observed),
        carried: BTreeMap::new(),
        superseded: Vec::new(),
        receipt: None,
    };
    if bundle.proof().strength == Strength::Admitted {
        let message =
            format!("nothing is proven: rule `{}` only warns", visible(&bundle.proof().rule));
        plan.notes.push(Finding::warning(Code::Unproven, message));
    }
    plan.notes.extend(bundle.warnings().iter().cloned());
    for directory in &observed.directories {
        let mut steps = Vec::new();
        for file in files.plugins.iter().filter(|file| wants(options, directory, file, observed)) {
            match decide(directory, file, observed, options, takes_over(bundle, options)) {
                Decision::Step(step) => steps.push(step),
                Decision::Leave(step, note) => {
                    steps.push(step);
                    // A repair only says what it repairs.
                    plan.notes.extend((options.foreign != ForeignRule::Stay).then_some(note));
                }
                Decision::Keep(step, note) => {
                    match remembered(options, observed, &directory.path, &file.name) {
                        Some(known) => {
                            let carried = plan.carried.entry(directory.path.clone()).or_default();
                            carried.files.insert(file.name.clone(), known.clone());
                        }
                        None => {
                            steps.push(step);
                            plan.notes.push(note);
                        }
                    }
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
    carry(&mut plan, observed, options);
    plan.superseded = superseded(&plan.steps, observed);
    Ok(plan)
}

/// Entries of files that are there and about to be replaced or removed. Of those that an
/// interrupted installation left, nothing but the journal says that they are ours, and it is
/// replaced before they are; those that go are removed when the receipt does not name them any
/// more. Without the entries, another interruption would leave files that look foreign.
fn superseded(steps: &[Step], observed: &Observed) -> Vec<JournalEntry> {
    let replaced = steps.iter().filter_map(|step| match step {
        Step::Write { directory, name, before: Found::Regular { digest, .. }, .. } => {
            Some((directory, name, digest))
        }
        _ => None,
    });
    let entries = replaced.filter_map(|(directory, name, digest)| {
        let mut entries = observed.journal.iter().flat_map(|journal| journal.entries_of(directory));
        entries.find(|entry| entry.name == *name && entry.digest == *digest).cloned()
    });
    let leaving = steps.iter().filter_map(|step| match step {
        Step::Remove {
            directory,
            name,
            before: Found::Regular { digest, size, .. },
            original,
            ..
        } => {
            let directory = Digest::of(directory.as_str().as_bytes());
            let (name, original) = (name.clone(), original.clone());
            Some(JournalEntry { directory, name, digest: *digest, size: *size, original })
        }
        _ => None,
    });
    entries.chain(leaving).collect()
}

/// The plugins that the options name one by one.
fn named(options: &InstallOptions) -> impl Iterator<Item = &PluginName> {
    let adopted = match &options.foreign {
        ForeignRule::AdoptNamed(names) => Some(names),
        _ => None,
    };
    options.only.iter().chain(adopted).flatten()
}

/// The number of the generation that the plan ends in: the present one where it is of the same
/// release.
fn generation(bundle: &Verified<Bundle>, observed: &Observed) -> u64 {
    match &observed.receipt {
        Some(receipt) if receipt.release().is(&Release::of(bundle.value())) => receipt.generation,
        receipt => observed.history.next(receipt.as_ref()),
    }
}

pub(super) enum Decision {
    Step(Step),
    /// Nothing is done about another installer's file that has the content of the bundle.
    Leave(Step, Finding),
    Keep(Step, Finding),
    Refuse(Finding),
}

/// Whether another installer's file with the signed bytes becomes this program's without being
/// asked for. An unproven bundle may name any bytes, and a repair or a rollback takes nothing that
/// was not installed before.
fn takes_over(bundle: &Verified<Bundle>, options: &InstallOptions) -> bool {
    bundle.proof().strength == Strength::Proven && options.recorded.is_none()
}

/// Decides about one plugin in one directory.
pub(super) fn decide(
    directory: &ObservedDirectory,
    file: &PluginFile,
    observed: &Observed,
    options: &InstallOptions,
    takes_over: bool,
) -> Decision {
    let path = &directory.path;
    let before = directory.found(&file.name);
    let place = || (path.clone(), file.name.clone());
    let satisfied = |owner| {
        let (directory, name) = place();
        Decision::Step(Step::Satisfied { directory, name, owner })
    };
    let write = |change, owner| {
        let (directory, name) = place();
        let before = before.clone();
        Decision::Step(Step::Write { directory, name, change, size: file.size, before, owner })
    };
    let (digest, size, mode) = match &before {
        Found::Absent => {
            // An adopted file stays adopted when it was deleted meanwhile: what was there before is
            // still kept.
            let owner = known_owner(observed, path, &file.name, None).filter(Owner::is_ours);
            return write(Change::New, owner.unwrap_or(Owner::Ours));
        }
        Found::Other(obstacle) => {
            let ours = owner_by_name(observed, path, &file.name)
                .filter(|_| obstacle.gives_way() && options.existing == ExistingFiles::Update);
            if let Some(owner) = ours {
                return write(Change::Repair, owner);
            }
            let message = format!("`{path}/{}` is {obstacle}", file.name);
            let refusal = Finding::refusal(Code::InTheWay, message.clone())
                .mismatch("a regular file, or no file", obstacle)
                .hint("move it away, or leave it with --foreign keep");
            return match stays(file, options) {
                true => leave_foreign(path, file, message),
                false => Decision::Refuse(refusal),
            };
        }
        Found::Unreadable(reason) => {
            let message = format!("`{path}/{}` cannot be read: {reason}", file.name);
            return match (recorded_as_ours(observed, path, &file.name), stays(file, options)) {
                (Some(owner), _) => write(Change::Repair, owner),
                (None, true) => leave_foreign(path, file, message),
                (None, false) => Decision::Refuse(
                    Finding::refusal(Code::Unreadable, message)
                        .hint("find out why it cannot be read, or leave it with --foreign keep"),
                ),
            };
        }
        Found::OtherSize(size) => {
            let message = format!("`{path}/{}` is another installer's file", file.name);
            return match (recorded_as_ours(observed, path, &file.name), stays(file, options)) {
                (Some(owner), _) => write(Change::Repair, owner),
                (None, true) => leave_foreign(path, file, message),
                (None, false) => Decision::Refuse(foreign(
                    file,
                    message,
                    format!("{} bytes", file.size),
                    format!("{size} bytes"),
                )),
            };
        }
        Found::Regular { digest, size, mode, .. } => (*digest, *size, *mode),
    };
    let right = digest == file.digest && size == file.size;
    let original = || Original { digest, size: Some(size), mode };
    let exposed = before.exposed();
    let recorded = observed.receipt.as_ref().and_then(|receipt| receipt.file(path, &file.name));
    let unaltered = recorded.is_some_and(|recorded| recorded.digest == digest);
    let is_recorded = recorded.is_some_and(|recorded| recorded.owner.is_ours());
    if let Some(owner) =
        known_owner(observed, path, &file.name, Some(digest)).filter(Owner::is_ours)
    {
        let is_original = owner.original().is_some_and(|original| original.digest == digest);
        // It was taken over with the bytes of the plugin: this file may be either.
        let is_either = is_original && (unaltered || !is_recorded);
        return match (right, mode == PLUGIN_MODE && exposed.is_none()) {
            // An interrupted run may not have written it yet.
            (true, _) if is_either && !is_recorded => write(Change::TakeOver, owner),
            (true, true) => satisfied(owner),
            // It is back, by an uninstallation that was interrupted or by its installer: it is kept
            // again, since the copy may be gone.
            _ if is_either && !observed.originals.contains(&digest) => write(Change::Adopt, owner),
            _ if is_original && !is_either => write(Change::Adopt, Owner::Adopted(original())),
            (false, true) if unaltered => write(Change::Replace, owner),
            _ => write(Change::Repair, owner),
        };
    }
    let satisfies = right && mode & 0o111 != 0 && exposed.is_none();
    let stays = stays(file, options);
    let adopt = match &options.foreign {
        ForeignRule::Adopt => true,
        ForeignRule::AdoptNamed(names) => names.contains(&file.name),
        ForeignRule::Refuse | ForeignRule::Keep | ForeignRule::Stay => false,
    };
    // It also had the signed bytes at an earlier installation, which left it to its installer.
    let had_signed_bytes = right || unaltered;
    let is_there = satisfies && (!directory.writable || directory.held.contains(&file.name));
    if had_signed_bytes && !stays && !is_there && (adopt || takes_over) {
        return write(Change::TakeOver, Owner::Adopted(original()));
    }
    if satisfies {
        let (directory, name) = place();
        let message = format!(
            "`{path}/{name}` has the signed content but is another installer's; it was left as it is"
        );
        let note = Finding::note(Code::ForeignKept, message);
        return Decision::Leave(Step::Satisfied { directory, name, owner: Owner::Foreign }, note);
    }
    let why = match (right, &exposed) {
        (true, Some(_)) => " and lets other users run code as root",
        (true, None) => " and cannot be executed",
        (false, _) => "",
    };
    let message = format!("`{path}/{}` is another installer's file{why}", file.name);
    if stays {
        return leave_foreign(path, file, message);
    }
    if adopt {
        return write(Change::Adopt, Owner::Adopted(original()));
    }
    let (expected, found) = match (right, exposed) {
        (true, Some(exposed)) => ("user 0, mode 0755".to_owned(), exposed),
        (true, None) => ("mode 0755".to_owned(), format!("mode {mode:04o}")),
        (false, _) => (file.digest.to_string(), digest.to_string()),
    };
    Decision::Refuse(foreign(file, message, expected, found))
}

/// Refuses another installer's file.
fn foreign(file: &PluginFile, message: String, expected: String, found: String) -> Finding {
    let hint = format!(
        "leave it with --foreign keep, or replace it (a copy is kept) with --foreign adopt={}",
        file.name
    );
    Finding::refusal(Code::ForeignFile, message).mismatch(expected, found).hint(hint)
}

/// Whether another installer's file stays, whatever it is.
fn stays(file: &PluginFile, options: &InstallOptions) -> bool {
    options.foreign_files() == ForeignFiles::Leave || is_spared_loopback(file, options)
}

fn leave_foreign(path: &HostPath, file: &PluginFile, message: String) -> Decision {
    let step = Step::Keep { directory: path.clone(), name: file.name.clone() };
    Decision::Keep(
        step,
        Finding::note(Code::ForeignKept, format!("{message}; it was left as it is")),
    )
}

/// What the receipt says about a file that stays, if its record stays as well.
fn remembered<'o>(
    options: &InstallOptions,
    observed: &'o Observed,
    directory: &HostPath,
    name: &PluginName,
) -> Option<&'o InstalledFile> {
    let receipt = observed.receipt.as_ref().filter(|_| options.foreign == ForeignRule::Stay)?;
    receipt.directories.get(directory)?.files.get(name)
}

fn is_spared_loopback(file: &PluginFile, options: &InstallOptions) -> bool {
    file.name.as_str() == LOOPBACK && !named(options).any(|name| name.as_str() == LOOPBACK)
}

#[cfg(test)]
mod tests;
