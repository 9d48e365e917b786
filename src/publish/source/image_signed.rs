//! What the publisher of an image signed: found beside it, and verified.
//!
//! Signatures are those of cosign 3 (Sigstore bundles, as referrers) and of cosign 2 (the tag
//! `sha256-….sig`), of the index or of the platform's manifest; provenance is a referrer. Anyone
//! who may push can attach more: what is not by the key that the definition names is ignored, and
//! if nothing is by it, the image is refused.

use super::asset_error::AssetError;
use super::signed::content;
use crate::bundle::definition::source::PublicKey;
use crate::bundle::{Claim, SignedAsset, SignedEvidence};
use crate::model::Document;
use crate::model::predicate_type::{PROVENANCE, PROVENANCE_0_2};
use crate::oci::{Platforms, Source, collect, simple_signatures};
use crate::trust::{Needs, verify_upstream};

/// Finds what `key` signed of an image, which is given as its manifest and the index that lists it.
pub(super) fn signed_image(
    source: &dyn Source,
    key: &PublicKey,
    manifest: &Document,
    index: Option<&Document>,
) -> Result<SignedEvidence, AssetError> {
    let key = content(key)?;
    let mut needs = Needs::signatures();
    needs.predicate_types.extend([PROVENANCE, PROVENANCE_0_2].map(str::to_owned));
    let documents: Vec<&Document> = [Some(manifest), index].into_iter().flatten().collect();
    let (mut bundles, mut simple) = (Vec::new(), Vec::new());
    for document in &documents {
        let evidence = collect(source, document, Platforms::Only(&[]), &needs)?;
        bundles.extend(evidence.signatures().iter().map(|it| it.bytes.clone()));
        simple.extend(simple_signatures(source, &document.digest)?.iter().map(|it| it.to_bytes()));
    }
    let subjects: Vec<_> = documents.iter().map(|document| document.digest).collect();
    let verify = |claim, evidence: &[u8]| {
        verify_upstream(&SignedAsset {
            key: &key.pem,
            fingerprint: key.fingerprint,
            claim,
            evidence,
            subjects: &subjects,
            is_image: true,
        })
    };
    let mut reason = None;
    let all = bundles.iter().chain(&simple);
    let signature = first(all, &mut reason, |evidence| verify(Claim::Signature, evidence));
    let provenance =
        first(bundles.iter(), &mut reason, |evidence| verify(Claim::Provenance, evidence));
    if signature.is_none() && provenance.is_none() {
        let reason = reason.unwrap_or_else(|| "no signature is attached to it".to_owned());
        return Err(AssetError::Unsigned { key: key.fingerprint, reason });
    }
    Ok(SignedEvidence { key: key.pem.clone(), signature, provenance })
}

/// The first candidate that holds; else, the reason why the first does not.
fn first<'a>(
    mut candidates: impl Iterator<Item = &'a Vec<u8>>,
    reason: &mut Option<String>,
    verify: impl Fn(&[u8]) -> Result<(), String>,
) -> Option<Vec<u8>> {
    let found = candidates.find(|evidence| match verify(evidence) {
        Ok(()) => true,
        Err(error) => {
            reason.get_or_insert(error);
            false
        }
    });
    found.cloned()
}

#[cfg(test)]
mod tests;
