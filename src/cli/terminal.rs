//! Standard output for the answer, standard error for everything else, and the exit code.
//!
//! All text is escaped here, so that a name from outside cannot move the cursor or forge a line.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::model::{Classed, Code, ErrorClass, Finding, json, visible, with_causes};
use crate::node::NodeError;
use crate::oci::{CollectError, OciError};
#[cfg(feature = "publish")]
use crate::publish::{BuildError, CacheError, SourceError};

/// The form of the answer on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Text for people.
    Human,
    /// Exactly one JSON document.
    Json,
    /// Markdown, of `diff`.
    #[cfg(feature = "publish")]
    Markdown,
}

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// 0: the answer is yes, or the work is done.
    Yes,
    /// 1: the answer is no.
    No,
    /// 2: invalid request; the same request will never work.
    Request,
    /// 3: failed or unknown; the same request may work later.
    CouldNot,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Yes => 0,
            Exit::No => 1,
            Exit::Request => 2,
            Exit::CouldNot => 3,
        })
    }
}

/// Why a verb has no report: the error, its exit code, and a hint.
pub(super) struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    /// Each on a line of its own.
    details: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Creates a failure with exit code 2: the request is invalid.
    pub(super) fn request(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Request, error: error.into(), details: Vec::new(), hint: None }
    }

    /// Creates a failure with exit code 3: the request failed or its answer is unknown.
    pub(super) fn could_not(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::CouldNot, error: error.into(), details: Vec::new(), hint: None }
    }

    /// Creates a failure with the exit code of the error's own class.
    #[cfg(feature = "publish")]
    pub(super) fn classed(error: impl Classed + Error + Send + Sync + 'static) -> Self {
        match error.class() {
            ErrorClass::Request => Self::request(error),
            ErrorClass::CouldNot => Self::could_not(error),
        }
    }

    /// Creates the failure to read `what`. If it is not a text file, reading it again will not
    /// help.
    pub(super) fn of_reading(what: &str, error: &io::Error) -> Self {
        let message = format!("cannot read {what}: {error}");
        match error.class() {
            ErrorClass::Request => Self::request(message),
            ErrorClass::CouldNot => Self::could_not(message),
        }
    }

    /// Returns what is wrong with the files that were to be installed, if that is why it failed. Of
    /// an image on a disk (`is_local`) that is everything; a registry may only be away.
    pub(super) fn payload_fault(&self, is_local: bool) -> Option<Finding> {
        let error = self.error.as_ref();
        match is_local && oci_error(error).is_some() {
            true => Some(Finding::refusal(Code::Unreadable, with_causes(error))),
            false => error.downcast_ref().and_then(NodeError::payload_fault),
        }
    }

    /// Adds what the error is made of, if that is a list.
    #[cfg(feature = "publish")]
    #[must_use]
    pub(super) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An error of an image has its own class; any other is a failure.
impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        match oci_error(&error).map(OciError::class) {
            Some(ErrorClass::Request) => Self::request(error),
            _ => Self::could_not(error),
        }
    }
}

/// Prints reports in the requested format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terminal {
    format: Format,
}

impl Terminal {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Returns whether the answer is printed as JSON.
    #[cfg(feature = "publish")]
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints the answer.
    pub(super) fn answer<R: Serialize + Display>(&self, report: &R) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => json::readable(report),
            _ => printable(&report.to_string()),
        };
        write_out(text.as_bytes())
    }

    /// Prints the answer, which can be Markdown as well.
    #[cfg(feature = "publish")]
    pub(super) fn answer_or_markdown<R: Serialize + Display>(
        &self,
        report: &R,
        markdown: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Markdown => write_out(printable(&markdown()).as_bytes()),
            _ => self.answer(report),
        }
    }

    /// Prints a document as it is. What could move a terminal's cursor in it is escaped: JSON has
    /// no such characters outside of its texts, where they have another spelling.
    #[cfg(feature = "publish")]
    pub(super) fn document(&self, bytes: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(bytes);
        write_out(printable(&text).as_bytes())
    }

    /// Prints a remark to standard error.
    pub(super) fn remark(&self, text: &str) {
        drop(io::stderr().lock().write_all(printable(text).as_bytes()));
    }

    /// Prints why there is no answer, with all causes and a hint.
    pub(super) fn failure(&self, failure: &Failure) -> Exit {
        let mut text = format!("error: {}", with_causes(failure.error.as_ref()));
        for detail in &failure.details {
            text.push_str(&format!("\n  {}", visible(detail)));
        }
        if let Some(hint) = failure.hint.clone().or_else(|| known_hint(failure.error.as_ref())) {
            text.push_str(&format!("\nhint: {hint}"));
        }
        self.remark(&text);
        failure.exit
    }
}

/// Returns the hint of the error itself, wherever it is in the chain of causes.
fn known_hint(error: &(dyn Error + 'static)) -> Option<String> {
    #[cfg(feature = "publish")]
    if let Some(hint) = source_hint(error) {
        return Some(hint);
    }
    oci_error(error).and_then(OciError::hint).map(str::to_owned)
}

/// Returns the hint of an error of a source or of the cache.
#[cfg(feature = "publish")]
fn source_hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<CacheError>() {
        return error.hint();
    }
    let source = match error.downcast_ref() {
        Some(BuildError::Source(error)) => Some(error),
        _ => error.downcast_ref::<SourceError>(),
    };
    source.and_then(SourceError::hint)
}

/// The error of an image that an error of a verb is.
fn oci_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a OciError> {
    if let Some(CollectError::Oci(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(NodeError::Oci(error)) = error.downcast_ref() {
        return Some(error);
    }
    error.downcast_ref()
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // The reader of a pipe, as in `cnister … | head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| {
            Failure::could_not(format!("cannot write to standard output: {error}"))
        }),
    }
}

/// Escapes what would move the cursor in each line, and ends the text with a line feed.
fn printable(text: &str) -> String {
    text.trim_end_matches('\n').split('\n').map(|line| format!("{}\n", visible(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_each_cause_once() {
        let source = std::io::Error::other("no such thing");
        let error = OciError::Io {
            origin: "oci:a\nyes: b".to_owned(),
            action: "read it".to_owned(),
            source,
        };
        assert_eq!(with_causes(&error), "cannot read it in oci:a\\u{a}yes: b: no such thing");
        let error = std::io::Error::other(std::io::Error::other("twice"));
        assert_eq!(with_causes(&error), "twice");
    }

    #[test]
    fn names_from_outside_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\n\rc\n"), "a\\u{1b}[2Jb\n\\u{d}c\n");
    }
}
