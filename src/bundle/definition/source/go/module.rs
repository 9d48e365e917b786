//! Module paths, versions, packages and releases of Go, as texts that are safe to hand to the `go`
//! command: none starts with a dash, leaves the module, or means several things.

use std::fmt;
use std::str::FromStr;

use semver::{BuildMetadata, Version};
use serde::Deserialize;

use super::super::given::checked_texts;
use super::super::pattern::PLUGIN;
use crate::model::{PluginName, excerpt};

/// The pattern of [`GoRelease`].
pub(super) const RELEASE: &str = r"^1\.[0-9]{1,3}(\.[0-9]{1,3}|rc[0-9]{1,2}|beta[0-9]{1,2})?$";

/// The path of a module (Go Modules Reference, "Module paths").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ModulePath(String);

/// The version of a module: a full semantic version, of which pseudo-versions are a kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ModuleVersion(String);

/// A release of Go, without the `go` before it: `1.26.8`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct GoRelease(String);

/// The path of a package below its module, with or without `./`, with the placeholder of the
/// plugin; `.` is the module's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PackagePattern(String);

/// Why a text is not one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ParseModuleError {
    #[error(
        "`{0}` is not a module path: expected a host name with a dot, such as `example.com/cni`"
    )]
    Path(String),
    #[error(
        "`{0}` is not the version of a module: expected a full version such as `v1.9.1` or a \
         pseudo-version; a branch and `latest` mean something else tomorrow"
    )]
    Version(String),
    #[error("`{0}` is not a release of Go: expected one such as `1.26.8`")]
    Release(String),
    #[error(
        "`{0}` is not a package of the module: expected a path such as `./plugins/main/macvlan`"
    )]
    Package(String),
}

/// Whether it can be an element of an import path (`module.CheckImportPath`).
fn is_element(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+".contains(c);
    !text.is_empty()
        && text.chars().all(allowed)
        && !text.starts_with(['-', '.'])
        && !text.ends_with('.')
        && !text.contains("...")
}

impl FromStr for ModulePath {
    type Err = ParseModuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = text.split('/').next().unwrap_or_default();
        let is_host = host.contains('.')
            && host
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c));
        // What follows `@` is a version, and upper-case letters are part of a path.
        match is_host && text.len() <= 256 && text.split('/').all(is_element) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseModuleError::Path(excerpt(text))),
        }
    }
}

impl FromStr for ModuleVersion {
    type Err = ParseModuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let version = text.strip_prefix('v').and_then(|rest| rest.parse::<Version>().ok());
        let incompatible = BuildMetadata::new("incompatible").unwrap_or_default();
        let is_known = |it: &Version| it.build.is_empty() || it.build == incompatible;
        match text.len() <= 128 && version.as_ref().is_some_and(is_known) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseModuleError::Version(excerpt(text))),
        }
    }
}

impl FromStr for GoRelease {
    type Err = ParseModuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |text: &str, most: usize| {
            (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit())
        };
        let rest = text.strip_prefix("1.").unwrap_or_default();
        let is_release = match rest.split_once('.') {
            Some((minor, patch)) => is_number(minor, 3) && is_number(patch, 3),
            None => match rest.split_once("rc").or_else(|| rest.split_once("beta")) {
                Some((minor, number)) => is_number(minor, 3) && is_number(number, 2),
                None => is_number(rest, 3),
            },
        };
        match is_release {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseModuleError::Release(excerpt(text))),
        }
    }
}

impl FromStr for PackagePattern {
    type Err = ParseModuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = if text == "." { "." } else { text.strip_prefix("./").unwrap_or(text) };
        // A plugin's name has no character that an element may not have.
        let is_path = path.replace(PLUGIN, "plugin").split('/').all(is_element);
        match text.len() <= 256 && (path == "." || is_path) {
            true => Ok(Self(path.to_owned())),
            false => Err(ParseModuleError::Package(excerpt(text))),
        }
    }
}

impl PackagePattern {
    pub(super) fn has_plugin(&self) -> bool {
        self.0.contains(PLUGIN)
    }

    /// The path of a plugin's package, without `./`.
    pub(super) fn fill(&self, plugin: &PluginName) -> String {
        self.0.replace(PLUGIN, plugin.as_str())
    }
}

impl fmt::Display for ModulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ModuleVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As Go calls itself: `go1.26.8`.
impl fmt::Display for GoRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "go{}", self.0)
    }
}

checked_texts! { ModulePath ModuleVersion GoRelease PackagePattern }
