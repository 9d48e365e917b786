//! The files of an image, as its manifest proves them.

use super::collect::{carried_bundle_json, small_blob};
use super::{OciError, Source};
use crate::bundle::FileManifest;
use crate::model::json::Limits;
use crate::model::{Digest, Document, DocumentError, image_fields, json, media_type};

/// Returns the `bundle.json` that a platform's manifest carries; `None` if it is not a bundle, or
/// carries another one than its configuration names: a node would refuse it.
pub fn files_of(
    source: &dyn Source,
    document: &Document,
) -> Result<Option<FileManifest>, OciError> {
    let invalid =
        |error: DocumentError| OciError::Document { origin: source.origin(), source: error };
    let manifest = document.manifest().map_err(invalid)?;
    let Some(text) = carried_bundle_json(&manifest) else { return Ok(None) };
    let config = small_blob(source, manifest.config(), media_type::DOCUMENT_LIMIT)?;
    let what = format!("config {}", manifest.config().digest());
    let limits = Limits { bytes: media_type::DOCUMENT_LIMIT, values: 8 * 1024 };
    let config: oci_spec::image::ImageConfiguration =
        json::parse_as(&what, &config.unwrap_or_default(), limits, image_fields::CONFIG)
            .map_err(|error| invalid(error.into()))?;
    let labels = config.config().as_ref().and_then(|config| config.labels().as_ref());
    let label = labels.and_then(|labels| labels.get(media_type::BUNDLE_LABEL));
    let is_named = label.is_some_and(|label| *label == Digest::of(text.as_bytes()).to_string());
    Ok(FileManifest::parse(text.as_bytes()).ok().filter(|_| is_named))
}
