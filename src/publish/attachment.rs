//! Documents that a build stores beside an image: unsigned referrers, of which the digest of the
//! image is independent. A referrer that is not signed proves nothing.

use std::collections::BTreeMap;

use oci_spec::image::Descriptor;
use serde_json::json;

use crate::model::document::{descriptor, sha256};
use crate::model::{Digest, Document, json as canonical, media_type, rfc3339};
use crate::oci::{OciError, Sink};

/// A document about one image.
#[derive(Debug)]
pub struct Attachment {
    pub(super) subject: Descriptor,
    /// The `artifactType` of the referrer and the media type of the document.
    pub(super) artifact_type: &'static str,
    /// The name that tools give the file when they fetch it.
    pub(super) title: &'static str,
    /// What a signed statement about it claims.
    pub(super) predicate_type: &'static str,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Attachment {
    /// Stores it as a referrer of its subject.
    pub fn store(&self, sink: &mut dyn Sink) -> Result<Digest, OciError> {
        let empty = descriptor(media_type::EMPTY, Digest::of(b"{}"), 2);
        let size = self.bytes.len() as u64;
        let mut layer = descriptor(self.artifact_type, Digest::of(&self.bytes), size);
        let title = ("org.opencontainers.image.title", self.title);
        // A statement says of what kind it is, as those of BuildKit do.
        let is_statement = self.artifact_type == media_type::IN_TOTO;
        let kind = is_statement.then_some(("in-toto.io/predicate-type", self.predicate_type));
        let annotations = [title].into_iter().chain(kind);
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        layer.set_annotations(Some(annotations.collect()));
        for (descriptor, bytes) in [(&empty, b"{}".as_slice()), (&layer, &self.bytes)] {
            if !sink.has_blob(descriptor)? {
                sink.put_blob(descriptor, &mut &*bytes)?;
            }
        }
        let created = rfc3339(self.created);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::MANIFEST,
            "artifactType": self.artifact_type,
            "config": empty,
            "layers": [layer],
            "subject": self.subject,
            "annotations": BTreeMap::from([("org.opencontainers.image.created", created)]),
        });
        let referrer = Document::new(media_type::MANIFEST, canonical::canonical(&manifest));
        if let Some(subject) = sha256(&self.subject) {
            sink.put_referrers(&subject, std::slice::from_ref(&referrer))?;
        }
        Ok(referrer.digest)
    }
}
