//! Errors of file operations; each names the path.

use std::io;

use rustix::io::Errno;

use super::FileKind;
use crate::model::{Code, Finding};

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
    /// A file longer than files of its kind may be.
    #[error("`{path}` is longer than {limit} bytes")]
    TooLong {
        /// Escaped, as shown to the user.
        path: String,
        /// In bytes.
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
        /// The timeout.
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

    /// Renders it with its cause, for messages that have no chain of causes.
    pub fn with_cause(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// Returns the error as a finding if it is an answer rather than a failure to find out.
    pub fn finding(&self) -> Option<Finding> {
        matches!(self, Self::Escapes { .. })
            .then(|| Finding::refusal(Code::PathEscapes, self.to_string()))
    }
}
