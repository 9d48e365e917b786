//! An image in memory, for tests of code that reads images.

use std::io::Read;

use oci_spec::image::Descriptor;

use super::{OciError, Source};
use crate::model::document::{descriptor, sha256};
use crate::model::{Digest, Document, Selector, media_type};

/// Documents and blobs by digest; the last document is the image.
#[derive(Debug, Default)]
pub(super) struct Memory(pub(super) Vec<Document>);

impl Memory {
    /// Adds a document and returns its descriptor.
    pub(super) fn add(&mut self, media_type: &str, bytes: impl Into<Vec<u8>>) -> Descriptor {
        let document = Document::new(media_type, bytes.into());
        let descriptor = document.descriptor();
        self.0.push(document);
        descriptor
    }

    /// Adds a manifest that carries `bytes` as a Sigstore bundle and refers to `subject`.
    pub(super) fn refer(&mut self, subject: &Descriptor, bytes: impl Into<Vec<u8>>) {
        let layer = self.add(media_type::SIGSTORE_BUNDLE, bytes);
        let empty = descriptor(media_type::EMPTY, Digest::of(b"{}"), 2);
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::MANIFEST, "artifactType": media_type::SIGSTORE_BUNDLE,
            "config": empty, "layers": [layer], "subject": subject,
        });
        self.add(media_type::MANIFEST, manifest.to_string());
    }

    fn find(&self, digest: Option<Digest>) -> Result<&Document, OciError> {
        let found = self.0.iter().find(|document| Some(document.digest) == digest);
        found.ok_or_else(|| OciError::NotFound {
            origin: self.origin(),
            what: "document".to_owned(),
        })
    }
}

impl Source for Memory {
    fn origin(&self) -> String {
        "memory".to_owned()
    }

    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        self.find(selector.digest).cloned()
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        Ok(Box::new(self.find(sha256(descriptor))?.bytes.as_slice()))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let refers = |document: &&Document| {
            let manifest = document.manifest().ok();
            manifest.and_then(|manifest| sha256(manifest.subject().as_ref()?)) == Some(*subject)
        };
        Ok(self.0.iter().filter(refers).map(Document::descriptor).collect())
    }
}
