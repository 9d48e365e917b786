//! The name of a source, by which plugins and the command line refer to it.
//!
//! It never becomes a path or a part of an image: renaming a source changes no digest.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::given::checked_texts;
use crate::model::visible;

/// The name of a source: lower-case letters, digits and dashes, 1 to 63 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceName(String);

/// Why a text is not the name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a valid source name: expected 1 to 63 lower-case letters, digits and dashes")]
pub struct ParseSourceNameError(String);

impl FromStr for SourceName {
    type Err = ParseSourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=63).contains(&text.len()) && text.chars().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseSourceNameError(visible(text).into_owned()))
    }
}

checked_texts! { SourceName }

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
