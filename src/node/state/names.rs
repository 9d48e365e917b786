//! The names in the state directory, and the kind of file that each has to be.

use std::ffi::OsStr;

use crate::disk::{Directory, DirectoryEntry, FileKind};
use crate::model::{Code, Digest, Finding};
use crate::node::error::NodeError;

pub(super) const LOCK: &str = "lock";
pub(super) const RECEIPT: &str = "receipt.json";
pub(super) const JOURNAL: &str = "journal.json";
pub(super) const REFUSAL: &str = "refusal.json";
pub(super) const FLOORS: &str = "floors.json";
pub(super) const ROLLED_BACK: &str = "rolled-back.json";
/// The ready file of a watch; it expires.
pub(super) const READY: &str = "ready";
/// The records that an installation writes, replaces or removes.
pub const RECORDS: [&str; 3] = [RECEIPT, JOURNAL, REFUSAL];
pub(super) const EVIDENCE: &str = "evidence";
pub(super) const ORIGINALS: &str = "originals";
/// The receipts of earlier generations.
pub(crate) const GENERATIONS: &str = "generations";
/// Copies of installed files, by digest.
pub(crate) const STORE: &str = "store";

const FILES: [&str; 7] = [LOCK, RECEIPT, JOURNAL, REFUSAL, ROLLED_BACK, FLOORS, READY];
pub(super) const DIRECTORIES: [&str; 4] = [EVIDENCE, ORIGINALS, GENERATIONS, STORE];

/// Refuses something else in the place of a record, the lock or a directory of ours, and a
/// directory in the place of a file in one, for every verb alike: most would find it only in the
/// middle of their work, when it is replaced or removed.
pub(super) fn refuse_other_kinds(state: &Directory) -> Result<(), NodeError> {
    let files = FILES.map(|name| (name, FileKind::Regular));
    for (name, expected) in
        files.into_iter().chain(DIRECTORIES.map(|name| (name, FileKind::Directory)))
    {
        if let Some(found) = state.kind_of(name)?.filter(|found| *found != expected) {
            return Err(of_other_kind(state, name, found, expected).into());
        }
    }
    for name in DIRECTORIES {
        let directory = match state.child(name) {
            Err(error) if error.is_not_found() => continue,
            opened => opened?,
        };
        for entry in directory.entries()? {
            let DirectoryEntry { name, kind } = entry?;
            // A rename replaces anything else.
            if let Some(name) = file_name(&name).filter(|_| kind == FileKind::Directory) {
                return Err(of_other_kind(&directory, name, kind, FileKind::Regular).into());
            }
        }
    }
    Ok(())
}

/// The name, if it is one for a file of ours: a digest or a number.
fn file_name(name: &OsStr) -> Option<&str> {
    let name = name.to_str()?;
    let digest = name.strip_suffix(".json").unwrap_or(name);
    (generation_number(name).is_some() || Digest::from_hex(digest).is_ok()).then_some(name)
}

/// The name of the record of a generation.
pub(super) fn record_name(number: u64) -> String {
    format!("{number}.json")
}

/// The number of the generation whose record has this name.
pub(super) fn generation_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".json")?.parse().ok()?;
    // `+7` and `007` are numbers as well.
    (record_name(number) == name).then_some(number)
}

fn of_other_kind(
    directory: &Directory,
    name: &str,
    found: FileKind,
    expected: FileKind,
) -> Finding {
    let path = format!("{}/{name}", directory.shown());
    let finding =
        Finding::refusal(Code::StateDamaged, format!("`{path}` is {found}, expected {expected}"));
    finding.hint(format!("find out what put it there, remove it, and install again: {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_has_one_name() {
        for number in [0, 7, 10, u64::MAX] {
            assert_eq!(generation_number(&record_name(number)), Some(number));
        }
        for name in ["+7.json", "007.json", "-1.json", "7", "7.json.json", ".json", "7 .json"] {
            assert_eq!(generation_number(name), None, "{name}");
        }
    }
}
