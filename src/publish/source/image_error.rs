//! Why a plugin cannot be taken from a container image.
//!
//! [`SourceError::Asset`](super::SourceError) says which image it is and for which plugins.

use crate::bundle::rootfs::{LayerError, MAX_LAYERS, NotFound, RootfsError};
use crate::bundle::tar::TarError;
use crate::model::{Classed, Digest, DocumentError, ErrorClass, JsonError, ParseReferenceError};
use crate::model::{Platform, excerpt, media_type};

/// The most bytes of all layers of an image, as they are stored. Images of plugins have at most a
/// few hundred MB.
pub(super) const LAYERS_LIMIT: u64 = 2 << 30;
/// The longest image configuration that is read, in bytes.
pub(super) const CONFIG_LIMIT: u64 = media_type::MANIFEST_LIMIT as u64;

/// Why a plugin cannot be taken from a container image.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ImageError {
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(
        "it is not for {platform}, only for {}",
        if .found.is_empty() { "no platform".to_owned() } else { .found.join(", ") }
    )]
    NoPlatform { platform: Platform, found: Vec<String> },
    /// An artifact: its layers are not a file system.
    #[error("it is not a container image: its configuration has media type `{}`", excerpt(.0))]
    NotAnImage(String),
    #[error("its configuration is {0} bytes long, the limit is {CONFIG_LIMIT}")]
    Config(u64),
    #[error("it has more than {MAX_LAYERS} layers")]
    TooManyLayers,
    #[error("its layer {layer} has media type `{}`, expected a tar archive", excerpt(.found))]
    LayerType { layer: Digest, found: String },
    #[error("its layers are {0} bytes long in all, the limit is {LAYERS_LIMIT}")]
    TooLong(u64),
    #[error("cannot read its layer {layer}")]
    Layer { layer: Digest, source: LayerError },
    #[error(transparent)]
    NotFound(#[from] NotFound),
}

/// What an image is decides; that a file of ours cannot be read does not.
impl Classed for ImageError {
    fn class(&self) -> ErrorClass {
        match self {
            // What the decoder says has no number of the system's.
            Self::Layer { source: LayerError::Tar(TarError::Read(error)), .. }
                if error.raw_os_error().is_some() =>
            {
                ErrorClass::CouldNot
            }
            Self::Layer { source: LayerError::Changed, .. } => ErrorClass::CouldNot,
            _ => ErrorClass::Request,
        }
    }
}

impl From<RootfsError> for ImageError {
    fn from(error: RootfsError) -> Self {
        Self::NotFound(error.into())
    }
}
