//! Why there is no manifest.

use crate::model::Digest;

/// Why there is no manifest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Nothing was verified.
    #[error("no platform was verified, so no node could install anything")]
    NoPlatform,
    /// Image, bundles and evidence are not of one release.
    #[error("the image has digest {expected}, what was verified is {found}")]
    OtherRelease {
        /// The digest that nodes would pull.
        expected: Digest,
        /// The digest that was verified, or that the evidence is about.
        found: Digest,
    },
    /// The bundle as its own verifier.
    #[error("the tool image is the bundle image: a bundle that checks itself proves nothing")]
    SelfCheck,
    /// Kubernetes would not take it.
    #[error("the {what} takes {found} bytes in what `kubectl apply` stores, the limit is {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length, written as JSON.
        found: usize,
        /// The most that is stored.
        limit: usize,
    },
}
