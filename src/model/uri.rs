//! Addresses from outside, in the form that the schemas of all formats accept.

use std::fmt::Write;
use std::ops::Range;

/// Encodes what a URI cannot contain (RFC 3986, 2): a schema refuses a document for one space in
/// an address, and a page may show what hides in one.
pub(crate) fn encoded(text: &str) -> String {
    let mut uri = String::with_capacity(text.len());
    let host = host(text);
    for (index, byte) in text.bytes().enumerate() {
        let is_allowed = match byte {
            // A stray `%` would make the next two characters disappear.
            b'%' => text
                .as_bytes()
                .get(index + 1..index + 3)
                .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
            // Around an address of IPv6, and nowhere else.
            b'[' | b']' => host.contains(&index),
            // One fragment.
            b'#' => !uri.contains('#'),
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => false,
            _ => byte.is_ascii_graphic(),
        };
        if is_allowed {
            uri.push(char::from(byte));
        } else {
            push_encoded(&mut uri, byte);
        }
    }
    uri
}

/// Where the host is, if it is an address of IPv6 (RFC 3986, 3.2.2).
fn host(text: &str) -> Range<usize> {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let rest = text.get(start..).unwrap_or_default();
    match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) if is_address(inside) && !after.starts_with(is_word) => {
            start..start + inside.len() + 2
        }
        _ => 0..0,
    }
}

fn is_address(text: &str) -> bool {
    text.contains(':') && text.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.')
}

fn is_word(c: char) -> bool {
    !matches!(c, '/' | ':' | '?' | '#')
}

/// Appends a byte as `%` and two digits.
pub(crate) fn push_encoded(text: &mut String, byte: u8) {
    let _ = write!(text, "%{byte:02X}");
}

/// Whether a text is an address with a scheme, as opposed to a path or the name of an image.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !rest.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_is_not_allowed() {
        for (text, expected) in [
            ("https://a.example/b?c=d&e#f", "https://a.example/b?c=d&e#f"),
            ("https://a/b%20c", "https://a/b%20c"),
            ("https://a/b%2", "https://a/b%252"),
            ("https://a[b]/", "https://a%5Bb%5D/"),
            ("https://[x]/", "https://%5Bx%5D/"),
            ("https://[::1]:5000/a[0]#b#c", "https://[::1]:5000/a%5B0%5D#b%23c"),
            ("https://a/b c\n<d>\"", "https://a/b%20c%0A%3Cd%3E%22"),
            ("https://a/\u{e9}", "https://a/%C3%A9"),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }

    #[test]
    fn knows_an_address_from_a_path() {
        for (text, expected) in [
            ("https://a", true),
            ("git+ssh://a/b", true),
            ("/usr/lib/cni/bridge", false),
            ("ghcr.io/a/b@sha256:00", false),
            ("://a", false),
            ("https://", false),
            ("a b://c", false),
        ] {
            assert_eq!(has_scheme(text), expected, "{text}");
        }
    }
}
