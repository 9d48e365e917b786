//! Why nothing was rendered.

use crate::model::Digest;

/// Why nothing was rendered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No platform was verified.
    #[error("no platform was verified, so there is nothing to install")]
    NoPlatform,
    /// Image, bundles and evidence are not from the same release.
    #[error("the image has digest {expected}, but {found} was verified")]
    OtherRelease {
        /// The digest that nodes would pull.
        expected: Digest,
        /// The digest that was verified, or that the evidence is about.
        found: Digest,
    },
    /// The bundle image as its own verifier.
    #[error("the tool image is the bundle image: a bundle that checks itself proves nothing")]
    SelfCheck,
    /// The encoder fails.
    #[error("the {what} cannot be compressed: {reason}")]
    Compression {
        /// The text that is compressed.
        what: &'static str,
        /// The encoder's message.
        reason: String,
    },
    /// Too long for Kubernetes.
    #[error("the {what} takes {found} bytes as `kubectl apply` stores it, the limit is {limit}")]
    TooLong {
        /// Which text is too long.
        what: &'static str,
        /// In bytes, as JSON.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
}
