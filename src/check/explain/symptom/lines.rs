//! The messages of a text, one on each line.
//!
//! Terminals and YAML fold a long message; `kubectl describe` and indented logs have one message
//! per line, and all of them also start with white space.

/// The most words of a line that can come before the type of an event: age, times and source in
/// `kubectl get events -A -o wide` and in the `describe` of old releases.
const WORDS_BEFORE_TYPE: usize = 8;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The text as the runtime wrote it: quotation marks without the backslashes of logs and JSON,
/// white space of any kind as one space, and lines joined that something folded: a folded line
/// starts with white space, and with neither an event nor a time.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.split('\n') {
        let is_folded = line.starts_with([' ', '\t', '\r']) && !starts_message(line);
        let before = plain.len();
        unescape(line, &mut plain);
        if plain.len() > before && before > 0 {
            plain.insert(before, if is_folded { ' ' } else { '\n' });
        }
    }
    plain
}

/// Appends a line without the white space around it.
fn unescape(line: &str, plain: &mut String) {
    let (mut backslashes, mut pending) = (0_usize, false);
    for c in line.trim_matches([' ', '\t', '\r']).chars() {
        if c != '\\' {
            // Those before a quotation mark are the log's.
            let kept = if c == '"' { 0 } else { backslashes };
            plain.extend(std::iter::repeat_n('\\', kept));
            backslashes = 0;
        }
        match c {
            ' ' | '\t' | '\r' => pending = true,
            _ => {
                if std::mem::take(&mut pending) {
                    plain.push(' ');
                }
                if c == '\\' { backslashes += 1 } else { plain.push(c) }
            }
        }
    }
    plain.extend(std::iter::repeat_n('\\', backslashes));
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
            (r"a\b \ c\", r"a\b \ c\"),
            ("\u{0}", "\u{0}"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
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
