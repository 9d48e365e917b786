//! The releases that a node keeps: the installed one and earlier generations, with what proves
//! them.
//!
//! The installed release may be installed again however old it is, as long as the policy still
//! accepts it as kept. An earlier release may not: otherwise, anyone who can move a tag could
//! return the node to it, past a version floor or an age limit. `rollback`, run by the node's
//! owner, is for that. Stored evidence saves a download and proves nothing by being here: it is
//! verified on every use.

use std::time::Duration;

use super::lock::State;
use super::receipt::Receipt;
use super::release::Release;
use crate::model::HostPath;
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::trust::{Bundle, Evidence, Presence, Rejection, Verified, Verifier};

/// The releases that a node keeps.
#[derive(Debug, Default)]
pub struct KeptReleases {
    present: Option<Release>,
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
        let present = reading.receipt()?;
        let release = present.as_ref().map(Receipt::release);
        let mut kept = Self { present: release, evidence: Vec::new() };
        let mut add = |receipt: &Receipt| {
            let bytes = reading.evidence(&receipt.evidence).ok().flatten();
            kept.evidence.extend(bytes.and_then(|bytes| Evidence::parse(&bytes).ok()));
        };
        present.iter().for_each(&mut add);
        reading.history_seen(add)?;
        Ok(kept)
    }

    /// What proves them, not yet verified; that of the installed release comes first.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    fn is_present(&self, bundle: &Bundle) -> bool {
        self.present.is_some_and(|present| present.is(&Release::of(bundle)))
    }

    /// The installed release as the node has it, if that is what `bundle` is: in another index,
    /// nothing of it is new, and receipt and evidence stay while they still pass as those of a new
    /// one.
    pub fn as_installed(
        &self,
        verifier: &Verifier<'_>,
        bundle: &Verified<Bundle>,
    ) -> Option<(Verified<Bundle>, Evidence)> {
        let present = self.present.filter(|_| self.is_present(bundle.value()))?;
        let evidence = self.evidence.iter().find(|known| known.root() == present.index)?;
        let installed = verifier.verify(evidence, Presence::New).ok()?;
        (present.is(&Release::of(installed.value()))).then(|| (installed, evidence.clone()))
    }

    /// Verifies a release that will be installed: as a new one, or, if it is the installed one, as
    /// a kept one.
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
                Ok(bundle) if self.is_present(bundle.value()) => Ok(bundle),
                _ => Err(rejection),
            }
        })
    }
}
