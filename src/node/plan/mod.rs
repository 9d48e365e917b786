//! The plan: the steps from a node as it was observed to one that has the bundle, and the receipt
//! at their end.
//!
//! Plain data, for printing, comparing and interrupting. It borrows the verified bundle: the plan
//! of another bundle, or of an unverified one, cannot be applied. How it is made is in `decide`.

mod carry;
mod decide;
mod in_use;
mod leftovers;
mod options;
mod owner;
mod removal;
mod uninstall;

pub use decide::plan;
pub(crate) use leftovers::plan_leftovers;
pub use options::{ExistingFiles, ForeignRule, InstallOptions, Leftovers, ParseForeignRuleError};
pub use uninstall::{Force, Uninstallation};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::{BundleName, Digest, Finding, HostPath, Platform, PluginName, Repository};
use crate::node::host::Found;
use crate::node::state::{
    InstalledDirectory, InstalledFile, Journal, JournalEntry, Original, Owner, Purpose, Receipt,
    Schema,
};
use crate::trust::{Bundle, Verified};

/// The mode of an installed plugin, whatever an image says.
pub(crate) const PLUGIN_MODE: u32 = 0o755;

/// The steps that install a verified bundle on an observed node.
#[derive(Debug)]
pub struct Plan<'v> {
    pub(crate) bundle: &'v Verified<Bundle>,
    pub(crate) steps: Vec<Step>,
    pub(crate) notes: Vec<Finding>,
    pub(crate) interrupted: bool,
    /// The number of the generation at its end.
    pub(crate) generation: u64,
    /// Plugins of earlier installations that this one leaves alone.
    pub(crate) carried: BTreeMap<HostPath, InstalledDirectory>,
    /// Files of an interrupted installation that this one replaces: until then the journal has to
    /// list them as ours.
    pub(crate) superseded: Vec<JournalEntry>,
    /// The receipt at its end, if the bundle is not the one that is installed: an earlier one, of
    /// which plugins come back.
    pub(crate) receipt: Option<Receipt>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Step {
    /// Creates a plugin directory.
    CreateDirectory {
        /// The path of the directory on the node.
        directory: HostPath,
    },
    /// Removes what an interrupted installation left in a plugin directory.
    CleanUp {
        /// The path of the plugin directory on the node.
        directory: HostPath,
    },
    /// Writes a plugin.
    Write {
        /// The plugin directory.
        directory: HostPath,
        /// Its name.
        name: PluginName,
        /// What the write does to the name.
        change: Change,
        /// Its size in bytes.
        size: u64,
        /// What has the name now; it must still be there when the new file takes its place.
        #[serde(rename = "was", skip_serializing_if = "is_plain", serialize_with = "as_text")]
        before: Found,
        /// Its owner afterwards.
        #[serde(skip)]
        owner: Owner,
    },
    /// Removes a plugin of an earlier bundle, or restores its original.
    Remove {
        /// The plugin directory.
        directory: HostPath,
        /// Its name.
        name: PluginName,
        /// Whether an original comes back.
        restores: bool,
        /// What has the name now.
        #[serde(skip)]
        before: Found,
        /// The original that comes back.
        #[serde(skip)]
        original: Option<Original>,
    },
    /// Leaves a foreign file alone.
    Keep {
        /// The plugin directory.
        directory: HostPath,
        /// The name.
        name: PluginName,
    },
    /// Nothing to do: the file has the signed content.
    Satisfied {
        /// The plugin directory.
        directory: HostPath,
        /// The name.
        name: PluginName,
        /// Its owner.
        #[serde(skip)]
        owner: Owner,
    },
}

/// Why a plugin is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Nothing has its name.
    New,
    /// It takes the place of the one that was installed before.
    Replace,
    /// The installed one was altered.
    Repair,
    /// It replaces a foreign file, which is kept in the state directory.
    Adopt,
    /// As [`Change::Adopt`], of a foreign file that has the signed bytes already.
    #[serde(rename = "take-over")]
    TakeOver,
}

impl Change {
    /// Whether a copy of the file that it replaces is kept.
    pub(crate) fn keeps_original(self) -> bool {
        matches!(self, Self::Adopt | Self::TakeOver)
    }
}

/// Whether nothing needs to be said of what a plugin replaces.
fn is_plain(before: &Found) -> bool {
    !matches!(before, Found::Unreadable(_) | Found::Other(_))
}

fn as_text<S: Serializer>(before: &Found, serializer: S) -> Result<S::Ok, S::Error> {
    match before {
        Found::Other(obstacle) => serializer.collect_str(obstacle),
        Found::Unreadable(_) => serializer.serialize_str("unreadable"),
        _ => serializer.serialize_none(),
    }
}

