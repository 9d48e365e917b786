//! Names of Kubernetes namespaces.

use std::fmt;
use std::str::FromStr;

use crate::model::visible;

/// The name of a namespace: 1 to 63 lower-case letters, digits and dashes (a DNS label, RFC 1123
/// 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(String);

/// A text that is not a namespace name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid namespace: expected 1 to 63 lower-case letters, digits and dashes, \
     starting and ending with a letter or digit"
)]
pub struct ParseNamespaceError(String);

impl Namespace {
    /// Returns whether Kubernetes creates this namespace itself. Its labels affect everything in it
    /// and are not ours to set.
    pub(super) fn is_of_kubernetes(&self) -> bool {
        self.0 == "default" || self.0.starts_with("kube-")
    }
}

impl FromStr for Namespace {
    type Err = ParseNamespaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = (1..=63).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNamespaceError(visible(text).into_owned()))
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_dns_labels() {
        for text in ["cnister", "0", "kube-system", &"a".repeat(63)] {
            assert_eq!(text.parse::<Namespace>().unwrap().to_string(), text);
        }
        for text in ["", "-a", "a-", "A", "a.b", "a b", "a\nkind: Pod", &"a".repeat(64)] {
            assert_eq!(
                text.parse::<Namespace>(),
                Err(ParseNamespaceError(visible(text).into_owned()))
            );
        }
    }
}
