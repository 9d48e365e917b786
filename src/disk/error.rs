//! Errors of file operations; each names the path.

use std::io;

use rustix::io::Errno;

use super::FileKind;
use crate::model::{Classed, Code, ErrorClass, Finding};

/// Why a file or directory could not be read or changed. Paths are already escaped for a terminal.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A system call failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// A verb phrase that the path follows, such as `open directory`.
        action: String,
        /// Escaped, as shown to the user.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A symbolic link in the path leads out of the directory that must contain everything.
    #[error("`{path}` leads out of `{root}`")]
    Escapes {
        /// Relative to `root`, escaped.
        path: String,
        /// The directory that must contain the path.
        root: String,
    },
    /// Something other than the expected regular file.
    #[error("`{path}` is {kind}, expected a regular file")]
    NotRegular {
        /// Escaped, as shown to the user.
        path: String,
        /// What was found instead.
        kind: FileKind,
    },
    /// Something other than a directory, where one is needed.
    #[error("`{path}` is {kind}, expected a directory")]
    NotDirectory {
        /// Escaped, as shown to the user.
        path: String,
        /// What was found instead; a symbolic link that does not lead to a directory is one.
        kind: FileKind,
    },
    /// A file longer than files of its kind may be.
    #[error("`{path}` is longer than {limit} bytes")]
    TooLong {
        /// Escaped, as shown to the user.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A name that is not a single component of a path.
    #[error("`{name}` is not a file name")]
    Name {
        /// Escaped, as shown to the user.
        name: String,
    },
    /// Another process held the lock for the whole timeout.
    #[error("another cnister is running: `{path}` was still locked after {seconds} s")]
    Locked {
        /// Path of the lock file.
        path: String,
        /// How long the lock was waited for, in seconds.
        seconds: u64,
    },
}

impl DiskError {
    /// Returns whether the reason is that the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Returns whether the reason is that the name is taken.
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Returns whether the reason is a loop of symbolic links.
    pub fn is_endless(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
    }

    /// Returns why this one file cannot be read; `None` if the reason is this process or the
    /// system, and another file could not be read either.
    pub fn of_one_file(&self) -> Option<String> {
        let Self::Io { source, .. } = self else { return Some(self.to_string()) };
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::INTR) => None,
            // Files are opened without blocking, so the kernel does not wait until the lease is
            // given up (fcntl(2), F_SETLEASE).
            Some(Errno::AGAIN) => Some("another process holds a lease on it".to_owned()),
            _ => Some(source.to_string()),
        }
    }

    /// What the system denies, if that is the reason: a place that is read-only, not permitted or
    /// full.
    pub fn denial(&self) -> Option<Code> {
        let Self::Io { source, .. } = self else { return None };
        match Errno::from_raw_os_error(source.raw_os_error()?) {
            Errno::ROFS => Some(Code::ReadOnly),
            Errno::ACCESS | Errno::PERM => Some(Code::NotPermitted),
            Errno::NOSPC | Errno::DQUOT => Some(Code::NoSpace),
            _ => None,
        }
    }

    /// Returns whether the reason is an attribute of the file, or a mount on it: trying again does
    /// not help.
    pub fn is_held(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::PERM | Errno::BUSY))
    }

    /// Renders it with its cause, for messages that have no chain of causes.
    pub fn with_cause(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// Returns the error as a finding if it is an answer rather than a failure to find out.
    pub fn finding(&self) -> Option<Finding> {
        match self {
            Self::Escapes { .. } => Some(Finding::refusal(Code::PathEscapes, self.to_string())),
            Self::NotDirectory { path, .. } | Self::NotRegular { path, .. } => {
                let hint = format!("find out what put it there, then move it away: {path}");
                Some(Finding::refusal(Code::InTheWay, self.to_string()).hint(hint))
            }
            _ => None,
        }
    }
}

impl Classed for DiskError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Io { source, .. } => source.class(),
            Self::Locked { .. } => ErrorClass::CouldNot,
            Self::Escapes { .. }
            | Self::NotRegular { .. }
            | Self::NotDirectory { .. }
            | Self::TooLong { .. }
            | Self::Name { .. } => ErrorClass::Request,
        }
    }
}

/// For callers that report I/O errors: one of the same class.
impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        match error.class() {
            ErrorClass::Request => Self::new(io::ErrorKind::InvalidData, error),
            ErrorClass::CouldNot => Self::other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_is_of_the_class_of_the_error_in_it() {
        let io = |errno: Errno| DiskError::Io {
            action: "open".to_owned(),
            path: "f".to_owned(),
            source: errno.into(),
        };
        let kind = FileKind::Fifo;
        for (error, expected) in [
            (io(Errno::NOENT), ErrorClass::CouldNot),
            (io(Errno::ACCESS), ErrorClass::CouldNot),
            (io(Errno::LOOP), ErrorClass::Request),
            (DiskError::Locked { path: "f".to_owned(), seconds: 1 }, ErrorClass::CouldNot),
            (DiskError::NotRegular { path: "f".to_owned(), kind }, ErrorClass::Request),
            (DiskError::TooLong { path: "f".to_owned(), limit: 1 }, ErrorClass::Request),
            (DiskError::Name { name: "..".to_owned() }, ErrorClass::Request),
        ] {
            let text = error.to_string();
            let error = io::Error::from(error);
            assert_eq!((error.class(), error.to_string()), (expected, text));
        }
    }

    #[test]
    fn says_whether_another_file_could_still_be_read() {
        let of_one_file = |errno: Errno| {
            let source = errno.into();
            DiskError::Io { action: "open".to_owned(), path: "f".to_owned(), source }.of_one_file()
        };
        let lease = "another process holds a lease on it";
        for (errno, expected) in [
            (Errno::AGAIN, Some(lease)),
            (Errno::IO, Some("Input/output error (os error 5)")),
            (Errno::ACCESS, Some("Permission denied (os error 13)")),
            (Errno::PERM, Some("Operation not permitted (os error 1)")),
            (Errno::TXTBSY, Some("Text file busy (os error 26)")),
            (Errno::UCLEAN, Some("Structure needs cleaning (os error 117)")),
            (Errno::STALE, Some("Stale file handle (os error 116)")),
            (Errno::MFILE, None),
            (Errno::NFILE, None),
            (Errno::NOMEM, None),
        ] {
            assert_eq!(of_one_file(errno).as_deref(), expected, "{errno:?}");
        }
    }
}
