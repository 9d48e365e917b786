//! Evidence: the documents of one image's chain and its signatures, byte for byte, in one file.
//!
//! It may come from anywhere: a registry, a ConfigMap, a staged directory, the node's own state.
//! Every document is checked against its digest when the file is read, so that a document cannot be
//! exchanged under its digest. Nothing else in the file is trusted: whether the documents form a
//! chain, and who signed it, is decided by `evaluate.rs`. Sizes and counts are limited, so that
//! what strangers attach to an image cannot exhaust a node.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::{Deserialize, Serialize};

use super::signature::SigstoreBundle;
use super::statement::COSIGN_SIGN;
use crate::bundle::Compression;
use crate::model::{Digest, Document, JsonError, json, media_type, visible};

/// The documents and signatures of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    root: Digest,
    documents: BTreeMap<Digest, Document>,
    signatures: Vec<SignatureDocument>,
}

/// A signature or attestation as it was stored beside the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignatureDocument {
    /// The media type of the referrer's layer.
    pub media_type: String,
    /// The bytes of that layer.
    pub bytes: Vec<u8>,
}

/// What has to be collected beside an image so that a policy can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The predicate types of the statements that some rule requires.
    pub predicate_types: BTreeSet<String>,
    /// Those without which the rule for this image says no.
    pub required: BTreeSet<String>,
}

impl Needs {
    /// The signatures alone.
    pub fn signatures() -> Self {
        let signature = BTreeSet::from([COSIGN_SIGN.to_owned()]);
        Self { predicate_types: signature.clone(), required: signature }
    }
}

