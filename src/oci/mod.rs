//! Where images lie: layout directories, archives and registries, behind two traits.
//!
//! A [`Source`] gives checked bytes: whatever it returns has the digest that was asked for. A
//! [`Sink`] takes them in an order that never shows a tag whose image or signatures are not there
//! yet.

mod blobs;
mod collect;
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
mod referrers;
mod registry;
mod remembered;
mod verify_reader;

use std::io::{self, Read};

use oci_spec::image::Descriptor;

pub use blobs::read_layers;
pub use collect::{CollectError, Platforms, collect};
#[cfg(feature = "publish")]
pub use copy::{Copied, copy};
#[cfg(feature = "publish")]
pub use describe::{Description, PlatformDescription, ReferrerDescription, describe};
pub use layout::Layout;
#[cfg(feature = "publish")]
pub use layout_writer::{LayoutWriter, write_archive};
pub use registry::Registry;
pub use remembered::Remembered;
pub use verify_reader::VerifyReader;

use crate::model::{Code, Digest, Document, DocumentError, Finding, Selector};
use crate::net::HttpError;

/// A place that images are read from.
pub trait Source {
    /// How errors and reports name the place.
    fn origin(&self) -> String;

    /// Fetches the manifest or index that `selector` names; its digest is checked where the
    /// selector has one.
    fn manifest(&self, selector: &Selector) -> Result<Document, OciError>;

    /// Opens a blob. The reader checks size and digest on the way and fails at the end of a blob
    /// that is not the one the descriptor names.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError>;

    /// Lists the manifests whose `subject` is this digest (distribution-spec, "Listing Referrers"),
    /// whatever their type. Empty means that there are none; a failure to find out is an error.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError>;
}

/// A place that images are written to.
pub trait Sink {
    /// Whether the blob is there already.
    fn has_blob(&mut self, descriptor: &Descriptor) -> Result<bool, OciError>;

    /// Stores a blob, checking size and digest on the way.
    fn put_blob(&mut self, descriptor: &Descriptor, content: &mut dyn Read)
    -> Result<(), OciError>;

    /// Stores a manifest or index under its digest. What it names must be there.
    fn put_manifest(&mut self, document: &Document) -> Result<(), OciError>;

    /// Stores manifests that have `subject` as their subject, so that [`Source::referrers`] lists
    /// them. All of one subject in one call: where a registry keeps a list by hand, it is written
    /// once.
    fn put_referrers(&mut self, subject: &Digest, referrers: &[Document]) -> Result<(), OciError>;

    /// Points `tag` at a document that is there.
    fn tag(&mut self, tag: &str, document: &Document) -> Result<(), OciError>;
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// No such manifest, tag or blob.
    #[error("{origin} has no {what}")]
    NotFound {
        /// The place.
        origin: String,
        /// What was asked for.
        what: String,
    },
    /// The bytes are not the ones their digest promises.
    #[error("blob {expected} in {origin} is altered: its content has digest {found}")]
    Digest {
        /// The place.
        origin: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The bytes are more or fewer than their descriptor promises.
    #[error("blob {digest} in {origin} is {found} bytes, its descriptor says {expected}")]
    Size {
        /// The place.
        origin: String,
        /// The blob.
        digest: Digest,
        /// The size in the descriptor.
        expected: u64,
        /// The size of the bytes; one more than expected where reading stopped there.
        found: u64,
    },
    /// A document that cannot be what it should be.
    #[error("in {origin}: {source}")]
    Document {
        /// The place.
        origin: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// Several images and no word which one.
    #[error("{origin} holds {count} images; name one: {choices}")]
    Ambiguous {
        /// The place.
        origin: String,
        /// How many.
        count: usize,
        /// Their tags and digests.
        choices: String,
    },
    /// The place is not an OCI layout, or not one that is understood.
    #[error("{origin} is not an OCI layout: {reason}")]
    NotALayout {
        /// The place.
        origin: String,
        /// Why not.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} in {origin}")]
    Io {
        /// The place.
        origin: String,
        /// What was tried.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No usable answer over HTTP.
    #[error(transparent)]
    Http {
        /// Which request, and why not.
        #[from]
        source: HttpError,
    },
    /// The registry wants to know who asks.
    #[error("registry `{host}` wants credentials, which this version does not send")]
    Credentials {
        /// The registry.
        host: String,
    },
    /// A page for a browser: a login page, a captive portal, a proxy.
    #[error(
        "registry answered with HTML instead of {what} (status {status}); is `{host}` behind a login page?"
    )]
    Html {
        /// The registry.
        host: String,
        /// What was asked for.
        what: &'static str,
        /// The status of the answer.
        status: u16,
    },
    /// More referrers than anybody attaches.
    #[error("{origin} lists more than {limit} referrers of {subject}")]
    TooManyReferrers {
        /// The place.
        origin: String,
        /// What they refer to.
        subject: Digest,
        /// The most that is read.
        limit: usize,
    },
    /// A manifest that is to be listed under a subject that is not its own.
    #[error("manifest {digest} does not have {subject} as its subject")]
    NotAReferrer {
        /// The manifest.
        digest: Digest,
        /// The subject it was to have.
        subject: Digest,
    },
    /// The tag that lists referrers holds something else.
    #[error(
        "{origin} cannot list the referrers of {subject}: its tag `{tag}` is {found}, expected an image index"
    )]
    ReferrersTag {
        /// The place.
        origin: String,
        /// What they refer to.
        subject: Digest,
        /// The tag.
        tag: String,
        /// What the tag is instead.
        found: String,
    },
    /// Others kept overwriting the list of referrers.
    #[error(
        "{origin} did not keep the list of referrers of {subject}, although it was written {writes} times"
    )]
    ReferrersLost {
        /// The place.
        origin: String,
        /// What they refer to.
        subject: Digest,
        /// How often it was written.
        writes: u32,
    },
}

impl OciError {
    /// The refusal that it is, where bytes were read and are not the ones that were promised: an
    /// answer, not a failure.
    pub fn finding(&self) -> Option<Finding> {
        match self {
            Self::Digest { .. } | Self::Size { .. } | Self::Document { .. } => {
                Some(Finding::refusal(Code::BrokenChain, self.to_string()))
            }
            _ => None,
        }
    }

    /// What the reader can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Http { source } => source.hint(),
            Self::ReferrersTag { .. } => {
                Some("delete that tag; where the registry reserves it, push to another one")
            }
            Self::ReferrersLost { .. } => {
                Some("try again when nobody else attaches to the same image")
            }
            _ => None,
        }
    }
}
