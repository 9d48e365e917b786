//! What the publisher of an asset signed: fetched for a lock, and verified before anything uses it.
//!
//! Only the key that the definition names counts. `trust` verifies; the lock keeps what was
//! verified and does the same again offline, each time that it is used.

use super::Fetch;
use super::asset::{WantedAsset, shown};
use super::asset_error::AssetError;
use crate::bundle::definition::source::{Guess, KeyContent, PublicKey};
use crate::bundle::{Artefact, Claim, SignedAsset, SignedEvidence};
use crate::model::media_type::SIGSTORE_BUNDLE_LIMIT;
use crate::trust::verify_upstream;

impl Fetch {
    /// The signature and the provenance that a definition asks for.
    pub(super) fn signed(
        &self,
        wanted: &WantedAsset<'_>,
        artefact: Artefact,
    ) -> Result<Option<SignedEvidence>, AssetError> {
        let WantedAsset { asset, folder, wanted: asked, .. } = wanted;
        let (Some(key), [first, ..]) = (asset.key(), *asked) else { return Ok(None) };
        let key = content(key)?;
        let get = |claim: Claim, what: &'static str, location: Option<String>| {
            let Some(location) = location else { return Ok(None) };
            let limit = SIGSTORE_BUNDLE_LIMIT as u64;
            let evidence = self.read_beside(what, &location, folder, Guess::No, limit)?;
            let evidence = evidence.unwrap_or_default();
            let subjects = [artefact.digest];
            let asset = SignedAsset {
                key: &key.pem,
                fingerprint: key.fingerprint,
                claim,
                evidence: &evidence,
                subjects: &subjects,
                is_image: false,
            };
            match verify_upstream(&asset) {
                Ok(()) => Ok(Some(evidence)),
                Err(reason) => {
                    let location = shown(&location, folder);
                    Err(AssetError::Signed { what, location, reason })
                }
            }
        };
        let signature = asset.signature(&first.platform, &first.name);
        let provenance = asset.provenance(&first.platform, &first.name);
        Ok(Some(SignedEvidence {
            key: key.pem.clone(),
            signature: get(Claim::Signature, "signature", signature)?,
            provenance: get(Claim::Provenance, "provenance", provenance)?,
        }))
    }
}

/// What was read of a key.
pub(super) fn content(key: &PublicKey) -> Result<&KeyContent, AssetError> {
    key.content.as_ref().ok_or_else(|| AssetError::UnreadKey(key.path.clone()))
}
