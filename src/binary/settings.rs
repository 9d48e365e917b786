//! The settings of a Go build: `key=value` lines, quoted as Go's `debug/buildinfo` reads them.
//!
//! A setting may hold anything that a command line could (`-ldflags` with a line feed in it), so
//! that characters which would write over a terminal are kept in their visible form.

use crate::model::visible;

/// The longest setting, unquoted. Linker flags that set twenty variables have a tenth of it.
pub(super) const LONGEST_SETTING: usize = 32 * 1024;

/// Parses what follows `build` and a tab.
pub(super) fn parse_setting(text: &str) -> Option<(String, String)> {
    if text.len() > LONGEST_SETTING {
        return None;
    }
    let (key, value) = match text.chars().next()? {
        '"' | '`' => {
            let (key, rest) = unquote(text)?;
            (key, rest.strip_prefix('=')?)
        }
        _ => {
            let (key, value) = text.split_once('=')?;
            (key.to_owned(), value)
        }
    };
    let value = match value.chars().next() {
        Some('"' | '`') => {
            let (value, rest) = unquote(value)?;
            rest.is_empty().then_some(value)?
        }
        _ => value.to_owned(),
    };
    (!key.is_empty()).then(|| (visible(&key).into_owned(), visible(&value).into_owned()))
}

/// Splits a Go string literal from the front (Go specification, "String literals").
fn unquote(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let (inside, rest) = rest.split_once('`')?;
        return Some((inside.to_owned(), rest));
    }
    let mut rest = text.strip_prefix('"')?;
    // Escapes may make bytes that are no UTF-8 until the next one.
    let mut bytes = Vec::new();
    loop {
        let end = rest.find(['"', '\\'])?;
        let (plain, found) = rest.split_at_checked(end)?;
        bytes.extend_from_slice(plain.as_bytes());
        if let Some(after) = found.strip_prefix('"') {
            return Some((String::from_utf8_lossy(&bytes).into_owned(), after));
        }
        rest = escape(found.strip_prefix('\\')?, &mut bytes)?;
    }
}

/// Reads one escape without its backslash, and returns what follows it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = text.chars().next()?;
    let rest = text.get(kind.len_utf8()..)?;
    let (digits, radix) = match kind {
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => (3, 8),
        _ => {
            bytes.push(match kind {
                'a' => 7,
                'b' => 8,
                't' => b'\t',
                'n' => b'\n',
                'v' => 11,
                'f' => 12,
                'r' => b'\r',
                '"' | '\\' => u8::try_from(kind).ok()?,
                _ => return None,
            });
            return Some(rest);
        }
    };
    let (number, rest) = if radix == 8 { text } else { rest }.split_at_checked(digits)?;
    if !number.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(number, radix).ok()?;
    match kind {
        'u' | 'U' => {
            bytes.extend_from_slice(char::from_u32(number)?.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => bytes.push(u8::try_from(number).ok()?),
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_settings_as_go_writes_them() {
        for (text, key, value) in [
            ("GOOS=linux", "GOOS", "linux"),
            ("-tags=", "-tags", ""),
            (r#"-ldflags="-s -w -X main.v=v1""#, "-ldflags", "-s -w -X main.v=v1"),
            (r#"-ldflags="-X 'a.b=\"c d\"'""#, "-ldflags", r#"-X 'a.b="c d"'"#),
            ("\"a key\"=`b\\c`", "a key", "b\\c"),
            (r#"a="\x41\102\u00e9\U0001F600\\""#, "a", "AB\u{e9}\u{1f600}\\"),
            (r#"a="\xc3\xa9\xff""#, "a", "\u{e9}\u{fffd}"),
            (r#"a="b\n\x1b[2J""#, "a", "b\\u{a}\\u{1b}[2J"),
            ("a=b=c", "a", "b=c"),
        ] {
            let expected = (key.to_owned(), value.to_owned());
            assert_eq!(parse_setting(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_would_not_write() {
        let long = format!("a={}", "b".repeat(LONGEST_SETTING));
        for text in [
            "",
            "a",
            "=b",
            "\"\"=b",
            "\"a\"",
            "\"a\"b=c",
            "a=\"b",
            "a=\"b\"c",
            "a=`b",
            r#"a="\q""#,
            r#"a="\x4""#,
            r#"a="\x+1""#,
            r#"a="\400""#,
            r#"a="\ud800""#,
            r#"a="\UFFFFFFFF""#,
            "a=\"\\",
            &long,
        ] {
            assert_eq!(parse_setting(text), None, "{text}");
        }
        assert!(parse_setting(&long[..LONGEST_SETTING]).is_some());
    }
}
