//! What a definition asks of a source for one plugin and platform, with the placeholders filled in.
//!
//! A lock stores it beside the result: a definition that asks for something else is noticed without
//! a network. Gates, comments and the compression of the bundle are not part of it. The digests
//! that a definition fixes are not either: they are compared with the result.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A plugin of a source, as the definition asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The kind of the source: the key that chooses it (`archive`).
    pub kind: String,
    /// The URL or path, as the definition writes it but for the placeholders.
    pub location: String,
    /// The path inside of it, if the definition gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The upstream version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// As a sentence names it: "archive `plugins.tgz`, version `v1.9.1`, member `bridge`".
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, location, member, version } = self;
        write!(f, "{kind} `{location}`")?;
        if let Some(version) = version {
            write!(f, ", version `{version}`")?;
        }
        match member {
            Some(member) => write!(f, ", member `{member}`"),
            None => Ok(()),
        }
    }
}
