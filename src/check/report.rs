//! The answer of a check: what is installed, the state of every file, and what is wrong.
//!
//! Plain data with two views, text and JSON. Nothing here inspects a node, and only the command
//! line prints. Text from outside becomes visible characters when it enters a finding, so that no
//! name can move a terminal's cursor.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::probe::Versions;
use crate::cni::Role;
use crate::model::{
    BundleName, Code, Digest, Finding, HostPath, PluginName, PluginPath, and_others,
};
use crate::node::{Moment, Step, strength};
use crate::trust::Strength;

/// How many needed plugins the text names.
const NAMES_SHOWN: usize = 40;

/// What the answer is for; `node::Fact` says what counts then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A person, a script or the watch asks.
    Running,
    /// The kubelet waits for the answer: only what is altered, missing or denied refuses.
    Boot,
}

impl From<Occasion> for Moment {
    fn from(occasion: Occasion) -> Self {
        match occasion {
            Occasion::Running => Self::Running,
            Occasion::Boot => Self::Boot,
        }
    }
}

/// The answer.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The installed bundle, if there is a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// Every file, by directory and name.
    pub plugins: Vec<PluginReport>,
    /// What was found wrong with the files that were repaired, before they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Finding>,
    /// What was repaired before this answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<Step>,
    /// The release whose installation was interrupted.
    #[serde(skip)]
    pub interrupted: Option<Digest>,
    /// What CNI configurations need, if they were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedReport>,
    /// What is wrong or worth knowing; refusals first.
    pub findings: Vec<Finding>,
    /// Why the wanted release was refused: the codes of its findings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// The installed bundle, by the receipt's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// The name of the bundle.
    pub bundle: BundleName,
    /// The version of the bundle.
    pub version: semver::Version,
    /// The digest of the image index.
    pub index: Digest,
    /// How strong its proof is under the current policy; `None` if it is no longer trusted.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "strength::serialize_option"
    )]
    pub strength: Option<Strength>,
    /// The rule of the current policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// One plugin of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginReport {
    /// The plugin directory.
    pub directory: HostPath,
    /// The file's name.
    pub name: PluginName,
    /// How the file compares with what was installed.
    #[serde(rename = "condition")]
    pub state: FileState,
    /// The CNI versions that it supports, if it was asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
}

impl PluginReport {
    /// Returns directory and name together.
    pub fn path(&self) -> PluginPath {
        PluginPath { directory: self.directory.clone(), name: self.name.clone() }
    }
}

/// How a file compares with what was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// The signed bytes, with a signature that the current policy allows.
    Proven,
    /// The bytes of a bundle that a rule with `mode: warn` admits.
    Unproven,
    /// The bytes that were installed, which the current policy does not trust.
    Unverified,
    /// Other bytes, or bytes that cannot be executed.
    Altered,
    /// No file.
    Missing,
    /// Something that is not a regular file.
    InTheWay,
    /// A file that cannot be read, so that nothing is known of its bytes.
    Unreadable,
    /// The bytes of an installation that was interrupted.
    Interrupted,
    /// A plugin of an earlier bundle.
    Mixed,
    /// Another installer's file, left alone on request.
    Kept,
}

impl FileState {
    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Unverified => "unverified",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::InTheWay => "in-the-way",
            Self::Unreadable => "unreadable",
            Self::Interrupted => "interrupted",
            Self::Mixed => "mixed",
            Self::Kept => "kept",
        }
    }
}

impl FileState {
    /// Whether the file is not as it was installed, so that a repair restores it.
    pub(crate) fn is_drift(self) -> bool {
        matches!(self, Self::Altered | Self::Missing | Self::InTheWay | Self::Unreadable)
    }
}

impl Report {
    /// Whether the answer is yes.
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(Finding::is_refusal)
    }

    /// Whether every wanted plugin is proven.
    pub fn is_proven(&self) -> bool {
        self.is_good()
            && self.foreign().is_none()
            && self
                .plugins
                .iter()
                .all(|plugin| matches!(plugin.state, FileState::Proven | FileState::Kept))
    }

    /// What is said of wanted plugins that are another installer's. They are no reason to give up
    /// the others.
    pub fn foreign(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.code == Code::ForeignUnproven)
    }

    /// The files that are not as they were installed.
    pub fn altered(&self) -> BTreeSet<PluginPath> {
        let plugins = self.plugins.iter().filter(|plugin| plugin.state.is_drift());
        plugins.map(PluginReport::path).collect()
    }

    /// What is wrong with the files that these steps write.
    pub fn drift_of(&self, steps: &[Step]) -> Vec<Finding> {
        let written = steps.iter().filter_map(|step| match step {
            Step::Write { directory, name, .. } => Some(format!("`{directory}/{name}`")),
            _ => None,
        });
        let written: Vec<_> = written.collect();
        let is_of_them = |finding: &&Finding| {
            written.iter().any(|path| finding.message.starts_with(path.as_str()))
        };
        let found = self.findings.iter().filter(is_of_them).cloned();
        // What to do about it was done.
        found.map(|finding| Finding { hint: None, ..finding }).collect()
    }

    /// Whether another release was wanted and refused: the node works, but not with the release
    /// that its owner wants.
    pub fn wanted_is_missing(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == Code::WantedNotInstalled)
    }

    /// Why the installed set is not one to fall back on; empty if it proves itself.
    ///
    /// A set that a rule with `mode: warn` admitted is not proven. That another release was wanted
    /// and refused says nothing about the installed one.
    pub fn against_keeping(self) -> Vec<Finding> {
        self.findings
            .into_iter()
            .filter(|finding| match finding.code {
                Code::Unproven => true,
                Code::WantedNotInstalled => false,
                _ => finding.is_refusal(),
            })
            .collect()
    }

    /// Whether a set is installed that proves itself, whatever else is wanted.
    pub fn proves_itself(&self) -> bool {
        self.installed.is_some() && self.clone().against_keeping().is_empty()
    }

    /// An answer without an installed bundle.
    pub fn no(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::default() }
    }
}

