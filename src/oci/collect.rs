//! Evidence, collected from wherever an image lies.

use std::io::Read;

use oci_spec::image::{Descriptor, ImageManifest};

use super::{OciError, Source};
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Digest, Document, Platform, media_type};
use crate::trust::{Evidence, EvidenceBuilder, EvidenceError, Needs, SignatureDocument, SigstoreBundle};

/// The most referrers of one subject that are looked at.
const MAX_REFERRERS: usize = 64;

/// Which platforms' documents are collected.
#[derive(Debug, Clone, Copy)]
pub enum Platforms<'a> {
    /// All that the index lists.
    All,
    /// One.
    One(&'a Platform),
}

/// Which signature documents are collected.
#[derive(Debug, Clone, Copy)]
pub enum Keep<'a> {
    /// All, so that a refusal can say what was there instead.
    All,
    /// Those that a policy asks for.
    Needed(&'a Needs),
}

/// Why evidence could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The place could not be read.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// What was collected is not evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

/// Collects the documents of an image and the signatures beside it.
///
/// Documents that cannot be parsed or are missing are left to [`crate::trust::verify`], which says what is wrong with
/// the chain; an error here means that the place could not be read.
pub fn collect(
    source: &dyn Source,
    root: &Document,
    platforms: Platforms<'_>,
    keep: Keep<'_>,
) -> Result<Evidence, CollectError> {
    let mut builder = EvidenceBuilder::default();
    builder.document(root.clone());
    signatures(source, &root.digest, keep, &mut builder)?;
    if root.is_index() {
        let index = root.index().ok();
        for entry in index.iter().flat_map(|index| index.manifests()) {
            let wanted = match platforms {
                Platforms::All => entry.platform().is_some(),
                Platforms::One(platform) => platform_of(entry).as_ref() == Some(platform),
            };
            let Some(digest) = sha256(entry).filter(|_| wanted) else { continue };
            let selector = crate::model::Selector { tag: None, digest: Some(digest) };
            let document = match source.manifest(&selector) {
                Ok(document) => document,
                Err(OciError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            documents_below(source, &document, &mut builder)?;
            builder.document(document);
            signatures(source, &digest, keep, &mut builder)?;
        }
    } else {
        documents_below(source, root, &mut builder)?;
    }
    Ok(builder.finish(root.digest)?)
}

/// The configuration of a platform's manifest, and `bundle.json` as the manifest carries it.
fn documents_below(source: &dyn Source, document: &Document, builder: &mut EvidenceBuilder) -> Result<(), OciError> {
    let Ok(manifest) = document.manifest() else { return Ok(()) };
    let config = manifest.config();
    match small_blob(source, config, media_type::DOCUMENT_LIMIT) {
        Ok(Some(bytes)) => builder.document(Document::new(config.media_type().to_string(), bytes)),
        Ok(None) | Err(OciError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    if let Some(text) = carried_bundle_json(&manifest) {
        builder.document(Document::new(media_type::BUNDLE, text.clone().into_bytes()));
    }
    Ok(())
}

/// The text of `bundle.json` in the tool layer's annotation: without it, every look at an image would fetch the layer.
fn carried_bundle_json(manifest: &ImageManifest) -> Option<&String> {
    manifest.layers().get(1)?.annotations().as_ref()?.get(media_type::FILES_ANNOTATION)
}

fn signatures(
    source: &dyn Source,
    subject: &Digest,
    keep: Keep<'_>,
    builder: &mut EvidenceBuilder,
) -> Result<(), OciError> {
    for entry in source.referrers(subject)?.iter().take(MAX_REFERRERS) {
        let Some(manifest) = referrer(source, entry, subject)? else { continue };
        // What the list says of an entry is not believed: only its manifest says what it holds.
        let [layer] = manifest.layers().as_slice() else { continue };
        let media_type = layer.media_type().to_string();
        if !media_type.starts_with(media_type::SIGSTORE_BUNDLE_PREFIX) {
            continue;
        }
        let bytes = match small_blob(source, layer, media_type::SIGSTORE_BUNDLE_LIMIT) {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(OciError::NotFound { .. }) => continue,
            // Somebody's broken blob beside the image is no signature; it must not hide the good one.
            Err(OciError::Digest { .. } | OciError::Size { .. }) => continue,
            Err(error) => return Err(error),
        };
        let wanted = match keep {
            Keep::All => true,
            Keep::Needed(needs) => SigstoreBundle::claim_of(&bytes)
                .is_some_and(|claim| needs.predicate_types.contains(&claim.predicate_type)),
        };
        if wanted {
            builder.signature(SignatureDocument { media_type, bytes });
        }
    }
    Ok(())
}

/// The manifest of a referrer, where it is one and says the same subject as the list.
pub(super) fn referrer(
    source: &dyn Source,
    entry: &Descriptor,
    subject: &Digest,
) -> Result<Option<ImageManifest>, OciError> {
    let Some(digest) = sha256(entry).filter(|_| entry.media_type().to_string() == media_type::MANIFEST) else {
        return Ok(None);
    };
    match source.manifest(&crate::model::Selector { tag: None, digest: Some(digest) }) {
        Ok(document) => {
            let manifest = document.manifest().ok();
            Ok(manifest.filter(|manifest| manifest.subject().as_ref().and_then(sha256) == Some(*subject)))
        }
        Err(OciError::NotFound { .. } | OciError::Digest { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A blob of at most `limit` bytes, or nothing where its descriptor promises more.
pub(super) fn small_blob(
    source: &dyn Source,
    descriptor: &Descriptor,
    limit: usize,
) -> Result<Option<Vec<u8>>, OciError> {
    if descriptor.size() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = source.blob(descriptor)?.read_to_end(&mut bytes);
    read.map_err(|error| OciError::from_io(error, &source.origin(), &format!("read blob {}", descriptor.digest())))?;
    Ok(Some(bytes))
}
