//! Copies an image with everything that refers to it.

use std::collections::BTreeSet;

use oci_spec::image::Descriptor;

use super::{OciError, Sink, Source};
use crate::model::document::sha256;
use crate::model::{Digest, Document, Selector, media_type};

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// Manifests and indexes, including referrers.
    pub manifests: usize,
    /// Referrers, which are also counted as manifests.
    pub referrers: usize,
    /// Blobs that were written.
    pub blobs: usize,
    /// Total size in bytes of those blobs.
    pub bytes: u64,
    /// Blobs that existed already.
    pub present: usize,
}

/// Copies `root`, everything it lists, and the referrers of each; then points `tag` at it.
///
/// Blobs are copied before the manifests that name them, and signatures before the tag, so that an
/// image that is visible under its tag is always complete and signed.
pub fn copy(
    source: &dyn Source,
    sink: &mut dyn Sink,
    root: &Document,
    tag: Option<&str>,
) -> Result<Copied, OciError> {
    let mut copy = Copy { source, sink, seen: BTreeSet::new(), done: Copied::default() };
    let mut subjects = Vec::new();
    copy.image(root, &mut subjects)?;
    for subject in subjects {
        copy.referrers(&subject)?;
    }
    if let Some(tag) = tag {
        copy.sink.tag(tag, root)?;
    }
    Ok(copy.done)
}

struct Copy<'a> {
    source: &'a dyn Source,
    sink: &'a mut dyn Sink,
    seen: BTreeSet<Digest>,
    done: Copied,
}

impl Copy<'_> {
    /// Copies an index with its manifests, or a manifest with its blobs, and collects their
    /// digests, which may have referrers.
    fn image(&mut self, document: &Document, subjects: &mut Vec<Digest>) -> Result<(), OciError> {
        if document.is_index() {
            let index = document.index().map_err(|source| self.invalid(source))?;
            for entry in index.manifests() {
                let child = self.source.manifest(&Selector { tag: None, digest: sha256(entry) })?;
                // An index in an index is never a bundle, and following one would let the input
                // decide the depth.
                if child.is_index() {
                    let digest = child.digest;
                    let expected = media_type::MANIFEST;
                    let found = child.media_type;
                    return Err(self.invalid(crate::model::DocumentError::Kind {
                        digest,
                        expected,
                        found,
                    }));
                }
                self.manifest(&child)?;
                subjects.push(child.digest);
            }
            self.sink.put_manifest(document)?;
            self.done.manifests += 1;
        } else {
            self.manifest(document)?;
        }
        subjects.push(document.digest);
        Ok(())
    }

    fn manifest(&mut self, document: &Document) -> Result<(), OciError> {
        self.blobs(document)?;
        self.sink.put_manifest(document)?;
        self.done.manifests += 1;
        Ok(())
    }

    fn blobs(&mut self, document: &Document) -> Result<(), OciError> {
        let manifest = document.manifest().map_err(|source| self.invalid(source))?;
        manifest.layers().iter().chain([manifest.config()]).try_for_each(|blob| self.blob(blob))
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<(), OciError> {
        if sha256(descriptor).is_none_or(|digest| !self.seen.insert(digest)) {
            return Ok(());
        }
        if self.sink.has_blob(descriptor)? {
            self.done.present += 1;
            return Ok(());
        }
        let mut content = self.source.blob(descriptor)?;
        self.sink.put_blob(descriptor, &mut content)?;
        self.done.blobs += 1;
        self.done.bytes += descriptor.size();
        Ok(())
    }

    /// Copies all referrers of a subject at once, and then theirs: an attestation may be signed
    /// itself.
    fn referrers(&mut self, subject: &Digest) -> Result<(), OciError> {
        let mut queue = vec![*subject];
        let mut visited = BTreeSet::new();
        while let Some(subject) = queue.pop() {
            if !visited.insert(subject) {
                continue;
            }
            let mut documents = Vec::new();
            for entry in self.source.referrers(&subject)? {
                let Some(digest) = sha256(&entry) else { continue };
                let document =
                    match self.source.manifest(&Selector { tag: None, digest: Some(digest) }) {
                        Ok(document) => document,
                        // A list may outlive what it lists.
                        Err(OciError::NotFound { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                let manifest = document.manifest().ok();
                if manifest.and_then(|manifest| sha256(manifest.subject().as_ref()?))
                    != Some(subject)
                {
                    continue;
                }
                self.blobs(&document)?;
                queue.push(digest);
                documents.push(document);
            }
            if !documents.is_empty() {
                self.done.manifests += documents.len();
                self.done.referrers += documents.len();
                self.sink.put_referrers(&subject, &documents)?;
            }
        }
        Ok(())
    }

    fn invalid(&self, source: crate::model::DocumentError) -> OciError {
        OciError::Document { origin: self.source.origin(), source }
    }
}