/// One plugin that a configuration needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedReport {
    /// The name of the needed plugin.
    pub plugin: PluginName,
    /// What the configuration uses it for.
    pub role: Role,
    /// The file, or namespace and name of the definition, that needs it.
    pub configuration: String,
    /// The CNI version that it is called with: 0.1.0 if the configuration has none.
    pub cni_version: String,
    /// The directory in which a runtime finds it; `None` if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_in: Option<HostPath>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(installed) = &self.installed {
            writeln!(f, "{}", installed.index)?;
            let rule = installed
                .rule
                .as_deref()
                .map_or_else(String::new, |rule| format!(", rule `{rule}`"));
            writeln!(f, "{} {}{rule}", installed.bundle, installed.version)?;
        }
        for plugin in &self.plugins {
            let state = match plugin.state {
                FileState::Proven => "proven",
                FileState::Unproven => "unproven",
                FileState::Unverified => "unverified",
                FileState::Altered => "ALTERED",
                FileState::Missing => "MISSING",
                FileState::InTheWay => "IN THE WAY",
                FileState::Unreadable => "UNREADABLE",
                FileState::Interrupted => "interrupted",
                FileState::Mixed => "mixed",
                FileState::Kept => "kept",
            };
            write!(f, "  {state:<11} {}/{}", plugin.directory, plugin.name)?;
            match &plugin.versions {
                Some(versions) => writeln!(f, "  supports CNI {}", versions.supported.join(", "))?,
                None => writeln!(f)?,
            }
        }
        for finding in &self.drift {
            writeln!(f, "before: {finding}")?;
        }
        for step in &self.repaired {
            writeln!(f, "  {step}")?;
        }
        if !self.needs.is_empty() {
            writeln!(f, "  {}", needs(&self.needs))?;
        }
        for finding in &self.findings {
            writeln!(f, "{}: {finding}", finding.severity.label())?;
        }
        f.write_str(match (self.is_good(), self.is_proven()) {
            (true, true) => "yes: every installed file is the one that was signed\n",
            (true, false) => "yes, but not every file is proven; see above\n",
            (false, _) => "no\n",
        })
    }
}

/// Which plugins configurations need, each named once.
fn needs(needs: &[NeedReport]) -> String {
    let users: BTreeSet<_> = needs.iter().map(|need| need.configuration.as_str()).collect();
    let plugins: BTreeSet<_> = needs.iter().map(|need| need.plugin.as_str()).collect();
    let first: Vec<_> = plugins.iter().take(NAMES_SHOWN).copied().collect();
    let others = and_others(plugins.len() - first.len());
    match (users.first(), users.len()) {
        (Some(user), 1) => format!("`{user}` needs {}{others}", first.join(", ")),
        (_, count) => format!("{count} configurations need {}{others}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_set_that_proves_itself_is_one_to_fall_back_on() {
        let refused_before =
            Finding::refusal(Code::WantedNotInstalled, "the next release was refused");
        let admitted = Finding::warning(Code::Unproven, "nothing is proven");
        let altered = Finding::refusal(Code::DigestDrift, "`bridge` was altered");
        let mixed = Finding::note(Code::Mixed, "`tap` is from an earlier bundle");
        for (findings, expected) in [
            (vec![], vec![]),
            (vec![refused_before.clone(), mixed.clone()], vec![]),
            (vec![admitted.clone()], vec![Code::Unproven]),
            (
                vec![refused_before, altered, mixed, admitted],
                vec![Code::DigestDrift, Code::Unproven],
            ),
        ] {
            let against = Report::no(findings).against_keeping();
            assert_eq!(against.iter().map(|finding| finding.code).collect::<Vec<_>>(), expected);
        }
    }
}
