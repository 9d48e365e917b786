//! A source: a place that plugins come from, as the definition names it.

mod directory;
mod name;

use serde::Deserialize;

pub(super) use directory::PLACEHOLDER;
pub use directory::{DirectoryPattern, ParseDirectoryError};
pub use name::{ParseSourceNameError, SourceName};

/// A place that plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the definition and the command line call it.
    pub name: SourceName,
    /// The directory.
    pub directory: DirectoryPattern,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    pub(super) name: SourceName,
    pub(super) directory: DirectoryPattern,
}
