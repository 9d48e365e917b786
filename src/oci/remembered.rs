//! An image of which some blobs are known already and are not fetched again.
//!
//! The evidence on a node names its blobs by digest, as an image does. Which manifests and
//! signatures exist today is still requested: a new signature is a blob that is not known yet.

use std::io::{Cursor, Read};

use oci_spec::image::Descriptor;

use super::{OciError, Source};
use crate::model::document::sha256;
use crate::model::{Digest, Document, Selector};

/// Finds a blob by the digest of its bytes.
type Known<'a> = &'a dyn Fn(&Digest) -> Option<Vec<u8>>;

/// A source, with blobs that are already known.
pub struct Remembered<'a> {
    source: &'a dyn Source,
    known: Known<'a>,
}

impl<'a> Remembered<'a> {
    /// Adds the blobs that `known` finds. It is asked for each of them, so that not all have to be
    /// in memory.
    pub fn new(source: &'a dyn Source, known: Known<'a>) -> Self {
        Self { source, known }
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
        let known = sha256(descriptor).and_then(|digest| (self.known)(&digest));
        match known.filter(|bytes| bytes.len() as u64 == descriptor.size()) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes))),
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

    /// A source that is empty and says so.
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
    fn returns_known_blobs_by_digest_and_size_and_fetches_the_rest() {
        let blobs = [b"{}".to_vec(), b"signature".to_vec()];
        let known =
            |digest: &Digest| blobs.iter().find(|bytes| Digest::of(bytes) == *digest).cloned();
        let source = Remembered::new(&Nothing, &known);
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
