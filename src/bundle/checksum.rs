//! Checksum files as projects publish them beside their releases: `.sha256`, `.sha512` and
//! `checksums.txt`.
//!
//! A file is read as a whole and strictly: a line that is not a checksum, or a second line for one
//! name, is an error, since two programs would read two different digests. Whether a bare digest is
//! of the asset cannot be known, so that a file with one may have nothing else. Nothing is fetched
//! or hashed here, and a checksum proves nothing about who wrote it: that is for the lock to weigh.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::{Digest, ParseDigestError, Sha512, excerpt, visible};

/// The sums of a checksum file, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksumFile {
    /// Those without a name are under the empty one.
    sums: BTreeMap<String, Sums>,
}

/// What a file says about one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    sha256: Option<Digest>,
    sha512: Option<Sha512>,
}

/// One checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// A SHA-256.
    Sha256(Digest),
    /// A SHA-512.
    Sha512(Sha512),
}

/// The algorithm of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumKind {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Why a checksum file does not prove anything, or proves that an asset is another one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ChecksumError {
    #[error("it is longer than {} bytes", ChecksumFile::LIMIT)]
    TooLong,
    #[error("it has more than {MAX_LINES} lines")]
    TooMany,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it is an HTML page")]
    Html,
    #[error("it has no SHA-256 and no SHA-512")]
    Empty,
    #[error("line {line} is not a checksum: `{text}`")]
    Line { line: usize, text: String },
    #[error("it has two lines for `{0}`")]
    Repeated(String),
    #[error("it has a checksum without a name beside other lines")]
    Nameless,
    #[error("it has no line for `{name}`, only for {found}")]
    Other { name: String, found: String },
    #[error("it says `{name}` is {expected}, found {found}")]
    Mismatch { name: String, expected: Box<Sum>, found: Box<Sum> },
}

/// The most lines. The longest lists of large projects have some hundred.
const MAX_LINES: usize = 10_000;
/// Names in an error.
const SHOWN: usize = 8;

impl ChecksumFile {
    /// The most bytes of a checksum file.
    pub const LIMIT: u64 = 1024 * 1024;

    /// Parses a file as it was published.
    pub fn parse(content: &[u8]) -> Result<Self, ChecksumError> {
        if content.len() as u64 > Self::LIMIT {
            return Err(ChecksumError::TooLong);
        }
        let text = std::str::from_utf8(content).map_err(|_| ChecksumError::NotText)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('<') {
            return Err(ChecksumError::Html);
        }
        if text.lines().count() > MAX_LINES {
            return Err(ChecksumError::TooMany);
        }
        let mut sums = BTreeMap::<String, Sums>::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let error = || ChecksumError::Line { line: number + 1, text: excerpt(line) };
            let (name, sum) = match tagged(line).or_else(|| plain(line)).ok_or_else(error)? {
                Line::Sum { name, sum } => (name, sum),
                Line::OtherAlgorithm => continue,
            };
            if visible(name) != name {
                return Err(error());
            }
            let entry = sums.entry(name.to_owned()).or_default();
            let repeated = match sum {
                Sum::Sha256(digest) => entry.sha256.replace(digest).is_some(),
                Sum::Sha512(digest) => entry.sha512.replace(digest).is_some(),
            };
            if repeated && !name.is_empty() {
                return Err(ChecksumError::Repeated(name.to_owned()));
            }
            if repeated {
                return Err(ChecksumError::Nameless);
            }
        }
        match sums.len() {
            0 => Err(ChecksumError::Empty),
            2.. if sums.contains_key("") => Err(ChecksumError::Nameless),
            _ => Ok(Self { sums }),
        }
    }

    /// What it says about the asset of this name: its SHA-256 if it has both. A file without names
    /// is about the asset that it is beside.
    pub fn sum_of(&self, name: &str) -> Result<Sum, ChecksumError> {
        let sums = self.sums.get(name).or_else(|| self.sums.get(""));
        let sum = sums.and_then(|Sums { sha256, sha512 }| {
            sha256.map(Sum::Sha256).or_else(|| sha512.map(Sum::Sha512))
        });
        sum.ok_or_else(|| {
            let mut found: Vec<String> =
                self.sums.keys().take(SHOWN).map(|name| format!("`{}`", excerpt(name))).collect();
            if self.sums.len() > SHOWN {
                found.push(format!("{} more", self.sums.len() - SHOWN));
            }
            ChecksumError::Other { name: name.to_owned(), found: found.join(", ") }
        })
    }
}

