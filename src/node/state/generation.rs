//! Generations: the receipts of earlier releases, so that a node can be rolled back without a
//! network.
//!
//! Each installation of another release is a generation and counts one up; so is a rollback, as
//! with `kubectl rollout undo`. The installation decides how many are kept. Their files are in the
//! store, their evidence beside that of the present one; both are verified again before a rollback.

use std::collections::BTreeSet;

use super::lock::{RECORD_MODE, Reading, Writing, existing, read_record, remove_others};
use super::names::{GENERATIONS, ROLLED_BACK, generation_number, record_name};
use super::receipt::Receipt;
use super::refusal::RolledBack;
use super::release::Release;
use crate::disk::{Directory, Prepared};
use crate::model::{Code, Digest, Finding, json};
use crate::node::error::NodeError;

/// The most generations that a node may keep: all their receipts are read at each installation.
pub const MAX_GENERATIONS: u8 = 32;

/// What to do about a generation that cannot be read.
pub(super) const FIND_OUT: &str = "find out why it cannot be read, then run this again";

/// What a node keeps of earlier generations. Their receipts are read one by one, and none stays in
/// memory: a node may keep many long ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The generations that can be read, the newest first.
    pub generations: Vec<Generation>,
    /// The numbers of those whose receipt is damaged.
    pub damaged: Vec<u64>,
    /// Other names beside them, which no installation gives.
    pub strange: Vec<String>,
    /// The generations whose receipt cannot be read now.
    pub unreadable: Vec<Unreadable>,
}

/// An earlier generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u64,
    /// What was installed.
    pub release: Release,
}

/// A generation whose receipt is there and cannot be read now. It may be intact, so it is neither
/// skipped nor removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its number.
    pub number: u64,
    /// Why.
    pub reason: String,
}

impl Unreadable {
    /// What is said of it.
    pub fn finding(&self) -> Finding {
        let Self { number, reason } = self;
        let message = format!("`generations/{number}.json` cannot be read: {reason}");
        Finding::warning(Code::Unreadable, message).hint(FIND_OUT)
    }
}

impl History {
    /// Whether no generation is kept, and none may be that cannot be read.
    pub fn is_empty(&self) -> bool {
        self.generations.is_empty() && self.unreadable.is_empty()
    }

    /// The number of the next generation.
    pub fn next(&self, present: Option<&Receipt>) -> u64 {
        let read = self.generations.iter().map(|generation| generation.number);
        let unreadable = self.unreadable.iter().map(|generation| generation.number);
        let known = read.chain(unreadable).chain(present.map(|receipt| receipt.generation));
        known.max().map_or(1, |highest| highest.saturating_add(1))
    }

    /// The generation to go back to: the newest that is not the present one, or the one with this
    /// number.
    pub fn target(&self, present: &Receipt, number: Option<u64>) -> Result<Generation, Finding> {
        let mut others = self.others(present);
        let found = match number {
            Some(number) => others.find(|past| past.number == number),
            None => others.next(),
        };
        // It is unknown whether one that cannot be read is the one to go back to.
        let first = found.map_or(0, |found| found.number);
        let mut unreadable = self.unreadable.iter();
        let hidden = unreadable.find(|hidden| match number {
            Some(number) => hidden.number == number,
            None => hidden.number > first,
        });
        if let Some(hidden) = hidden {
            return Err(hidden.finding().into_refusal());
        }
        let kept: Vec<_> = self.generations.iter().map(|past| past.number.to_string()).collect();
        found.ok_or_else(|| {
            let mut damaged = self.damaged.iter();
            let damaged = damaged.find(|past| number.is_none_or(|number| **past == number));
            let message = match (number, damaged) {
                (Some(number), None) => format!("generation {number} is not kept"),
                (None, None) => "no earlier generation is kept".to_owned(),
                (_, Some(past)) => format!(
                    "there is no generation to go back to: `{GENERATIONS}/{past}.json` in the state directory is damaged"
                ),
            };
            let finding = Finding::refusal(Code::NoGeneration, message).hint(
                "`cnister status` shows which are kept; `install --generations N` keeps more",
            );
            if kept.is_empty() {
                finding
            } else {
                finding.mismatch(kept.join(" or "), "another one")
            }
        })
    }

    /// What is wrong with the receipts of generations: it is unknown what these had.
    pub fn unknown(&self) -> impl Iterator<Item = Finding> {
        let damaged = self.damaged.iter().map(|number| damaged(&record_name(*number)));
        damaged.chain(self.unreadable.iter().map(Unreadable::finding))
    }

