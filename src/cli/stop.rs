//! Why a verb stopped.
//!
//! A refusal is an answer: its findings become a report, with exit code 1. A failure has no report,
//! and says what could not be done or determined. This is the only place where an error of another
//! module becomes one or the other.

use super::terminal::Failure;
use crate::disk::DiskError;
use crate::model::Finding;
use crate::node::NodeError;
use crate::oci::{CollectError, OciError};
use crate::trust::Rejection;

/// Why a verb went no further.
pub(super) enum Stop {
    Refused(Vec<Finding>),
    Failed(Failure),
}

impl Stop {
    /// The findings of a refusal, for a report.
    pub(super) fn refusal(self) -> Result<Vec<Finding>, Failure> {
        match self {
            Self::Refused(findings) => Ok(findings),
            Self::Failed(failure) => Err(failure),
        }
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Refused(vec![finding])
    }
}

impl From<Vec<Finding>> for Stop {
    fn from(findings: Vec<Finding>) -> Self {
        Self::Refused(findings)
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection.findings)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<NodeError> for Stop {
    fn from(error: NodeError) -> Self {
        match error.into_findings() {
            Ok(findings) => Self::Refused(findings),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Self {
        NodeError::from(error).into()
    }
}

/// Bytes that are not the promised ones are an answer; a registry that cannot be read is not.
impl From<OciError> for Stop {
    fn from(error: OciError) -> Self {
        match error.finding() {
            Some(finding) => finding.into(),
            None => Self::Failed(error.into()),
        }
    }
}

impl From<CollectError> for Stop {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Oci(error) => error.into(),
            other => Self::Failed(other.into()),
        }
    }
}
