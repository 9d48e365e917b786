//! The flags that a definition may give a build: tags, and values of variables. Their characters
//! are limited so that none ends the flag that it is part of and begins another (`-extld`).

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::super::given::checked_texts;
use super::super::pattern::VERSION;
use super::ModuleVersion;
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

impl VariableValue {
    pub(super) fn fill(&self, version: &ModuleVersion) -> String {
        self.0.replace(VERSION, &version.to_string())
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

checked_texts! { BuildTag VariableName VariableValue }
