//! Plugin names: the `type` of a CNI configuration, and the file name a runtime executes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A file name that is safe to create in the plugin directory.
///
/// It is what a CNI configuration names as `type` (CNI specification 1.1.0, section 1): one path
/// component of letters, digits, `-`, `_` and `.` that does not start with a dot, at most 64 bytes
/// long. A name that starts with a dot or contains a slash would let a `type` reach a file outside
/// of the bundle (CVE-2021-20206).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginName(String);

/// Why a text is not a plugin name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePluginNameError {
    /// Empty, or more than 64 bytes.
    #[error("a plugin name must have 1 to 64 characters, this one has {0}")]
    Length(usize),
    /// It starts with a dot or a dash.
    #[error("plugin name `{0}` starts with `.` or `-`")]
    Start(String),
    /// A character other than letters, digits, `-`, `_` and `.`.
    #[error(
        "plugin name `{name}` contains `{found}`; letters, digits, `-`, `_` and `.` are allowed"
    )]
    Character {
        /// The whole name, made visible.
        name: String,
        /// The first offending character, made visible.
        found: String,
    },
}

impl PluginName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names in a row; of more than `most`, only their number.
    pub fn list<'a>(names: impl ExactSizeIterator<Item = &'a Self>, most: usize) -> String {
        match names.len() {
            many if many > most => format!("{many} plugins"),
            _ => names.map(Self::as_str).collect::<Vec<_>>().join(", "),
        }
    }
}

impl FromStr for PluginName {
    type Err = ParsePluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 64 {
            return Err(ParsePluginNameError::Length(text.len()));
        }
        let shown = |text: &str| super::excerpt(text);
        if let Some(c) =
            text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        {
            return Err(ParsePluginNameError::Character {
                name: shown(text),
                found: shown(&c.to_string()),
            });
        }
        if text.starts_with(['.', '-']) {
            return Err(ParsePluginNameError::Start(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PluginName {
    type Error = ParsePluginNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PluginName> for String {
    fn from(name: PluginName) -> Self {
        name.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_names_of_the_field() {
        for name in
            ["macvlan", "host-device", "bond_v2", "calico-ipam", "a", "loopback.old", "_", "0..-"]
        {
            let parsed: PluginName = name.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.to_string().as_str()), (name, name));
            let json = serde_json::to_string(&parsed).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<PluginName>(&json).unwrap(), parsed);
        }
    }

    #[test]
    fn rejects_what_leaves_the_directory_or_hides_in_it() {
        let cases = [
            ("", "a plugin name must have 1 to 64 characters, this one has 0"),
            (
                "../x",
                "plugin name `../x` contains `/`; letters, digits, `-`, `_` and `.` are allowed",
            ),
            (".hidden", "plugin name `.hidden` starts with `.` or `-`"),
            ("..", "plugin name `..` starts with `.` or `-`"),
            ("-rf", "plugin name `-rf` starts with `.` or `-`"),
            (
                "a/b",
                "plugin name `a/b` contains `/`; letters, digits, `-`, `_` and `.` are allowed",
            ),
            (
                "a\u{1b}[31m",
                "plugin name `a\\u{1b}[31m` contains `\\u{1b}`; letters, digits, `-`, `_` and `.` are allowed",
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(name.parse::<PluginName>().expect_err(name).to_string(), expected);
        }
        assert_eq!("a".repeat(65).parse::<PluginName>(), Err(ParsePluginNameError::Length(65)));
        assert!("a".repeat(64).parse::<PluginName>().is_ok());
    }
}
