//! Pushes to a registry: blobs, manifests, referrers and tags.
//!
//! Blobs are verified before they are sent, and sent again after a fault. If the registry does not
//! list referrers itself, the list is maintained here, under a tag that other clients write as well
//! and that can only be overwritten.

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use oci_spec::image::Descriptor;
use serde_json::Value;

use super::{LONGEST_PAUSE, Registry, SHORTEST_PAUSE, Tagged, answer};
use crate::model::json::{Limits, Outline};
use crate::model::media_type::{INDEX, MANIFEST_LIMIT};
use crate::model::{Digest, Document, JsonError, document, image_fields, json};
use crate::net::{Body, Fetched, HttpError, Method, Request};
use crate::oci::referrers::{self, Merged};
use crate::oci::{OciError, Sink, Source, VerifyReader};

/// How often a list of referrers is written before giving up. Eight concurrent writers need two or
/// three rounds.
const WRITES: u32 = 10;
/// How often in a row our entries must be seen in a list that was written.
const SIGHTINGS: u32 = 2;
/// The longest pause between those reads for a slow registry.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of a response to a write, in bytes.
const ACKNOWLEDGEMENT: u64 = 64 * 1024;

impl Registry {
    fn put_document(&self, reference: &str, document: &Document) -> Request {
        self.request(Method::PUT, self.url(&format!("manifests/{reference}")))
            .header("Content-Type", document.media_type.clone())
            .body(Body::bytes(document.bytes.clone()))
    }

    /// Checks that a manifest was accepted under its own digest.
    fn accepted(&self, fetched: Fetched, digest: Digest) -> Result<Fetched, OciError> {
        // Not 200: that is how pages for browsers respond to everything.
        if !matches!(fetched.head.status(), 201 | 202) {
            return Err(answer::refusal(&fetched, "an upload confirmation"));
        }
        match answer::claimed_digest(&fetched.head) {
            Some(found) if found != digest => {
                let origin = self.origin();
                Err(OciError::ClaimedDigest { origin, claimed: found, found: digest })
            }
            _ => Ok(fetched),
        }
    }

    fn push_document(&self, reference: &str, document: &Document) -> Result<Fetched, OciError> {
        let fetched =
            self.client.fetch(&self.put_document(reference, document), ACKNOWLEDGEMENT)?;
        self.accepted(fetched, document.digest)
    }

    /// Starts an upload and sends everything in one request. Registries disagree about chunks (ECR
    /// drops later ones, Artifact Registry accepts none).
    fn upload(&self, digest: &Digest, body: &Body) -> Result<Fetched, HttpError> {
        let request =
            self.request(Method::POST, self.url("blobs/uploads/")).body(Body::bytes(Vec::new()));
        let opened = self.client.fetch_once(&request, ACKNOWLEDGEMENT)?;
        if opened.head.status() != 202 {
            return Ok(opened);
        }
        let mut url = opened.head.location()?;
        // The location may have a query already, which belongs to the registry and is kept.
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let request = self
            .request(Method::PUT, url)
            .header("Content-Type", "application/octet-stream")
            .body(body.clone());
        self.client.fetch_once(&request, ACKNOWLEDGEMENT)
    }

    /// Returns whether the registry lists referrers itself. Its response to a push is not enough:
    /// ECR claims so and does not (sigstore-js#1183).
    fn lists_referrers(&mut self, subject: &Digest) -> Result<bool, OciError> {
        if let Some(known) = self.learned.lists_referrers {
            return Ok(known);
        }
        let lists = match self.referrers_by_api(subject) {
            Err(error) if error.is_forbidden() => false,
            listed => listed?.is_some(),
        };
        self.learned.lists_referrers = Some(lists);
        Ok(lists)
    }