/// Why bytes are not evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// Not valid JSON, or not the fields of evidence.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Another format or version.
    #[error("evidence has media type `{0}`, expected `application/vnd.cnister.evidence.v1+json`")]
    MediaType(String),
    /// A document whose bytes are not the ones its digest promises.
    #[error("evidence lists a document as {expected}, but its digest is {found}")]
    Digest {
        /// The digest it is listed under.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The index or manifest that the other documents belong to is missing.
    #[error("the evidence does not contain its root {0}")]
    Root(Digest),
    /// More bytes than a node can be asked to keep.
    #[error("evidence is {found} bytes long, the limit is {limit}", limit = Evidence::LIMIT)]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// More documents than any image has.
    #[error("evidence contains {found} {what}, the limit is {limit}")]
    TooMany {
        /// The name of the list, in the plural.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Compressed bytes that are altered or cut short.
    #[error("the evidence cannot be decompressed: {0}")]
    Compressed(String),
    /// A document that is not text cannot be JSON.
    #[error("document {0} is not UTF-8 text")]
    NotText(Digest),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    media_type: String,
    root: Digest,
    documents: Vec<WireDocument>,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireDocument {
    digest: Digest,
    media_type: String,
    content: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireSignature {
    media_type: String,
    content: String,
}

impl Evidence {
    /// The longest evidence file, in bytes: what a Kubernetes ConfigMap holds.
    pub const LIMIT: usize = 1024 * 1024;
    /// The largest window of a compressed file, as a power of two: all of the longest file.
    pub const WINDOW_LOG: u32 = 20;
    /// The most documents: an index, and three per platform for more platforms than Linux has.
    const MAX_DOCUMENTS: usize = 128;
    /// The most signatures; each costs one public-key operation per trusted key.
    pub const MAX_SIGNATURES: usize = 256;

    /// Parses an evidence file and checks each document against its digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let wire: Wire = json::parse("evidence", bytes, Self::LIMIT)?;
        if wire.media_type != media_type::EVIDENCE {
            return Err(EvidenceError::MediaType(visible(&wire.media_type).into_owned()));
        }
        let mut builder = EvidenceBuilder::default();
        for entry in wire.documents {
            let document = Document::new(entry.media_type, entry.content.into_bytes());
            if document.digest != entry.digest {
                return Err(EvidenceError::Digest {
                    expected: entry.digest,
                    found: document.digest,
                });
            }
            builder.document(document);
        }
        for entry in wire.signatures {
            builder.signature(SignatureDocument {
                media_type: entry.media_type,
                bytes: entry.content.into_bytes(),
            });
        }
        builder.finish(wire.root)
    }

    /// Parses an evidence file that may be compressed with zstd, as a rendered manifest has a long
    /// one. The decoder sees bytes that no one signed: only files that the owner names are read so.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if Compression::of_magic(bytes) != Compression::Zstd {
            return Self::parse(bytes);
        }
        let mut text = Vec::new();
        Compression::Zstd
            .decoder_up_to(Self::WINDOW_LOG, bytes)
            .and_then(|decoder| decoder.take(Self::LIMIT as u64 + 1).read_to_end(&mut text))
            .map_err(|error| EvidenceError::Compressed(visible(&error.to_string()).into_owned()))?;
        Self::parse(&text)
    }

    /// Writes the file: sorted, so that equal evidence is equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // The builder takes nothing that is not text.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let documents = self.documents.values().map(|document| WireDocument {
            digest: document.digest,
            media_type: document.media_type.clone(),
            content: text(&document.bytes),
        });
        let signatures = self.signatures.iter().map(|entry| WireSignature {
            media_type: entry.media_type.clone(),
            content: text(&entry.bytes),
        });
        json::canonical(&Wire {
            media_type: media_type::EVIDENCE.to_owned(),
            root: self.root,
            documents: documents.collect(),
            signatures: signatures.collect(),
        })
    }

    /// The digest of the index, or of a single manifest, that the other documents belong to.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The document with this digest.
    pub fn document(&self, digest: &Digest) -> Option<&Document> {
        self.documents.get(digest)
    }

    /// The bytes of every document and signature.
    pub fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        let documents = self.documents.values().map(|document| document.bytes.as_slice());
        documents.chain(self.signatures.iter().map(|signature| signature.bytes.as_slice()))
    }

    /// The same evidence with only the signatures and attestations that a policy asks for.
    #[must_use]
    pub fn needed(self, needs: &Needs) -> Self {
        self.filtered(|entry| {
            let claim = SigstoreBundle::claim_of(&entry.bytes);
            claim.is_some_and(|claim| needs.predicate_types.contains(&claim.predicate_type))
        })
    }

    /// The same evidence with only these signatures and attestations.
    pub(super) fn filtered(mut self, keep: impl FnMut(&SignatureDocument) -> bool) -> Self {
        self.signatures.retain(keep);
        self
    }

    /// The signatures and attestations, in no meaningful order.
    pub fn signatures(&self) -> &[SignatureDocument] {
        &self.signatures
    }
}

/// Collects the parts of [`Evidence`]; duplicates are kept once.
#[derive(Debug, Default)]
pub struct EvidenceBuilder {
    documents: BTreeMap<Digest, Document>,
    signatures: Vec<SignatureDocument>,
    bytes: usize,
}

impl EvidenceBuilder {
    /// Adds a document of the chain.
    pub fn document(&mut self, document: Document) {
        self.bytes = self.bytes.saturating_add(document.bytes.len());
        self.documents.insert(document.digest, document);
    }

    /// Adds a signature or attestation.
    pub fn signature(&mut self, signature: SignatureDocument) {
        self.bytes = self.bytes.saturating_add(signature.bytes.len());
        self.signatures.push(signature);
    }

    /// How many more bytes fit; a collector stops there, before it exhausts the memory of a small
    /// container.
    pub fn room(&self) -> usize {
        Evidence::LIMIT.saturating_sub(self.bytes)
    }

