//! Images as manifests name them: by tag for update bots, and by digest for everyone else.

use std::fmt;
use std::str::FromStr;

use crate::model::{Digest, ParseReferenceError, RegistryReference, Repository, visible};

/// An image by repository, tag and digest.
///
/// The digest decides what a node runs. Update bots (Renovate, Dependabot) compare tags and rewrite
/// both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedImage {
    repository: Repository,
    tag: String,
    digest: Digest,
}

/// Why a text is not a pinned image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePinnedError {
    /// The text is not a valid reference.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// A layout or an archive, which no node can pull from.
    #[error("`{0}` is not in a registry; write REPO:TAG@sha256:DIGEST")]
    NotInRegistry(String),
    /// Without a tag, update bots cannot tell that there is a newer version.
    #[error("`{0}` has no tag; write REPO:TAG@sha256:DIGEST")]
    NoTag(String),
    /// Without a digest, the registry decides what a node runs.
    #[error("`{0}` has no digest; write REPO:TAG@sha256:DIGEST")]
    NoDigest(String),
}

impl PinnedImage {
    /// Pins an image; `None` if the reference has no tag. `digest` replaces a digest in the
    /// reference.
    pub fn new(reference: RegistryReference, digest: Digest) -> Option<Self> {
        Some(Self { repository: reference.repository, tag: reference.selector.tag?, digest })
    }

    /// Returns the repository that nodes pull from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the digest of the index.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl FromStr for PinnedImage {
    type Err = ParsePinnedError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || visible(text).into_owned();
        let reference: crate::model::Reference = text.parse()?;
        let reference =
            reference.as_registry().ok_or_else(|| ParsePinnedError::NotInRegistry(shown()))?;
        let digest =
            reference.selector.digest.ok_or_else(|| ParsePinnedError::NoDigest(shown()))?;
        Self::new(reference, digest).ok_or_else(|| ParsePinnedError::NoTag(shown()))
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.repository, self.tag, self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_image_has_a_tag_and_a_digest() {
        let digest = Digest::of(b"");
        let text = format!("ghcr.io/acme/cnister:1.2.3@{digest}");
        assert_eq!(text.parse::<PinnedImage>().unwrap().to_string(), text);
        type Expected = fn(String) -> ParsePinnedError;
        let cases: [(String, Expected); 4] = [
            ("ghcr.io/acme/cnister".to_owned(), ParsePinnedError::NoDigest),
            ("ghcr.io/acme/cnister:1.2.3".to_owned(), ParsePinnedError::NoDigest),
            (format!("ghcr.io/acme/cnister@{digest}"), ParsePinnedError::NoTag),
            (format!("oci:layout:1.2.3@{digest}"), ParsePinnedError::NotInRegistry),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<PinnedImage>(), Err(expected(text.clone())), "{text}");
        }
    }
}
