//! The level that follows from what a publisher signed.

use serde::{Deserialize, Serialize};

use super::{KeptEvidence, Level, LockedPlugin};
use crate::bundle::{Claim, SignedAsset, SignedEvidence};
use crate::model::Digest;

/// The signed evidence about an asset, as files that are kept beside the lock, each by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedSigned {
    /// The public key that verifies it.
    pub key: Digest,
    /// The signature of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Digest>,
    /// The provenance of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Digest>,
}

impl LockedSigned {
    /// Of this evidence.
    pub fn of(evidence: &SignedEvidence) -> Self {
        Self {
            key: Digest::of(evidence.key.as_bytes()),
            signature: evidence.signature.as_deref().map(Digest::of),
            provenance: evidence.provenance.as_deref().map(Digest::of),
        }
    }

    /// The digests of the files.
    pub fn files(&self) -> impl Iterator<Item = Digest> {
        [Some(self.key), self.signature, self.provenance].into_iter().flatten()
    }
}

impl LockedPlugin {
    /// The level that follows from what its publisher signed, none if nothing has to be signed; or
    /// why the evidence does not hold.
    ///
    /// What the definition asks for has to be there: a lock from which a signature was removed does
    /// not hold. Of an image, a signature or provenance has to be there.
    pub(super) fn signed_level(&self, kept: &KeptEvidence) -> Result<Option<Level>, String> {
        let request = &self.request;
        let (Some(fingerprint), Some(artefact)) = (request.key, self.artefact) else {
            return match self.signed {
                Some(_) => Err("the definition names no key, and the lock has one".to_owned()),
                None => Ok(None),
            };
        };
        let Some(signed) = &self.signed else {
            return Err(format!("nothing is kept that the key {fingerprint} signed"));
        };
        let expected = match request.is_image() {
            true => signed.signature.is_some() || signed.provenance.is_some(),
            false => {
                signed.signature.is_some() == request.signature.is_some()
                    && signed.provenance.is_some() == request.provenance.is_some()
            }
        };
        if !expected {
            return Err("what is signed is not what the definition asks for".to_owned());
        }
        let file = |what: &str, digest: Digest| {
            kept.get(&digest).ok_or_else(|| format!("the {what} {digest} is not kept"))
        };
        let key = std::str::from_utf8(file("key", signed.key)?)
            .map_err(|_| format!("the key {} is not text", signed.key))?;
        let index = self.image.and_then(|image| image.index);
        let subjects: Vec<Digest> = [Some(artefact.digest), index].into_iter().flatten().collect();
        let (signature, provenance) = (signed.signature, signed.provenance);
        for (claim, what, digest) in [
            (Claim::Signature, "signature", signature),
            (Claim::Provenance, "provenance", provenance),
        ] {
            let Some(digest) = digest else { continue };
            let asset = SignedAsset {
                key,
                fingerprint,
                claim,
                evidence: file(what, digest)?,
                subjects: &subjects,
                is_image: request.is_image(),
            };
            kept.verify(&asset).map_err(|reason| format!("the {what} {digest}: {reason}"))?;
        }
        Ok(Some(if provenance.is_some() { Level::Provenance } else { Level::Signed }))
    }
}