    /// The evidence of the image with this index or manifest.
    pub fn finish(self, root: Digest) -> Result<Evidence, EvidenceError> {
        let Self { documents, mut signatures, bytes } = self;
        if bytes > Evidence::LIMIT {
            return Err(EvidenceError::TooLong { found: bytes });
        }
        signatures.sort();
        signatures.dedup();
        for (what, found, limit) in [
            ("documents", documents.len(), Evidence::MAX_DOCUMENTS),
            ("signatures", signatures.len(), Evidence::MAX_SIGNATURES),
        ] {
            if found > limit {
                return Err(EvidenceError::TooMany { what, found, limit });
            }
        }
        if !documents.contains_key(&root) {
            return Err(EvidenceError::Root(root));
        }
        if let Some(document) =
            documents.values().find(|document| std::str::from_utf8(&document.bytes).is_err())
        {
            return Err(EvidenceError::NotText(document.digest));
        }
        // A signature that is not text proves nothing.
        signatures.retain(|signature| std::str::from_utf8(&signature.bytes).is_ok());
        Ok(Evidence { root, documents, signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Evidence {
        let mut builder = EvidenceBuilder::default();
        let root = Document::new(media_type::INDEX, br#"{"manifests": []}"#.to_vec());
        let digest = root.digest;
        builder.document(root);
        builder
            .signature(SignatureDocument { media_type: "a/b".to_owned(), bytes: b"{}".to_vec() });
        builder
            .signature(SignatureDocument { media_type: "a/b".to_owned(), bytes: b"{}".to_vec() });
        builder.finish(digest).unwrap()
    }

    #[test]
    fn reads_what_it_writes() {
        let bytes = sample().to_bytes();
        assert_eq!(Evidence::parse(&bytes).unwrap(), sample());
        assert_eq!(Evidence::parse(&bytes).unwrap().to_bytes(), bytes);
        assert_eq!(sample().signatures().len(), 1, "duplicates are kept once");
    }

    #[test]
    fn reads_a_compressed_file_and_no_more_than_the_limit() {
        let bytes = sample().to_bytes();
        let compressed = zstd::bulk::compress(&bytes, 3).unwrap();
        assert_eq!(Evidence::read(&bytes).unwrap(), sample());
        assert_eq!(Evidence::read(&compressed).unwrap(), sample());
        let error = |bytes: &[u8]| Evidence::read(bytes).expect_err("refused").to_string();
        let cut = error(&compressed[..compressed.len() - 1]);
        assert!(cut.starts_with("the evidence cannot be decompressed: "), "{cut}");
        let long = zstd::bulk::compress(&vec![b' '; 16 << 20], 3).unwrap();
        assert!(long.len() < 10_000);
        // A frame that may refer back further than the limit is refused unread.
        assert!(
            error(&long).starts_with("the evidence cannot be decompressed: "),
            "{}",
            error(&long)
        );
        let long = zstd::bulk::compress(&vec![b' '; Evidence::LIMIT + 1], 3).unwrap();
        let expected = "evidence is 1048577 bytes long, the limit is 1048576";
        let found = error(&long);
        assert!(found == expected || found.starts_with("the evidence cannot be"), "{found}");
    }

    #[test]
    fn refuses_an_altered_document() {
        let text =
            String::from_utf8(sample().to_bytes()).unwrap().replace("manifests", "manifestz");
        assert!(matches!(Evidence::parse(text.as_bytes()), Err(EvidenceError::Digest { .. })));
    }

    #[test]
    fn refuses_evidence_without_its_root() {
        let root = Digest::of(b"elsewhere");
        let text = String::from_utf8(sample().to_bytes()).unwrap();
        let text = text
            .replace(&format!("\"root\":\"{}\"", sample().root()), &format!("\"root\":\"{root}\""));
        assert!(
            matches!(Evidence::parse(text.as_bytes()), Err(EvidenceError::Root(found)) if found == root)
        );
    }

    #[test]
    fn refuses_more_than_it_can_hold() {
        let mut builder = EvidenceBuilder::default();
        for number in 0..257_u16 {
            builder.signature(SignatureDocument {
                media_type: "a".to_owned(),
                bytes: number.to_string().into_bytes(),
            });
        }
        let error = builder.finish(Digest::of(b"")).expect_err("257 signatures").to_string();
        assert_eq!(error, "evidence contains 257 signatures, the limit is 256");
        assert!(matches!(
            Evidence::parse(&vec![b' '; Evidence::LIMIT + 1]),
            Err(EvidenceError::Json(_))
        ));
    }
}
