//! Where the files of a bundle come from: a staged directory or the plugin layer of an image.
//!
//! A payload hands over each wanted plugin once, as a reader, and is not trusted. Copying and
//! hashing the bytes is the same for all of them and happens elsewhere.

mod layer;
mod stage;
mod staged;

pub(crate) use layer::EncodedLayer;
pub use layer::Layer;
pub use stage::{StageReport, stage};
pub use staged::Staged;

use std::collections::BTreeSet;
use std::io::Read;

use super::error::NodeError;
use crate::bundle::{FileManifest, PluginFile};
use crate::model::PluginName;

/// What takes a plugin and its bytes.
pub type Take<'a> = dyn FnMut(&PluginFile, &str, &mut dyn Read) -> Result<(), NodeError> + 'a;

/// A place that the files of a bundle come from.
pub trait Payload {
    /// Hands every wanted plugin of `files` to `take`, in any order, with the name of the place for
    /// messages.
    ///
    /// Returns only when the whole payload was found to be what `files` says: what was taken before
    /// may have to be thrown away.
    fn deliver(
        &mut self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError>;
}
