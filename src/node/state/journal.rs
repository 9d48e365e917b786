//! The journal: what is being installed, so that an interrupted run is finished or its files are
//! known.
//!
//! It contains names and digests but no paths, so that someone who can write it cannot redirect a
//! recovery. A file that it names is believed only when evidence proves its content.

use serde::{Deserialize, Serialize};

use super::receipt::{Original, RECORD_LIMIT, Receipt, Schema, repository};
use super::release::Release;
use crate::model::{BundleName, Digest, HostPath, JsonError, PluginName, Repository, json};

/// What is being installed: every file that will be this program's when it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Journal {
    /// Always 1.
    pub schema_version: Schema,
    /// The digest of the index that it came in.
    pub index: Digest,
    /// The digest of its `bundle.json`: the release. Journals of earlier versions of this program
    /// do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_json: Option<Digest>,
    /// The name of the bundle. Journals of earlier versions of this program do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleName>,
    /// The name that the policy's rule was matched with.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "repository")]
    pub repository: Option<Repository>,
    /// The digest of the evidence file: a file of an interrupted installation is believed when this
    /// proves it.
    pub evidence: Digest,
    /// What it is installed for.
    #[serde(default, skip_serializing_if = "Purpose::is_install")]
    pub purpose: Purpose,
    /// The files that are being installed, by name and digest.
    pub entries: Vec<JournalEntry>,
}

/// One file of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JournalEntry {
    /// The digest of the text of its directory's path: enough to recognize it, no path to follow.
    pub directory: Digest,
    /// The plugin's name.
    pub name: PluginName,
    /// The digest of its new content. A file with other content is not (or not yet) this program's.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The foreign file that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
}

/// What a release is brought to a node for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// It is wanted: its version counts from now on, and what was refused before is forgotten.
    #[default]
    Install,
    /// The node's owner goes back to it.
    Rollback,
    /// It was there already. Who deleted the floors and put an older release in the place of the
    /// present one must not have them written again by a repair; and what is wanted and was refused
    /// is still not there.
    Repair,
}

impl Journal {
    /// Parses `journal.json`, of at most 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("journal", bytes, RECORD_LIMIT)
    }

    /// The journal of an installation that will end in `receipt`.
    pub fn of(receipt: &Receipt) -> Self {
        let entries = receipt.directories.iter().flat_map(|(path, directory)| {
            let files = directory.files.iter().chain(&directory.leftovers);
            files.filter_map(|(name, file)| {
                if !file.owner.is_ours() {
                    return None;
                }
                let original = file.owner.original().cloned();
                let (directory, name) = (Digest::of(path.as_str().as_bytes()), name.clone());
                Some(JournalEntry {
                    directory,
                    name,
                    digest: file.digest,
                    size: file.size,
                    original,
                })
            })
        });
        Self {
            schema_version: Schema,
            index: receipt.index,
            bundle_json: receipt.bundle_json,
            bundle: Some(receipt.bundle.clone()),
            repository: receipt.repository.clone(),
            evidence: receipt.evidence,
            purpose: Purpose::Install,
            entries: entries.collect(),
        }
    }

    /// The release that is on its way.
    pub fn release(&self) -> Release {
        Release { index: self.index, bundle_json: self.bundle_json }
    }

    /// The entries of one directory.
    pub fn entries_of(&self, directory: &HostPath) -> impl Iterator<Item = &JournalEntry> {
        let directory = Digest::of(directory.as_str().as_bytes());
        self.entries.iter().filter(move |entry| entry.directory == directory)
    }
}

impl Purpose {
    /// Journals of installations do not say so.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    fn is_install(&self) -> bool {
        *self == Self::Install
    }
}
