//! Explaining the error of a container runtime: its cause on this node, and what to do about it.
//!
//! `symptom` reads the error and `judge` names the cause; both are pure. Between them, `look`
//! inspects the node, and only the directories that its owner names: a path in the text is never
//! opened, so that someone who can write an event cannot point cnister at a file.

mod cause;
mod explained;
mod judge;
mod look;
mod symptom;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

use super::report::Installed;
use crate::check::report::Report;
use crate::cni::{IPAM, upstream};
use crate::model::{HostPath, PluginName};
use crate::node::Root;

pub use cause::Cause;
pub use explained::{Explained, OnNode};
use judge::{Suspect, judge};
use look::{Closeness, Content, NamedEntry, look};
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

fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Explains the errors of a text by what this node has. `check` is called at most once, and only if
/// an error is about a plugin.
pub fn explain(
    root: &Root,
    directories: &[HostPath],
    text: &[u8],
    check: impl FnOnce() -> Option<Report>,
) -> Explanation {
    let is_about =
        |complaint: &_, blamed: Option<&_>| is_about_plugin(complaint, blamed, directories);
    let symptoms = Symptoms::read_some(text, &is_about);
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

/// Where systems have their own programs, some of which have the name of a plugin (`bridge`).
const PROGRAMS: [&str; 6] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Whether a program that was not started is a plugin, and not one that a plugin runs, such as
/// `iptables`. Its directory tells, or its name.
fn is_about_plugin(complaint: &Complaint, blamed: Option<&str>, directories: &[HostPath]) -> bool {
    let Complaint::NotStarted { path, .. } = complaint else { return true };
    // Without a directory, nothing tells which program it is: the error is still explained.
    let Some((directory, name)) = path.rsplit_once('/') else { return true };
    let is_for_plugins = directories.iter().any(|path| path.as_str() == directory)
        || directory.ends_with("/cni")
        || directory.ends_with("/cni/bin");
    let is_known = || name.parse().is_ok_and(|name| upstream(&name).is_some());
    is_for_plugins || blamed == Some(name) || (!PROGRAMS.contains(&directory) && is_known())
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

impl fmt::Display for NamedEntry {
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
