//! Signing an image the way cosign v3 does: a Sigstore bundle for the index and for every
//! platform's manifest, stored as their referrers (cosign, specs/BUNDLE_SPEC.md).

use std::collections::BTreeMap;

use oci_spec::image::Descriptor;
use serde_json::json;

use super::keys::{KeyError, SigningKey};
use crate::model::document::{descriptor, sha256};
use crate::model::{
    Digest, Document, DocumentError, Selector, json as canonical, media_type, rfc3339,
};
use crate::oci::{OciError, Sink, Source};
use crate::trust::{COSIGN_SIGN, Statement, pae, write_bundle};

/// One signature that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// What was signed: the index or a platform's manifest.
    pub subject: Digest,
    /// The digest of the referrer that holds the signature.
    pub referrer: Digest,
}

/// Why an image could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The image could not be read or the signature not stored.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// What should be signed is neither an index nor a manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Signs `root` and every manifest that it lists.
///
/// `name` is the repository that the statement names, which decides nothing at verification.
/// `signed_at` is the time (seconds since 1970) that the statement carries, where a policy's
/// `maxAge` reads it, and the referrer beside it.
///
/// Signing again adds a signature, and the most recent one by an allowed key counts.
pub fn sign(
    key: &SigningKey,
    source: &dyn Source,
    sink: &mut dyn Sink,
    root: &Document,
    name: &str,
    signed_at: u64,
) -> Result<Vec<Signed>, SignError> {
    let mut subjects = Vec::new();
    if root.is_index() {
        for entry in root.index()?.manifests() {
            subjects.push(source.manifest(&Selector { tag: None, digest: sha256(entry) })?);
        }
    }
    subjects.push(root.clone());

    let empty = descriptor(media_type::EMPTY, Digest::of(b"{}"), 2);
    let mut signed = Vec::new();
    for subject in subjects {
        let payload = Statement::image_signature(name, &subject.digest, Some(signed_at));
        let signature = key.sign(&pae(media_type::IN_TOTO, &payload))?;
        let bundle = write_bundle(&payload, &signature, &key.hint()?);
        let layer =
            descriptor(media_type::SIGSTORE_BUNDLE, Digest::of(&bundle), bundle.len() as u64);
        let referrer = referrer(&subject, &empty, &layer, &rfc3339(signed_at));
        for (descriptor, bytes) in [(&empty, b"{}".as_slice()), (&layer, &bundle)] {
            if !sink.has_blob(descriptor)? {
                sink.put_blob(descriptor, &mut &*bytes)?;
            }
        }
        sink.put_referrers(&subject.digest, std::slice::from_ref(&referrer))?;
        signed.push(Signed { subject: subject.digest, referrer: referrer.digest });
    }
    Ok(signed)
}

/// The manifest that ties a bundle to its subject. Readers of fallback tags see only these
/// annotations.
fn referrer(
    subject: &Document,
    config: &Descriptor,
    layer: &Descriptor,
    created: &str,
) -> Document {
    let annotations = BTreeMap::from([
        ("org.opencontainers.image.created", created),
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", COSIGN_SIGN),
    ]);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::MANIFEST,
        "artifactType": media_type::SIGSTORE_BUNDLE,
        "config": config,
        "layers": [layer],
        "subject": subject.descriptor(),
        "annotations": annotations,
    });
    Document::new(media_type::MANIFEST, canonical::canonical(&manifest))
}
