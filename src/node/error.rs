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
        /// The path of the state file.
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
    #[error("{}; all changes were undone", with_causes(.0.as_ref()))]
    Undone(Box<NodeError>),
    /// It failed in the middle, and undoing it failed as well.
    #[error(
        "{}; undoing the changes also failed ({}), so the installed plugins are from two releases: run this again once the cause is fixed",
        with_causes(.cause.as_ref()),
        with_causes(.reason.as_ref())
    )]
    Mixed {
        /// Why it failed.
        cause: Box<NodeError>,
        /// Why it was not undone.
        reason: Box<NodeError>,
    },
    /// It failed after the receipt named the new files: the next run goes forward.
    #[error(
        "{}; the plugins and their receipt are in place: once the cause is fixed, run this again to finish",
        with_causes(.0.as_ref())
    )]
    AfterReceipt(Box<NodeError>),
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
                    "remove it and install again (plugins with the signed content are taken over): rm {path}"
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

impl NodeError {
    /// The same as a refusal, if it is an answer.
    pub(crate) fn answered(self) -> Self {
        self.into_findings().map_or_else(|error| error, Self::Refused)
    }

    /// Turns what the system denies into a refusal. Only for what comes before the first change: an
    /// error after it leaves a node that is not as it was.
    pub fn before_changes(self) -> Self {
        let Self::Disk(error) = &self else { return self };
        let Some(code) = error.denial() else { return self };
        let hint = match code {
            Code::NoSpace => "free some space there",
            Code::ReadOnly => "mount it writable",
            _ => "run as the user that owns it, normally root",
        };
        Finding::refusal(code, error.with_cause()).hint(hint).into()
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

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_the_system_denies_before_any_change_is_a_refusal() {
        let error = |errno: Errno| {
            let (action, path) = ("open".to_owned(), "/var/lib/cnister/lock".to_owned());
            NodeError::Disk(DiskError::Io { action, path, source: errno.into() })
        };
        for (errno, expected) in [
            (Errno::ROFS, Some(Code::ReadOnly)),
            (Errno::ACCESS, Some(Code::NotPermitted)),
            (Errno::PERM, Some(Code::NotPermitted)),
            (Errno::NOSPC, Some(Code::NoSpace)),
            (Errno::DQUOT, Some(Code::NoSpace)),
            // The answer is not known.
            (Errno::IO, None),
            (Errno::NOMEM, None),
        ] {
            let findings = error(errno).before_changes().into_findings().ok();
            assert_eq!(findings.map(|findings| findings[0].code), expected, "{errno:?}");
        }
        let findings = error(Errno::ROFS).before_changes().into_findings().unwrap();
        let message = "cannot open `/var/lib/cnister/lock`: Read-only file system (os error 30)";
        assert_eq!(findings[0].message, message);
        assert!(error(Errno::ROFS).into_findings().is_err());
    }
}
