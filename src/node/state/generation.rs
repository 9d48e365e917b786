//! Generations: the receipts of earlier releases, so that a node can be rolled back without a
//! network.
//!
//! Each installation of another release is a generation and counts one up; so is a rollback, as
//! with `kubectl rollout undo`. The installation decides how many are kept. Their files are in the
//! store, their evidence beside that of the present one; both are verified again before a rollback.

use std::collections::BTreeSet;

use super::lock::{RECORD_MODE, Reading, Writing, existing, read_record, remove_others};
use super::names::{GENERATIONS, ROLLED_BACK};
use super::receipt::Receipt;
use super::refusal::RolledBack;
use super::release::Release;
use crate::disk::{Directory, Prepared};
use crate::model::{Code, Digest, Finding, json};
use crate::node::error::NodeError;

/// The most generations that a node may keep: all their receipts are read at each installation.
pub const MAX_GENERATIONS: u8 = 32;

/// What a node keeps of earlier generations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Their receipts, the newest first.
    pub receipts: Vec<Receipt>,
    /// The names of damaged receipts.
    pub damaged: Vec<String>,
}

impl History {
    /// The number of the next generation.
    pub fn next(&self, present: Option<&Receipt>) -> u64 {
        let known = self.receipts.iter().chain(present).map(|receipt| receipt.generation);
        known.max().map_or(1, |highest| highest.saturating_add(1))
    }

    /// The generation to go back to: the newest that is not the present one, or the one with this
    /// number.
    pub fn target(&self, present: &Receipt, number: Option<u64>) -> Result<&Receipt, Finding> {
        let mut others = self.others(present);
        let found = match number {
            Some(number) => others.find(|past| past.generation == number),
            None => others.next(),
        };
        let kept: Vec<_> = self.receipts.iter().map(|past| past.generation.to_string()).collect();
        found.ok_or_else(|| {
            let damaged = self.damaged.iter().find(|name| {
                number.is_none_or(|number| **name == record_name(number))
            });
            let message = match (number, damaged) {
                (Some(number), None) => format!("generation {number} is not kept"),
                (None, None) => "no earlier generation is kept".to_owned(),
                (_, Some(name)) => format!(
                    "there is no generation to go back to: `{GENERATIONS}/{name}` in the state directory is damaged"
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

    /// The receipts of other releases, the newest first.
    fn others(&self, present: &Receipt) -> impl Iterator<Item = &Receipt> {
        let present = present.release();
        self.receipts.iter().filter(move |past| !past.release().is(&present))
    }

    /// The receipts that are still kept beside `present` when `generations` are, it included.
    fn retained(&self, present: &Receipt, generations: u8) -> impl Iterator<Item = &Receipt> {
        self.others(present).take(usize::from(generations.saturating_sub(1)))
    }
}

impl Reading {
    /// What is kept of earlier generations.
    pub fn history(&self) -> Result<History, NodeError> {
        let mut history = History::default();
        let Some(directory) = existing(self.directory.child(GENERATIONS))? else {
            return Ok(history);
        };
        for name in names(&directory)? {
            match read_record(&directory, &name, Receipt::parse) {
                Ok(Some(receipt)) if name == record_name(receipt.generation) => {
                    history.receipts.push(receipt)
                }
                Ok(None) => {}
                // A damaged one is not a target for a rollback; the others still are.
                Ok(Some(_)) | Err(_) => history.damaged.push(name),
            }
        }
        history.receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.generation));
        Ok(history)
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
    /// needs; returns how many bytes that freed.
    pub fn collect(&self, present: &Receipt, generations: u8) -> Result<u64, NodeError> {
        let history = self.history()?;
        let retained: Vec<_> = history.retained(present, generations).collect();
        let mut freed = 0;
        if let Some(directory) = existing(self.directory.child(GENERATIONS))? {
            freed += remove_others(
                &directory,
                &retained.iter().map(|past| record_name(past.generation)).collect(),
            )?;
        }
        let receipts = || retained.iter().copied().chain([present]);
        let files = |receipt: &Receipt| -> BTreeSet<Digest> {
            let files = receipt.directories.values().flat_map(|directory| directory.files.values());
            files.map(|file| file.digest).collect()
        };
        freed += self.keep_only_copies(&receipts().flat_map(files).collect())?;
        freed += self.keep_only_evidence(&receipts().map(|receipt| receipt.evidence).collect())?;
        let originals = present.directories.values().flat_map(|directory| {
            let files = directory.files.values().chain(directory.leftovers.values());
            files.filter_map(|file| file.owner.original().map(|original| original.digest))
        });
        freed += self.keep_only_originals(&originals.collect())?;
        Ok(freed)
    }

    /// Removes the receipts of all earlier generations.
    pub(crate) fn remove_generations(&self) -> Result<(), NodeError> {
        match existing(self.directory.child(GENERATIONS))? {
            Some(directory) => remove_others(&directory, &BTreeSet::new()).map(drop),
            None => Ok(()),
        }
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

fn record_name(generation: u64) -> String {
    format!("{generation}.json")
}

/// The names in the directory, up to twice the limit of generations.
fn names(directory: &Directory) -> Result<Vec<String>, NodeError> {
    let mut names = Vec::new();
    for entry in directory.entries()?.take(2 * usize::from(MAX_GENERATIONS)) {
        // A name that is not valid UTF-8 is not one of ours.
        names.extend(entry?.name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    names.sort();
    Ok(names)
}
