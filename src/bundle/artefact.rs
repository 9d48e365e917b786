//! What is known of an asset that a plugin was taken from, beyond the plugin itself.
//!
//! It says what was read, not how far it is to be trusted: levels are computed from it by the lock.

use serde::{Deserialize, Serialize};

use super::checksum::Sum;
use super::module_sum::ModuleSum;
use crate::model::Digest;

/// An asset as it was read: the archive, the bare file, or the manifest of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Artefact {
    /// The digest of the asset.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Where in an image a plugin was, whose manifest is the artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InImage {
    /// The digest of the index that lists the manifest, if the reference named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Digest>,
    /// The digest of the layer that has the file.
    pub layer: Digest,
}

/// The checksum file that named an asset with the digest that it has. What names another digest is
/// an error and makes none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The URL or path of the checksum file.
    pub location: String,
    /// The name by which it lists the asset, which is the last part of the asset's location.
    pub name: String,
    /// What it says.
    pub sum: Sum,
    /// The file itself, which a lock keeps: `ChecksumFile::parse` reads it again, offline.
    pub content: Vec<u8>,
}

/// The module that a program was compiled from just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledModule {
    /// Its sum.
    pub sum: ModuleSum,
    /// The proof that the checksum database has the sum, if it was asked for one: the text of a
    /// `SumProof`.
    pub proof: Option<Vec<u8>>,
}