impl Sum {
    /// Its algorithm.
    pub fn kind(&self) -> ChecksumKind {
        match self {
            Self::Sha256(_) => ChecksumKind::Sha256,
            Self::Sha512(_) => ChecksumKind::Sha512,
        }
    }

    /// Refuses an asset whose sum is `found`; `name` is what the file calls it.
    pub fn check(&self, name: &str, found: Self) -> Result<(), ChecksumError> {
        if *self == found {
            return Ok(());
        }
        let (expected, found) = (Box::new(*self), Box::new(found));
        Err(ChecksumError::Mismatch { name: name.to_owned(), expected, found })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha512(digest) => digest.fmt(f),
        }
    }
}

enum Line<'a> {
    Sum { name: &'a str, sum: Sum },
    OtherAlgorithm,
}

/// `SHA256 (NAME) = HEX`, as BSD tools, `sha256sum --tag` and OpenSSL write it.
fn tagged(line: &str) -> Option<Line<'_>> {
    let (algorithm, rest) = line.split_once('(')?;
    // The last one, since a name may contain the separator.
    let (name, hex) = rest.rsplit_once(')')?;
    let hex = hex.trim_start().strip_prefix('=')?.trim();
    let name = plain_name(name).filter(|name| !name.is_empty())?;
    match algorithm.trim_end() {
        "SHA256" | "SHA2-256" => Some(Line::Sum { name, sum: Sum::Sha256(sha256(hex).ok()?) }),
        "SHA512" | "SHA2-512" => {
            let sum = Sha512::from_hex(&hex.to_ascii_lowercase()).ok()?;
            Some(Line::Sum { name, sum: Sum::Sha512(sum) })
        }
        "MD5" | "SHA1" | "SHA224" | "SHA384" | "BLAKE2b" => Some(Line::OtherAlgorithm),
        _ => None,
    }
}

/// `HEX`, `HEX  NAME` or `HEX *NAME`, as coreutils write it.
fn plain(line: &str) -> Option<Line<'_>> {
    let (hex, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let name = name.trim_start();
    let name = plain_name(name.strip_prefix('*').unwrap_or(name))?;
    let sum = match hex.len() {
        64 => Sum::Sha256(sha256(hex).ok()?),
        128 => Sum::Sha512(Sha512::from_hex(&hex.to_ascii_lowercase()).ok()?),
        // MD5, SHA-1, SHA-224, SHA-384.
        32 | 40 | 56 | 96 => return Some(Line::OtherAlgorithm),
        _ => return None,
    };
    Some(Line::Sum { name, sum })
}

fn sha256(hex: &str) -> Result<Digest, ParseDigestError> {
    Digest::from_hex(&hex.to_ascii_lowercase())
}

