//! Text that is not Unicode, as Go's `encoding/json` reads it: bytes that are not UTF-8 and escaped
//! surrogates without their other half are U+FFFD. No signature covers a configuration.

use std::borrow::Cow;

const REPLACEMENT: &[u8] = b"\\ufffd";
/// The length of `\u0000`.
const ESCAPE: usize = 6;

/// Replaces invalid UTF-8 and lone surrogates; JSON that needs no replacement is returned as it is.
pub(super) fn replace_invalid(json: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced = match String::from_utf8_lossy(json) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let mut at = 0;
    while let Some(backslash) = position(&replaced, at) {
        at = match (surrogate(&replaced, backslash), surrogate(&replaced, backslash + ESCAPE)) {
            (Some(Half::High), Some(Half::Low)) => backslash + 2 * ESCAPE,
            (Some(_), _) => {
                if let Some(escape) = replaced.to_mut().get_mut(backslash..backslash + ESCAPE) {
                    escape.copy_from_slice(REPLACEMENT);
                }
                backslash + ESCAPE
            }
            // A backslash and what it escapes.
            (None, _) => backslash + 2,
        };
    }
    replaced
}

fn position(json: &[u8], from: usize) -> Option<usize> {
    let rest = json.get(from..)?;
    rest.iter().position(|byte| *byte == b'\\').map(|at| from + at)
}

enum Half {
    High,
    Low,
}

/// The half of a pair that is escaped at this place.
fn surrogate(json: &[u8], at: usize) -> Option<Half> {
    let digits = json.get(at..at.checked_add(ESCAPE)?)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::High),
        0xdc00..=0xdfff => Some(Half::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_text_is_replaced() {
        let same: [&[u8]; 6] = [
            br#"{"a":"\u00e4\ud83d\ude00"}"#,
            // An escaped backslash.
            br#"{"a":"\\ud800"}"#,
            br#"{"a":"\ud8"}"#,
            br#"{"a":"\u+d80"}"#,
            b"\\",
            b"\xc3\xa4",
        ];
        for json in same {
            assert!(matches!(replace_invalid(json), Cow::Borrowed(text) if text == json));
        }
        let cases: [(&[u8], &[u8]); 7] = [
            (br#""\ud800""#, br#""\ufffd""#),
            (br#""\uDFFF\ud83d""#, br#""\ufffd\ufffd""#),
            (br#""\ud800\ud83d\ude00""#, br#""\ufffd\ud83d\ude00""#),
            (br#""\\\ud800\n""#, br#""\\\ufffd\n""#),
            (br#""\ud800\u0041""#, br#""\ufffd\u0041""#),
            (b"\"\xff\"", "\"\u{fffd}\"".as_bytes()),
            (b"\"M\xfcller \\udc00\"", "\"M\u{fffd}ller \\ufffd\"".as_bytes()),
        ];
        for (json, expected) in cases {
            assert_eq!(replace_invalid(json), expected, "{}", String::from_utf8_lossy(json));
        }
    }
}
