//! What can go wrong with a file, with its path.

use std::io;

use rustix::io::Errno;

use super::FileKind;
use crate::model::{Code, Finding};

/// Why a file or directory could not be read or changed. Paths are made visible before they get
/// here.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried, as it is read before the path.
        action: String,
        /// The path.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A symbolic link on the way leads out of the directory that holds everything.
    #[error("`{path}` leads out of `{root}`")]
    Escapes {
        /// The path, relative to `root`.
        path: String,
        /// The directory that it must stay in.
        root: String,
    },
    /// Something else stands where a regular file is expected.
    #[error("`{path}` is {kind}, expected a regular file")]
    NotRegular {
        /// The path.
        path: String,
        /// What it is.
        kind: FileKind,
    },
    /// A file that is longer than its kind may be.
    #[error("`{path}` is longer than {limit} bytes")]
    TooLong {
        /// The path.
        path: String,
        /// The most that is read.
        limit: u64,
    },
    /// A name that is not one component of a path.
    #[error("`{name}` is not a file name")]
    Name {
        /// The name.
        name: String,
    },
    /// Another process holds the lock.
    #[error("another cnister is at work: `{path}` was locked for all of {seconds} seconds")]
    Locked {
        /// The lock file.
        path: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

impl DiskError {
    /// Whether the reason is that there is no such file or directory.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the reason is that something has the name already.
    pub fn is_there_already(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Whether the reason is that links lead on without an end.
    pub fn is_endless(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
    }

    /// It with its cause, for a sentence that has no chain.
    pub fn with_cause(&self) -> String {
        match self {
            Self::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }

    /// The finding that the error is, where it is an answer rather than a failure to find out.
    pub fn finding(&self) -> Option<Finding> {
        matches!(self, Self::Escapes { .. })
            .then(|| Finding::refusal(Code::PathEscapes, self.to_string()))
    }
}
