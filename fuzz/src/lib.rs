//! What all targets ask of a parser.

use cnister::model::visible;

/// An error repeats nothing that would move a terminal's cursor, make a line of its own, or hide text.
///
/// # Panics
/// Where it does.
pub fn check_words(error: &impl std::fmt::Display) {
    let words = error.to_string();
    assert_eq!(visible(&words), words);
}
