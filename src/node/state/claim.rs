//! What the state directory says was installed, verified again under the policy of today.
//!
//! A receipt that was edited proves nothing: its evidence has to lead to the release that it names.
//! Plugin files are not read here; comparing them is the job of `check`.

use std::time::Duration;

use super::journal::Journal;
use super::lock::Reading;
use super::receipt::Receipt;
use super::release::Release;
use crate::disk::DiskError;
use crate::model::{Code, Digest, Finding, HostPath, Repository};
use crate::node::error::NodeError;
use crate::trust::{Bundle, Evidence, Presence, Rejection, RejectionKind, Verified, Verifier};

/// Where a node's state is kept, and who judges what it says.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The state directory: receipt and evidence.
    pub state: &'a HostPath,
    /// How long to wait for another process that changes the state.
    pub patience: Duration,
    /// The policy of today. If it has no name, the one that was used at install is matched.
    pub verifier: Verifier<'a>,
}

/// What a file of the state directory says was installed. Only its evidence can prove it.
pub(crate) struct Claim<'a> {
    release: Release,
    repository: Option<&'a Repository>,
    evidence: Digest,
}

impl<'a> Claim<'a> {
    /// What a receipt says.
    pub(crate) fn of(receipt: &'a Receipt) -> Self {
        let (release, evidence) = (receipt.release(), receipt.evidence);
        Self { release, repository: receipt.repository.as_ref(), evidence }
    }

    /// What a journal says.
    pub(crate) fn of_journal(journal: &'a Journal) -> Self {
        let (release, evidence) = (journal.release(), journal.evidence);
        Self { release, repository: journal.repository.as_ref(), evidence }
    }

    /// Verifies the evidence of the claim again, under this policy.
    pub(crate) fn verdict(
        &self,
        reading: &Reading,
        verifier: &Verifier<'_>,
    ) -> Result<Result<Verified<Bundle>, Rejection>, NodeError> {
        match reading.evidence(&self.evidence) {
            Ok(evidence) => Ok(self.judge(evidence.as_deref(), verifier)),
            // What replaced the evidence is not evidence: that is an answer.
            Err(NodeError::Disk(
                error @ (DiskError::TooLong { .. } | DiskError::NotRegular { .. }),
            )) => Ok(Err(no_evidence(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    fn judge(
        &self,
        evidence: Option<&[u8]>,
        verifier: &Verifier<'_>,
    ) -> Result<Verified<Bundle>, Rejection> {
        let bytes =
            evidence.ok_or_else(|| no_evidence("the evidence of the installed bundle is gone"))?;
        let evidence = Evidence::parse(bytes).map_err(|error| {
            no_evidence(format!("the evidence of the installed bundle cannot be read: {error}"))
        })?;
        let verifier = Verifier { name: verifier.name.or(self.repository), ..*verifier };
        let verified = verifier.verify(&evidence, Presence::Kept)?;
        let Bundle { index, manifest_json, .. } = *verified.value();
        let other = match self.release {
            Release { index: expected, .. } if expected != index => Some((expected, index)),
            Release { bundle_json, .. } => bundle_json
                .filter(|expected| *expected != manifest_json)
                .map(|expected| (expected, manifest_json)),
        };
        let Some((expected, found)) = other else { return Ok(verified) };
        let message = "the evidence is for a different bundle than the receipt";
        let finding = Finding::refusal(Code::NoEvidence, message)
            .mismatch(expected, found)
            .hint("install it again");
        Err(Rejection::new(RejectionKind::Unsound, finding))
    }
}

fn no_evidence(reason: impl Into<String>) -> Rejection {
    let finding = Finding::refusal(Code::NoEvidence, reason).hint("install it again");
    Rejection::new(RejectionKind::Unsound, finding)
}
