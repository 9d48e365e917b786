//! Making images: the sources of a bundle, the build, keys.
//!
//! It reads files and writes to a store; what the files become is decided in [`crate::bundle`].

pub mod keys;
