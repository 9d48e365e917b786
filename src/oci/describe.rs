//! What an image holds, for people: nothing here is verified.

use oci_spec::image::ImageManifest;
use serde::Serialize;

use super::Source;
use super::collect::{CollectError, Platforms, collect, referrer};
use crate::bundle::FileManifest;
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Digest, Document, Platform, media_type, visible};
use crate::trust::{COSIGN_SIGN, Needs, SigstoreBundle};

/// An image and what refers to it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    /// The digest of the index, or of the lone manifest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its platforms, in the order of the index.
    pub platforms: Vec<PlatformDescription>,
    /// Everything that has the index or one of the manifests as its subject.
    pub referrers: Vec<ReferrerDescription>,
}

/// One platform of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformDescription {
    /// The platform, where the index names one that plugins run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The bytes of its layers as they are transferred.
    pub layer_bytes: u64,
    /// What its `bundle.json` says, where it is a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<FileManifest>,
}

/// One referrer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferrerDescription {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What it refers to.
    pub subject: Digest,
    /// Its effective artifact type.
    pub artifact_type: String,
    /// What it claims, where it is a Sigstore bundle that can be read: the predicate type of its statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
}

impl ReferrerDescription {
    /// Whether it claims to be a signature.
    pub fn is_signature(&self) -> bool {
        self.predicate_type.as_deref() == Some(COSIGN_SIGN)
    }
}

/// Describes an image.
pub fn describe(source: &dyn Source, root: &Document) -> Result<Description, CollectError> {
    let evidence = collect(source, root, Platforms::All, &Needs { predicate_types: [COSIGN_SIGN.to_owned()].into() })?;
    let invalid = |error| super::OciError::Document { origin: source.origin(), source: error };
    let mut platforms = Vec::new();
    let mut subjects = vec![root.digest];
    if root.is_index() {
        for entry in root.index().map_err(invalid)?.manifests() {
            let Some(digest) = sha256(entry) else { continue };
            subjects.push(digest);
            let manifest = evidence.document(&digest).and_then(|document| document.manifest().ok());
            let layer_bytes = manifest.as_ref().map_or(0, layer_bytes);
            platforms.push((platform_of(entry), digest, layer_bytes, manifest));
        }
    } else {
        let manifest = root.manifest().map_err(invalid)?;
        platforms.push((None, root.digest, layer_bytes(&manifest), Some(manifest)));
    }
    let platforms = platforms.into_iter().map(|(platform, digest, layer_bytes, manifest)| {
        let text = manifest.as_ref().and_then(|manifest| {
            manifest.layers().get(1)?.annotations().as_ref()?.get(media_type::FILES_ANNOTATION).cloned()
        });
        let bundle = text.and_then(|text| FileManifest::parse(text.as_bytes()).ok());
        let platform = platform.or_else(|| bundle.as_ref().map(|bundle| bundle.platform.clone()));
        PlatformDescription { platform, digest, layer_bytes, bundle }
    });
    let platforms = platforms.collect();

    let mut referrers = Vec::new();
    for subject in subjects {
        for entry in source.referrers(&subject)? {
            let Some(digest) = sha256(&entry) else { continue };
            let Some(manifest) = referrer(source, &entry, &subject)? else { continue };
            let artifact_type = manifest.artifact_type().as_ref().unwrap_or(manifest.config().media_type()).to_string();
            let predicate_type = match manifest.layers().as_slice() {
                [layer] if layer.media_type().to_string().starts_with(media_type::SIGSTORE_BUNDLE_PREFIX) => {
                    super::collect::small_blob(source, layer, media_type::SIGSTORE_BUNDLE_LIMIT)?
                        .and_then(|bytes| SigstoreBundle::claim_of(&bytes))
                        .map(|claim| visible(&claim.predicate_type).into_owned())
                }
                _ => None,
            };
            let artifact_type = visible(&artifact_type).into_owned();
            referrers.push(ReferrerDescription { digest, subject, artifact_type, predicate_type });
        }
    }
    Ok(Description { digest: root.digest, media_type: root.media_type.clone(), platforms, referrers })
}

/// The sizes that a manifest claims for its layers may be any numbers.
fn layer_bytes(manifest: &ImageManifest) -> u64 {
    manifest.layers().iter().fold(0, |sum, layer| sum.saturating_add(layer.size()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::model::document::descriptor;
    use crate::oci::memory::Memory;

    #[test]
    fn layers_may_claim_any_size() {
        for (sizes, expected) in [([1, 2], 3), ([u64::MAX, 1], u64::MAX), ([u64::MAX, u64::MAX], u64::MAX)] {
            let layers = sizes.map(|size| descriptor(media_type::LAYER, Digest::of(b""), size));
            let mut image = Memory::default();
            let config = image.add(media_type::CONFIG, "{}");
            let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
            image.add(media_type::MANIFEST, manifest.to_string());
            let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
                "mediaType": media_type::MANIFEST, "digest": image.0[1].digest, "size": image.0[1].bytes.len(),
                "platform": {"os": "linux", "architecture": "amd64"},
            }]});
            image.add(media_type::INDEX, index.to_string());
            for root in &image.0[1..] {
                let described = describe(&image, root).unwrap();
                let found: Vec<_> = described.platforms.iter().map(|platform| platform.layer_bytes).collect();
                assert_eq!(found, [expected], "{sizes:?}");
            }
        }
    }
}
