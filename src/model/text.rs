//! Text: how foreign text is printed, how lists are shortened, and the names of bundles.
//!
//! Text from outside may contain characters that move a terminal's cursor or reorder a line, and so
//! forge a line of output. [`visible`] makes them visible.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether a character moves a terminal's cursor, reorders a line, or shows nothing: control
/// characters, line and paragraph separators, and the characters that Unicode calls default
/// ignorable (DerivedCoreProperties.txt, version 16), which include bidirectional controls,
/// joiners, variation selectors and tags.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Replaces what would move a terminal's cursor or hide text.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .map(|c| if hidden(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.to_string() })
        .collect()
}

/// What a message repeats of a text from outside: the first 256 characters, made visible. A message
/// with all of a text of a megabyte takes many times as much until it is printed.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 256;
    match text.char_indices().nth(LONGEST).and_then(|(end, _)| text.get(..end)) {
        Some(start) => format!("{}…", visible(start)),
        None => visible(text).into_owned(),
    }
}

/// The text that the bytes of a file are, or why they are not UTF-8 text.
pub fn text_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    match no_text(&bytes) {
        Some(reason) => Err(reason),
        None => String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text"),
    }
}

/// What is in a file that is not UTF-8 text, and how to convert it.
fn no_text(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("it is UTF-16, expected UTF-8: iconv -f UTF-16 -t UTF-8 FILE")
        }
        // A SEQUENCE of DER (X.690, 8.9), as every key and certificate is.
        [0x30, 0x20..=0x84, ..] if std::str::from_utf8(bytes).is_err() => Some(
            "it is DER, expected PEM: openssl pkey -inform DER -in FILE, with -pubin if the key is \
             public",
        ),
        _ if bytes.contains(&0) => Some("it has zero bytes, expected UTF-8 text"),
        _ => None,
    }
}

/// An error and its causes on one line; a line feed in a file's name cannot begin another.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.ends_with(&words) {
            text.push_str(&format!(": {words}"));
        }
        cause = error.source();
    }
    visible(&text).into_owned()
}

/// A number of bytes for people, in the units of SI; megabytes with this many decimal places.
pub fn size_in_words(bytes: u64, decimals: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.decimals$} MB", bytes as f64 / 1e6),
    }
}

/// The end of a list that names only the first entry: "", " and 1 other", or " and 5 others".
pub fn and_others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " and 1 other".to_owned(),
        count => format!(" and {count} others"),
    }
}

/// The name of a bundle: lower-case letters, digits and dashes, 1 to 63 of them, starting with a
/// letter (a DNS label, RFC 1035 2.3.1, so that it can name Kubernetes objects).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleName(String);

/// Why a text is not a bundle name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid bundle name: expected 1 to 63 lower-case letters, digits and dashes, starting with a letter"
)]
pub struct ParseBundleNameError(String);

impl BundleName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BundleName {
    type Err = ParseBundleNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = (1..=63).contains(&text.len())
            && text.chars().all(allowed)
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(ParseBundleNameError(excerpt(text))) }
    }
}

impl TryFrom<String> for BundleName {
    type Error = ParseBundleNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BundleName> for String {
    fn from(name: BundleName) -> Self {
        name.0
    }
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_would_hide() {
        assert_eq!(visible("plain ünïcode"), "plain ünïcode");
        assert_eq!(visible("a\u{1b}[2J\nb\u{202e}c"), "a\\u{1b}[2J\\u{a}b\\u{202e}c");
        // Each would be printed as nothing, or turn what follows around.
        for c in [
            '\u{9b}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{2028}',
            '\u{2060}',
            '\u{2064}',
            '\u{2069}',
            '\u{206f}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fffb}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{e0100}',
        ] {
            let shown = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(visible(&format!("a{c}b")), shown);
        }
    }

    #[test]
    fn what_is_no_text_says_what_makes_it_one() {
        let der = [&[0x30, 0x59, 0x30, 0x13][..], &[0x86; 87]].concat();
        let utf_16: Vec<u8> = "key".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (name, bytes, expected) in [
            ("DER", der, "it is DER, expected PEM: openssl pkey -inform DER"),
            ("a long DER", [&[0x30, 0x82, 1, 0x22][..], &[0x86; 290]].concat(), "it is DER"),
            ("UTF-16 LE", [&[0xff, 0xfe][..], &utf_16].concat(), "it is UTF-16, expected UTF-8"),
            ("UTF-16 BE", vec![0xfe, 0xff, 0, b'k'], "it is UTF-16, expected UTF-8"),
            ("UTF-16 without a mark", utf_16, "it has zero bytes"),
            ("Latin-1", b"k\xe9y".to_vec(), "it is not UTF-8 text"),
        ] {
            let reason = text_of(bytes).expect_err(name);
            assert!(reason.starts_with(expected), "{name}: {reason}");
        }
        let text = "0Y0 is text, and \u{feff} too";
        assert_eq!(text_of(text.as_bytes().to_vec()).as_deref(), Ok(text));
    }

    #[test]
    fn bundle_names_are_dns_labels() {
        for text in ["debian", "a", "a-1", &"a".repeat(63)] {
            let name: BundleName = text.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
            assert_eq!(
                serde_json::from_str::<BundleName>(&serde_json::to_string(&name).unwrap()).unwrap(),
                name
            );
        }
        for text in ["", "Debian", "1a", "a-", "a_b", "a.b", "a\nb", &"a".repeat(64)] {
            assert_eq!(text.parse::<BundleName>(), Err(ParseBundleNameError(excerpt(text))));
        }
    }
}
