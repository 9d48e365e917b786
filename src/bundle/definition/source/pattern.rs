//! Where an asset or a member is, as a definition writes it: a text with placeholders.
//!
//! Only the text is checked and filled in here; nothing is opened. What is put in for a placeholder
//! has no brace, so that nothing is filled in twice. A URL with a user name is refused: the
//! location is stored in the lock and printed, and a password would be too.

use std::str::FromStr;

use serde::Deserialize;

use super::given::checked_texts;
use crate::model::{Platform, PluginName, visible};

/// The placeholder of the architecture, in Go's words (`amd64`).
pub(in crate::bundle::definition) const ARCHITECTURE: &str = "{architecture}";
/// The placeholder of the upstream version.
pub(super) const VERSION: &str = "{version}";
/// The placeholder of the plugin's name.
pub(super) const PLUGIN: &str = "{plugin}";

/// A URL or a path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LocationPattern(String);

/// The path of a member of an archive, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MemberPattern(String);

/// The path of a file in a container image, from its root, with placeholders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ImagePathPattern(String);

/// The version of an upstream release, as its URLs have it (`v1.9.1`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UpstreamVersion(String);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ParsePatternError {
    #[error("the URL or path is empty")]
    Empty,
    #[error("`{0}` has a control character")]
    Control(String),
    #[error(
        "`{0}` has a brace that is not part of `{{architecture}}`, `{{version}}` or `{{plugin}}`"
    )]
    Placeholder(String),
    #[error("`{0}` is neither a path nor an https or http URL")]
    Scheme(String),
    #[error("a URL must not have a user name or a password, since it is stored in the lock")]
    User,
    #[error("`{0}` is not a path inside an archive: expected a relative path without `..`")]
    Member(String),
    #[error("`{0}` is not a path in an image: expected an absolute path without `..`")]
    ImagePath(String),
    #[error(
        "`{0}` is not a valid upstream version: expected up to 128 letters, digits, `.`, `_`, `+` and `-`, starting with a letter or digit"
    )]
    Version(String),
}

/// What is put in for the placeholders.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling<'a> {
    pub(super) platform: &'a Platform,
    pub(super) version: Option<&'a UpstreamVersion>,
    pub(super) plugin: &'a PluginName,
}

/// The methods of all patterns.
macro_rules! patterns {
    ($($pattern:ident)+) => {
        $(impl $pattern {
            /// Whether it has this placeholder.
            pub(super) fn has(&self, placeholder: &str) -> bool {
                self.0.contains(placeholder)
            }

            pub(super) fn fill(&self, filling: Filling<'_>) -> String {
                fill(&self.0, filling)
            }
        })+
    };
}

patterns! { LocationPattern MemberPattern ImagePathPattern }

impl UpstreamVersion {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a location is a URL, and not a path.
pub fn is_url(location: &str) -> bool {
    location.contains("://")
}

fn fill(pattern: &str, Filling { platform, version, plugin }: Filling<'_>) -> String {
    pattern
        .replace(ARCHITECTURE, platform.architecture())
        .replace(VERSION, version.map_or("", UpstreamVersion::as_str))
        .replace(PLUGIN, plugin.as_str())
}

/// Refuses what no pattern may have.
fn check(text: &str) -> Result<(), ParsePatternError> {
    if text.is_empty() {
        return Err(ParsePatternError::Empty);
    }
    if visible(text) != text {
        return Err(ParsePatternError::Control(visible(text).into_owned()));
    }
    let rest = text.replace(ARCHITECTURE, "").replace(VERSION, "").replace(PLUGIN, "");
    if rest.contains(['{', '}']) {
        return Err(ParsePatternError::Placeholder(text.to_owned()));
    }
    Ok(())
}

impl FromStr for LocationPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text)?;
        if let Some((scheme, rest)) = text.split_once("://") {
            if !matches!(scheme, "https" | "http") {
                return Err(ParsePatternError::Scheme(text.to_owned()));
            }
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if authority.contains('@') {
                return Err(ParsePatternError::User);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for MemberPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text)?;
        let path = text.strip_prefix("./").unwrap_or(text);
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ParsePatternError::Member(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ImagePathPattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check(text)?;
        let is_plain = |path: &str| !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        match text.strip_prefix('/').is_some_and(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParsePatternError::ImagePath(text.to_owned())),
        }
    }
}

impl FromStr for UpstreamVersion {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts && text.len() <= 128 && text.chars().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParsePatternError::Version(visible(text).into_owned()))
    }
}

checked_texts! { LocationPattern MemberPattern ImagePathPattern UpstreamVersion }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let platform = "linux/arm".parse().unwrap();
        let (version, plugin) = ("v1.2+a".parse().unwrap(), "flannel".parse().unwrap());
        let filling = Filling { platform: &platform, version: Some(&version), plugin: &plugin };
        let url: LocationPattern =
            "https://a.example/{version}/{plugin}-{architecture}-{version}.tgz".parse().unwrap();
        assert_eq!(url.fill(filling), "https://a.example/v1.2+a/flannel-arm-v1.2+a.tgz");
        let member: MemberPattern = "./bin/{plugin}-{architecture}".parse().unwrap();
        assert_eq!(member.fill(filling), "./bin/flannel-arm");
    }

    #[test]
    fn a_location_is_a_path_or_a_url_without_a_user() {
        for text in ["cni.tgz", "../a/{architecture}.tgz", "/srv/a", "http://127.0.0.1:8/a@b"] {
            assert!(text.parse::<LocationPattern>().is_ok(), "{text}");
        }
        for (text, expected) in [
            ("", "the URL or path is empty"),
            (
                "a/{arch}",
                "`a/{arch}` has a brace that is not part of `{architecture}`, `{version}` or `{plugin}`",
            ),
            ("a\u{7}", "`a\\u{7}` has a control character"),
            ("ftp://a/b", "`ftp://a/b` is neither a path nor an https or http URL"),
            ("file:///a", "`file:///a` is neither a path nor an https or http URL"),
            (
                "https://me:secret@a.example/b",
                "a URL must not have a user name or a password, since it is stored in the lock",
            ),
        ] {
            assert_eq!(text.parse::<LocationPattern>().expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_member_is_inside_of_its_archive() {
        for text in ["flannel-{architecture}", "./a", "a/b.c"] {
            assert!(text.parse::<MemberPattern>().is_ok(), "{text}");
        }
        for text in ["/a", "../a", "a/../b", "a/", "./", "a//b", "././a"] {
            let expected = format!(
                "`{text}` is not a path inside an archive: expected a relative path without `..`"
            );
            assert_eq!(text.parse::<MemberPattern>().expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_path_in_an_image_starts_at_its_root() {
        for text in ["/whereabouts", "/usr/bin/{plugin}-{architecture}", "/a.b"] {
            assert!(text.parse::<ImagePathPattern>().is_ok(), "{text}");
        }
        for text in ["whereabouts", "./a", "/", "/a/", "/../a", "//a", "/a/./b"] {
            let expected = format!(
                "`{text}` is not a path in an image: expected an absolute path without `..`"
            );
            assert_eq!(text.parse::<ImagePathPattern>().expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_version_has_no_character_that_a_url_or_path_reads() {
        for text in ["v1.9.1", "1.9.1-flannel1", "v1.0_a+b"] {
            assert_eq!(text.parse::<UpstreamVersion>().unwrap().as_str(), text);
        }
        for text in ["", "..", "a/b", "a?b", "{plugin}", "a b", "-a", &"a".repeat(129)] {
            text.parse::<UpstreamVersion>().expect_err(text);
        }
    }
}
