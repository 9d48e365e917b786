//! How far the origin of a plugin is verified.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far the origin of a plugin is verified, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A file of a directory: nothing is known of where it came from.
    None,
    /// Trust on first use: the bytes are those that were fetched when the lock was made.
    Tofu,
    /// A checksum file from the same host names them.
    ChecksumSameOrigin,
    /// A checksum file from another host names them: who can exchange the asset cannot exchange it.
    ChecksumIndependent,
    /// The checksum database, a log that everybody sees alike, has the sum of the Go module that it
    /// was compiled from. The proof is signed by the database.
    ChecksumDatabase,
    /// The publisher's key, which the definition names, signed the asset.
    Signed,
    /// The same key signed SLSA provenance about the asset.
    Provenance,
    /// Whoever made the lock built the same bytes from a pinned source. The lock says so; nothing
    /// that is kept proves it.
    Reproduced,
}

impl Level {
    /// Every level, in their order.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Tofu,
        Self::ChecksumSameOrigin,
        Self::ChecksumIndependent,
        Self::ChecksumDatabase,
        Self::Signed,
        Self::Provenance,
        Self::Reproduced,
    ];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Tofu => "tofu",
            Self::ChecksumSameOrigin => "checksum-same-origin",
            Self::ChecksumIndependent => "checksum-independent",
            Self::ChecksumDatabase => "checksum-database",
            Self::Signed => "signed",
            Self::Provenance => "provenance",
            Self::Reproduced => "reproduced",
        })
    }
}

/// The level that a checksum file gives an asset.
pub(super) fn of_checksum(asset: &str, checksum: &str) -> Level {
    match (host(asset), host(checksum)) {
        (Some(asset), Some(checksum)) if asset != checksum => Level::ChecksumIndependent,
        _ => Level::ChecksumSameOrigin,
    }
}

/// The host of a URL; a path of this machine has none.
fn host(location: &str) -> Option<String> {
    let (scheme, rest) = location.split_once("://")?;
    let known = ["https", "http"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let authority = rest.split(['/', '?', '#', '\\']).next().filter(|_| known)?;
    let host = authority.rsplit('@').next()?;
    // A port is not another host: who has the one has the other.
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => host.split(':').next()?,
    };
    Some(host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_is_independent_and_another_spelling_is_not() {
        let asset = "https://github.com/a/b/c.tgz";
        for (checksum, expected) in [
            ("https://github.com/a/b/c.tgz.sha256", Level::ChecksumSameOrigin),
            ("https://GitHub.com:443/x", Level::ChecksumSameOrigin),
            ("https://github.com./x", Level::ChecksumSameOrigin),
            ("https://me@github.com:8443/x", Level::ChecksumSameOrigin),
            ("http://github.com?x", Level::ChecksumSameOrigin),
            ("sums.txt", Level::ChecksumSameOrigin),
            ("https://example.org/sums.txt", Level::ChecksumIndependent),
            ("https://github.com.example.org/sums.txt", Level::ChecksumIndependent),
        ] {
            assert_eq!(of_checksum(asset, checksum), expected, "{checksum}");
        }
        assert_eq!(of_checksum("c.tgz", "https://example.org/x"), Level::ChecksumSameOrigin);
    }

    #[test]
    fn levels_are_in_their_order() {
        assert!(Level::ALL.is_sorted());
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.to_string());
        }
    }
}
