//! What a bundle is made of: the definition that people write, the manifest of its files, its layers, and the
//! documents of its image.

mod manifest;

pub use crate::binary::{GoBuild, Linkage};
pub use manifest::{FileManifest, ManifestError, PluginFile, ToolFile};