impl Plan<'_> {
    /// The verified bundle that it installs.
    pub fn bundle(&self) -> &Bundle {
        self.bundle.value()
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Warnings and notes; none of them refuses.
    pub fn notes(&self) -> &[Finding] {
        &self.notes
    }

    /// The number of the generation at its end.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every plugin directory is already as it should be.
    pub fn changes_nothing(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Keep { .. } | Step::Satisfied { .. }))
            && !self.interrupted
    }

    /// Whether it finishes an installation that was interrupted.
    pub fn finishes(&self) -> bool {
        self.interrupted
    }

    /// Whether its receipt would list nothing that can be checked.
    pub fn leaves_nothing(&self) -> bool {
        let lists = |step: &Step| {
            matches!(step, Step::Write { .. } | Step::Keep { .. } | Step::Satisfied { .. })
        };
        !self.steps.iter().any(lists) && self.carried.values().all(InstalledDirectory::is_empty)
    }

    /// The journal while the plan is carried out, which ends in `receipt`.
    pub(crate) fn journal(&self, receipt: &Receipt, purpose: Purpose) -> Journal {
        let mut journal = Journal { purpose, ..Journal::of(receipt) };
        journal.entries.extend(self.superseded.iter().cloned());
        journal
    }

    /// The receipt of a node where the plan was carried out.
    pub fn receipt(&self, evidence: Digest, repository: Option<&Repository>) -> Receipt {
        if let Some(receipt) = &self.receipt {
            return receipt.clone();
        }
        let (bundle, proof) = (self.bundle.value(), self.bundle.proof());
        let mut directories = self.carried.clone();
        for step in &self.steps {
            let (directory, name, owner) = match step {
                Step::Write { directory, name, owner, .. }
                | Step::Satisfied { directory, name, owner } => (directory, name, owner),
                Step::Keep { directory, name } => {
                    directories.entry(directory.clone()).or_default().kept.insert(name.clone());
                    continue;
                }
                Step::CreateDirectory { .. } | Step::Remove { .. } | Step::CleanUp { .. } => {
                    continue;
                }
            };
            if let Some(file) = bundle.files.plugin(name) {
                let installed =
                    InstalledFile { digest: file.digest, size: file.size, owner: owner.clone() };
                directories
                    .entry(directory.clone())
                    .or_default()
                    .files
                    .insert(name.clone(), installed);
            }
        }
        Receipt {
            schema_version: Schema,
            generation: self.generation,
            index: bundle.index,
            bundle_json: Some(bundle.manifest_json),
            platform: bundle.platform.clone(),
            bundle: bundle.files.name.clone(),
            version: bundle.files.version.clone(),
            repository: repository.cloned(),
            policy: proof.policy,
            strength: proof.strength,
            evidence,
            directories,
        }
    }
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bundle { index, platform, files, .. } = self.bundle();
        writeln!(f, "{} {} for {platform} ({index})", files.name, files.version)?;
        if self.interrupted {
            writeln!(f, "  finishes an installation that was interrupted")?;
        }
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateDirectory { directory } => write!(f, "create   {directory}"),
            Self::CleanUp { directory } => write!(f, "clean up {directory}"),
            Self::Write { directory, name, change, size, before, .. } => {
                let change = match change {
                    Change::New => "new",
                    Change::Replace => "replace",
                    Change::Repair => "repair",
                    Change::Adopt => "adopt",
                    Change::TakeOver => "take over",
                };
                write!(f, "{change:8} {directory}/{name} ({size} bytes")?;
                match before {
                    Found::Other(obstacle) => write!(f, "; was {obstacle})"),
                    Found::Unreadable(_) => f.write_str("; was unreadable)"),
                    _ => f.write_str(")"),
                }
            }
            Self::Remove { directory, name, restores: false, .. } => {
                write!(f, "remove   {directory}/{name}")
            }
            Self::Remove { directory, name, .. } => {
                write!(f, "restore  {directory}/{name} (what was there before)")
            }
            Self::Keep { directory, name } => {
                write!(f, "keep     {directory}/{name} (another installer's)")
            }
            Self::Satisfied { directory, name, owner: Owner::Foreign } => {
                write!(f, "same     {directory}/{name} (another installer's)")
            }
            Self::Satisfied { directory, name, .. } => write!(f, "same     {directory}/{name}"),
        }
    }
}

impl Serialize for Plan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct View<'a> {
            index: Digest,
            bundle: &'a BundleName,
            version: &'a semver::Version,
            platform: &'a Platform,
            interrupted: bool,
            steps: &'a [Step],
            notes: &'a [Finding],
        }
        let Bundle { index, platform, files, .. } = self.bundle();
        View {
            index: *index,
            bundle: &files.name,
            version: &files.version,
            platform,
            interrupted: self.interrupted,
            steps: &self.steps,
            notes: &self.notes,
        }
        .serialize(serializer)
    }
}
