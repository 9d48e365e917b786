//! JSON documents that programs exchange: strict reading, canonical writing.
//!
//! Reading refuses repeated keys (I-JSON, RFC 7493 2.3) and keys that Go programs would read as
//! another field, so that two readers of a signed document cannot see different values. Documents
//! have limits; parsing one takes at most four times its length plus 2 MiB of memory. Writing sorts
//! keys and omits white space, so that equal values have equal bytes.

mod check;
mod outline;
#[cfg(test)]
mod tests;

use std::fmt::{self, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use outline::{Fields, Outline, Spelling};

use super::visible;
use check::check;

/// Why a document is not valid.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The document is longer than its kind may be.
    #[error("{what} is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// The name of the document, for people.
        what: String,
        /// Its length in bytes.
        found: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// Not JSON, a repeated key, or not of the expected shape.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// The name of the document, for people.
        what: String,
        /// The parser's message with line and column; text from the document is made visible.
        reason: String,
    },
}

/// How much of a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its length in bytes.
    pub bytes: usize,
    /// The entries of lists and objects that are kept: what a short entry becomes in memory is many
    /// times as long as its text.
    pub values: usize,
}

impl Limits {
    /// The most values of a document that is parsed into a type of its own, whose values take some
    /// hundred bytes. Records of the largest bundle have some thousand.
    const VALUES: usize = 16 * 1024;
    /// The most values of a tree ([`Value`]), in which an object with one key takes 700 bytes.
    const TREE_VALUES: usize = 3 * 1024;

    /// At most `bytes` of a document with a type of its own.
    pub const fn typed(bytes: usize) -> Self {
        Self { bytes, values: Self::VALUES }
    }

    /// At most `bytes` of a document that is read as a tree.
    pub const fn tree(bytes: usize) -> Self {
        Self { bytes, values: Self::TREE_VALUES }
    }
}

/// Parses one JSON document of at most `limit` bytes; a repeated key is an error at any depth.
///
/// `what` names the document in errors ("manifest sha256:…").
pub fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    parse_as(what, bytes, Limits::typed(limit), Outline::Any)
}

/// Parses one JSON document that programs in Go also read; a key that they take for another one is
/// an error, at the places that `outline` names.
pub fn parse_as<T: DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    limits: Limits,
    outline: Outline,
) -> Result<T, JsonError> {
    if bytes.len() > limits.bytes {
        let (found, limit) = (bytes.len(), limits.bytes);
        return Err(JsonError::TooLong { what: what.to_owned(), found, limit });
    }
    // Read twice: the first reading keeps nothing, so it can refuse what the second would have to
    // keep.
    check(bytes, outline, limits.values)
        .and_then(|()| serde_json::from_slice(bytes))
        .map_err(|error| invalid(what, &error))
}

fn invalid(what: &str, error: &serde_json::Error) -> JsonError {
    JsonError::Invalid { what: what.to_owned(), reason: reason(error) }
}

/// The parser's message, of which long texts from the document are left out.
fn reason(error: &serde_json::Error) -> String {
    let mut start = Start(String::new());
    if write!(start, "{error}").is_ok() {
        return visible(&start.0).into_owned();
    }
    let Start(start) = start;
    format!("{}… at line {} column {}", visible(&start), error.line(), error.column())
}

/// The start of a message. Writing fails when it is full.
struct Start(String);

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const LONGEST: usize = 1024;
        let room = text.floor_char_boundary(LONGEST.saturating_sub(self.0.len()));
        self.0.push_str(text.get(..room).unwrap_or_default());
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Parses a document of which no signature depends, as its other readers do: of several equal keys
/// the last one counts. Also returns the message about them, if there are any.
pub fn parse_last(
    what: &str,
    bytes: &[u8],
    limits: Limits,
    outline: Outline,
) -> Result<(Value, Option<String>), JsonError> {
    let repeated = match parse_as(what, bytes, limits, outline) {
        Ok(value) => return Ok((value, None)),
        Err(JsonError::Invalid { reason, .. }) if reason.contains(" appears twice") => reason,
        Err(error) => return Err(error),
    };
    // What a repetition hides counts as well: it is held before it is replaced.
    let value: Value = check::count(bytes, limits.values)
        .and_then(|()| serde_json::from_slice(bytes))
        .map_err(|error| invalid(what, &error))?;
    // Without the repetitions, it is read as strictly as any other.
    check(&canonical(&value), outline, limits.values).map_err(|error| invalid(what, &error))?;
    Ok((value, Some(repeated)))
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