/// A name without `./`. One with a backslash may be escaped, and readers differ in whether it is.
fn plain_name(name: &str) -> Option<&str> {
    (!name.contains('\\')).then(|| name.strip_prefix("./").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(byte: u8) -> String {
        Digest::of(&[byte]).hex()
    }

    fn hex512(byte: u8) -> String {
        Sha512::of(&[byte]).hex()
    }

    /// What a file says about `a.tgz`.
    fn sum(text: &str) -> Result<Sum, String> {
        ChecksumFile::parse(text.as_bytes())
            .and_then(|file| file.sum_of("a.tgz"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_projects_publish() {
        let (one, two) = (hex(1), hex(2));
        for text in [
            one.clone(),
            format!("{one}\r\n"),
            format!("{one}  a.tgz\n"),
            format!("{one} *a.tgz"),
            format!("{one}  ./a.tgz"),
            format!("{one}\ta.tgz"),
            format!("{}  a.tgz\n", one.to_uppercase()),
            format!("\u{feff}{one}  a.tgz\n"),
            format!("SHA256 (a.tgz) = {one}\n"),
            format!("SHA2-256(./a.tgz)= {one}\n"),
            format!("# of release 1\n\n{two}  b.tgz\n{one}  a.tgz\n"),
            format!("{}  a.tgz\n{one}  a.tgz\n", &two[..40]),
            format!("MD5 (a.tgz) = 12\nSHA256 (a.tgz) = {one}\n"),
            format!("SHA256 (b (1).tgz) = {two}\nSHA256 (a.tgz) = {one}\n"),
            format!("{}  a.tgz\n{one}  a.tgz\n", hex512(1)),
        ] {
            assert_eq!(sum(&text), Ok(Sum::Sha256(Digest::of(&[1]))), "{text}");
        }
        for text in [
            hex512(1),
            format!("{}  a.tgz\n", hex512(1)),
            format!("SHA512 (a.tgz) = {}\n", hex512(1)),
        ] {
            assert_eq!(sum(&text), Ok(Sum::Sha512(Sha512::of(&[1]))), "{text}");
        }
    }

    #[test]
    fn refuses_what_has_two_readings_or_none() {
        let (one, two) = (hex(1), hex(2));
        let cases = [
            (format!("{one}  a.tgz\n{one}  a.tgz\n"), "it has two lines for `a.tgz`".to_owned()),
            (format!("{one}  a.tgz\n{two}  ./a.tgz\n"), "it has two lines for `a.tgz`".into()),
            (
                format!("{one}  a.tgz\nSHA256 (a.tgz) = {two}"),
                "it has two lines for `a.tgz`".into(),
            ),
            (
                format!("{one}\n{two}  b.tgz\n"),
                "it has a checksum without a name beside other lines".into(),
            ),
            (
                format!("{one}\n{two}\n"),
                "it has a checksum without a name beside other lines".into(),
            ),
            (format!("{one}  b.tgz\n"), "it has no line for `a.tgz`, only for `b.tgz`".into()),
            (
                format!("{one}  dist/a.tgz\n"),
                "it has no line for `a.tgz`, only for `dist/a.tgz`".into(),
            ),
            (String::new(), "it has no SHA-256 and no SHA-512".into()),
            ("# nothing\n".into(), "it has no SHA-256 and no SHA-512".into()),
            (format!("{}  a.tgz", &one[..40]), "it has no SHA-256 and no SHA-512".into()),
            ("<!doctype html>".into(), "it is an HTML page".into()),
            ("Not Found\n".into(), "line 1 is not a checksum: `Not Found`".into()),
            (
                format!("{one}  a.tgz\n{}g  b\n", &one[..63]),
                format!("line 2 is not a checksum: `{}g  b`", &one[..63]),
            ),
            (format!("{one}0  b"), format!("line 1 is not a checksum: `{one}0  b`")),
            (format!("\\{one}  a\\nb"), format!("line 1 is not a checksum: `\\{one}  a\\nb`")),
            (
                "SHA256 (a.tgz) = 12".into(),
                "line 1 is not a checksum: `SHA256 (a.tgz) = 12`".into(),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(sum(&text), Err(expected), "{text}");
        }
        assert_eq!(ChecksumFile::parse(&[0xff]), Err(ChecksumError::NotText));
        let lines = |count| format!("{}{one}\n", "#\n".repeat(count - 1));
        assert!(ChecksumFile::parse(lines(MAX_LINES).as_bytes()).is_ok());
        let error = ChecksumFile::parse(lines(MAX_LINES + 1).as_bytes());
        assert_eq!(error, Err(ChecksumError::TooMany));
        let long = vec![b'#'; usize::try_from(ChecksumFile::LIMIT).unwrap() + 1];
        assert_eq!(ChecksumFile::parse(&long), Err(ChecksumError::TooLong));
    }

    #[test]
    fn names_both_sums_of_another_asset() {
        let (one, two) = (Sum::Sha256(Digest::of(&[1])), Sum::Sha256(Digest::of(&[2])));
        assert_eq!(one.check("a.tgz", one), Ok(()));
        let error = one.check("a.tgz", two).expect_err("another").to_string();
        assert_eq!(error, format!("it says `a.tgz` is {one}, found {two}"));
        one.check("a.tgz", Sum::Sha512(Sha512::of(&[1]))).expect_err("another algorithm");
    }
}
