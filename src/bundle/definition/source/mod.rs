//! A source: a place that plugins come from, as the definition names it.
//!
//! The key that a source has determines its kind. All kinds are listed in one table; the parser,
//! its messages and the schema are derived from it. Whether the files exist is for
//! `publish::source` to find out.

mod directory;
mod name;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::yaml::alternatives;

pub(super) use directory::PLACEHOLDER;
pub use directory::{DirectoryPattern, ParseDirectoryError};
pub use name::{ParseSourceNameError, SourceName};

/// A place that plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the definition and the command line call it.
    pub name: SourceName,
    /// The kind, with the value of its key.
    pub kind: SourceKind,
}

/// Makes everything that lists the kinds of sources. A row is a variant with the type of its value,
/// the key that chooses it, and how a sentence names one. The type is parsed by `Deserialize`, and
/// has `differs_by_platform(&self) -> bool` and `schema() -> Value`.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($value:ty) $key:ident $article:literal)+) => {
        /// What a source is.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum SourceKind {
            $($(#[$doc])* $variant($value),)+
        }

        /// A source as it was written: it may have none of the keys, or several.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct RawSource {
            pub(super) name: SourceName,
            $(#[serde(default, deserialize_with = "given")] $key: Option<$value>,)+
        }

        /// Every kind, in the order of the documentation.
        pub(super) const KINDS: &[Kind] = &[
            $(Kind { key: stringify!($key), article: $article, schema: <$value>::schema },)+
        ];

        impl RawSource {
            fn kinds(&self) -> Vec<SourceKind> {
                let kinds = [$(self.$key.clone().map(SourceKind::$variant),)+];
                kinds.into_iter().flatten().collect()
            }
        }

        impl SourceKind {
            /// Whether it has other files for another platform.
            pub fn differs_by_platform(&self) -> bool {
                match self { $(Self::$variant(value) => value.differs_by_platform(),)+ }
            }

            /// The key that chooses it, and how a sentence names one.
            pub(super) fn words(&self) -> (&'static str, &'static str) {
                match self { $(Self::$variant(_) => (stringify!($key), $article),)+ }
            }
        }
    };
}

kinds! {
    /// A directory of this machine.
    Directory(DirectoryPattern) directory "a directory"
}

/// A row of the table: what messages and the schema say of a kind.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) key: &'static str,
    pub(super) article: &'static str,
    /// The JSON schema of the value behind the key.
    pub(super) schema: fn() -> Value,
}

impl RawSource {
    /// What it means, if it has exactly one of the keys.
    pub(super) fn check(&self) -> Result<Source, String> {
        let kinds = self.kinds();
        match kinds.as_slice() {
            [kind] => Ok(Source { name: self.name.clone(), kind: kind.clone() }),
            _ => {
                let all: Vec<&str> = KINDS.iter().map(|kind| kind.key).collect();
                let found: Vec<&str> = kinds.iter().map(|kind| kind.words().0).collect();
                Err(not_one(&all, &found))
            }
        }
    }
}

fn not_one(all: &[&str], found: &[&str]) -> String {
    let quoted: Vec<String> = found.iter().map(|key| format!("`{key}`")).collect();
    let found = if found.is_empty() { "none".to_owned() } else { quoted.join(" and ") };
    format!("a source must have exactly one of {}; found {found}", alternatives(all))
}

/// A key without a value is a mistake, and not the same as no key.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_keys_there_are_and_which_were_found() {
        for (all, found, expected) in [
            (
                &["directory"][..],
                &[][..],
                "a source must have exactly one of `directory`; found none",
            ),
            (
                &["directory", "archive", "image"],
                &["directory", "image"],
                "a source must have exactly one of `directory`, `archive` or `image`; found `directory` and `image`",
            ),
        ] {
            assert_eq!(not_one(all, found), expected);
        }
    }
}
