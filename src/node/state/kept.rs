//! The releases that a node keeps: the installed one and earlier generations, with what proves
//! them.
//!
//! A kept release may be installed again however old it is, if the policy still accepts it as kept.
//! Stored evidence saves a download and proves nothing by being here: it is verified on every use.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lock::State;
use crate::model::{Digest, HostPath};
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::trust::{Bundle, Evidence, Presence, Rejection, Verified, Verifier};

/// The releases that a node keeps.
#[derive(Debug, Default)]
pub struct KeptReleases {
    indexes: BTreeSet<Digest>,
    evidence: Vec<Evidence>,
}

impl KeptReleases {
    /// Reads them. If the state cannot be read there are none; the installation itself reports why.
    pub fn read(root: &Root, state: &HostPath, patience: Duration) -> Self {
        Self::try_read(root, state, patience).unwrap_or_default()
    }

    fn try_read(root: &Root, state: &HostPath, patience: Duration) -> Result<Self, NodeError> {
        let Some(state) = State::open(root, state)? else { return Ok(Self::default()) };
        let reading = state.read(patience)?;
        let (present, past) = (reading.receipt()?, reading.past()?);
        let mut kept = Self::default();
        for receipt in present.iter().chain(&past.receipts) {
            kept.indexes.insert(receipt.index);
            let bytes = reading.evidence(&receipt.evidence).ok().flatten();
            kept.evidence.extend(bytes.and_then(|bytes| Evidence::parse(&bytes).ok()));
        }
        Ok(kept)
    }

    /// What proves them, not yet verified.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Verifies a release that will be installed: as a new one, or, if the node keeps it, as a kept
    /// one.
    ///
    /// # Errors
    /// The findings against it as a new one.
    pub fn verify(
        &self,
        verifier: &Verifier<'_>,
        evidence: &Evidence,
    ) -> Result<Verified<Bundle>, Rejection> {
        verifier.verify(evidence, Presence::New).or_else(|rejection| {
            match verifier.verify(evidence, Presence::Kept) {
                Ok(bundle) if self.indexes.contains(&bundle.value().index) => Ok(bundle),
                _ => Err(rejection),
            }
        })
    }
}
