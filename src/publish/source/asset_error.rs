//! Why an asset cannot be used: an archive, a bare file, or the checksum file beside it.
//!
//! [`SourceError::Asset`](super::SourceError) says which asset it is and for which plugins; this is
//! what is wrong with it.

use std::io;

use super::cache::CacheError;
use super::image_error::ImageError;
use crate::bundle::tar::TarError;
use crate::bundle::{ChecksumError, MemberError};
use crate::disk::DiskError;
use crate::model::{Classed, Digest, ErrorClass, Sha512};
use crate::net::{DownloadError, HttpError};
use crate::oci::{CollectError, OciError};

/// Why an asset cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum AssetError {
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is {0}, expected a file")]
    NotAFile(&'static str),
    #[error("it is longer than {0} bytes, the limit for an asset")]
    TooLong(u64),
    /// A page that tells a person to log in, or that there is nothing.
    #[error("it is an HTML or XML page, not the asset: is it behind a login?")]
    Page,
    #[error("it is {found}, and {expected} is pinned")]
    Digest { expected: Digest, found: Digest },
    #[error("it is {found}, and the lock has {expected}, which its checksum file lists")]
    Sha512 { expected: Box<Sha512>, found: Box<Sha512> },
    #[error("two digests are pinned for it: {0} and {1}")]
    TwoPins(Digest, Digest),
    #[error("it changed while it was read")]
    Changed,
    #[error(transparent)]
    Member(#[from] MemberError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error("cannot write what is taken from it")]
    Spool(#[source] io::Error),
    #[error("cannot write what is taken from it")]
    Temporary(#[source] DiskError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("the {what} `{location}` cannot be fetched")]
    FetchBeside { what: &'static str, location: String, source: HttpError },
    #[error("the {what} `{location}` cannot be read")]
    ReadBeside { what: &'static str, location: String, source: io::Error },
    #[error("the checksum file `{location}` does not fit")]
    Checksums { location: String, source: ChecksumError },
    #[error("the {what} `{location}` does not hold: {reason}")]
    Signed { what: &'static str, location: String, reason: String },
    #[error("nothing of it is signed by the key {key}: {reason}")]
    Unsigned { key: Digest, reason: String },
    #[error("the key `{0}` was not read")]
    UnreadKey(String),
    #[error(transparent)]
    Collect(#[from] CollectError),
}

impl From<HttpError> for AssetError {
    fn from(error: HttpError) -> Self {
        Self::Download(error.into())
    }
}

impl AssetError {
    /// The hint for the user; `location` is that of the asset.
    pub(super) fn hint(&self, location: &str) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            // Many registries want a token even for public images.
            Self::Oci(OciError::Credentials { .. }) => Some(format!(
                "copy the image to a layout beside the definition (skopeo copy --all \
                 docker://{location} oci:upstream:latest) and use `image: oci:upstream:latest`"
            )),
            Self::Oci(error) => error.hint().map(str::to_owned),
            Self::Download(DownloadError::Http(error))
            | Self::FetchBeside { source: error, .. } => error.hint().map(str::to_owned),
            _ => None,
        }
    }
}

/// What an asset is decides; that it could not be fetched or read does not.
impl Classed for AssetError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Download(DownloadError::Http(error))
            | Self::FetchBeside { source: error, .. } => of_http(error),
            Self::Read(error) | Self::ReadBeside { source: error, .. } => error.class(),
            // What the decoder says has no number of the system's.
            Self::Member(MemberError::Tar(TarError::Read(error)))
                if error.raw_os_error().is_some() =>
            {
                ErrorClass::CouldNot
            }
            Self::Cache(error) => error.class(),
            Self::Image(error) => error.class(),
            // What was read is not what its digest promises, or no document of an image.
            Self::Oci(error) | Self::Collect(CollectError::Oci(error))
                if error.finding().is_some() =>
            {
                ErrorClass::Request
            }
            Self::Oci(error) | Self::Collect(CollectError::Oci(error)) => error.class(),
            Self::Download(DownloadError::Write(_))
            | Self::Changed
            | Self::Spool(_)
            | Self::Temporary(_) => ErrorClass::CouldNot,
            Self::NotAFile(_)
            | Self::TooLong(_)
            | Self::Page
            | Self::Digest { .. }
            | Self::Sha512 { .. }
            | Self::TwoPins(..)
            | Self::Member(_)
            | Self::Checksums { .. }
            | Self::Signed { .. }
            | Self::Unsigned { .. }
            | Self::UnreadKey(_)
            | Self::Collect(_) => ErrorClass::Request,
        }
    }
}

/// A URL that is never asked for is wrong; any answer of a server may be another one later.
fn of_http(error: &HttpError) -> ErrorClass {
    match error {
        HttpError::Url(_) | HttpError::Insecure { .. } | HttpError::TooLong { .. } => {
            ErrorClass::Request
        }
        _ => ErrorClass::CouldNot,
    }
}
