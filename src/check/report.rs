//! The answer of a check: what is installed, what every file is, and what is wrong.
//!
//! Plain data with two views (text and JSON, both in `cli`). Nothing here looks at a node.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::probe::Versions;
use crate::cni::Role;
use crate::model::{BundleName, Code, Digest, Finding, HostPath, PluginName, PluginPath};
use crate::node::{Step, strength};
use crate::trust::Strength;

/// How many plugins that configurations need a text for people names.
const NAMES_SHOWN: usize = 40;

/// What the answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody asks, or the watch.
    Running,
    /// The kubelet waits for it: only what is altered, missing or denied holds it up.
    Boot,
}

/// The answer.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What is installed, as far as a receipt says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// Every file, in order.
    pub plugins: Vec<PluginReport>,
    /// What was written again before this answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<Step>,
    /// The release whose installation was interrupted.
    #[serde(skip)]
    pub interrupted: Option<Digest>,
    /// What CNI configurations need, where they were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedReport>,
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
    /// The codes of what was found about a release that is wanted and was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// The bundle that a receipt names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Installed {
    /// Its name.
    pub bundle: BundleName,
    /// Its version.
    pub version: semver::Version,
    /// The release.
    pub index: Digest,
    /// What it is worth today; nothing where it is not trusted any more.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "strength::serialize_option"
    )]
    pub strength: Option<Strength>,
    /// The rule that decided today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// One plugin of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginReport {
    /// The plugin directory.
    pub directory: HostPath,
    /// Its name.
    pub name: PluginName,
    /// What it is.
    #[serde(rename = "condition")]
    pub state: FileState,
    /// The CNI versions it answered with, where it was asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
}

impl PluginReport {
    /// The file.
    pub fn path(&self) -> PluginPath {
        PluginPath { directory: self.directory.clone(), name: self.name.clone() }
    }
}

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileState {
    /// The signed bytes, by a signature that the policy allows today.
    Proven,
    /// The bytes of a bundle that a rule with `mode: warn` admits.
    Unproven,
    /// The bytes that were installed; whether they are trusted could not be decided, or they are
    /// not.
    Unverified,
    /// Other bytes, or bytes that cannot be executed.
    Altered,
    /// Nothing.
    Missing,
    /// Something that is not a regular file.
    InTheWay,
    /// The bytes of an installation that was interrupted.
    Interrupted,
    /// A plugin of an earlier bundle.
    Mixed,
    /// Somebody else's file, left alone on request.
    Kept,
}

impl FileState {
    /// The word that JSON has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
            Self::Unverified => "unverified",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::InTheWay => "in-the-way",
            Self::Interrupted => "interrupted",
            Self::Mixed => "mixed",
            Self::Kept => "kept",
        }
    }
}

impl Report {
    /// Whether the answer is yes.
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(Finding::is_refusal)
    }

    /// Whether every plugin that the report names is proven; somebody else's files may have any
    /// bytes.
    pub fn is_proven(&self) -> bool {
        let counts = |plugin: &&PluginReport| plugin.state != FileState::Kept;
        self.is_good()
            && self.plugins.iter().filter(counts).all(|plugin| plugin.state == FileState::Proven)
    }

    /// The installed files that are not there as they were installed.
    pub fn altered(&self) -> BTreeSet<PluginPath> {
        let plugins = self.plugins.iter().filter(|plugin| {
            matches!(plugin.state, FileState::Altered | FileState::Missing | FileState::InTheWay)
        });
        plugins.map(PluginReport::path).collect()
    }

    /// Whether something else was wanted, and refused: the node works, and is not as its owner
    /// wants it.
    pub fn wanted_is_missing(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == Code::WantedNotInstalled)
    }

    /// What keeps the installed set from being one to fall back on; nothing, where it proves
    /// itself.
    ///
    /// What a rule with `mode: warn` once admitted is no proven set. That something else was wanted
    /// and refused before, most likely the same, says nothing about what is installed.
    pub fn against_keeping(self) -> Vec<Finding> {
        let counts = |finding: &Finding| match finding.code {
            Code::Unproven => true,
            Code::WantedNotInstalled => false,
            _ => finding.is_refusal(),
        };
        self.findings.into_iter().filter(counts).collect()
    }

    /// Whether something is installed that proves itself, whatever else is wanted.
    pub fn proves_itself(&self) -> bool {
        self.installed.is_some() && self.clone().against_keeping().is_empty()
    }

    /// An answer about nothing that is installed.
    pub fn no(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::default() }
    }
}

/// One plugin that a configuration needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NeedReport {
    /// The plugin.
    pub plugin: PluginName,
    /// What for.
    pub role: Role,
    /// The file, or namespace and name of the definition, that needs it.
    pub configuration: String,
    /// The version of CNI that it is called with, where the configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni_version: Option<String>,
    /// The directory in which a runtime finds it.
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
                FileState::Interrupted => "interrupted",
                FileState::Mixed => "mixed",
                FileState::Kept => "kept",
            };
            write!(f, "  {state:<11} {}/{}", plugin.directory, plugin.name)?;
            match &plugin.versions {
                Some(versions) => writeln!(f, "  speaks CNI {}", versions.supported.join(", "))?,
                None => writeln!(f)?,
            }
        }
        for step in &self.repaired {
            writeln!(f, "  {step}")?;
        }
        if !self.needs.is_empty() {
            let distinct = |names: BTreeSet<_>| names.into_iter().collect::<Vec<&str>>();
            let users =
                distinct(self.needs.iter().map(|need| need.configuration.as_str()).collect());
            let plugins = distinct(self.needs.iter().map(|need| need.plugin.as_str()).collect());
            let users = match users.as_slice() {
                [user] => format!("`{user}` needs"),
                users => format!("{} configurations need", users.len()),
            };
            let (first, others) = plugins.split_at(plugins.len().min(NAMES_SHOWN));
            let others = if others.is_empty() {
                String::new()
            } else {
                format!(" and {} others", others.len())
            };
            writeln!(f, "  {users} {}{others}", first.join(", "))?;
        }
        for finding in &self.findings {
            writeln!(f, "{}: {finding}", finding.severity.label())?;
        }
        f.write_str(match (self.is_good(), self.is_proven()) {
            (true, true) => "yes: every installed file is the one that was signed\n",
            (true, false) => "yes, although not every file is proven: read the lines above\n",
            (false, _) => "no\n",
        })
    }
}
