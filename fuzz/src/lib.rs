//! What all targets ask of a parser.

use std::fmt::Debug;

use cnister::model::{JsonError, json, visible};
use serde::Serialize;

/// An error repeats nothing that would move a terminal's cursor, make a line of its own, or hide
/// text.
///
/// # Panics
/// Where it does.
pub fn check_words(error: &impl std::fmt::Display) {
    let words = error.to_string();
    assert_eq!(visible(&words), words);
}

/// Parses a record, and parses it again as it is written; `None` if it is not a valid record.
pub fn written_and_read<T: Serialize + PartialEq + Debug>(
    bytes: &[u8],
    parse: fn(&[u8]) -> Result<T, JsonError>,
) -> Option<T> {
    match parse(bytes) {
        Ok(record) => {
            let written = json::readable(&record);
            assert_eq!(parse(written.as_bytes()).expect("was accepted before"), record);
            Some(record)
        }
        Err(error) => {
            check_words(&error);
            None
        }
    }
}