    /// Reads the list that the registry maintains and pushes what is missing from it again: a
    /// registry that changes its list without a lock loses what was pushed at the same time (olareg
    /// 0.2).
    fn settle_by_api(&self, subject: &Digest, referrers: &[Document]) -> Result<(), OciError> {
        let look = || {
            let listed = self.referrers_by_api(subject)?.unwrap_or_default();
            let is_missing = |it: &&Document| {
                !listed.iter().any(|entry| document::sha256(entry) == Some(it.digest))
            };
            let missing: Vec<&Document> = referrers.iter().filter(is_missing).collect();
            Ok(if missing.is_empty() { None } else { Some(missing) })
        };
        let write = |missing: Vec<&Document>, _| {
            missing
                .iter()
                .try_for_each(|it| self.push_document(&it.digest.to_string(), it).map(drop))
        };
        self.settle(subject, 1, look, write)
    }

    /// Adds entries to the list under the tag. It cannot be written conditionally, so a writer that
    /// lost a race notices and writes again.
    fn settle_by_tag(&self, subject: &Digest, ours: &[Value]) -> Result<(), OciError> {
        let known = Cell::new(false);
        let look = || {
            let list = self.editable_list(subject, known.get())?;
            known.set(known.get() || list.is_some());
            match referrers::merge(list, ours) {
                Merged::Complete => Ok(None),
                Merged::Changed(list) => Ok(Some(list)),
                Merged::Malformed => Err(self.reserved(subject, "an index without `manifests`")),
                Merged::TooMany => Err(self.too_many(subject)),
            }
        };
        let write = |list, writes| {
            let written = self.write_list(subject, list, writes)?;
            known.set(known.get() || written);
            Ok(())
        };
        self.settle(subject, 0, look, write)
    }

    /// Reads what is missing and writes it, until nothing is: twice in a row, since others may
    /// still write what they read before our write, and once if nothing had to be written.
    fn settle<T>(
        &self,
        subject: &Digest,
        mut writes: u32,
        look: impl Fn() -> Result<Option<T>, OciError>,
        write: impl Fn(T, u32) -> Result<(), OciError>,
    ) -> Result<(), OciError> {
        let mut sightings = 0;
        loop {
            let begun = Instant::now();
            match look()? {
                None if writes == 0 || sightings + 1 == SIGHTINGS => return Ok(()),
                None => sightings += 1,
                Some(_) if writes == WRITES => {
                    return Err(OciError::ReferrersLost {
                        origin: self.origin(),
                        subject: *subject,
                        writes,
                    });
                }
                Some(missing) => {
                    sightings = 0;
                    writes += 1;
                    write(missing, writes)?;
                }
            }
            // Others may need as long between reading and writing as we did, and the more rounds
            // were lost, the more writers there are.
            let turn = begun.elapsed().min(PATIENCE);
            self.client.pause(SHORTEST_PAUSE * writes + turn, LONGEST_PAUSE * writes + 2 * turn);
        }
    }

    /// Returns the list under the tag, unchanged; `None` if there is none yet.
    fn editable_list(&self, subject: &Digest, known: bool) -> Result<Option<Value>, OciError> {
        let tagged = match self.fetch_tagged(subject, known) {
            // Artifactory forbids reading a tag that does not exist. If all are forbidden, so is
            // the write that follows.
            Err(error) if error.is_forbidden() && !known => Tagged::Nothing,
            tagged => tagged?,
        };
        match tagged {
            Tagged::Nothing => Ok(None),
            Tagged::Subject => Err(self.reserved(subject, "the image itself")),
            Tagged::Index(document) => {
                let invalid = |source: JsonError| OciError::Document {
                    origin: self.origin(),
                    source: source.into(),
                };
                let what = format!("index {}", document.digest);
                let limits = Limits::tree(MANIFEST_LIMIT);
                let _: serde::de::IgnoredAny =
                    json::parse_as(&what, &document.bytes, limits, image_fields::DOCUMENT)
                        .map_err(invalid)?;
                // What is not known is kept in this tree, and counts.
                let list = json::parse_as(&what, &document.bytes, limits, Outline::Any);
                list.map(Some).map_err(invalid)
            }
        }
    }