    /// The same, and every name that is not one of a receipt.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.unknown().chain(self.strange.iter().map(|name| damaged(name)))
    }

    /// The generations of other releases, the newest first.
    fn others(&self, present: &Receipt) -> impl Iterator<Item = Generation> {
        let present = present.release();
        self.generations.iter().filter(move |past| !past.release.is(&present)).copied()
    }

    /// The generations that are still kept beside `present` when `generations` are, it included.
    fn retained(&self, present: &Receipt, generations: u8) -> impl Iterator<Item = Generation> {
        self.others(present).take(usize::from(generations.saturating_sub(1)))
    }
}

impl Reading {
    /// What is kept of earlier generations.
    pub fn history(&self) -> Result<History, NodeError> {
        self.history_seen(|_| {})
    }

    /// The same; `see` is called with the receipt of each generation that can be read, the
    /// newest first.
    pub(crate) fn history_seen(&self, mut see: impl FnMut(&Receipt)) -> Result<History, NodeError> {
        let mut history = History::default();
        let Some(directory) = existing(self.directory.child(GENERATIONS))? else {
            return Ok(history);
        };
        let Names { numbers, others } = Names::read(&directory)?;
        history.strange = others;
        for number in numbers.into_iter().rev() {
            match read_generation(&directory, number) {
                Ok(Some(receipt)) => {
                    see(&receipt);
                    history.generations.push(Generation { number, release: receipt.release() });
                }
                Ok(None) => {}
                Err(NodeError::Disk(error)) => {
                    let reason = error.of_one_file().ok_or(error)?;
                    history.unreadable.push(Unreadable { number, reason });
                }
                // A damaged one is not a target for a rollback; the others still are.
                Err(_) => history.damaged.push(number),
            }
        }
        Ok(history)
    }

    /// The receipt of an earlier generation; `None` if it is not kept.
    pub fn generation(&self, number: u64) -> Result<Option<Receipt>, NodeError> {
        let Some(directory) = existing(self.directory.child(GENERATIONS))? else { return Ok(None) };
        read_generation(&directory, number)
    }

    /// The releases that were rolled back on this node.
    pub fn rolled_back(&self) -> Result<Option<RolledBack>, NodeError> {
        self.record(ROLLED_BACK, RolledBack::parse)
    }
}

impl Writing {
    /// Writes the receipt of a generation that is about to become an earlier one; it counts when it
    /// is published.
    pub(crate) fn prepare_generation(
        &self,
        receipt: &Receipt,
    ) -> Result<PreparedGeneration, NodeError> {
        let directory = self.subdirectory(GENERATIONS)?;
        let prepared = directory.prepare(json::readable(receipt).as_bytes(), RECORD_MODE)?;
        Ok(PreparedGeneration { directory, prepared, name: record_name(receipt.generation) })
    }

    /// Writes what the owner goes back from; it counts when it is published.
    pub(crate) fn prepare_rolled_back(&self, record: &RolledBack) -> Result<Prepared, NodeError> {
        Ok(self.directory.prepare(json::readable(record).as_bytes(), RECORD_MODE)?)
    }

    /// Replaces the record with the prepared one.
    pub(crate) fn publish_rolled_back(&self, prepared: Prepared) -> Result<(), NodeError> {
        self.directory.publish(prepared, ROLLED_BACK).map_err(Into::into)
    }

    /// Forgets that this release was rolled back, or, if another one than before is installed now,
    /// that any was.
    pub(crate) fn forget_rolled_back(&self, release: &Release, all: bool) -> Result<(), NodeError> {
        let Some(mut record) = self.rolled_back()? else { return Ok(()) };
        let was_unwanted = record.releases.remove(release);
        match (all || record.releases.is_empty(), was_unwanted) {
            (true, _) => self.remove_rolled_back(),
            (false, true) => self.write_record(ROLLED_BACK, json::readable(&record)),
            (false, false) => Ok(()),
        }
    }

    /// Removes the record of rolled-back releases.
    pub fn remove_rolled_back(&self) -> Result<(), NodeError> {
        self.remove_record(ROLLED_BACK)
    }

