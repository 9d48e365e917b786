//! The messages of a text, one on each line.
//!
//! Terminals and YAML fold a long message; `kubectl describe` and indented logs have one message
//! per line, and all of them also start with white space.

use std::borrow::Cow;

/// The most words of a line that can come before the type of an event: age, times and source in
/// `kubectl get events -A -o wide` and in the `describe` of old releases.
const WORDS_BEFORE_TYPE: usize = 8;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The text of these bytes: UTF-8, or UTF-16 as PowerShell writes it, with or without a mark at the
/// start. What is neither is replaced.
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    type Unit = fn([u8; 2]) -> u16;
    let (rest, read): (&[u8], Unit) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        // No text starts with a NUL, or has one as its second character.
        [first, 0, ..] if *first != 0 => (bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => (bytes, u16::from_be_bytes),
        _ => return String::from_utf8_lossy(bytes),
    };
    let units = rest.as_chunks::<2>().0.iter().copied().map(read);
    let decoded = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(decoded.collect())
}

/// The text as the runtime wrote it: quotation marks without the backslashes of logs and JSON,
/// white space of any kind as one space, and lines joined that something folded: a folded line
/// starts with white space, and with neither an event nor a time. Messages that JSON has on one
/// line are on lines of their own.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.split('\n').flat_map(|line| line.split('\r')) {
        let is_folded = line.starts_with([' ', '\t']) && !starts_message(line);
        let mut line = line.trim_matches([' ', '\t']);
        let before = plain.len();
        let mut between = if is_folded { " " } else { "\n" };
        // YAML in double quotes: a backslash at the end continues the line, and the white space
        // that belongs to the text follows another one.
        if is_folded && ends_in_one_backslash(&plain) {
            plain.pop();
            match line.strip_prefix("\\ ") {
                Some(rest) => line = rest,
                None => between = "",
            }
        }
        let start = plain.len();
        unescape(line, &mut plain);
        if plain.len() > start && before > 0 {
            plain.insert_str(start, between);
        }
    }
    plain
}

fn ends_in_one_backslash(text: &str) -> bool {
    text.ends_with('\\') && !text.ends_with("\\\\")
}

/// How a quotation mark is written in JSON, Go and HTML.
const QUOTES: [&str; 5] = ["u0022", "x22", "&quot;", "&#34;", "&#x22;"];
/// What comes before the output of a plugin that ended without an answer, in quotation marks.
const QUOTING: [&str; 2] = ["netplugin failed: ", "diagnostic message "];

/// Appends a line without the white space around it.
fn unescape(line: &str, plain: &mut String) {
    let (mut backslashes, mut pending) = (0_usize, false);
    // The backslashes before the mark that opened a plugin's output.
    let mut output: Option<usize> = None;
    let start = plain.len();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if backslashes == 0 && !is_special(c) {
            push_space(plain, &mut pending);
            let (run, after) = run(rest);
            plain.push_str(run);
            rest = after;
            continue;
        }
        let written = match c {
            '&' => quote(rest),
            'u' | 'x' if backslashes > 0 => quote(rest),
            _ => None,
        };
        let (c, length) = written.map_or((c, c.len_utf8()), |quote| ('"', quote.len()));
        let after = rest.get(length..).unwrap_or_default();
        match c {
            // What JSON ends a line with. In the output of a plugin it has more backslashes.
            'n' if backslashes > 0 => {
                match output.is_some_and(|opened| backslashes > opened) {
                    true => pending = true,
                    false => end_line(plain, start),
                }
                backslashes = 0;
            }
            // The next object of a list in JSON; the line end takes the place of the comma.
            '{' if backslashes == 0 && plain.len() > start && follows_object(plain) => {
                plain.pop();
                plain.push_str("\n{");
                pending = false;
            }
            '\\' => {
                push_space(plain, &mut pending);
                backslashes += 1;
            }
            ' ' | '\t' => {
                plain.extend(std::iter::repeat_n('\\', std::mem::take(&mut backslashes)));
                pending = true;
            }
            _ => {
                push_space(plain, &mut pending);
                // Those before a quotation mark are the log's.
                let kept = if c == '"' { 0 } else { backslashes };
                if c == '"' {
                    output = match output {
                        Some(opened) if opened == backslashes => None,
                        None if QUOTING.iter().any(|words| plain.ends_with(words)) => {
                            Some(backslashes)
                        }
                        open => open,
                    };
                }
                plain.extend(std::iter::repeat_n('\\', kept));
                plain.push(c);
                backslashes = 0;
            }
        }
        rest = after;
    }
    plain.extend(std::iter::repeat_n('\\', backslashes));
    if plain.len() > start && plain.ends_with('\n') {
        plain.pop();
    }
}

/// Whether a character needs more than copying.
fn is_special(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\\' | '"' | '{' | '&')
}

/// The start of a text without a special character, and the rest.
fn run(text: &str) -> (&str, &str) {
    let length = text.bytes().position(|byte| is_special(byte.into())).unwrap_or(text.len());
    text.split_at_checked(length).unwrap_or((text, ""))
}

/// Writes the one space that white space is, unless the line starts with it.
fn push_space(plain: &mut String, pending: &mut bool) {
    if std::mem::take(pending) && !plain.ends_with('\n') {
        plain.push(' ');
    }
}

/// The other form of a quotation mark that a text starts with.
fn quote(rest: &str) -> Option<&'static str> {
    QUOTES.into_iter().find(|quote| rest.starts_with(quote))
}

