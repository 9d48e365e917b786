//! The directory of a source, which may differ by platform.
//!
//! Only the text is checked here. Whether the directory is there, and that no plugin leads out of
//! it, is checked by `publish::source`.

use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::given::checked_texts;
use super::pattern::ARCHITECTURE;
use crate::model::{Platform, PluginName, visible};

/// A directory; `{architecture}` in it stands for the architecture of each platform in Go's words
/// (`amd64`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DirectoryPattern(String);

/// Why a text is not a directory pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDirectoryError {
    /// The text is empty.
    #[error("a directory is missing; `.` is the one of the definition")]
    Empty,
    /// A placeholder that does not exist, or half of one.
    #[error("`{0}` has a brace that is not part of `{{architecture}}`, the only placeholder")]
    Placeholder(String),
    /// A character that does not belong into a path.
    #[error("`{0}` has a control character")]
    Control(String),
}

impl DirectoryPattern {
    /// The directory of one platform.
    pub fn of(&self, platform: &Platform) -> String {
        self.0.replace(ARCHITECTURE, platform.architecture())
    }

    /// Whether it is another directory for another platform.
    pub fn differs_by_platform(&self) -> bool {
        self.0.contains(ARCHITECTURE)
    }

    /// Whatever the platforms and plugins are, a directory may have them.
    pub(super) fn check(&self, _: &[Platform], _: &[&PluginName]) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn schema() -> Value {
        json!({
            "description": format!(
                "The directory with the plugins. A relative one is relative to this file. \
                 `{ARCHITECTURE}` stands for the architecture of each platform (amd64) and is required if there are several platforms."
            ),
            "type": "string",
            "minLength": 1,
        })
    }
}

impl FromStr for DirectoryPattern {
    type Err = ParseDirectoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseDirectoryError::Empty);
        }
        if visible(text) != text {
            return Err(ParseDirectoryError::Control(visible(text).into_owned()));
        }
        if text.replace(ARCHITECTURE, "").contains(['{', '}']) {
            return Err(ParseDirectoryError::Placeholder(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

checked_texts! { DirectoryPattern }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_placeholder_is_the_architecture() {
        let pattern: DirectoryPattern = "cni-{architecture}/bin".parse().unwrap();
        assert_eq!(pattern.of(&"linux/amd64".parse().unwrap()), "cni-amd64/bin");
        assert_eq!(pattern.of(&"linux/arm64".parse().unwrap()), "cni-arm64/bin");
    }
}
