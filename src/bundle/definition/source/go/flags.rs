//! The flags that a definition may give a build: tags, and values of variables. Their characters
//! are limited so that none ends the flag that it is part of and begins another (`-extld`). A
//! recipe may have the whole text of `-ldflags`, in which only a closed list of flags is accepted.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::super::given::checked_texts;
use super::super::pattern::VERSION;
use crate::binary::split_flags;
use crate::model::excerpt;

/// The pattern of [`BuildTag`].
pub(super) const TAG: &str = "^[A-Za-z0-9_.]{1,64}$";
/// The pattern of [`VariableValue`].
pub(super) const VALUE: &str = "^[A-Za-z0-9 ._+:/@=,{}-]{0,256}$";

/// A build tag.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BuildTag(String);

/// The import path and name of a variable: `example.com/app/version.Version`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct VariableName(String);

/// The text that a variable is set to, with the placeholder of the version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct VariableValue(String);

/// The text of `-ldflags` as a build had it, with the placeholder of the version. The linker
/// records it word by word, so that a recipe has to have the same text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LinkerFlags(String);

/// Why a text is not one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ParseFlagError {
    #[error("`{0}` is not a build tag: expected up to 64 letters, digits, `_` and `.`")]
    Tag(String),
    #[error("`{0}` is not a variable: expected an import path and a name, such as `main.version`")]
    Name(String),
    #[error(
        "`{0}` is not a value for a variable: expected up to 256 letters, digits, spaces and \
         `._+:/@=,-`, and `{{version}}`"
    )]
    Value(String),
    #[error(
        "`{0}` is not a text of linker flags: expected `-s`, `-w`, `-buildid=`, `-extldflags \
         -static` and `-X NAME=VALUE`"
    )]
    Linker(String),
}

impl FromStr for BuildTag {
    type Err = ParseFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
        match (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseFlagError::Tag(excerpt(text))),
        }
    }
}

impl FromStr for VariableName {
    type Err = ParseFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_path = |path: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
            path.starts_with(|c: char| c.is_ascii_alphanumeric()) && path.chars().all(allowed)
        };
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        match text.rsplit_once('.') {
            Some((path, name)) if text.len() <= 256 && is_path(path) && is_name(name) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ParseFlagError::Name(excerpt(text))),
        }
    }
}

impl FromStr for VariableValue {
    type Err = ParseFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " ._+:/@=,-".contains(c);
        match text.len() <= 256 && text.replace(VERSION, "").chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseFlagError::Value(excerpt(text))),
        }
    }
}

impl FromStr for LinkerFlags {
    type Err = ParseFlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LONGEST: usize = 4096;
        let is_short = text.len() <= LONGEST && !text.contains(|c: char| c.is_control());
        let mut words = split_flags(text).into_iter();
        let mut is_known = is_short;
        while let Some(word) = words.next().filter(|_| is_known) {
            is_known = match word.as_str() {
                "-s" | "-w" | "-buildid=" | "-extldflags=-static" => true,
                "-extldflags" => words.next().is_some_and(|value| value == "-static"),
                "-X" => words.next().is_some_and(|definition| is_definition(&definition)),
                word => word.strip_prefix("-X=").is_some_and(is_definition),
            };
        }
        match is_known {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseFlagError::Linker(excerpt(text))),
        }
    }
}

/// Whether it sets a variable, as `-X` takes it.
fn is_definition(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, value)| {
        name.parse::<VariableName>().is_ok() && value.parse::<VariableValue>().is_ok()
    })
}

impl LinkerFlags {
    /// Whether it has the placeholder of the version.
    pub(super) fn has_version(&self) -> bool {
        self.0.contains(VERSION)
    }

    pub(super) fn fill(&self, version: &str) -> String {
        self.0.replace(VERSION, version)
    }
}

impl VariableValue {
    /// Whether it has the placeholder of the version.
    pub(super) fn has_version(&self) -> bool {
        self.0.contains(VERSION)
    }

    pub(super) fn fill(&self, version: &str) -> String {
        self.0.replace(VERSION, version)
    }
}

impl fmt::Display for BuildTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

checked_texts! { BuildTag LinkerFlags VariableName VariableValue }
