//! The type of a document to sign, and how a file becomes a predicate of that type, as `cosign
//! attest` does it. A predicate is an object: SPDX in its tag-value form would be a text, which
//! cosign signs but does not verify.

use std::str::FromStr;

use serde_json::{Value, json as value};

use crate::model::json::{Limits, Outline};
use crate::model::{JsonError, json, predicate_type, rfc3339};
use crate::trust::Evidence;

/// A predicate type, with the form of its documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredicateType {
    uri: String,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A JSON object.
    Object,
    /// A text with a time, which is cosign's type for everything else.
    Custom,
}

/// A text that is not a predicate type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a URI, such as `https://example.com/review/v1`, or one of {}",
    predicate_type::names()
)]
pub struct ParsePredicateTypeError;

/// Why a document is not a predicate.
#[derive(Debug, thiserror::Error)]
pub enum PredicateFormError {
    /// Longer than any evidence.
    #[error(
        "it is {found} bytes long, and must fit into the {} bytes of evidence once signed",
        Evidence::LIMIT
    )]
    TooLong {
        /// Its length, or one byte more than is read.
        found: usize,
    },
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON of another kind (in-toto attestation framework, predicate.md).
    #[error("it is not a JSON object")]
    NotAnObject,
    /// Bytes in no encoding that JSON has.
    #[error("it is not UTF-8 text")]
    NotText,
}

impl PredicateType {
    /// The longest document, in bytes: in base64, a longer one does not fit into evidence.
    pub const LIMIT: usize = Evidence::LIMIT / 4 * 3;

    /// The URI in statements.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The predicate that a file becomes. `now` is in seconds since 1970.
    pub fn predicate(&self, bytes: &[u8], now: u64) -> Result<Value, PredicateFormError> {
        if bytes.len() > Self::LIMIT {
            return Err(PredicateFormError::TooLong { found: bytes.len() });
        }
        match self.form {
            Form::Custom => {
                let text = std::str::from_utf8(bytes).map_err(|_| PredicateFormError::NotText)?;
                Ok(value!({ "Data": text, "Timestamp": rfc3339(now) }))
            }
            Form::Object => {
                let limits = Limits { bytes: Self::LIMIT, values: Self::LIMIT / 8 };
                let value: Value = json::parse_as("the document", bytes, limits, Outline::Any)?;
                value.is_object().then_some(value).ok_or(PredicateFormError::NotAnObject)
            }
        }
    }
}

impl FromStr for PredicateType {
    type Err = ParsePredicateTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = if text == "custom" { Form::Custom } else { Form::Object };
        let is_uri = text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && text.chars().all(|c| c.is_ascii_graphic())
        });
        match predicate_type::named(text) {
            Some(uri) => Ok(Self { uri: uri.to_owned(), form }),
            None if is_uri => Ok(Self { uri: text.to_owned(), form }),
            None => Err(ParsePredicateTypeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predicate(kind: &str, bytes: &[u8]) -> Result<Value, String> {
        let kind: PredicateType = kind.parse().unwrap();
        kind.predicate(bytes, 0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_type_is_a_word_of_cosign_or_a_uri() {
        for (text, expected) in [
            ("slsaprovenance1", Some(predicate_type::PROVENANCE)),
            ("spdx", Some(predicate_type::SPDX)),
            ("https://example.com/review/v1", Some("https://example.com/review/v1")),
            ("urn:example:review", Some("urn:example:review")),
            ("slsaprovenance3", None),
            ("", None),
            ("https:", None),
            ("a b:c", None),
            ("https://a b", None),
            ("1:a", None),
        ] {
            let parsed = text.parse::<PredicateType>();
            assert_eq!(parsed.as_ref().ok().map(PredicateType::uri), expected, "{text}");
        }
    }

    #[test]
    fn a_file_becomes_what_cosign_makes_of_it() {
        assert_eq!(predicate("cyclonedx", b" {\"a\": 1}\n"), Ok(value!({"a": 1})));
        let custom = value!({"Data": "yes\n", "Timestamp": "1970-01-01T00:00:00Z"});
        assert_eq!(predicate("custom", b"yes\n"), Ok(custom));
        for (kind, bytes, expected) in [
            ("vuln", &b"[]"[..], "it is not a JSON object"),
            ("spdx", b"SPDXVersion: SPDX-2.3", "the document is not valid: expected value"),
            (
                "urn:x",
                b"{\"a\": 1, \"a\": 2}",
                "the document is not valid: the key `a` appears twice",
            ),
            ("custom", b"\xff", "it is not UTF-8 text"),
            ("spdx", &[b'x'; PredicateType::LIMIT + 1], "it is 786433 bytes long, and must fit"),
        ] {
            let error = predicate(kind, bytes).expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
