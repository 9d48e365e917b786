//! Paths of a node and the plugins at them.
//!
//! A [`HostPath`] is a path as the node's owner wrote it, without `.` and `..`, so that it cannot
//! lead out of the node's root by its text. It says nothing about what is there: whatever opens it
//! resolves links and mounts beneath the root.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::plugin_name::PluginName;
use super::text::visible;

/// An absolute path on the node, as its owner writes it (`/opt/cni/bin`), whatever the root is
/// mounted as.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPath(String);

/// Why a text is not a path on the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid path on the node: expected an absolute path of at most 1024 bytes without `.`, `..` or control characters"
)]
pub struct ParseHostPathError(String);

/// One plugin in one plugin directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginPath {
    /// The plugin directory, as a path on the node.
    pub directory: HostPath,
    /// The file name in it.
    pub name: PluginName,
}

impl fmt::Display for PluginPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.directory, self.name)
    }
}

impl HostPath {
    /// Where container runtimes look for plugins by default.
    pub fn default_bin_directory() -> Self {
        Self("/opt/cni/bin".to_owned())
    }

    /// Where receipts, evidence and originals are kept.
    pub fn default_state_directory() -> Self {
        Self("/var/lib/cnister".to_owned())
    }

    /// Where the owner's policy is stored.
    pub fn default_policy_directory() -> Self {
        Self("/etc/cnister".to_owned())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `other` is this directory or is below it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The directory that it is in; `None` if that is the root.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The path of an entry of this directory.
    pub fn join(&self, name: &PluginName) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    /// The path from the root on.
    pub fn relative(&self) -> &Path {
        Path::new(self.0.trim_start_matches('/'))
    }
}

impl FromStr for HostPath {
    type Err = ParseHostPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let components: Vec<_> =
            text.split('/').filter(|component| !component.is_empty()).collect();
        let good = text.starts_with('/')
            && text.len() <= 1024
            && !components.is_empty()
            && components.iter().all(|component| !matches!(*component, "." | ".."))
            && visible(text) == text;
        let shown = || {
            ParseHostPathError(visible(&text.chars().take(1024).collect::<String>()).into_owned())
        };
        if good { Ok(Self(format!("/{}", components.join("/")))) } else { Err(shown()) }
    }
}

impl TryFrom<String> for HostPath {
    type Error = ParseHostPathError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostPath> for String {
    fn from(path: HostPath) -> Self {
        path.0
    }
}

impl AsRef<Path> for HostPath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_below() {
        let path = |text: &str| text.parse::<HostPath>().unwrap();
        for (outer, inner, expected) in [
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/b", "/a", false),
            ("/a", "/ab", false),
            ("/a/", "/a", true),
        ] {
            assert_eq!(path(outer).holds(&path(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn host_paths_are_absolute_and_plain() {
        for (text, expected) in
            [("/opt/cni/bin", "/opt/cni/bin"), ("//opt//cni/bin/", "/opt/cni/bin"), ("/a", "/a")]
        {
            assert_eq!(text.parse::<HostPath>().unwrap().to_string(), expected);
        }
        for text in ["", "/", "opt/cni", "/opt/../etc", "/opt/./cni", "/o\u{1b}pt", "/\u{202e}"] {
            assert_eq!(
                text.parse::<HostPath>(),
                Err(ParseHostPathError(visible(text).into_owned())),
                "{text}"
            );
        }
        let long = format!("/{}", "a".repeat(1024));
        assert_eq!(long.parse::<HostPath>(), Err(ParseHostPathError(long[..1024].to_owned())));
        assert!(format!("/{}", "a".repeat(1023)).parse::<HostPath>().is_ok());
    }
}
