//! The SBOM or provenance of one image, to be shown: from a signed statement if there is one, by
//! any signer, or else as a build stored it. No signature is verified.

use serde_json::Value;

use super::predicates::{of_statement, tree};
use super::sbom::{SBOM_LIMIT, SbomFormat};
use crate::model::{Digest, json, media_type, predicate_type};
use crate::oci::{CollectError, Source, visit_attached};
use crate::trust::SigstoreBundle;

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// A software bill of materials.
    Sbom(SbomFormat),
    /// SLSA provenance.
    Provenance,
}

/// A document that is attached to an image.
#[derive(Debug)]
pub struct AttachedDocument {
    /// The document, of a statement its predicate.
    pub bytes: Vec<u8>,
    /// Whether it is in a signed statement. The signature was not verified.
    pub is_signed: bool,
    /// How many such documents there are; this is the last.
    pub count: usize,
}

impl DocumentKind {
    fn predicate_type(self) -> &'static str {
        match self {
            Self::Sbom(format) => format.predicate_type(),
            Self::Provenance => predicate_type::PROVENANCE,
        }
    }

    /// The document in the predicate of a statement, if it is of this kind.
    fn of_statement(self, payload: &[u8]) -> Option<Vec<u8>> {
        let statement = tree(payload).ok()?;
        let kind = statement.get("predicateType").and_then(Value::as_str);
        if kind != Some(self.predicate_type()) {
            return None;
        }
        let bytes = json::canonical(&of_statement(statement));
        match self {
            Self::Sbom(format) => (SbomFormat::of(&bytes) == Some(format)).then_some(bytes),
            Self::Provenance => Some(bytes),
        }
    }

    fn of_unsigned(self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Sbom(format) => (SbomFormat::of(&bytes) == Some(format)).then_some(bytes),
            Self::Provenance => self.of_statement(&bytes),
        }
    }

    /// Finds the document of this kind that is attached to `subject`.
    pub fn find(
        self,
        source: &dyn Source,
        subject: &Digest,
    ) -> Result<Option<AttachedDocument>, CollectError> {
        let signed = (media_type::SIGSTORE_BUNDLE, media_type::SIGSTORE_BUNDLE_LIMIT);
        let unsigned = match self {
            Self::Sbom(format) => (format.media_type(), SBOM_LIMIT),
            Self::Provenance => (media_type::IN_TOTO, SBOM_LIMIT),
        };
        for ((artifact_type, limit), is_signed) in [(signed, true), (unsigned, false)] {
            let mut found: Option<AttachedDocument> = None;
            visit_attached(source, subject, &[artifact_type], limit, &mut |attached| {
                let document = attached.document.and_then(|bytes| match is_signed {
                    true => SigstoreBundle::statement_about(&bytes, subject)
                        .and_then(|payload| self.of_statement(&payload)),
                    false => self.of_unsigned(bytes),
                });
                if let Some(bytes) = document {
                    let count = found.as_ref().map_or(0, |found| found.count) + 1;
                    found = Some(AttachedDocument { bytes, is_signed, count });
                }
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
