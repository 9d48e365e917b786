//! The signatures that cosign 2 stored beside an image: the layers of the manifest with the tag
//! `sha256-….sig` (cosign, SIGNATURE_SPEC.md). Nothing is verified here.

use oci_spec::image::Descriptor;

use super::collect::small_blob;
use super::{OciError, Source};
use crate::model::{Digest, media_type};
use crate::trust::{SIMPLE_SIGNING_LIMIT, SimpleSigning};

/// The annotation of a layer with its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The most signatures of one image that are read.
const MOST: usize = 64;

/// The signatures of an image by its digest; empty if there are none.
pub fn simple_signatures(
    source: &dyn Source,
    subject: &Digest,
) -> Result<Vec<SimpleSigning>, OciError> {
    let document = match source.tagged_signatures(subject) {
        Ok(document) => document,
        Err(OciError::NotFound { .. }) => return Ok(Vec::new()),
        // Some registries forbid what is not there.
        Err(error) if error.is_forbidden() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let Ok(manifest) = document.manifest() else { return Ok(Vec::new()) };
    let is_one = |layer: &&Descriptor| {
        layer.media_type().to_string() == media_type::SIMPLE_SIGNING
            && usize::try_from(layer.size()).is_ok_and(|size| size <= SIMPLE_SIGNING_LIMIT)
    };
    let mut signatures = Vec::new();
    for layer in manifest.layers().iter().filter(is_one).take(MOST) {
        let annotation = layer.annotations().as_ref().and_then(|all| all.get(SIGNATURE));
        let Some(signature) = annotation else { continue };
        match small_blob(source, layer, SIMPLE_SIGNING_LIMIT) {
            Ok(Some(payload)) => signatures.push(SimpleSigning::new(&payload, signature)),
            Ok(None) => {}
            // As for bundles: what is broken must not hide what is valid.
            Err(OciError::NotFound { .. } | OciError::Digest { .. } | OciError::Size { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(signatures)
}
