//! Making images: the sources of a bundle, the build, keys.
//!
//! It reads files and writes to a store; what the files become is decided in [`crate::bundle`].

mod build;
pub mod keys;
pub mod sign;
mod source;

pub use build::{BlobStore, BuildError, Built, build, build_tool};
pub use source::{Directories, DirectoryOverride, ParseOverrideError, Plugin, SourceError, Tool};
