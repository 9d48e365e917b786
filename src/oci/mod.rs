//! Images in layout directories, archives and registries, behind two traits.
//!
//! A [`Source`] returns verified bytes: whatever it returns has the requested digest, so a registry
//! or a disk cannot substitute content. A [`Sink`] is written in an order that never shows a tag
//! whose image or signatures are missing. Who may sign an image is not decided here but in `trust`.

#[cfg(feature = "publish")]
mod attached;
mod blobs;
mod collect;
#[cfg(feature = "publish")]
mod contents;
#[cfg(feature = "publish")]
mod copy;
#[cfg(feature = "publish")]
mod describe;
mod files;
mod layout;
#[cfg(feature = "publish")]
mod layout_writer;
#[cfg(test)]
mod memory;
mod names;
mod referrers;
mod registry;
mod remembered;
#[cfg(feature = "publish")]
mod simple_signing;
mod verify_reader;

use std::io::{self, Read};

use oci_spec::image::Descriptor;

#[cfg(feature = "publish")]
pub use attached::{Attached, visit_attached};
pub use blobs::read_layers;
pub use collect::{CollectError, Platforms, collect};
#[cfg(feature = "publish")]
pub use contents::files_of;
#[cfg(feature = "publish")]
pub use copy::{Copied, copy};
#[cfg(feature = "publish")]
pub use describe::{
    Description, PlatformDescription, ReferrerDescription, describe, describe_referrers,
};
pub use layout::{Layout, sniff};
#[cfg(feature = "publish")]
pub use layout_writer::{LayoutWriter, write_archive};
pub use names::by_its_names;
pub use registry::Registry;
pub use remembered::Remembered;
#[cfg(feature = "publish")]
pub use simple_signing::simple_signatures;
pub use verify_reader::VerifyReader;

use crate::model::{Classed, Code, Digest, Document, DocumentError, ErrorClass, Finding, Selector};
use crate::net::HttpError;

/// A place that images are read from.
pub trait Source {
    /// Returns the place's name for errors and reports.
    fn origin(&self) -> String;

    /// Whether its bytes are on this machine, so that reading them costs no network.
    fn is_local(&self) -> bool {
        false
    }

    /// Fetches the manifest or index that `selector` names; verifies its digest if the selector has
    /// one.
    fn manifest(&self, selector: &Selector) -> Result<Document, OciError>;

    /// Opens a blob. The reader verifies size and digest, and fails at the end of a blob that is
    /// not the one the descriptor names.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError>;

    /// Lists the manifests whose `subject` is this digest (distribution-spec, "Listing Referrers"),
    /// whatever their type. An empty list means that there are none; a failure to find out is an
    /// error.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError>;

    /// Fetches the manifest with the signatures that cosign 2 stored beside an image, under the tag
    /// `sha256-….sig` (cosign, SIGNATURE_SPEC.md). An image is never named so.
    fn tagged_signatures(&self, subject: &Digest) -> Result<Document, OciError> {
        let tag = Some(format!("{}.sig", subject.referrers_tag()));
        self.manifest(&Selector { tag, digest: None })
    }
}

/// A place that images are written to.
pub trait Sink {
    /// Returns whether the blob is stored already.
    fn has_blob(&mut self, descriptor: &Descriptor) -> Result<bool, OciError>;

    /// Stores a blob, verifying size and digest.
    fn put_blob(&mut self, descriptor: &Descriptor, content: &mut dyn Read)
    -> Result<(), OciError>;

    /// Stores a manifest or index under its digest. Everything it names must be stored already.
    fn put_manifest(&mut self, document: &Document) -> Result<(), OciError>;

    /// Stores manifests whose subject is `subject`, so that [`Source::referrers`] lists them. All
    /// referrers of a subject are passed in one call, so that a list under a tag is written once.
    fn put_referrers(&mut self, subject: &Digest, referrers: &[Document]) -> Result<(), OciError>;

