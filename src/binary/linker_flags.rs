//! The variables that a build set with the linker's `-X` flag. Most projects write their version
//! into a program this way.
//!
//! The flags are those that the build recorded; a build with `-trimpath` records none.

use std::collections::BTreeMap;

/// The variables in a value of `-ldflags`, each with its value; of several for one variable the
/// last one counts, as for the linker.
pub fn linked_variables(flags: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut words = split_flags(flags).into_iter();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).unwrap_or_default();
        let definition = match flag {
            "X" => words.next(),
            flag => flag.strip_prefix("X=").map(str::to_owned),
        };
        if let Some((name, value)) = definition.as_ref().and_then(|text| text.split_once('=')) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    variables
}

/// Splits flags as Go does (`cmd/internal/quoted`): at white space, and a word that starts with a
/// quote ends with it.
pub fn split_flags(flags: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = flags.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '\'' | '"' => {
                let inside = rest.strip_prefix(first).unwrap_or_default();
                inside.split_once(first).unwrap_or((inside, ""))
            }
            _ => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_linker_sets() {
        for (flags, expected) in [
            ("", &[][..]),
            ("-s -w", &[]),
            ("-s -w -X a/b.Version=v1 -X=c.d=e=f", &[("a/b.Version", "v1"), ("c.d", "e=f")]),
            ("-extldflags -static -X 'a.b=c d' --X \"e.f=g\"", &[("a.b", "c d"), ("e.f", "g")]),
            ("-X a.b=1 -X a.b=2", &[("a.b", "2")]),
            ("-X a.b", &[]),
            ("-X", &[]),
            ("-X 'a.b=c", &[("a.b", "c")]),
        ] {
            let found = linked_variables(flags);
            let found: Vec<_> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            assert_eq!(found, expected, "{flags}");
        }
    }
}
