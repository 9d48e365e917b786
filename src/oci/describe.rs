//! Describes what an image contains, for people. Nothing here is verified; `trust` does that.

use oci_spec::image::ImageManifest;
use serde::Serialize;

use super::collect::{CollectError, carried_bundle_json, referrer, referrers, signature_document};
use super::{OciError, Source};
use crate::bundle::FileManifest;
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Digest, Document, Platform, Selector, visible};
use crate::trust::{COSIGN_SIGN, SigstoreBundle};

/// An image and its referrers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// Digest of the index, or of a single manifest.
    pub digest: Digest,
    /// Media type of the index or manifest.
    pub media_type: String,
    /// Its platforms, in the order of the index.
    pub platforms: Vec<PlatformDescription>,
    /// Everything whose subject is the index or one of its manifests.
    pub referrers: Vec<ReferrerDescription>,
}

/// One platform of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformDescription {
    /// The platform, if the index names one that plugins run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Total size of its layers, in bytes as transferred.
    pub layer_bytes: u64,
    /// Its `bundle.json`, if it is a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<FileManifest>,
}

/// A manifest that refers to the image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerDescription {
    /// Digest of its manifest.
    pub digest: Digest,
    /// The digest that it refers to.
    pub subject: Digest,
    /// Its effective artifact type.
    pub artifact_type: String,
    /// The predicate type of its statement, if it is a readable Sigstore bundle; a claim, not a
    /// fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
}

impl ReferrerDescription {
    /// Returns whether it claims to be a signature.
    pub fn is_signature(&self) -> bool {
        self.predicate_type.as_deref() == Some(COSIGN_SIGN)
    }

    /// What it claims to be, in words: a signature, an attestation of a type, or its artifact type.
    pub fn kind(&self) -> String {
        match &self.predicate_type {
            Some(_) if self.is_signature() => "signature".to_owned(),
            Some(predicate_type) => format!("attestation {predicate_type}"),
            None => self.artifact_type.clone(),
        }
    }
}

/// Describes an image. Manifests that are listed but not present are described only from the index.
pub fn describe(source: &dyn Source, root: &Document) -> Result<Description, CollectError> {
    let invalid = |error| OciError::Document { origin: source.origin(), source: error };
    let mut platforms = Vec::new();
    if root.is_index() {
        for entry in root.index().map_err(invalid)?.manifests() {
            let Some(digest) = sha256(entry) else { continue };
            let manifest = match source.manifest(&Selector { tag: None, digest: Some(digest) }) {
                Ok(document) => document.manifest().ok(),
                Err(OciError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            platforms.push(describe_platform(platform_of(entry), digest, manifest.as_ref()));
        }
    } else {
        platforms.push(describe_platform(
            None,
            root.digest,
            Some(&root.manifest().map_err(invalid)?),
        ));
    }
    Ok(Description {
        digest: root.digest,
        media_type: root.media_type.clone(),
        platforms,
        referrers: describe_referrers(source, root)?,
    })
}

/// Describes everything whose subject is the image or one of the manifests that it lists.
pub fn describe_referrers(
    source: &dyn Source,
    root: &Document,
) -> Result<Vec<ReferrerDescription>, CollectError> {
    let mut subjects = vec![root.digest];
    if root.is_index() {
        let invalid = |error| OciError::Document { origin: source.origin(), source: error };
        let index = root.index().map_err(invalid)?;
        subjects.extend(index.manifests().iter().filter_map(sha256));
    }
    let mut described = Vec::new();
    for subject in subjects {
        for entry in referrers(source, &subject)? {
            let Some(digest) = sha256(&entry) else { continue };
            let Some(manifest) = referrer(source, &entry, &subject)? else { continue };
            let artifact_type = manifest
                .artifact_type()
                .as_ref()
                .unwrap_or(manifest.config().media_type())
                .to_string();
            let claim = signature_document(source, &manifest)?
                .and_then(|found| SigstoreBundle::claim_of(&found.bytes));
            let predicate_type = claim.map(|claim| visible(&claim.predicate_type).into_owned());
            let artifact_type = visible(&artifact_type).into_owned();
            described.push(ReferrerDescription { digest, subject, artifact_type, predicate_type });
        }
    }
    Ok(described)
}

fn describe_platform(
    listed: Option<Platform>,
    digest: Digest,
    manifest: Option<&ImageManifest>,
) -> PlatformDescription {
    let text = manifest.and_then(carried_bundle_json);
    let bundle = text.and_then(|text| FileManifest::parse(text.as_bytes()).ok());
    let platform = listed.or_else(|| bundle.as_ref().map(|bundle| bundle.platform.clone()));
    PlatformDescription { platform, digest, layer_bytes: manifest.map_or(0, layer_bytes), bundle }
}

/// Adds up the claimed sizes of layers, which may be any numbers.
fn layer_bytes(manifest: &ImageManifest) -> u64 {
    manifest.layers().iter().fold(0, |sum, layer| sum.saturating_add(layer.size()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::descriptor;
    use crate::model::media_type;
    use crate::oci::memory::Memory;

    #[test]
    fn layers_may_claim_any_size() {
        for (sizes, expected) in
            [([1, 2], 3), ([u64::MAX, 1], u64::MAX), ([u64::MAX, u64::MAX], u64::MAX)]
        {
            let layers = sizes.map(|size| descriptor(media_type::LAYER, Digest::of(b""), size));
            let mut image = Memory::default();
            let config = image.add(media_type::CONFIG, "{}");
            let manifest =
                serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
            image.add(media_type::MANIFEST, manifest.to_string());
            let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
                "mediaType": media_type::MANIFEST, "digest": image.0[1].digest, "size": image.0[1].bytes.len(),
                "platform": {"os": "linux", "architecture": "amd64"},
            }]});
            image.add(media_type::INDEX, index.to_string());
            for root in &image.0[1..] {
                let described = describe(&image, root).unwrap();
                let found: Vec<_> =
                    described.platforms.iter().map(|platform| platform.layer_bytes).collect();
                assert_eq!(found, [expected], "{sizes:?}");
            }
        }
    }
}
