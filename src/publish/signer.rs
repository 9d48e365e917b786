//! A key that signs statements about images, in cosign v3's form: a Sigstore bundle, stored as a
//! referrer of what the statement is about (cosign, specs/BUNDLE_SPEC.md).

use std::collections::BTreeMap;

use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::keys::{KeyError, SigningKey};
use crate::model::document::descriptor;
use crate::model::{Digest, Document, json as canonical, media_type, rfc3339};
use crate::oci::{OciError, Sink};
use crate::trust::{Statement, pae, write_bundle};

/// Who signs, and what every statement says of it.
#[derive(Debug)]
pub struct Signer<'a> {
    /// The key.
    pub key: &'a SigningKey,
    /// The repository that statements name, which decides nothing at verification.
    pub name: &'a str,
    /// The time that statements carry, in seconds since 1970: a policy's `maxAge` reads it.
    pub signed_at: u64,
}

/// A statement that is signed and not stored yet.
#[derive(Debug)]
pub(super) struct SignedStatement {
    pub(super) predicate_type: String,
    pub(super) bundle: Vec<u8>,
    pub(super) referrer: Document,
}

impl Signer<'_> {
    /// Signs a statement about `subject`.
    pub(super) fn sign(
        &self,
        subject: &Document,
        predicate_type: &str,
        predicate: &Value,
    ) -> Result<SignedStatement, KeyError> {
        let Self { key, name, signed_at } = *self;
        let payload = Statement::attestation(
            name,
            &subject.digest,
            Some(signed_at),
            predicate_type,
            predicate,
        );
        let signature = key.sign(&pae(media_type::IN_TOTO, &payload))?;
        let bundle = write_bundle(&payload, &signature, &key.hint()?);
        let referrer = referrer(subject, &layer(&bundle), predicate_type, &rfc3339(signed_at));
        Ok(SignedStatement { predicate_type: predicate_type.to_owned(), bundle, referrer })
    }
}

/// Stores all statements about one subject at once, so that a list under a tag is written once.
pub(super) fn store(
    sink: &mut dyn Sink,
    subject: &Digest,
    statements: &[SignedStatement],
) -> Result<(), OciError> {
    let empty = empty();
    for statement in statements {
        let layer = layer(&statement.bundle);
        for (descriptor, bytes) in [(&empty, b"{}".as_slice()), (&layer, &statement.bundle)] {
            if !sink.has_blob(descriptor)? {
                sink.put_blob(descriptor, &mut &*bytes)?;
            }
        }
    }
    let referrers: Vec<Document> =
        statements.iter().map(|statement| statement.referrer.clone()).collect();
    sink.put_referrers(subject, &referrers)
}

fn empty() -> Descriptor {
    descriptor(media_type::EMPTY, Digest::of(b"{}"), 2)
}

fn layer(bundle: &[u8]) -> Descriptor {
    descriptor(media_type::SIGSTORE_BUNDLE, Digest::of(bundle), bundle.len() as u64)
}

/// The manifest that ties a bundle to its subject. Readers of fallback tags see only these
/// annotations.
fn referrer(
    subject: &Document,
    layer: &Descriptor,
    predicate_type: &str,
    created: &str,
) -> Document {
    let annotations = BTreeMap::from([
        ("org.opencontainers.image.created", created),
        ("dev.sigstore.bundle.content", "dsse-envelope"),
        ("dev.sigstore.bundle.predicateType", predicate_type),
    ]);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::MANIFEST,
        "artifactType": media_type::SIGSTORE_BUNDLE,
        "config": empty(),
        "layers": [layer],
        "subject": subject.descriptor(),
        "annotations": annotations,
    });
    Document::new(media_type::MANIFEST, canonical::canonical(&manifest))
}
