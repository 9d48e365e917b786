//! An image of which its reader has some blobs already: those are not fetched again.
//!
//! What a node keeps as evidence names its blobs by digest, and so does an image. Which manifests
//! and signatures there are today is still asked for: a signature that was made anew is a blob that
//! nobody has yet.

use std::collections::BTreeMap;
use std::io::Read;

use oci_spec::image::Descriptor;

use super::{OciError, Source};
use crate::model::document::sha256;
use crate::model::{Digest, Document, Selector};
use crate::trust::Evidence;

/// A source beside what is remembered of it.
pub struct Remembered<'a> {
    source: &'a dyn Source,
    blobs: BTreeMap<Digest, &'a [u8]>,
}

impl<'a> Remembered<'a> {
    /// Takes the blobs of `evidence`, each by the digest of its bytes.
    pub fn new(source: &'a dyn Source, evidence: &'a [Evidence]) -> Self {
        let blobs =
            evidence.iter().flat_map(Evidence::blobs).map(|bytes| (Digest::of(bytes), bytes));
        Self { source, blobs: blobs.collect() }
    }
}

impl Source for Remembered<'_> {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        self.source.manifest(selector)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        let known = sha256(descriptor).and_then(|digest| self.blobs.get(&digest));
        match known.filter(|bytes| bytes.len() as u64 == descriptor.size()) {
            Some(bytes) => Ok(Box::new(*bytes)),
            None => self.source.blob(descriptor),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        self.source.referrers(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::descriptor;
    use crate::trust::{EvidenceBuilder, SignatureDocument};

    /// A source that has nothing and says so.
    struct Nothing;

    impl Source for Nothing {
        fn origin(&self) -> String {
            "nothing".to_owned()
        }
        fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
            Err(OciError::NotFound { origin: self.origin(), what: format!("{selector:?}") })
        }
        fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
            Err(OciError::NotFound { origin: self.origin(), what: descriptor.digest().to_string() })
        }
        fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>, OciError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn gives_what_is_remembered_by_digest_and_size_and_asks_for_the_rest() {
        let mut builder = EvidenceBuilder::default();
        let document = Document::new("application/json", b"{}".to_vec());
        let root = document.digest;
        builder.document(document);
        builder.signature(SignatureDocument {
            media_type: "text/plain".to_owned(),
            bytes: b"signature".to_vec(),
        });
        let evidence = [builder.finish(root).unwrap()];
        let source = Remembered::new(&Nothing, &evidence);
        let read = |bytes: &[u8], size: u64| {
            let mut found = Vec::new();
            let blob = source.blob(&descriptor("text/plain", Digest::of(bytes), size));
            blob.map(|mut reader| reader.read_to_end(&mut found).unwrap()).map(|_| found).ok()
        };
        assert_eq!(read(b"{}", 2), Some(b"{}".to_vec()));
        assert_eq!(read(b"signature", 9), Some(b"signature".to_vec()));
        assert_eq!(read(b"signature", 8), None, "not what the descriptor says");
        assert_eq!(read(b"another", 7), None);
    }
}
