//! What a bundle is made of: the definition that people write, the manifest of its files, its layers, and the
//! documents of its image.

mod manifest;

pub use manifest::{FileManifest, GoBuild, Linkage, ManifestError, PluginFile, ToolFile};