/// Ends the line, unless it is empty.
fn end_line(plain: &mut String, start: usize) {
    if plain.len() > start && plain.ends_with(' ') {
        plain.pop();
    }
    if plain.len() > start && !plain.ends_with('\n') {
        plain.push('\n');
    }
}

/// Whether an object and a comma ended just now.
fn follows_object(plain: &str) -> bool {
    plain.strip_suffix(',').is_some_and(|before| before.ends_with('}'))
}

/// Whether an indented line is a message of its own.
fn starts_message(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().take(WORDS_BEFORE_TYPE);
    let first = words.clone().next().unwrap_or_default();
    let is_event = words.any(|word| matches!(word, "Normal" | "Warning"));
    // The last three are where an event starts and ends in YAML and JSON.
    is_event || matches!(first, "Type" | "----" | "-" | "{" | "},") || is_time(first)
}

/// The beginnings of log lines: klog's `E1204`, the journal's month, RFC 3339, and `time="…`.
fn is_time(word: &str) -> bool {
    let digits = |text: Option<&str>, count: usize| {
        text.is_some_and(|text| text.len() == count && text.bytes().all(|c| c.is_ascii_digit()))
    };
    MONTHS.contains(&word)
        || word.starts_with("time=")
        || (word.starts_with(['I', 'W', 'E', 'F']) && digits(word.get(1..), 4))
        || (digits(word.get(..4), 4) && word.get(4..5) == Some("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_folded_lines_read_like_the_plain_text() {
        for (text, expected) in [
            ("a  b\t\r\n", "a b"),
            ("a\nb", "a\nb"),
            ("a \n\nb", "a\nb"),
            ("a\n   b", "a b"),
            ("\n\n a", "a"),
            (r#"\"a\" \\\"b\\\""#, r#""a" "b""#),
            // A quotation mark, however it is written.
            (r"\u0022a\u0022 \\u0022b\\x22", r#""a" "b""#),
            ("&quot;a&quot; &#34;b&#x22;", r#""a" "b""#),
            ("u0022 & quot;", "u0022 & quot;"),
            // Line ends.
            ("a\r\n b", "a b"),
            ("a\rb", "a\nb"),
            (r"a\nb \n c\\nd", "a\nb\nc\nd"),
            (r#""a"},{"b"}, {"c"}{"#, "\"a\"}\n{\"b\"}\n{\"c\"}{"),
            (r#"a {"b":{}}"#, r#"a {"b":{}}"#),
            // The output of a plugin is one message, at any depth.
            (r#"netplugin failed: "a\nb": c\nd"#, "netplugin failed: \"a b\": c\nd"),
            (
                r#"x \"netplugin failed: \\\"a\\\\nb\\\"\"\\nc\nd"#,
                "x \"netplugin failed: \"a b\"\"\nc\nd",
            ),
            // YAML in double quotes.
            ("a: \"failed\\\n    \\ to set\\\n    up\"", "a: \"failed to setup\""),
            ("a \\\nb", "a \\\nb"),
            (r"a\b \ c\", r"a\b \ c\"),
            ("\u{0}", "\u{0}"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }

    #[test]
    fn text_may_be_utf_16() {
        let units: Vec<u16> = "plugin \u{e4} \u{1f600}".encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            [&[0xff, 0xfe], little.as_slice()].concat(),
            [&[0xfe, 0xff], big.as_slice()].concat(),
            little.clone(),
            big,
        ] {
            assert_eq!(decode(&bytes), "plugin \u{e4} \u{1f600}");
        }
        // A half of a pair, and a half of a unit.
        assert_eq!(decode(b"\xff\xfe\x00\xd8a\x00b"), "\u{fffd}a");
        assert_eq!(decode(b"\0"), "\0");
        assert_eq!(decode(b"a\xff"), "a\u{fffd}");
    }

    #[test]
    fn each_event_and_each_line_of_a_log_is_a_message() {
        for (text, expected) in [
            ("Events:\n  Type  Reason\n  ----  ---\n  Warning  A  9m  a\n  Normal  B  8m  b", 5),
            // A message may be folded anyway.
            ("  Warning  A  9m  kubelet  a\n      more of it\n  Warning  B  8m  kubelet  b", 2),
            ("  51m (x3373 over 111m)  Warning  A  pod/a  a\n  9m  Normal  B  pod/b  b", 2),
            ("  default  9m  Warning  A  pod/a  a\n  default  9m  Normal  B  pod/b  b", 2),
            (
                "  1m  1m  1  {kubelet n}  spec  Warning  A  a\n  1m  1m  1  {kubelet n}  Normal  B",
                2,
            ),
            ("  Sep 20 10:01:00 n kubelet[1]: a\n  Sep 20 10:01:01 n kubelet[1]: b", 2),
            ("\tE1204 22:58:14.0 1 a.go:1] a\n\tW1204 22:58:14.1 1 a.go:1] b", 2),
            ("  2026-11-29T10:00:00Z a\n  time=\"2026-11-29\" level=error msg=b", 2),
            ("items:\n  - count: 1\n    message: a\n  - count: 2\n    message: b", 3),
            (
                "{\n  \"items\": [\n    {\n      \"message\": \"a\"\n    },\n    {\n      \"message\": \"b\"\n    }\n  ]\n}",
                5,
            ),
            ("message: >-\n  Failed to create\n  pod sandbox, 2026 of them", 1),
        ] {
            assert_eq!(plain(text).lines().count(), expected, "{text}");
        }
    }
}
