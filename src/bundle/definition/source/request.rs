//! What a definition asks of a source for one plugin and platform, with the placeholders filled in.
//!
//! A lock stores it beside the result: a definition that asks for something else is noticed without
//! a network. Gates, comments and the compression of the bundle are not part of it. The digests
//! that a definition fixes are not either: they are compared with the result.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::beside::without_query;
use super::go::GoRequest;
use crate::model::{Digest, visible};

/// A plugin of a source, as the definition asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The kind of the source: the key that chooses it (`archive`).
    pub kind: String,
    /// The URL or path, or the reference of an image, as the definition writes it but for the
    /// placeholders; the path of a Go module.
    pub location: String,
    /// The path inside of it, if the definition gives it; the import path of a package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The upstream version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The URL or path of the checksum file, if the definition names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksums: Option<String>,
    /// The URL or path of a signature of the asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The URL or path of the asset's provenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    /// The fingerprint of the key that verifies both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// How it is compiled, for a package of a Go module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<GoRequest>,
}

impl Request {
    /// Makes it one for a directory of this machine, which was given in place of the source.
    pub fn make_directory(&mut self) {
        let Self { kind, member, checksums, build, .. } = self;
        (*kind, *member, *checksums) = (super::DIRECTORY.to_owned(), None, None);
        (self.signature, self.provenance, self.key) = (None, None, None);
        *build = None;
    }

    /// Whether it is for a file of a container image.
    pub fn is_image(&self) -> bool {
        self.kind == super::IMAGE
    }

    /// Whether it is for an asset that is fetched: not for a file of a directory, and not for a
    /// program that is compiled.
    pub fn has_asset(&self) -> bool {
        self.is_fetched() && self.build.is_none()
    }

    /// Whether it is for something from elsewhere, and not for a file of a directory.
    pub fn is_fetched(&self) -> bool {
        self.kind != super::DIRECTORY
    }
}

/// As a sentence names it: "archive `plugins.tgz`, version `v1.9.1`, member `bridge`".
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, location, member, version, checksums, .. } = self;
        write!(f, "{kind} `{}`", visible(without_query(location)))?;
        if let Some(version) = version {
            write!(f, ", version `{}`", visible(version))?;
        }
        if let Some(member) = member {
            write!(f, ", member `{}`", visible(member))?;
        }
        if let Some(checksums) = checksums {
            write!(f, ", checksums `{}`", visible(without_query(checksums)))?;
        }
        for (what, location) in [("signature", &self.signature), ("provenance", &self.provenance)] {
            if let Some(location) = location {
                write!(f, ", {what} `{}`", visible(without_query(location)))?;
            }
        }
        if let Some(key) = self.key {
            write!(f, ", key {key}")?;
        }
        match &self.build {
            Some(build) => write!(f, ", compiled by {}", visible(&build.to_string())),
            None => Ok(()),
        }
    }
}
