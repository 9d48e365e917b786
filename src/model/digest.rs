//! SHA-256 digests in the form OCI writes them.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{excerpt, visible};

/// A SHA-256 digest, printed as `sha256:` and 64 hexadecimal digits (OCI image-spec, descriptor.md,
/// "Digests").
///
/// It has no default and always prints in full; [`Digest::short`] is for people.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// The text does not start with the only algorithm that is accepted.
    #[error("digest `{0}` does not start with `sha256:`")]
    Algorithm(String),
    /// The number of digits is not 64.
    #[error("digest `{text}` has {found} hex digits, expected 64")]
    Length {
        /// The whole text, made visible.
        text: String,
        /// How many digits it has.
        found: usize,
    },
    /// A character that is not a lower-case hexadecimal digit.
    #[error("digest `{text}` has `{}` where a lower-case hex digit is expected", visible(&.found.to_string()))]
    Digit {
        /// The whole text, made visible.
        text: String,
        /// The first offending character.
        found: char,
    },
}

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The 64 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first twelve digits, for people only.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }

    /// The tag under which registries without the referrers API keep the referrers of this digest
    /// (distribution-spec, "Referrers Tag Schema").
    pub fn referrers_tag(&self) -> String {
        format!("sha256-{}", self.hex())
    }

    /// Parses the 64 digits alone.
    pub fn from_hex(hex: &str) -> Result<Self, ParseDigestError> {
        let text = || excerpt(hex);
        if let Some(found) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(ParseDigestError::Digit { text: text(), found });
        }
        let mut bytes = [0_u8; 32];
        if hex.len() != 64 {
            return Err(ParseDigestError::Length { text: text(), found: hex.len() });
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| (value << 4) | hex_value(*digit));
        }
        Ok(Self(bytes))
    }
}

/// The value of a digit that is known to be valid.
fn hex_value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text
            .strip_prefix("sha256:")
            .ok_or_else(|| ParseDigestError::Algorithm(excerpt(text)))?;
        Self::from_hex(hex)
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Counts and hashes what is written through it, on its way to `inner`.
#[derive(Debug)]
pub struct Hasher<W> {
    inner: W,
    state: sha2::Sha256,
    size: u64,
}

impl<W> Hasher<W> {
    /// Wraps `inner`; use [`io::sink`] to hash alone.
    pub fn new(inner: W) -> Self {
        Self { inner, state: sha2::Sha256::new(), size: 0 }
    }

    /// The digest and the size in bytes of what was written so far, and the inner writer.
    pub fn finish(self) -> (Digest, u64, W) {
        (Digest(self.state.finalize().into()), self.size, self.inner)
    }
}

impl<W: Write> Write for Hasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(bytes.get(..written).unwrap_or(bytes));
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prints_what_it_parsed() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        let all_digits = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for text in [
            EMPTY,
            &all_digits,
            &format!("sha256:{}", "0".repeat(64)),
            &format!("sha256:{}", "f".repeat(64)),
        ] {
            let digest: Digest = text.parse().unwrap();
            assert_eq!(digest.to_string(), text);
            assert_eq!(Digest::from_hex(&digest.hex()), Ok(digest));
            let json = serde_json::to_string(&digest).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }
    }

    #[test]
    fn rejects_what_is_not_a_sha256() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let cases = [
            ("deadbeef", "digest `deadbeef` does not start with `sha256:`"),
            ("sha512:00", "digest `sha512:00` does not start with `sha256:`"),
            ("sha256:00", "digest `00` has 2 hex digits, expected 64"),
            ("sha256:0g", "digest `0g` has `g` where a lower-case hex digit is expected"),
            (&upper, "where a lower-case hex digit is expected"),
            // A line of its own in a report, and what would hide the rest of it.
            ("sha256:0\nproven: yes", "digest `0\\u{a}proven: yes` has `\\u{a}` where"),
            ("\u{202e}sha256:", "digest `\\u{202e}sha256:` does not start"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Digest>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn hashes_on_the_way_through() {
        let mut hasher = Hasher::new(Vec::new());
        hasher.write_all(b"ab").unwrap();
        hasher.write_all(b"c").unwrap();
        assert_eq!(hasher.finish(), (Digest::of(b"abc"), 3, b"abc".to_vec()));
    }
}
