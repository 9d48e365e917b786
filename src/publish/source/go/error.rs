//! Why a module cannot be compiled.
//!
//! [`SourceError::Go`](crate::publish::SourceError) says which module it is and for which plugins.

use std::io;
use std::path::PathBuf;

use crate::bundle::tar::TarError;
use crate::bundle::{ModuleSum, ParseModuleSumError, SourceFilesError};
use crate::model::{Classed, ErrorClass, JsonError};
use crate::publish::source::{AssetError, CacheError};

/// Why a module cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum GoError {
    #[error("cannot find the `go` command of {wanted} in PATH")]
    NoProgram { wanted: String },
    #[error("`{}` is {found}, expected {wanted}", .program.display())]
    Release { wanted: String, found: String, program: PathBuf },
    #[error("cannot run `{}`", .program.display())]
    Run { program: PathBuf, source: io::Error },
    #[error("cannot use the temporary directory `{}`", .path.display())]
    Work { path: PathBuf, source: io::Error },
    #[error("`go {verb}` failed: {said}")]
    Failed { verb: String, said: String },
    #[error("this release of Go has no default module proxy; name one with --goproxy")]
    NoProxy,
    #[error("interrupted")]
    Interrupted,
    #[error("cannot parse the output of `go {verb}`")]
    Answer { verb: String, source: JsonError },
    #[error("`go mod download` downloaded `{0}` instead")]
    OtherModule(String),
    #[error("`go mod download` reported no valid sum for the module")]
    Sum(#[from] ParseModuleSumError),
    #[error(
        "the version was published again: its sum is {found}, and the cached module has {cached}; \
         to use the new one, remove the cached modules: chmod -R u+w {0} && rm -r {0}",
        .cache.display()
    )]
    Republished { cached: ModuleSum, found: ModuleSum, cache: PathBuf },
    #[error("cannot read `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "its go.mod replaces the module `{module}` with the directory `{directory}`, which is \
         not published with it"
    )]
    Directory { module: String, directory: String },
    #[error("the package `{0}` is not a program (`package main`)")]
    NotAProgram(String),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(
        "the directory `{}` of the recipe would hide `{}`, which the compiler needs on this \
         machine",
        .directory.display(), .hidden.display()
    )]
    Hides { directory: PathBuf, hidden: PathBuf },
    #[error("its source cannot be put where it was built, which takes a mount namespace: {0}")]
    Room(String),
    #[error("the sum of the module is {found}, and the recipe pins {expected}")]
    Pinned { expected: ModuleSum, found: ModuleSum },
    #[error("cannot use the archive of its source")]
    Archive(#[source] Box<AssetError>),
    #[error("the archive of its source: {0}")]
    SourceFiles(#[from] SourceFilesError),
    #[error("cannot unpack `{}` of the archive of its source", .path.display())]
    Unpack { path: PathBuf, source: io::Error },
}

/// What a module is decides. That this machine has no such Go, or that the module was not to be
/// had, does not: the same request may work elsewhere or later.
impl Classed for GoError {
    fn class(&self) -> ErrorClass {
        match self {
            // What the decoder says has no number of the system's.
            Self::SourceFiles(SourceFilesError::Tar(TarError::Read(error)))
                if error.raw_os_error().is_some() =>
            {
                ErrorClass::CouldNot
            }
            Self::OtherModule(_)
            | Self::Directory { .. }
            | Self::NotAProgram(_)
            | Self::Pinned { .. }
            | Self::SourceFiles(_) => ErrorClass::Request,
            Self::Cache(error) => error.class(),
            Self::Archive(error) => error.class(),
            Self::NoProgram { .. }
            | Self::Release { .. }
            | Self::Run { .. }
            | Self::Work { .. }
            | Self::Hides { .. }
            | Self::Room(_)
            | Self::Unpack { .. }
            | Self::Failed { .. }
            | Self::NoProxy
            | Self::Interrupted
            | Self::Answer { .. }
            | Self::Sum(_)
            | Self::Republished { .. }
            | Self::Read { .. } => ErrorClass::CouldNot,
        }
    }
}
