//! What a definition asks of a source for one plugin and platform, with the placeholders filled in.
//!
//! A lock stores it beside the result: a definition that asks for something else is noticed without
//! a network. Gates, comments and the compression of the bundle are not part of it. The digests
//! that a definition fixes are not either: they are compared with the result.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::beside::without_query;
use crate::model::visible;

/// A plugin of a source, as the definition asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The kind of the source: the key that chooses it (`archive`).
    pub kind: String,
    /// The URL or path, or the reference of an image, as the definition writes it but for the
    /// placeholders.
    pub location: String,
    /// The path inside of it, if the definition gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The upstream version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The URL or path of the checksum file, if the definition names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksums: Option<String>,
}

impl Request {
    /// Makes it one for a directory of this machine, which was given in place of the source.
    pub fn make_directory(&mut self) {
        let Self { kind, member, checksums, .. } = self;
        (*kind, *member, *checksums) = (super::DIRECTORY.to_owned(), None, None);
    }

    /// Whether it is for a file of a container image.
    pub fn is_image(&self) -> bool {
        self.kind == "image"
    }

    /// Whether it is for an asset that is fetched, and not for a file of a directory.
    pub fn has_asset(&self) -> bool {
        self.kind != super::DIRECTORY
    }
}

/// As a sentence names it: "archive `plugins.tgz`, version `v1.9.1`, member `bridge`".
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, location, member, version, checksums } = self;
        write!(f, "{kind} `{}`", visible(without_query(location)))?;
        if let Some(version) = version {
            write!(f, ", version `{}`", visible(version))?;
        }
        if let Some(member) = member {
            write!(f, ", member `{}`", visible(member))?;
        }
        match checksums {
            Some(checksums) => write!(f, ", checksums `{}`", visible(without_query(checksums))),
            None => Ok(()),
        }
    }
}