    fn reserved(&self, subject: &Digest, found: &str) -> OciError {
        let tag = subject.referrers_tag();
        OciError::ReferrersTag {
            origin: self.origin(),
            subject: *subject,
            tag,
            found: found.to_owned(),
        }
    }

    /// Writes the list once, and returns whether that succeeded. After a transient fault the same
    /// list, by then outdated, is not sent again: the next round reads first. In the last round the
    /// fault is the error.
    fn write_list(&self, subject: &Digest, list: Vec<u8>, writes: u32) -> Result<bool, OciError> {
        let list = Document::new(INDEX, list);
        let result = self
            .client
            .fetch_once(&self.put_document(&subject.referrers_tag(), &list), ACKNOWLEDGEMENT);
        match result {
            Ok(fetched) if fetched.is_transient() && writes < WRITES => Ok(false),
            Err(error) if error.is_transient() && writes < WRITES => Ok(false),
            result => self.accepted(result?, list.digest).map(|_| true),
        }
    }
}

impl Sink for Registry {
    fn has_blob(&mut self, descriptor: &Descriptor) -> Result<bool, OciError> {
        let Some(digest) = document::sha256(descriptor) else { return Ok(false) };
        let request = self.request(Method::HEAD, self.url(&format!("blobs/{digest}")));
        let fetched = self.client.fetch(&request, 0)?;
        match fetched.head.status() {
            200 => Ok(true),
            // A blob that does not exist may be forbidden, like a tag in `editable_list`.
            403 | 404 => {
                self.learned.absent.insert(digest);
                Ok(false)
            }
            _ => Err(answer::refusal(&fetched, "a blob")),
        }
    }

    /// Does not read `content` if the registry has the blob.
    fn put_blob(
        &mut self,
        descriptor: &Descriptor,
        content: &mut dyn Read,
    ) -> Result<(), OciError> {
        let digest = document::sha256(descriptor).ok_or_else(|| OciError::NotFound {
            origin: self.origin(),
            what: "support for blobs without a sha256 digest".to_owned(),
        })?;
        if !self.learned.absent.contains(&digest) && self.has_blob(descriptor)? {
            return Ok(());
        }
        let mut content = VerifyReader::new(content, "the blob to push", digest, descriptor.size());
        let directory = &self.client.settings().temporary;
        // Verified as a whole before the first byte is sent, and kept so that it can be sent again.
        let body = Body::spool(&mut content, directory).map_err(|error| {
            OciError::from_io(error, &directory.to_string_lossy(), "write a temporary file")
        })?;
        let fetched = self.client.converse(|| self.upload(&digest, &body))?;
        match (fetched.head.method(), fetched.head.status()) {
            ("PUT", 201 | 204) => {
                self.learned.absent.remove(&digest);
                Ok(())
            }
            _ => Err(answer::refusal(&fetched, "an upload confirmation")),
        }
    }

    fn put_manifest(&mut self, document: &Document) -> Result<(), OciError> {
        self.push_document(&document.digest.to_string(), document).map(drop)
    }

    fn put_referrers(&mut self, subject: &Digest, referrers: &[Document]) -> Result<(), OciError> {
        let origin = self.origin();
        let entries = referrers
            .iter()
            .map(|it| referrers::entry(&origin, subject, it))
            .collect::<Result<Vec<_>, _>>()?;
        let mut understood = true;
        for referrer in referrers {
            let fetched = self.push_document(&referrer.digest.to_string(), referrer)?;
            understood &= fetched.head.header("oci-subject") == Some(&subject.to_string());
        }
        if referrers.is_empty() {
            return Ok(());
        }
        if understood && self.lists_referrers(subject)? {
            self.settle_by_api(subject, referrers)
        } else {
            self.settle_by_tag(subject, &entries)
        }
    }

    fn tag(&mut self, tag: &str, document: &Document) -> Result<(), OciError> {
        self.push_document(tag, document).map(drop)
    }
}
