//! Making images: the sources of a bundle, the build, keys.
//!
//! It reads files and writes to a store; what the files become is decided in [`crate::bundle`].

mod build;
mod contents;
mod error;
mod first;
mod inputs;
pub mod keys;
mod lock;
mod sbom;
pub mod sign;
mod source;

pub use build::{BlobStore, Built, build, build_tool};
pub use contents::{ContainedImage, ContentsError};
pub use error::BuildError;
pub use first::{FirstFiles, FirstSource};
pub use inputs::Inputs;
pub use lock::{LockFile, LockFileError, lock, pins, sums};
pub use sbom::{ParseSbomFormatError, SBOM_LIMIT, Sbom, SbomFormat, sboms};
pub use source::{
    AssetError, Cache, CacheError, DirectoryOverride, Evidence, Fetch, ParseOverrideError, Plugin,
    PluginSource, RequestedPlugins, SourceError, Sources, Taken, Tool, Wanted,
};
