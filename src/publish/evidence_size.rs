//! Checks that everything signed about an image still fits into evidence. A node reads at most
//! [`Evidence::LIMIT`] bytes; longer evidence is refused when it is made, not on the node.
//!
//! Everything that a policy can require at once counts: the documents of one platform, every
//! signature, every attestation, and of the SBOMs, which say the same in several formats, only the
//! longest.

use std::collections::BTreeMap;
use std::io::Read;

use oci_spec::image::Descriptor;

use super::attachment::Attachment;
use super::build::Built;
use crate::model::document::sha256;
use crate::model::{
    Classed, Digest, Document, ErrorClass, Platform, Selector, media_type, predicate_type,
};
use crate::oci::{CollectError, OciError, Platforms, Source, collect};
use crate::trust::{COSIGN_SIGN, Evidence, EvidenceBuilder, Needs, Statement, write_bundle};

/// More than fits into evidence.
#[derive(Debug, thiserror::Error)]
#[error(
    "{subject} would have {found} bytes of evidence, the limit is {limit}: {parts}",
    limit = Evidence::LIMIT
)]
pub struct EvidenceSizeError {
    /// The platform's manifest.
    pub subject: Digest,
    /// The length of the evidence, in bytes.
    pub found: usize,
    /// Its parts, with the length of each.
    pub parts: String,
}

impl Classed for EvidenceSizeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Request
    }
}

/// The lengths of statements about a platform, each with its predicate type.
pub(super) type Lengths<'a> = dyn Iterator<Item = (&'a str, usize)> + 'a;

/// Formats that say the same.
const SBOMS: [&str; 3] = [predicate_type::CYCLONEDX, predicate_type::SPDX, predicate_type::SPDX3];

/// The length of a Sigstore bundle as a text in evidence, with what surrounds it.
pub(super) fn length_in_evidence(bundle: &[u8]) -> usize {
    const AROUND: usize = 40 + media_type::SIGSTORE_BUNDLE.len();
    let escaped = bundle.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    bundle.len() + escaped + AROUND
}

/// The length of the documents of one platform in evidence, without a statement; of all that there
/// is, if `root` is not an index.
pub(super) fn documents_length(
    source: &dyn Source,
    root: &Document,
    platform: Option<&Platform>,
) -> Result<usize, CollectError> {
    let needs = Needs { predicate_types: [].into(), required: [].into() };
    let evidence = collect(&Bare(source), root, Platforms::requested(platform), &needs)?;
    Ok(evidence.to_bytes().len())
}

/// Refuses what does not fit.
pub(super) fn check_evidence_size(
    subject: Digest,
    documents: usize,
    statements: &mut Lengths<'_>,
) -> Result<(), EvidenceSizeError> {
    let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, length) in statements {
        *lengths.entry(kind).or_default() += length;
    }
    let longest = SBOMS.into_iter().filter(|kind| lengths.contains_key(kind));
    let longest = longest.max_by_key(|kind| lengths.get(kind).copied());
    lengths.retain(|kind, _| !SBOMS.contains(kind) || Some(*kind) == longest);
    let found = lengths.values().fold(documents, |sum, length| sum.saturating_add(*length));
    if found <= Evidence::LIMIT {
        return Ok(());
    }
    let of_kinds = lengths.iter().map(|(kind, length)| format!("{kind} {length}"));
    let parts: Vec<_> = [format!("documents {documents}")].into_iter().chain(of_kinds).collect();
    Err(EvidenceSizeError { subject, found, parts: parts.join(", ") })
}

/// Refuses documents of a build that would not fit once they are signed, by one key and under the
/// longest name of a repository.
pub fn check_attachments(
    built: &Built,
    attachments: &[Attachment],
) -> Result<(), EvidenceSizeError> {
    for (image, files) in built.images.iter().zip(&built.files) {
        let digest = image.manifest.digest;
        let mut builder = EvidenceBuilder::default();
        let files = Document::new(media_type::BUNDLE, files.to_bytes());
        for document in [&built.index, &image.manifest, &image.config, &files] {
            builder.document(document.clone());
        }
        let documents = match builder.finish(built.index.digest) {
            Ok(evidence) => evidence.to_bytes().len(),
            // The documents alone are too long.
            Err(_) => Evidence::LIMIT + 1,
        };
        let signature =
            signed_length(&Statement::image_signature(&"x".repeat(LONGEST_NAME), &digest, Some(0)));
        let of_image = attachments.iter().filter(|it| sha256(&it.subject) == Some(digest));
        let of_image = of_image.map(|it| {
            let statement = it.bytes.len() + AROUND_PREDICATE + LONGEST_NAME;
            (it.predicate_type, signed_length(&vec![b'x'; statement]))
        });
        let signatures = [(COSIGN_SIGN, signature); 2];
        check_evidence_size(digest, documents, &mut signatures.into_iter().chain(of_image))?;
    }
    Ok(())
}

/// The longest name of a repository (distribution-spec, "Pulling manifests"), in bytes.
const LONGEST_NAME: usize = 255;
/// The length of a statement without its predicate, in bytes.
const AROUND_PREDICATE: usize = 320;

/// The length of a statement in evidence, once a P-256 key has signed it.
fn signed_length(statement: &[u8]) -> usize {
    let longest_signature = [0; 72];
    let hint = "x".repeat(44);
    length_in_evidence(&write_bundle(statement, &longest_signature, &hint))
}

/// An image without what is attached to it.
struct Bare<'a>(&'a dyn Source);

impl Source for Bare<'_> {
    fn origin(&self) -> String {
        self.0.origin()
    }

    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        self.0.manifest(selector)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        self.0.blob(descriptor)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>, OciError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_say_the_same_are_counted_once() {
        let subject = Digest::of(b"manifest");
        let half = Evidence::LIMIT / 2;
        let check = |documents: usize, statements: &[(&'static str, usize)]| {
            check_evidence_size(subject, documents, &mut statements.iter().copied())
                .map_err(|error| error.to_string())
        };
        let [cyclonedx, spdx, provenance] =
            [predicate_type::CYCLONEDX, predicate_type::SPDX, predicate_type::PROVENANCE];
        assert_eq!(check(half, &[(cyclonedx, half), (spdx, half)]), Ok(()));
        let expected = format!(
            "{subject} would have {} bytes of evidence, the limit is 1048576: documents {half}, \
             {cyclonedx} {half}, {provenance} 1",
            2 * half + 1
        );
        assert_eq!(check(half, &[(cyclonedx, half), (spdx, 9), (provenance, 1)]), Err(expected));
        assert_eq!(check(half, &[(cyclonedx, half - 1), (spdx, 9), (provenance, 1)]), Ok(()));
        // Two of one type are both collected.
        let expected = format!(
            "{subject} would have {} bytes of evidence, the limit is 1048576: documents 0, {spdx} {}",
            2 * half + 1,
            2 * half + 1
        );
        assert_eq!(check(0, &[(spdx, half), (spdx, half), (spdx, 1)]), Err(expected));
        assert_eq!(check(0, &[(spdx, half), (spdx, half)]), Ok(()));
    }
}
