//! JSON documents that programs exchange: strict reading, canonical writing.
//!
//! Reading refuses repeated keys (I-JSON, RFC 7493 2.3): two readers of one signed document must not
//! see two different values. Every document has a limit. Writing sorts keys and uses no white space,
//! so that equal values are equal bytes.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::visible;

/// Why a document is not valid.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document is longer than its kind may be.
    #[error("{what} is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Which document.
        what: String,
        /// Its length in bytes.
        found: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Not JSON, a repeated key, or not of the expected shape.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// Which document.
        what: String,
        /// The parser's message with line and column; text from the document is made visible.
        reason: String,
    },
}

/// Parses one JSON document of at most `limit` bytes; a repeated key is an error at any depth.
///
/// `what` names the document in errors ("manifest sha256:…").
pub fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLong { what: what.to_owned(), found: bytes.len(), limit });
    }
    let invalid = |error: serde_json::Error| JsonError::Invalid {
        what: what.to_owned(),
        reason: visible(&error.to_string()).into_owned(),
    };
    let Strict(value) = serde_json::from_slice(bytes).map_err(invalid)?;
    // Parsed twice: only from the text do errors have line and column. The first pass finds
    // repeated keys.
    drop(value);
    serde_json::from_slice(bytes).map_err(invalid)
}

/// Writes `value` with sorted keys and no white space.
///
/// # Panics
/// Never for the types of this crate: their keys are strings and their numbers finite.
pub fn canonical<T: Serialize>(value: &T) -> Vec<u8> {
    // A `Value` map is a BTreeMap, so the order in which the type iterates does not matter.
    let value = serde_json::to_value(value).expect("our types have string keys and finite numbers");
    serde_json::to_vec(&value).expect("a JSON value always serializes")
}

/// Writes `value` for people to read in a file: sorted keys, two spaces, one line feed at the end.
pub fn readable<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).expect("our types have string keys and finite numbers");
    let mut text = serde_json::to_string_pretty(&value).expect("a JSON value always serializes");
    text.push('\n');
    text
}

/// A JSON value without repeated keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(StrictVisitor)? {
            values.push(value);
        }
        Ok(values.into())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "the key `{}` appears twice",
                    visible(&key)
                )));
            }
            let value = map.next_value_seed(StrictVisitor)?;
            values.insert(key, value);
        }
        Ok(values.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_repeated_key_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"a":2}]}"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse::<Value>("it", text.as_bytes(), 100).expect_err(text).to_string();
            assert!(error.contains("the key `a` appears twice"), "{text}: {error}");
        }
        assert_eq!(parse::<Value>("it", br#"{"a":{"a":1}}"#, 100).unwrap()["a"]["a"], 1);
    }

    #[test]
    fn refuses_a_document_past_its_limit() {
        assert_eq!(
            parse::<Value>("it", b"[1, 2]", 5).expect_err("six bytes").to_string(),
            "it is 6 bytes long, the limit is 5"
        );
        assert!(parse::<Value>("it", b"[1,2]", 5).is_ok());
    }

    #[test]
    fn names_line_and_column() {
        let error = parse::<Vec<u8>>("it", b"[1,\n \"x\"]", 50).expect_err("a string").to_string();
        assert!(error.contains("line 2 column"), "{error}");
    }

    #[test]
    fn repeats_nothing_that_would_make_a_line_of_its_own() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[expect(dead_code, reason = "only parsed")]
            digest: crate::model::Digest,
        }
        let cases = [
            (
                r#"{"digest":"sha256:0\nproven: yes"}"#,
                "digest `0\\u{a}proven: yes` has `\\u{a}` where",
            ),
            (
                r#"{"di\u001b[2J\ngest":1}"#,
                "unknown field `di\\u{1b}[2J\\u{a}gest`, expected `digest`",
            ),
            (r#"{"digest":"\u202e"}"#, "digest `\\u{202e}` does not start with"),
        ];
        for (text, expected) in cases {
            let error = parse::<File>("it", text.as_bytes(), 100).expect_err(text).to_string();
            assert!(error.contains(expected) && !error.contains(char::is_control), "{error}");
        }
        assert!(
            parse::<File>("it", br#"{"di\u0067est":1}"#, 100)
                .expect_err("a number")
                .to_string()
                .contains("integer")
        );
    }

    #[test]
    fn writes_equal_values_as_equal_bytes() {
        let map = std::collections::HashMap::from([("b", 1), ("a", 2), ("c", 3)]);
        assert_eq!(canonical(&map), br#"{"a":2,"b":1,"c":3}"#);
        assert_eq!(readable(&map), "{\n  \"a\": 2,\n  \"b\": 1,\n  \"c\": 3\n}\n");
    }
}
