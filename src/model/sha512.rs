//! SHA-512 digests, which descriptions of software give beside SHA-256.
//!
//! Nothing is identified by one: the chain of an image, the cache and the pins of a lock use
//! [`Digest`](super::Digest).

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::excerpt;

/// A SHA-512 digest, printed as `sha512:` and 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha512([u8; 64]);

/// Why a text is not a SHA-512 digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-512: expected `sha512:` and 128 lower-case hex digits")]
pub struct ParseSha512Error(String);

impl Sha512 {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha512::digest(bytes).into())
    }

    /// The 128 hexadecimal digits without the algorithm.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses the 128 digits alone.
    pub fn from_hex(hex: &str) -> Result<Self, ParseSha512Error> {
        let error = || ParseSha512Error(excerpt(hex));
        let mut bytes = [0_u8; 64];
        if hex.len() != 128 || !hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(error());
        }
        for (byte, at) in bytes.iter_mut().zip((0..hex.len()).step_by(2)) {
            let pair = hex.get(at..at + 2).ok_or_else(error)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha512:{}", self.hex())
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha512 {
    type Err = ParseSha512Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = text.strip_prefix("sha512:").ok_or_else(|| ParseSha512Error(excerpt(text)))?;
        Self::from_hex(hex)
    }
}

impl TryFrom<String> for Sha512 {
    type Error = ParseSha512Error;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha512> for String {
    fn from(digest: Sha512) -> Self {
        digest.to_string()
    }
}

/// Hashes what is written through it, on its way to `inner`.
#[derive(Debug)]
pub struct Sha512Hasher<W> {
    inner: W,
    state: sha2::Sha512,
}

impl<W> Sha512Hasher<W> {
    /// Wraps `inner`; use [`io::sink`] to hash alone.
    pub fn new(inner: W) -> Self {
        Self { inner, state: sha2::Sha512::new() }
    }

    /// The digest of what was written so far, and the inner writer.
    pub fn finish(self) -> (Sha512, W) {
        (Sha512(self.state.finalize().into()), self.inner)
    }
}

impl<W: Write> Write for Sha512Hasher<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.state.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `abc` (FIPS 180-4, as NIST's example has it).
    const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                       2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    #[test]
    fn prints_what_it_parsed() {
        let digest = Sha512::from_hex(ABC).unwrap();
        assert_eq!(Sha512::of(b"abc"), digest);
        let text = format!("sha512:{ABC}");
        assert_eq!((digest.to_string(), digest.hex()), (text.clone(), ABC.to_owned()));
        assert_eq!(text.parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Sha512>(&json).unwrap(), digest);
        let mut hasher = Sha512Hasher::new(Vec::new());
        hasher.write_all(b"ab").unwrap();
        hasher.write_all(b"c").unwrap();
        assert_eq!(hasher.finish(), (digest, b"abc".to_vec()));
    }

    #[test]
    fn rejects_what_is_not_a_sha512() {
        for text in [
            "",
            ABC,
            "sha512:00",
            &format!("sha256:{ABC}"),
            &format!("sha512:{ABC}0"),
            &format!("sha512:{}", ABC.to_uppercase()),
            &format!("sha512:+{}", &ABC[1..]),
        ] {
            text.parse::<Sha512>().expect_err(text);
        }
    }
}
