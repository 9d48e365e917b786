//! Explaining the error of a container runtime: its cause on this node, and what to do about it.
//!
//! `symptom` reads the error and `judge` names the cause; both are pure. Between them, `look` inspects
//! the node, and only the directories that its owner names: a path in the text is never opened, so
//! that someone who can write an event cannot point cnister at a file.

mod cause;
mod judge;
mod look;
mod symptom;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::report::{FileState, Installed};
use crate::check::report::Report;
use crate::cni::IPAM;
use crate::model::{HostPath, PluginName};
use crate::node::Root;

pub use cause::Cause;
use judge::{Suspect, judge};
use look::{Closeness, Content, Entry, look};
pub use symptom::{Complaint, MOST_SYMPTOMS, Phase, Refused, Symptom, Symptoms, TEXT_LIMIT};

/// The answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The causes, in the order of the text.
    pub causes: Vec<Explained>,
    /// How many errors of the text were left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    /// Plugins that failed for a reason of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// The installed bundle, if there is a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
}

/// One cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The cause, by its stable name.
    pub cause: Cause,
    /// The cause on this node, in one sentence.
    pub message: String,
    /// The plugin that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The plugin that the text blames, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_by: Option<String>,
    /// What the runtime was doing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The affected networks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// The directories that the text names. None is opened because of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searched: Vec<String>,
    /// The CNI version that the configuration asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted_version: Option<String>,
    /// The CNI versions that the plugin supports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supported_versions: Vec<String>,
    /// How many times the text says so.
    pub times: usize,
    /// What each plugin directory has under the plugin's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_node: Vec<OnNode>,
    /// The consequence for pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// What the reader can do.
    pub actions: Vec<String>,
}

/// What one plugin directory has of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnNode {
    /// The plugin directory.
    pub directory: HostPath,
    /// What it has, in words.
    pub found: String,
    /// What `check` says about it, if it was installed.
    #[serde(rename = "condition", skip_serializing_if = "Option::is_none")]
    pub state: Option<FileState>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Explains the errors of a text by what this node has. `check` is called at most once, and only if
/// an error is about a plugin.
pub fn explain(
    root: &Root,
    directories: &[HostPath],
    symptoms: Symptoms,
    check: impl FnOnce() -> Option<Report>,
) -> Explanation {
    let names = symptoms.known.iter().filter_map(name);
    let checked = if names.count() > 0 { check() } else { None };
    let explained =
        |symptom: &Symptom| judge(symptom, &suspects(root, directories, symptom), checked.as_ref());
    let causes = symptoms.known.iter().map(explained).collect();
    let installed = checked.as_ref().and_then(|report| report.installed.clone());
    Explanation {
        causes,
        more: symptoms.more,
        unknown: symptoms.unknown.into_iter().collect(),
        installed,
    }
}

/// The plugin that a symptom is about, if its name is valid.
fn name(symptom: &Symptom) -> Option<PluginName> {
    symptom.subject()?.parse().ok()
}

/// Inspects the plugins that may be the cause.
fn suspects(root: &Root, directories: &[HostPath], symptom: &Symptom) -> Vec<Suspect> {
    let closeness = match symptom.complaint {
        Complaint::NotFound { .. } => Closeness::Entry,
        Complaint::NotStarted { .. }
        | Complaint::Crashed
        | Complaint::Ended { .. }
        | Complaint::Silent => Closeness::Content,
        _ => return Vec::new(),
    };
    let suspect =
        |name: PluginName| Suspect { seen: look(root, directories, &name, closeness), name };
    let Some(first) = name(symptom) else { return Vec::new() };
    // The text does not say whether it was the plugin itself or its IPAM plugin.
    let others = match symptom.complaint {
        Complaint::Crashed | Complaint::Ended { .. } | Complaint::Silent => &IPAM[..],
        _ => &[],
    };
    let others = others
        .iter()
        .filter(|other| **other != first.as_str())
        .filter_map(|other| other.parse().ok());
    std::iter::once(first.clone()).chain(others).map(suspect).collect()
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("does not exist"),
            Self::Link(None) => f.write_str("a dangling symbolic link"),
            Self::Link(Some(kind)) => write!(f, "a symbolic link to {kind}"),
            Self::Other(kind) => write!(f, "{kind}"),
            Self::Unreadable(reason) => f.write_str(reason),
            Self::File(file) => {
                write!(f, "a file of {} bytes, mode {:04o}", file.size, file.mode)?;
                if file.noexec {
                    f.write_str(", on a noexec mount")?;
                }
                match &file.content {
                    Some(Content::Script { .. }) => f.write_str(", a script"),
                    Some(Content::Program { .. }) => f.write_str(", a program for this node"),
                    Some(
                        Content::OtherMachine(words)
                        | Content::Truncated(words)
                        | Content::NoProgram(words),
                    ) => {
                        write!(f, ", which {words}")
                    }
                    Some(Content::Empty | Content::TooLong) | None => Ok(()),
                }
            }
        }
    }
}
