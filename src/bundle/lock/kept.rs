//! The evidence that is kept beside a lock, with the routine that verifies what of it is signed.

use std::collections::BTreeMap;

use crate::bundle::{SignedAsset, VerifySigned};
use crate::model::Digest;

/// The evidence that is kept beside a lock: files by their digest.
#[derive(Debug, Clone)]
pub struct KeptEvidence {
    files: BTreeMap<Digest, Vec<u8>>,
    verify: VerifySigned,
}

impl KeptEvidence {
    /// No files yet. Signed evidence does not hold: nothing could verify it.
    pub fn new() -> Self {
        Self::verified_by(|_| Err("no signature can be verified here".to_owned()))
    }

    /// No files yet; `verify` verifies what is signed.
    pub fn verified_by(verify: VerifySigned) -> Self {
        Self { files: BTreeMap::new(), verify }
    }

    /// Keeps a file; returns its digest.
    pub fn keep(&mut self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.insert(digest, content.to_vec());
        digest
    }

    /// Keeps a file under its digest.
    pub fn insert(&mut self, digest: Digest, content: Vec<u8>) {
        self.files.insert(digest, content);
    }

    /// The file with this digest.
    pub fn get(&self, digest: &Digest) -> Option<&Vec<u8>> {
        self.files.get(digest)
    }

    /// Every file.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &Vec<u8>)> {
        self.files.iter()
    }

    /// Drops every file.
    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }

    pub(super) fn verify(&self, asset: &SignedAsset<'_>) -> Result<(), String> {
        (self.verify)(asset)
    }
}

impl Default for KeptEvidence {
    fn default() -> Self {
        Self::new()
    }
}
