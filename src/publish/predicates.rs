//! Reads the unsigned predicates that are stored beside an image and compares them with it, so that
//! they can be signed.

use serde_json::Value;

use super::evidence_size::length_in_evidence;
use super::signer::Signer;
use crate::attest::{Described, DescribedError, PredicateKind, SELF_ATTESTED, signed_by};
use crate::bundle::FileManifest;
use crate::model::json::{Limits, Outline};
use crate::model::{Digest, Document, JsonError, json, media_type};
use crate::oci::{Attached, CollectError, Source, visit_attached};
use crate::trust::SigstoreBundle;

/// The types of documents that a build attaches.
const TYPES: [&str; 3] =
    ["application/vnd.cyclonedx+json", "application/spdx+json", media_type::IN_TOTO];

/// The most documents that are attached to one image: three SBOMs and provenance, by some versions
/// of this program.
const MAX_DOCUMENTS: usize = 16;

/// The predicates to sign.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Predicate {
    pub(super) kind: PredicateKind,
    pub(super) value: Value,
}

/// Why a document beside an image is not signed.
#[derive(Debug, thiserror::Error)]
pub enum PredicateError {
    /// The documents could not be read.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// More than a build attaches.
    #[error("{subject} has {found} unsigned documents, the limit is {MAX_DOCUMENTS}")]
    TooMany {
        /// The image.
        subject: Digest,
        /// Their number.
        found: usize,
    },
    /// Broken, or too long.
    #[error(
        "the document {referrer} ({artifact_type}) beside {subject} has more than {limit} bytes, \
         or is altered", limit = Described::LIMIT
    )]
    Unreadable {
        /// The image.
        subject: Digest,
        /// The referrer that holds the document.
        referrer: Digest,
        /// Its type.
        artifact_type: String,
    },
    /// Not about this image.
    #[error("the document {referrer} ({artifact_type}) beside {subject} is not signed")]
    Described {
        /// The image.
        subject: Digest,
        /// The referrer that holds the document.
        referrer: Digest,
        /// Its type.
        artifact_type: String,
        /// Why.
        source: Box<DescribedError>,
    },
}

/// The predicates beside `subject`, each compared with it and with the files of its platforms.
pub(super) fn predicates(
    source: &dyn Source,
    subject: &Document,
    images: &[FileManifest],
) -> Result<Vec<Predicate>, PredicateError> {
    let mut found: Vec<Result<Predicate, PredicateError>> = Vec::new();
    let mut count = 0;
    let digest = subject.digest;
    visit_attached(source, &digest, &TYPES, Described::LIMIT, &mut |attached| {
        count += 1;
        if count <= MAX_DOCUMENTS {
            found.push(predicate(attached, digest, images));
        }
    })?;
    if count > MAX_DOCUMENTS {
        return Err(PredicateError::TooMany { subject: digest, found: count });
    }
    found.into_iter().collect()
}

fn predicate(
    attached: Attached,
    subject: Digest,
    images: &[FileManifest],
) -> Result<Predicate, PredicateError> {
    let Attached { referrer, artifact_type, document } = attached;
    let Some(bytes) = document else {
        return Err(PredicateError::Unreadable { subject, referrer, artifact_type });
    };
    checked(&bytes, subject, images).map_err(|source| PredicateError::Described {
        subject,
        referrer,
        artifact_type,
        source: Box::new(source),
    })
}

fn checked(
    bytes: &[u8],
    subject: Digest,
    images: &[FileManifest],
) -> Result<Predicate, DescribedError> {
    let described = Described::parse(bytes)?;
    described.check(subject, images)?;
    let document = tree(bytes)?;
    let kind = described.kind;
    let value = match kind {
        // Who has the key says so.
        PredicateKind::Provenance => signed_by(of_statement(document), SELF_ATTESTED),
        PredicateKind::CycloneDx | PredicateKind::Spdx23 | PredicateKind::Spdx3 => document,
    };
    Ok(Predicate { kind, value })
}

/// A whole document.
pub(super) fn tree(bytes: &[u8]) -> Result<Value, JsonError> {
    // As many values as the longest document can have: it is of this machine, or was asked for.
    let limits = Limits { bytes: Described::LIMIT, values: Described::LIMIT / 8 };
    json::parse_as("the document", bytes, limits, Outline::Any)
}

/// The predicate of a statement.
pub(super) fn of_statement(mut statement: Value) -> Value {
    statement.get_mut("predicate").map(Value::take).unwrap_or_default()
}

/// The signed statements beside an image.
#[derive(Debug, Default)]
pub(super) struct Statements {
    /// The predicate type of each, by any signer, and its length in evidence.
    pub(super) lengths: Vec<(String, usize)>,
    /// The predicates that the signer's own key signed.
    signed: Vec<(String, Value)>,
}

impl Statements {
    /// Reads those about `subject`.
    pub(super) fn read(
        source: &dyn Source,
        signer: &Signer<'_>,
        subject: &Digest,
    ) -> Result<Self, CollectError> {
        let mut found = Self::default();
        let key = signer.key.verifier();
        let limit = media_type::SIGSTORE_BUNDLE_LIMIT;
        visit_attached(source, subject, &[media_type::SIGSTORE_BUNDLE], limit, &mut |attached| {
            let Some(bundle) = attached.document else { return };
            let Some(claim) = SigstoreBundle::claim_of(&bundle) else { return };
            let kind = claim.predicate_type;
            found.lengths.push((kind.clone(), length_in_evidence(&bundle)));
            if !key.as_ref().is_some_and(|key| SigstoreBundle::is_signed_by(&bundle, key)) {
                return;
            }
            let statement = SigstoreBundle::statement_about(&bundle, subject);
            if let Some(statement) = statement.and_then(|payload| tree(&payload).ok()) {
                found.signed.push((kind, of_statement(statement)));
            }
        })?;
        Ok(found)
    }

    /// Whether the signer's key has signed this predicate.
    pub(super) fn has(&self, predicate: &Predicate) -> bool {
        let kind = predicate.kind.predicate_type();
        self.signed.iter().any(|(of, value)| of == kind && *value == predicate.value)
    }
}
