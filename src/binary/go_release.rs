//! The releases of Go, in their order: `go1.24` is before `go1.24.1` and after `go1.24rc1`.

use std::fmt;
use std::str::FromStr;

use crate::model::excerpt;

/// A release of Go.
///
/// Toolchains between releases (`devel go1.27-abc`) are none: what is in them is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoRelease {
    major: u16,
    minor: u16,
    stage: Stage,
}

/// The part after the two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Beta(u16),
    Candidate(u16),
    /// The patch; 0 if there is none.
    Released(u16),
}

/// A text that names no release of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a Go release: expected `1.24`, `1.24.3` or `1.24rc1`")]
pub struct ParseGoReleaseError(String);

impl GoRelease {
    /// The release of a toolchain, as Go's linker records it (`go1.26.3 X:boringcrypto`).
    pub fn of_toolchain(text: &str) -> Option<Self> {
        text.strip_prefix("go")?.split(' ').next()?.parse().ok()
    }
}

impl FromStr for GoRelease {
    type Err = ParseGoReleaseError;

    /// Parses a release without `go` before it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseGoReleaseError(excerpt(text)))
    }
}

fn parse(text: &str) -> Option<GoRelease> {
    let (major, rest) = text.split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (minor, rest) = rest.split_at_checked(end)?;
    let stage = if rest.is_empty() {
        Stage::Released(0)
    } else if let Some(patch) = rest.strip_prefix('.') {
        Stage::Released(number(patch)?)
    } else if let Some(candidate) = rest.strip_prefix("rc") {
        Stage::Candidate(number(candidate)?)
    } else {
        Stage::Beta(number(rest.strip_prefix("beta")?)?)
    };
    Some(GoRelease { major: number(major)?, minor: number(minor)?, stage })
}

fn number(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

impl fmt::Display for GoRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.stage {
            Stage::Beta(number) => write!(f, "beta{number}"),
            Stage::Candidate(number) => write!(f, "rc{number}"),
            Stage::Released(0) => Ok(()),
            Stage::Released(patch) => write!(f, ".{patch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_an_order() {
        let texts =
            ["1.9", "1.21beta1", "1.21rc2", "1.21rc10", "1.21.0", "1.21.9", "1.21.10", "2.0"];
        let releases = texts.map(|text| text.parse::<GoRelease>().unwrap());
        assert!(releases.is_sorted());
        assert_eq!("1.21".parse(), "1.21.0".parse::<GoRelease>());
        assert_eq!(
            releases.map(|it| it.to_string())[1..5],
            ["1.21beta1", "1.21rc2", "1.21rc10", "1.21"]
        );
    }

    #[test]
    fn a_toolchain_between_releases_is_none() {
        for (text, expected) in [
            ("go1.26.3", Some("1.26.3")),
            ("go1.26.3 X:boringcrypto", Some("1.26.3")),
            ("go1.26-20260101-RC00", None),
            ("devel go1.27-abc", None),
            ("1.26.3", None),
        ] {
            let found = GoRelease::of_toolchain(text).map(|release| release.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        for text in ["", "1", "1.", "1.2.", "go1.24", "1.24.1.1", "1.+2", "1.24rc", "99999.1"] {
            let error = ParseGoReleaseError(text.to_owned());
            assert_eq!(text.parse::<GoRelease>(), Err(error));
        }
    }
}
