//! The releases that a node keeps: the installed one and earlier generations, with what proves
//! them.
//!
//! The installed release may be installed again however old it is, as long as the policy still
//! accepts it as kept. An earlier release may not: otherwise, anyone who can move a tag could
//! return the node to it, past a version floor or an age limit. `rollback`, run by the node's
//! owner, is for that. Stored evidence saves a download and proves nothing by being here: it is
//! verified on every use.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lock::{State, read_evidence};
use super::receipt::Receipt;
use super::release::Release;
use crate::disk::Directory;
use crate::model::{Digest, HostPath};
use crate::node::error::NodeError;
use crate::node::host::Root;
use crate::trust::{Bundle, Evidence, Presence, Rejection, Verified, Verifier};

/// The releases that a node keeps. Their evidence is read when it is asked for, one file at a time:
/// a node may keep many long ones.
#[derive(Debug, Default)]
pub struct KeptReleases {
    present: Option<Release>,
    /// The directory of the evidence files.
    directory: Option<Directory>,
    /// In the order of the releases, the installed one first.
    files: Vec<EvidenceFile>,
}

/// An evidence file, and what it holds.
#[derive(Debug)]
struct EvidenceFile {
    digest: Digest,
    root: Digest,
    blobs: BTreeSet<Digest>,
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
        let mut evidence: Vec<_> = present.iter().map(|receipt| receipt.evidence).collect();
        reading.history_seen(|past| evidence.push(past.evidence))?;
        let release = present.as_ref().map(Receipt::release);
        let directory = reading.evidence_directory()?;
        let mut kept = Self { present: release, directory, files: Vec::new() };
        for digest in evidence {
            let Some(evidence) = kept.load(&digest) else { continue };
            let blobs = evidence.blobs().map(Digest::of).collect();
            kept.files.push(EvidenceFile { digest, root: evidence.root(), blobs });
        }
        Ok(kept)
    }

    fn load(&self, digest: &Digest) -> Option<Evidence> {
        let bytes = read_evidence(self.directory.as_ref()?, digest).ok().flatten()?;
        Evidence::parse(&bytes).ok()
    }

    /// What proves them, not yet verified; that of the installed release comes first.
    pub fn evidence(&self) -> impl Iterator<Item = Evidence> {
        self.files.iter().filter_map(|file| self.load(&file.digest))
    }

    /// A document or signature of any of them, by the digest of its bytes.
    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let file = self.files.iter().find(|file| file.blobs.contains(digest))?;
        let evidence = self.load(&file.digest)?;
        evidence.blobs().find(|bytes| Digest::of(bytes) == *digest).map(<[u8]>::to_vec)
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
        let file = self.files.iter().find(|file| file.root == present.index)?;
        let evidence = self.load(&file.digest)?;
        let installed = verifier.verify(&evidence, Presence::New).ok()?;
        (present.is(&Release::of(installed.value()))).then_some((installed, evidence))
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
