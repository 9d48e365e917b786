//! Why nothing was built.

use super::source::SourceError;
use crate::bundle::definition::SourceName;
use crate::bundle::gate::GateRefusal;
use crate::bundle::lock::LockError;
use crate::bundle::{LayerError, ManifestError};
use crate::model::{Classed, Digest, ErrorClass, Platform};
use crate::oci::OciError;

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file that cannot be taken in.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A source that is not a directory, and no lock.
    #[error("the source `{0}` is not a directory, and there is no lock that pins its bytes")]
    NoLock(SourceName),
    /// A lock that does not hold.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Lock(Vec<LockError>),
    /// Plugins that the definition's gates refuse.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Gates(Vec<GateRefusal>),
    /// A layer that cannot be written.
    #[error("in the layers of {platform}")]
    Layer {
        /// The platform.
        platform: Platform,
        /// The error of packing.
        source: LayerError,
    },
    /// A store that fails.
    #[error(transparent)]
    Store(#[from] OciError),
    /// A store that keeps something else than it was given.
    #[error("the store kept {found}, and {expected} was written")]
    Stored {
        /// What was written.
        expected: Digest,
        /// What the store says it kept.
        found: Digest,
    },
    /// No program for an image that should start one.
    #[error(
        "there is no tool for {platform}, only {found}; give one with `--tool`, or write `tool: none`"
    )]
    NoTool {
        /// The platform.
        platform: Platform,
        /// The platforms that there is a tool for.
        found: String,
    },
    /// Two programs for one platform.
    #[error("there are two tools for {0}")]
    TwoTools(Platform),
    /// Facts that a node would refuse.
    #[error("{platform} would have a file manifest that no node accepts")]
    Manifest {
        /// The platform.
        platform: Platform,
        /// Why it would be refused.
        source: ManifestError,
    },
}

impl Classed for BuildError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::NoLock(_)
            | Self::Lock(_)
            | Self::Gates(_)
            | Self::NoTool { .. }
            | Self::TwoTools(_)
            | Self::Manifest { .. } => ErrorClass::Request,
            Self::Layer { .. } | Self::Store(_) | Self::Stored { .. } => ErrorClass::CouldNot,
        }
    }
}