    /// Removes what neither `present` nor any of the `generations` that are kept, it included,
    /// needs. While a generation cannot be read, it is unknown what it needs, and nothing is
    /// removed.
    pub fn collect(&self, present: &Receipt, generations: u8) -> Result<Collected, NodeError> {
        let past = self.history()?;
        let mut collected =
            Collected { freed: 0, told: past.unreadable.iter().map(Unreadable::finding).collect() };
        if !collected.told.is_empty() {
            return Ok(collected);
        }
        let mut needed = Needed::default();
        needed.add(present);
        for number in past.retained(present, generations).map(|past| past.number) {
            match self.generation(number) {
                Ok(Some(receipt)) => needed.add(&receipt),
                Ok(None) => {}
                // It could be read a moment ago.
                Err(NodeError::Disk(error)) => {
                    let reason = error.of_one_file().ok_or(error)?;
                    collected.told.push(Unreadable { number, reason }.finding());
                    return Ok(collected);
                }
                Err(error) => return Err(error),
            }
            needed.records.insert(record_name(number));
        }
        if let Some(directory) = existing(self.directory.child(GENERATIONS))? {
            collected.freed += remove_others(&directory, |name| needed.records.contains(name))?;
            for name in past.damaged.iter().map(|number| record_name(*number)) {
                // A directory in its place is not this program's and stays.
                if directory.kind_of(&name)?.is_none() {
                    let message = format!("`generations/{name}` was damaged and was removed");
                    collected.told.push(Finding::warning(Code::StateDamaged, message));
                }
            }
        }
        collected.freed += self.keep_only_copies(&needed.copies)?;
        collected.freed += self.keep_only_evidence(&needed.evidence)?;
        let originals = present.directories.values().flat_map(|directory| {
            let files = directory.files.values().chain(directory.leftovers.values());
            files.filter_map(|file| file.owner.original().map(|original| original.digest))
        });
        collected.freed += self.keep_only_originals(&originals.collect())?;
        Ok(collected)
    }

    /// Removes the receipts of all earlier generations.
    pub(crate) fn remove_generations(&self) -> Result<(), NodeError> {
        match existing(self.directory.child(GENERATIONS))? {
            Some(directory) => remove_others(&directory, |_| false).map(drop),
            None => Ok(()),
        }
    }
}

/// What a removal of unneeded files did.
#[derive(Debug)]
pub struct Collected {
    /// In bytes.
    pub freed: u64,
    /// What was removed although it was not known to be unneeded, or what kept everything.
    pub told: Vec<Finding>,
}

/// What the receipts of a node need.
#[derive(Default)]
struct Needed {
    records: BTreeSet<String>,
    copies: BTreeSet<Digest>,
    evidence: BTreeSet<Digest>,
}

impl Needed {
    fn add(&mut self, receipt: &Receipt) {
        let files = receipt.directories.values().flat_map(|directory| directory.files.values());
        self.copies.extend(files.map(|file| file.digest));
        self.evidence.insert(receipt.evidence);
    }
}

/// The receipt of a coming earlier generation, under a temporary name.
pub(crate) struct PreparedGeneration {
    directory: Directory,
    prepared: Prepared,
    name: String,
}

impl PreparedGeneration {
    /// Renames the prepared file to its final name.
    pub(crate) fn publish(self) -> Result<(), NodeError> {
        self.directory.publish(self.prepared, self.name).map_err(Into::into)
    }
}

fn damaged(name: &str) -> Finding {
    let message = format!(
        "`generations/{name}` in the state directory is damaged; no rollback to it is possible"
    );
    Finding::warning(Code::StateDamaged, message)
}

/// Reads the receipt of a generation, which has to say that it is the one.
fn read_generation(directory: &Directory, number: u64) -> Result<Option<Receipt>, NodeError> {
    let name = record_name(number);
    let receipt = read_record(directory, &name, Receipt::parse)?;
    if let Some(receipt) = receipt.as_ref().filter(|receipt| receipt.generation != number) {
        let message = format!("`{}/{name}` is of another generation", directory.shown());
        let finding = Finding::refusal(Code::StateDamaged, message);
        return Err(finding.mismatch(number, receipt.generation).into());
    }
    Ok(receipt)
}

/// The names in the directory of generations, of each kind up to twice the limit of generations.
#[derive(Default)]
struct Names {
    /// The numbers of those that an installation gives. Of too many, the highest.
    numbers: BTreeSet<u64>,
    /// All others but hidden ones.
    others: Vec<String>,
}

impl Names {
    const MOST: usize = 2 * MAX_GENERATIONS as usize;

    fn read(directory: &Directory) -> Result<Self, NodeError> {
        let mut names = Self::default();
        for entry in directory.entries()? {
            // A name that is not valid UTF-8 is not one of ours.
            let Ok(name) = entry?.name.into_string() else { continue };
            if let Some(number) = generation_number(&name) {
                names.numbers.insert(number);
                if names.numbers.len() > Self::MOST {
                    names.numbers.pop_first();
                }
            } else if names.others.len() < Self::MOST && !name.starts_with('.') {
                names.others.push(name);
            }
        }
        names.others.sort();
        Ok(names)
    }
}
