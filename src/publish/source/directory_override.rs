//! `--directory NAME=PATH`: where a source lies on this machine.

use std::str::FromStr;

use crate::bundle::definition::source::{
    DirectoryPattern, ParseDirectoryError, ParseSourceNameError, SourceName,
};
use crate::model::visible;

/// `NAME=PATH`: where a source lies on this machine, whatever the definition says. A relative path
/// is relative to the working directory, as every path on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryOverride {
    /// The source.
    pub name: SourceName,
    /// Its directory.
    pub directory: DirectoryPattern,
}

/// Why a text is not a [`DirectoryOverride`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseOverrideError {
    /// No `=`.
    #[error("`{0}` has no `=`; write `NAME=PATH`")]
    Form(String),
    /// Not the name of a source.
    #[error(transparent)]
    Name(#[from] ParseSourceNameError),
    /// Not a directory.
    #[error(transparent)]
    Directory(#[from] ParseDirectoryError),
}

impl FromStr for DirectoryOverride {
    type Err = ParseOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, directory) = text
            .split_once('=')
            .ok_or_else(|| ParseOverrideError::Form(visible(text).into_owned()))?;
        Ok(Self { name: name.parse()?, directory: directory.parse()? })
    }
}
