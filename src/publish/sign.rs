//! Signing an image: a signature over the index and every platform's manifest, and on request a
//! signed statement of each predicate that is stored beside them.

use serde_json::{Value, json};

use super::evidence_size::{
    EvidenceSizeError, check_evidence_size, documents_length, length_in_evidence,
};
use super::keys::KeyError;
use super::predicates::{PredicateError, Statements, predicates};
use super::signer::{SignedStatement, Signer, store};
use crate::bundle::FileManifest;
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Classed, Digest, Document, DocumentError, ErrorClass, Selector};
use crate::oci::{CollectError, OciError, Sink, Source, files_of};
use crate::trust::COSIGN_SIGN;

/// One statement that was signed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Signed {
    /// What was signed: the index or a platform's manifest.
    pub subject: Digest,
    /// The digest of the referrer that holds the signature.
    pub referrer: Digest,
    /// The predicate type of an attestation; none for the signature of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
}

/// The outcome of signing an image.
#[derive(Debug)]
pub struct SignOutcome {
    /// The new signatures and attestations.
    pub signed: Vec<Signed>,
    /// The number of predicates that the key had already signed.
    pub known: usize,
}

/// Why an image could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The image could not be read or the signature not stored.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The referrers of the image could not be read.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// What should be signed is neither an index nor a manifest.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The key does not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A document beside the image that is not about it.
    #[error(transparent)]
    Predicate(#[from] PredicateError),
    /// There is nothing to attest.
    #[error("no SBOM and no provenance is stored beside {0}")]
    NothingAttached(Digest),
    /// A platform whose files are not known.
    #[error("manifest {0} is not a bundle, so its documents cannot be compared with its files")]
    NotABundle(Digest),
    /// More than a node reads.
    #[error(transparent)]
    Size(#[from] EvidenceSizeError),
}

impl Classed for SignError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Oci(error) | Self::Collect(CollectError::Oci(error)) => error.class(),
            Self::Document(_) | Self::NothingAttached(_) | Self::NotABundle(_) | Self::Size(_) => {
                ErrorClass::Request
            }
            Self::Predicate(PredicateError::Collect(CollectError::Oci(error))) => error.class(),
            Self::Predicate(PredicateError::Collect(_)) => ErrorClass::CouldNot,
            Self::Predicate(_) => ErrorClass::Request,
            Self::Collect(_) | Self::Key(_) => ErrorClass::CouldNot,
        }
    }
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The image.
    Image,
    /// The image, and the predicates that are stored beside it.
    WithPredicates,
}

/// Signs `root` and every manifest that it lists.
///
/// Signing again adds a signature, and the most recent one by an allowed key counts. A predicate
/// that the key has signed already is not signed again. Nothing is stored before everything is
/// signed.
pub fn sign(
    signer: &Signer<'_>,
    source: &dyn Source,
    sink: &mut dyn Sink,
    root: &Document,
    scope: Scope,
) -> Result<SignOutcome, SignError> {
    let mut made = Vec::new();
    for subject in subjects(source, root)? {
        let statements = vec![signer.sign(&subject, COSIGN_SIGN, &json!({}))?];
        made.push(Made { subject, statements, there: Statements::default() });
    }
    let mut known = 0;
    if scope == Scope::WithPredicates {
        let files = files(source, root)?;
        for made in &mut made {
            known += made.sign_predicates(signer, source, root, &files)?;
        }
        if known == 0 && made.iter().all(|made| made.statements.len() == 1) {
            return Err(SignError::NothingAttached(root.digest));
        }
        check_sizes(source, root, &made)?;
    }
    let mut signed = Vec::new();
    for Made { subject, statements, .. } in made {
        store(sink, &subject.digest, &statements)?;
        signed.extend(statements.into_iter().map(|statement| Signed {
            subject: subject.digest,
            referrer: statement.referrer.digest,
            predicate_type: Some(statement.predicate_type).filter(|it| it != COSIGN_SIGN),
        }));
    }
    Ok(SignOutcome { signed, known })
}

