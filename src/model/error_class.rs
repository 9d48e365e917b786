//! Whether a command that failed can succeed if it is repeated.

/// Whether the same request can work later. The exit code of a command says it (ARCHITECTURE.md,
/// "Answers and errors").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// It will never work: what was asked for, or what it was asked with, is wrong.
    Request,
    /// It may work later: something could not be read, reached or written.
    CouldNot,
}

/// An error whose variants are of both classes, and which says of which it is.
pub trait Classed {
    /// The class of this error.
    fn class(&self) -> ErrorClass;
}
