//! The answer for one error of a text: its cause, and what was found on the node.

use serde::Serialize;

use super::cause::Cause;
use super::symptom::Phase;
use crate::check::report::FileState;
use crate::model::HostPath;

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
    /// The networks that the error names, for people.
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
    /// The plugin directory that was inspected.
    pub directory: HostPath,
    /// What it has, in words.
    pub found: String,
    /// What `check` says about it, if it was installed.
    #[serde(rename = "condition", skip_serializing_if = "Option::is_none")]
    pub state: Option<FileState>,
}
