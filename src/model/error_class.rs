//! Whether a command that failed can succeed if it is repeated.

use std::io;

/// What Linux calls links that lead in a circle (asm-generic/errno.h).
const ELOOP: i32 = 40;

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

/// A file that is not there, or not readable, may be so later. A file of the wrong kind or content,
/// or a loop of links, will not change by itself.
impl Classed for io::Error {
    fn class(&self) -> ErrorClass {
        match self.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::FileTooLarge => ErrorClass::Request,
            _ if self.raw_os_error() == Some(ELOOP) => ErrorClass::Request,
            _ => ErrorClass::CouldNot,
        }
    }
}
