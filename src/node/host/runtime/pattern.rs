//! Patterns of file names, as Go's `path/filepath.Match` understands them. Pure.

/// Whether a name matches a pattern: `*` is any text, `?` any character, `[a-z]` and `[^a-z]` one
/// of a class, and a backslash takes the meaning of the next character away. A pattern with a
/// mistake matches nothing. Each `*` is tried again at most once for each character.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some(pattern) = parse(pattern) else { return false };
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut seen) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(c) = name.get(seen) {
        match pattern.get(at) {
            Some(Part::Any) => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            Some(part) if part.is(*c) => {
                at += 1;
                seen += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|part| matches!(part, Part::Any))
}

enum Part {
    /// Any text.
    Any,
    /// Any character.
    One,
    Literal(char),
    /// A character of these ranges, or of none of them.
    Class {
        is_negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Part {
    fn is(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Literal(literal) => *literal == c,
            Self::Class { is_negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *is_negated
            }
        }
    }
}

fn parse(pattern: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Literal(rest.next()?),
            '[' => {
                let is_negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
                    let first = class_character(&mut rest)?;
                    let is_range = rest.next_if_eq(&'-').is_some();
                    let last = if is_range { class_character(&mut rest)? } else { first };
                    ranges.push((first, last));
                }
                Part::Class { is_negated, ranges }
            }
            c => Part::Literal(c),
        });
    }
    Some(parts)
}

/// A character of a class; `-` and `]` need a backslash.
fn class_character(rest: &mut impl Iterator<Item = char>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_go() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.off", false),
            ("*", "anything", true),
            ("1?-*.toml", "10-a.toml", true),
            ("1?-*.toml", "1-a.toml", false),
            ("a*b*c", "axxbxxbxc", true),
            ("a*b*c", "axxbxx", false),
            ("", "", true),
            ("[0-9]*", "1a", true),
            ("[0-9]*", "a1", false),
            ("[^0-9]*", "a1", true),
            ("[a-c\\]x-z]", "]", true),
            ("[a-c\\]x-z]", "d", false),
            ("\\*a", "*a", true),
            ("\\*a", "ba", false),
            ("?\u{fc}*", "\u{e4}\u{fc}", true),
            // Mistakes.
            ("[]a]", "]", false),
            ("[a-", "a", false),
            ("[-x]", "-", false),
            ("a\\", "a", false),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }
}