    /// Points `tag` at a document that is stored already.
    fn tag(&mut self, tag: &str, document: &Document) -> Result<(), OciError>;
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// The manifest, tag or blob does not exist.
    #[error("{origin} has no {what}")]
    NotFound {
        /// As [`Source::origin`] names it.
        origin: String,
        /// A noun phrase, such as `blob sha256:…`.
        what: String,
    },
    /// The content does not match its digest.
    #[error("blob {expected} in {origin} is altered: its content has digest {found}")]
    Digest {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The requested digest.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// A registry, or a proxy before it, sends a document under another digest than its own.
    #[error(
        "{origin} says in `Docker-Content-Digest` that a document has digest {claimed}; it has \
         {found}"
    )]
    ClaimedDigest {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest in the header.
        claimed: Digest,
        /// The digest of the document.
        found: Digest,
    },
    /// The content is longer or shorter than its descriptor says.
    #[error("blob {digest} in {origin} is {found} bytes, its descriptor says {expected}")]
    Size {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest in the descriptor.
        digest: Digest,
        /// In bytes, from the descriptor.
        expected: u64,
        /// In bytes; one more than expected if reading stopped there.
        found: u64,
    },
    /// A document that is not valid.
    #[error("in {origin}: {source}")]
    Document {
        /// As [`Source::origin`] names it.
        origin: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Several images, and no tag or digest to choose one.
    #[error("{origin} contains {count} images; choose one of: {choices}")]
    Ambiguous {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The number of images.
        count: usize,
        /// Their tags and digests, separated by commas.
        choices: String,
    },
    /// The place is not an OCI layout, or is one of an unknown version.
    #[error("{origin} is not an OCI layout: {reason}")]
    NotALayout {
        /// As [`Source::origin`] names it.
        origin: String,
        /// A clause that says what is wrong.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} in {origin}")]
    Io {
        /// As [`Source::origin`] names it.
        origin: String,
        /// A verb phrase, such as `read a blob`.
        action: String,
        /// The system's reason.
        source: io::Error,
    },
    /// No usable response over HTTP.
    #[error(transparent)]
    Http {
        /// Which request, and why.
        #[from]
        source: HttpError,
    },
    /// The registry requires authentication.
    #[error("registry `{host}` requires authentication, which this version does not support")]
    Credentials {
        /// Name and port of the registry.
        host: String,
    },
    /// A page for browsers: a login page, a captive portal, a proxy.
    #[error(
        "registry answered with HTML instead of {what} (status {status}); is `{host}` behind a \
         login page?"
    )]
    Html {
        /// Name and port of the registry.
        host: String,
        /// What was requested, with its article.
        what: &'static str,
        /// The HTTP status code.
        status: u16,
    },
    /// More referrers than any real image has.
    #[error("{origin} lists more than {limit} referrers of {subject}")]
    TooManyReferrers {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest that they refer to.
        subject: Digest,
        /// The most that are read.
        limit: usize,
    },
    /// Few referrers with long descriptions: all pages of the list are kept.
    #[error("{origin} lists the referrers of {subject} in more than {limit} bytes")]
    ReferrersTooLong {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest that they refer to.
        subject: Digest,
        /// The most bytes that are read.
        limit: usize,
    },
    /// A manifest that was to be listed under a subject other than its own.
    #[error("manifest {digest} does not have {subject} as its subject")]
    NotAReferrer {
        /// The digest of the manifest.
        digest: Digest,
        /// The subject it was to be listed under.
        subject: Digest,
    },
    /// The tag that lists referrers holds something else.
    #[error(
        "{origin} cannot list the referrers of {subject}: its tag `{tag}` is {found}, expected an \
         image index"
    )]
    ReferrersTag {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest that they refer to.
        subject: Digest,
        /// `sha256-` and the hexadecimal digest of the subject.
        tag: String,
        /// What the tag holds instead.
        found: String,
    },
    /// Other clients kept overwriting the list of referrers.
    #[error(
        "the list of referrers of {subject} in {origin} still lacks entries after {writes} writes"
    )]
    ReferrersLost {
        /// As [`Source::origin`] names it.
        origin: String,
        /// The digest that they refer to.
        subject: Digest,
        /// How often it was written.
        writes: u32,
    },
}

impl OciError {
    /// Returns the refusal, if content was read and is not what was promised: that is an answer,
    /// not a failure.
    pub fn finding(&self) -> Option<Finding> {
        match self {
            Self::Digest { .. }
            | Self::ClaimedDigest { .. }
            | Self::Size { .. }
            | Self::Document { .. } => Some(Finding::refusal(Code::BrokenChain, self.to_string())),
            _ => None,
        }
    }

    /// Whether the registry forbids what was asked, as some do with what is not there
    /// (cosign#2973).
    fn is_forbidden(&self) -> bool {
        matches!(self, Self::Http { source: HttpError::Status { status: 403, .. } })
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Http { source } => source.hint(),
            Self::ReferrersTag { .. } => {
                Some("delete that tag; if the registry reserves it, push to another registry")
            }
            Self::ReferrersLost { .. } => {
                Some("try again when no one else is attaching to the same image")
            }
            _ => None,
        }
    }
}

/// A file of the wrong kind in the place of an archive will not change by itself; most of the rest
/// may be otherwise later.
impl Classed for OciError {
    fn class(&self) -> ErrorClass {
        match self {
            // Of this machine: what a registry's client could not read is `Http`.
            Self::Io { source, .. } => source.class(),
            _ => ErrorClass::CouldNot,
        }
    }
}
