//! What the publisher of an asset signed with the key that the definition names: the words in which
//! `publish`, the lock and `trust` talk about it.
//!
//! Nothing is verified here. The lock computes levels and comes before `trust`, the only module
//! that checks signatures; it therefore gets the routine that does with the evidence that it keeps.

use crate::model::Digest;

/// The signed evidence about an asset, verified, as a lock keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEvidence {
    /// The public key, as PEM.
    pub key: String,
    /// A signature of the asset.
    pub signature: Option<Vec<u8>>,
    /// Provenance of the asset.
    pub provenance: Option<Vec<u8>>,
}

/// The claim that evidence must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The key signed the asset.
    Signature,
    /// The key signed a statement with SLSA provenance about the asset.
    Provenance,
}

/// Evidence that is to be verified.
#[derive(Debug, Clone, Copy)]
pub struct SignedAsset<'a> {
    /// The public key, as PEM.
    pub key: &'a str,
    /// The fingerprint of the key that the definition names.
    pub fingerprint: Digest,
    /// The claim that the evidence must prove.
    pub claim: Claim,
    /// The evidence.
    pub evidence: &'a [u8],
    /// The asset; or an image, as its manifest and the index that lists it.
    pub subjects: &'a [Digest],
    /// Whether it is an image, which is signed in another format than a file.
    pub is_image: bool,
}

/// Verifies evidence, or says why it does not hold.
pub type VerifySigned = fn(&SignedAsset<'_>) -> Result<(), String>;
