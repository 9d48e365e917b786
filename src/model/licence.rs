//! Licences, as SPDX expressions (SPDX 2.3, annex D).
//!
//! Only the form of an expression is checked: whether an identifier is on SPDX's list depends on
//! the list's version, and its readers know theirs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::excerpt;

/// An SPDX licence expression, with single spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Licence(String);

/// What is known of the licences of something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Licences {
    /// What its authors say.
    pub declared: Option<Licence>,
    /// What was found in its files.
    pub concluded: Option<Licence>,
}

/// Why a text is not a licence expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an SPDX licence expression: {reason}")]
pub struct ParseLicenceError {
    text: String,
    reason: &'static str,
}

/// The longest expression; one of a whole image of a distribution has some hundred bytes.
const LONGEST: usize = 1024;

impl Licence {
    /// The expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one identifier and nothing else.
    pub(crate) fn is_identifier(&self) -> bool {
        !self.0.contains([' ', '(', '+']) && !self.0.starts_with(REFERENCE)
    }

    /// The licences in it that are not on SPDX's list.
    pub(crate) fn references(&self) -> impl Iterator<Item = &str> {
        let words = self.0.split([' ', '(', ')']).map(|word| word.trim_end_matches('+'));
        words.filter(|word| word.starts_with(REFERENCE))
    }

    /// The licence of a whole with parts under each of these.
    pub(crate) fn all_of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let parts: BTreeSet<&Self> = parts.into_iter().collect();
        match Vec::from_iter(&parts).as_slice() {
            [] => None,
            [one] => Some((**one).clone()),
            many => {
                let texts: Vec<String> = many.iter().map(|part| part.as_operand()).collect();
                Some(Self(texts.join(" AND ")))
            }
        }
    }

    /// As it is written between `AND`s, which bind closer than `OR`.
    fn as_operand(&self) -> String {
        if self.0.contains(" OR ") { format!("({self})") } else { self.0.clone() }
    }
}

/// How the names of licences start that are not on SPDX's list.
const REFERENCE: &str = "LicenseRef-";

impl Licences {
    /// Both are this one: the source has one licence, and its own file says so.
    pub fn both(licence: Licence) -> Self {
        Self { declared: Some(licence.clone()), concluded: Some(licence) }
    }
}

impl FromStr for Licence {
    type Err = ParseLicenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ParseLicenceError { text: excerpt(text), reason };
        if text.len() > LONGEST {
            return Err(error("it is longer than 1024 bytes"));
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut written = String::new();
        let mut depth = 0_usize;
        let mut expected = Expected::Licence;
        for word in spaced.split_whitespace() {
            let before = if written.is_empty() || written.ends_with('(') { "" } else { " " };
            expected = match (expected, word) {
                (Expected::Licence, "(") => {
                    depth += 1;
                    Expected::Licence
                }
                (Expected::Licence, _) if is_licence(word) => Expected::Operator { plain: true },
                (Expected::Licence, _) => return Err(error("a licence's identifier is missing")),
                (Expected::Exception, _) if is_word(word) => Expected::Operator { plain: false },
                (Expected::Exception, _) => return Err(error("`WITH` names no exception")),
                (Expected::Operator { .. }, ")") if depth > 0 => {
                    depth -= 1;
                    written.push(')');
                    expected = Expected::Operator { plain: false };
                    continue;
                }
                (Expected::Operator { .. }, "AND" | "OR") => Expected::Licence,
                (Expected::Operator { plain: true }, "WITH") => Expected::Exception,
                _ => return Err(error("expected `AND` or `OR`")),
            };
            written.push_str(before);
            written.push_str(word);
        }
        match expected {
            Expected::Operator { .. } if depth == 0 => Ok(Self(written)),
            Expected::Operator { .. } => Err(error("a parenthesis is not closed")),
            _ => Err(error("it ends in the middle")),
        }
    }
}

/// What the next word of an expression may be.
#[derive(Clone, Copy)]
enum Expected {
    Licence,
    Exception,
    /// `plain` is an identifier without an exception.
    Operator {
        plain: bool,
    },
}

fn is_word(text: &str) -> bool {
    let is_operator = ["AND", "OR", "WITH"].iter().any(|word| text.eq_ignore_ascii_case(word));
    !text.is_empty()
        && !is_operator
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}

/// `NONE` and `NOASSERTION` stand in an identifier's place and are none.
fn is_licence(text: &str) -> bool {
    let is_absent = ["NONE", "NOASSERTION"].iter().any(|word| text.eq_ignore_ascii_case(word));
    !is_absent && text != REFERENCE && is_word(text.strip_suffix('+').unwrap_or(text))
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_expressions() {
        for (text, expected) in [
            ("MIT", "MIT"),
            (" Apache-2.0  AND\tMIT ", "Apache-2.0 AND MIT"),
            ("GPL-2.0+", "GPL-2.0+"),
            (
                "GPL-2.0-only WITH Classpath-exception-2.0 OR MIT",
                "GPL-2.0-only WITH Classpath-exception-2.0 OR MIT",
            ),
            ("( MIT OR (ISC) ) AND LicenseRef-Acme", "(MIT OR (ISC)) AND LicenseRef-Acme"),
        ] {
            let licence: Licence = text.parse().expect(text);
            assert_eq!(licence.as_str(), expected);
            assert_eq!(licence.as_str().parse(), Ok(licence.clone()));
        }
        let licence: Licence = "(LicenseRef-A OR MIT) AND LicenseRef-B".parse().unwrap();
        assert_eq!(licence.references().collect::<Vec<_>>(), ["LicenseRef-A", "LicenseRef-B"]);
    }

    #[test]
    fn refuses_what_is_none() {
        for (text, reason) in [
            ("", "it ends in the middle"),
            ("MIT AND", "it ends in the middle"),
            ("AND MIT", "a licence's identifier is missing"),
            ("MIT ISC", "expected `AND` or `OR`"),
            ("MIT and ISC", "expected `AND` or `OR`"),
            ("(MIT", "a parenthesis is not closed"),
            ("MIT)", "expected `AND` or `OR`"),
            ("()", "a licence's identifier is missing"),
            ("(MIT) WITH x", "expected `AND` or `OR`"),
            ("MIT WITH a WITH b", "expected `AND` or `OR`"),
            ("MIT WITH AND", "`WITH` names no exception"),
            ("NOASSERTION", "a licence's identifier is missing"),
            ("none", "a licence's identifier is missing"),
            ("The MIT License", "expected `AND` or `OR`"),
            ("MIT/ISC", "a licence's identifier is missing"),
        ] {
            let error = ParseLicenceError { text: text.to_owned(), reason };
            assert_eq!(text.parse::<Licence>(), Err(error), "{text}");
        }
        assert!("(".repeat(1024).parse::<Licence>().is_err());
    }

    #[test]
    fn a_whole_is_under_the_licences_of_its_parts() {
        let parse = |text: &str| text.parse::<Licence>().unwrap();
        for (parts, expected) in [
            (vec![], None),
            (vec!["MIT OR ISC", "MIT OR ISC"], Some("MIT OR ISC")),
            (vec!["MIT", "Apache-2.0 OR ISC", "MIT"], Some("(Apache-2.0 OR ISC) AND MIT")),
        ] {
            let parts: Vec<Licence> = parts.into_iter().map(parse).collect();
            assert_eq!(Licence::all_of(&parts), expected.map(parse));
        }
    }
}
