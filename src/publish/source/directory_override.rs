//! `--directory NAME=PATH`: where a source's files are on this machine.
//!
//! A definition is the same on every machine, but the location of its files is not. The directory
//! replaces the whole source, whatever its kind.

use std::str::FromStr;

use super::SourceError;
use crate::bundle::Definition;
use crate::bundle::definition::source::{
    DirectoryPattern, ParseDirectoryError, ParseSourceNameError, SourceName,
};
use crate::model::visible;

/// `NAME=PATH`: where a source is on this machine, in place of what the definition says. A relative
/// path is relative to the working directory, as every path on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryOverride {
    /// The source whose directory is given.
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
    /// The path is not a valid directory pattern.
    #[error(transparent)]
    Directory(#[from] ParseDirectoryError),
}

impl DirectoryOverride {
    /// Refuses a source that the definition does not have, and one directory for its many
    /// platforms.
    pub(super) fn check(&self, definition: &Definition) -> Result<(), SourceError> {
        if definition.source(&self.name).is_none() {
            let choices: Vec<_> =
                definition.sources.iter().map(|source| format!("`{}`", source.name)).collect();
            let (name, choices) = (self.name.clone(), choices.join(", "));
            return Err(SourceError::NoSource { name, choices });
        }
        match definition.platforms.as_slice() {
            [first, _, ..] if !self.directory.differs_by_platform() => {
                Err(SourceError::OneDirectory(self.directory.of(first)))
            }
            _ => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::publish::source::Sources;
    use crate::publish::source::tests::{definition, no_fetch};

    #[test]
    fn a_directory_can_be_given_on_the_command_line() {
        let definition = definition("linux/amd64, linux/arm64", "bridge");
        // Neither directory is there, so that the error says where plugins were looked for.
        let first = |overrides: &[&str]| {
            let overrides: Vec<_> = overrides.iter().map(|text| text.parse().unwrap()).collect();
            let fetch = no_fetch();
            let sources = Sources::new(&definition, Path::new("bundles"), &overrides, &fetch);
            let error = sources.and_then(|sources| sources.take()).expect_err("nothing is there");
            error.to_string()
        };
        let missing =
            |directory| format!("cannot read the directory `{directory}` of the source `files`");
        assert_eq!(first(&[]), missing("bundles/cni-amd64"));
        assert_eq!(first(&["files=out/{architecture}"]), missing("out/amd64"));
        assert_eq!(
            first(&["files=/one/{architecture}", "files=/two/{architecture}"]),
            missing("/two/amd64")
        );
        assert_eq!(first(&["other=out"]), "the definition has no source `other`, only `files`");
        assert_eq!(
            first(&["files=out"]),
            "`out` is one directory for several platforms; write `{architecture}` into it"
        );
        for (text, expected) in [
            ("out", "`out` has no `=`; write `NAME=PATH`"),
            (
                "A=out",
                "`A` is not a valid source name: expected 1 to 63 lower-case letters, digits and dashes",
            ),
            ("a=", "a directory is missing; `.` is the one of the definition"),
        ] {
            assert_eq!(text.parse::<DirectoryOverride>().expect_err(text).to_string(), expected);
        }
    }
}
