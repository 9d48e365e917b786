//! What can go wrong on a node, and which of it is a refusal.
//!
//! A refusal is carried as an error inside this room, so that `?` ends a run. Only the edge turns
//! it back into an answer, with [`NodeError::into_findings`].

use std::io;

use crate::bundle::ManifestError;
use crate::disk::DiskError;
use crate::model::{Code, Finding, JsonError, with_causes};
use crate::oci::OciError;

/// Why something on a node was not done.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The answer is no. Nothing that a runtime could call was changed.
    #[error("refused: {}", .0.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Finding>),
    /// A file or directory could not be read or changed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A staged directory could not be read, for a reason of its own.
    #[error(transparent)]
    Staged(DiskError),
    /// The image could not be read.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The staged `bundle.json` is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A record in the state directory is not valid.
    #[error("state file `{path}` cannot be used: {source}")]
    Record {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: JsonError,
    },
    /// Bytes could not be read or written on the way.
    #[error("cannot {action}")]
    Transfer {
        /// What was tried, with the object.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// It failed after some names had their new files and before the receipt named them.
    #[error(transparent)]
    InTheMiddle(Box<NodeError>),
    /// It failed in the middle, and was undone.
    #[error("{}; what had been changed was put back", with_causes(.0.as_ref()))]
    Undone(Box<NodeError>),
    /// It failed in the middle, and undoing it failed as well.
    #[error(
        "{}; putting back what had been changed failed as well ({}), so the plugins are of two \
         releases: run it again once the cause is gone",
        with_causes(.cause.as_ref()),
        with_causes(.reason.as_ref())
    )]
    Mixed {
        /// Why it failed.
        cause: Box<NodeError>,
        /// Why it was not undone.
        reason: Box<NodeError>,
    },
    /// The caller stopped it between two steps.
    #[error("stopped; the next run finishes it")]
    Stopped,
}

impl NodeError {
    /// The findings of a refusal, or the error if nothing could be found out.
    pub fn into_findings(self) -> Result<Vec<Finding>, Self> {
        match self {
            Self::Refused(findings) => Ok(findings),
            Self::Disk(error) => {
                error.finding().map(|finding| vec![finding]).ok_or(Self::Disk(error))
            }
            Self::Oci(error) => {
                error.finding().map(|finding| vec![finding]).ok_or(Self::Oci(error))
            }
            Self::Record { path, source } => {
                let message = format!("state file `{path}` is damaged: {source}");
                let hint = format!(
                    "remove it and install again; without it, the plugins count as foreign until they are \
                     adopted: rm {path}"
                );
                Ok(vec![Finding::refusal(Code::StateDamaged, message).hint(hint)])
            }
            other => Err(other),
        }
    }
}

impl NodeError {
    /// What is wrong with the files that were to be installed, if that is why it was not done.
    pub fn payload_fault(&self) -> Option<Finding> {
        match self {
            Self::Staged(error) => Some(Finding::refusal(Code::Unreadable, error.with_cause())),
            _ => None,
        }
    }
}

impl From<Vec<Finding>> for NodeError {
    fn from(findings: Vec<Finding>) -> Self {
        Self::Refused(findings)
    }
}

impl From<Finding> for NodeError {
    fn from(finding: Finding) -> Self {
        Self::Refused(vec![finding])
    }
}