/// Signs one predicate about `root`, which may be an index or a platform's manifest.
pub fn attest(
    signer: &Signer<'_>,
    source: &dyn Source,
    sink: &mut dyn Sink,
    root: &Document,
    predicate_type: &str,
    predicate: &Value,
) -> Result<Signed, SignError> {
    let statement = signer.sign(root, predicate_type, predicate)?;
    let mut made = Vec::new();
    for subject in subjects(source, root)? {
        let there = Statements::read(source, signer, &subject.digest)?;
        made.push(Made { subject, statements: Vec::new(), there });
    }
    let referrer = statement.referrer.digest;
    if let Some(made) = made.last_mut() {
        made.statements.push(statement);
    }
    check_sizes(source, root, &made)?;
    for Made { subject, statements, .. } in made.iter().filter(|made| !made.statements.is_empty()) {
        store(sink, &subject.digest, statements)?;
    }
    Ok(Signed { subject: root.digest, referrer, predicate_type: Some(predicate_type.to_owned()) })
}

/// What was signed about an index or a manifest, and what is there already.
struct Made {
    subject: Document,
    statements: Vec<SignedStatement>,
    there: Statements,
}

impl Made {
    /// Signs what is stored beside the subject; returns how many predicates were signed before.
    fn sign_predicates(
        &mut self,
        signer: &Signer<'_>,
        source: &dyn Source,
        root: &Document,
        files: &[(Digest, FileManifest)],
    ) -> Result<usize, SignError> {
        let subject = self.subject.digest;
        // The index has the files of all platforms.
        let of_subject =
            files.iter().filter(|(digest, _)| *digest == subject || subject == root.digest);
        let images: Vec<FileManifest> = of_subject.map(|(_, files)| files.clone()).collect();
        let predicates = predicates(source, &self.subject, &images)?;
        self.there = Statements::read(source, signer, &subject)?;
        let mut known = 0;
        for predicate in predicates {
            if self.there.has(&predicate) {
                known += 1;
                continue;
            }
            let kind = predicate.kind.predicate_type();
            self.statements.push(signer.sign(&self.subject, kind, &predicate.value)?);
        }
        Ok(known)
    }

    fn lengths(&self) -> impl Iterator<Item = (&str, usize)> {
        let there = self.there.lengths.iter().map(|(kind, length)| (kind.as_str(), *length));
        let made = self.statements.iter().map(|statement| {
            (statement.predicate_type.as_str(), length_in_evidence(&statement.bundle))
        });
        there.chain(made)
    }
}

/// Refuses what no node could read. Evidence of a platform has what is about its manifest, and what
/// is about the index, which is last.
fn check_sizes(source: &dyn Source, root: &Document, made: &[Made]) -> Result<(), SignError> {
    let Some((index, manifests)) = made.split_last().filter(|_| root.is_index()) else {
        for made in made {
            let documents = documents_length(source, root, None)?;
            check_evidence_size(made.subject.digest, documents, &mut made.lengths())?;
        }
        return Ok(());
    };
    for entry in root.index()?.manifests() {
        let (Some(platform), Some(digest)) = (platform_of(entry), sha256(entry)) else { continue };
        let documents = documents_length(source, root, Some(&platform))?;
        let manifest = manifests.iter().filter(|made| made.subject.digest == digest);
        let mut lengths = manifest.flat_map(Made::lengths).chain(index.lengths());
        check_evidence_size(digest, documents, &mut lengths)?;
    }
    Ok(())
}

/// The manifests that an index lists, and the index last; or the one manifest that there is.
fn subjects(source: &dyn Source, root: &Document) -> Result<Vec<Document>, SignError> {
    let mut subjects = manifests(source, root)?;
    if root.is_index() {
        subjects.push(root.clone());
    }
    Ok(subjects)
}

/// The manifests that an index lists, or the one that there is.
fn manifests(source: &dyn Source, root: &Document) -> Result<Vec<Document>, SignError> {
    if !root.is_index() {
        return Ok(vec![root.clone()]);
    }
    let mut manifests = Vec::new();
    for entry in root.index()?.manifests() {
        manifests.push(source.manifest(&Selector { tag: None, digest: sha256(entry) })?);
    }
    Ok(manifests)
}

/// What is in every platform, by the digest of its manifest.
fn files(source: &dyn Source, root: &Document) -> Result<Vec<(Digest, FileManifest)>, SignError> {
    let mut found = Vec::new();
    for manifest in manifests(source, root)? {
        let files = files_of(source, &manifest)?.ok_or(SignError::NotABundle(manifest.digest))?;
        found.push((manifest.digest, files));
    }
    Ok(found)
}
