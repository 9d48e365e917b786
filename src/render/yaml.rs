//! Writes strings as YAML, so that every parser reads the same string.
//!
//! YAML 1.1 and 1.2 disagree about `no`, `0o7` and line separators; a quoted string means the same
//! in both. Multi-line text is kept readable if that cannot change it. This stops a policy or name
//! from adding keys or documents to a manifest.

use crate::model::visible;

/// Renders a string in double quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_plain(c) => out.push(c),
            c => match u32::from(c) {
                number @ ..=0xffff => out.push_str(&format!("\\u{number:04X}")),
                number => out.push_str(&format!("\\U{number:08X}")),
            },
        }
    }
    out.push('"');
    out
}

/// Renders multi-line text as a literal block, indented by `indent` spaces, below a key that ends
/// in `: `. A text that a block would change is [`quoted`].
///
/// The last line has no line feed; the caller continues with one.
pub(super) fn block(text: &str, indent: usize) -> String {
    // The first line of a block determines its indentation, so leading white space would be taken
    // as part of it.
    let first_is_plain = text.starts_with(|c: char| !c.is_whitespace());
    if !first_is_plain || !text.chars().all(|c| c == '\n' || is_plain(c)) {
        return quoted(text);
    }
    let end = text.trim_end_matches('\n').len();
    let (kept, line_feeds) = text.split_at(end);
    // YAML 1.2, 8.1.1.2: "-" drops the final line feeds, no indicator keeps one, "+" keeps all.
    let chomping = match line_feeds.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let mut out = format!("|{chomping}");
    for line in kept.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
    out.extend(std::iter::repeat_n('\n', line_feeds.len().saturating_sub(1)));
    out
}

/// Returns whether a character may appear in YAML unescaped (YAML 1.2, 5.1), is visible, and is not
/// a line break to any parser.
fn is_plain(c: char) -> bool {
    let mut bytes = [0; 4];
    let shows_itself = matches!(visible(c.encode_utf8(&mut bytes)), std::borrow::Cow::Borrowed(_));
    shows_itself && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Texts that some parser has misread.
    const HOSTILE: [&str; 26] = [
        "",
        "\n",
        "\n\n",
        "a",
        "a\n",
        "a\n\n\n",
        "\na\n",
        " a\nb\n",
        "\ta\n",
        "a\n---\nkind: Secret\n",
        "---\nb: c\n...\n%YAML 1.1\n",
        "a\n\tb\n",
        "a  \nb \n \n",
        "a\n   \n\n  b",
        "# no comment\n#\n",
        "{{ .Values.x }} ${X} $(X) %v\n",
        "a: 'b' \"c\" \\n \\\n",
        "- &a *a !!binary <<: |\n>\n",
        "a\r\nb\r",
        "a\u{85}b\u{2028}c\u{2029}d\n",
        "\u{feff}a\n",
        "a\u{0}\u{7}\u{1b}[2J\u{7f}\u{9f}\n",
        "bidi \u{202e}txt\n",
        "ünï ✓ 🦀\n",
        "\u{fffe}\u{ffff}\u{10ffff}\n",
        "yes",
    ];

    fn read(yaml: &str) -> BTreeMap<String, String> {
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
    }

    #[test]
    fn a_string_stays_what_it_is() {
        for text in HOSTILE {
            let expected = BTreeMap::from([
                ("a".to_owned(), text.to_owned()),
                ("b".to_owned(), "end".to_owned()),
            ]);
            assert_eq!(read(&format!("a: {}\nb: end\n", quoted(text))), expected, "{text:?}");
            assert_eq!(read(&format!("a: {}\nb: end\n", block(text, 2))), expected, "{text:?}");
            let nested = format!("x:\n  y:\n    z: {}\n  end: \"\"\n", block(text, 6));
            let parsed: serde_json::Value = serde_saphyr::from_str(&nested).unwrap();
            assert_eq!(parsed["x"]["y"]["z"], text, "{text:?}");
        }
    }

    #[test]
    fn nothing_leaves_its_line_or_its_block() {
        for text in HOSTILE {
            assert!(!quoted(text).contains('\n'), "{text:?}");
            let written = block(text, 4);
            let left =
                written.lines().skip(1).find(|line| !line.is_empty() && !line.starts_with("    "));
            assert_eq!(left, None, "{text:?}");
            // Characters that a terminal would not show as they are would be escaped by the rest of
            // the program.
            assert!(written.lines().all(|line| visible(line) == line), "{text:?}");
        }
    }

    #[test]
    fn a_text_for_people_stays_readable() {
        assert_eq!(block("a: b\n# c\n\n  d\n", 4), "|\n    a: b\n    # c\n\n      d");
        assert_eq!(block("a\nb", 2), "|-\n  a\n  b");
        assert_eq!(block("a\n\n", 2), "|+\n  a\n");
        assert_eq!(block("\ta", 2), "\"\\ta\"");
    }
}
