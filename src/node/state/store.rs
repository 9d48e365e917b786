//! The local store: a copy of every installed file of every kept generation, under the digits of
//! its digest.
//!
//! Copies, never links: a write into an installed file must not reach what repairs it. A copy is
//! compared with the signed digest again whenever it is used.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use super::lock::{Reading, Writing, existing, is_digest_of, remove_others};
use super::names::STORE;
use crate::bundle::{FileManifest, PluginFile};
use crate::disk::{Directory, DiskError, RegularFile};
use crate::model::{Code, Digest, Finding, PluginName};
use crate::node::error::NodeError;
use crate::node::host::hash;
use crate::node::payload::{Payload, Take};

pub(crate) const COPY_MODE: u32 = 0o600;

impl Reading {
    /// The store; `None` if there is none.
    pub(crate) fn store(&self) -> Result<Option<Directory>, NodeError> {
        existing(self.directory.child(STORE)).map_err(Into::into)
    }

    /// Which of these files have no copy of their size in the store; the content of a
    /// copy is not read.
    pub fn without_copy<'a>(
        &self,
        files: impl IntoIterator<Item = (Digest, u64, &'a PluginName)>,
    ) -> Result<BTreeSet<&'a PluginName>, NodeError> {
        let store = self.store()?;
        let mut missing = BTreeSet::new();
        for (digest, size, name) in files {
            let copy = store.as_ref().map(|store| Copy::open(store, &digest)).transpose()?;
            if !matches!(copy, Some(Copy::Open(copy)) if copy.size == size) {
                missing.insert(name);
            }
        }
        Ok(missing)
    }
}

impl Writing {
    /// The store, which is created if it does not exist.
    pub(crate) fn store_or_create(&self) -> Result<Directory, NodeError> {
        self.subdirectory(STORE)
    }

    /// Removes every copy but these; returns how many bytes that freed.
    pub(crate) fn keep_only_copies(&self, digests: &BTreeSet<Digest>) -> Result<u64, NodeError> {
        match self.store()? {
            Some(store) => remove_others(&store, |name| is_digest_of(name, digests)),
            None => Ok(0),
        }
    }
}

/// The store as a payload.
#[derive(Debug, Default)]
pub struct Stored {
    store: Option<Directory>,
}

impl Stored {
    /// Opens the store of this state.
    pub fn open(state: &Reading) -> Result<Self, NodeError> {
        Ok(Self { store: state.store()? })
    }

    /// Which of the wanted files the store has, with the bytes that were signed. A copy that cannot
    /// be read is none: the others still are.
    pub(crate) fn holds(
        &self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
    ) -> Result<BTreeSet<PluginName>, NodeError> {
        let mut held = BTreeSet::new();
        let Some(store) = &self.store else { return Ok(held) };
        for file in listed(files, wanted) {
            let Copy::Open(mut copy) = Copy::open(store, &file.digest)? else { continue };
            if copy.size != file.size {
                continue;
            }
            match hash(&mut copy.file) {
                Ok(found) if found == (file.digest, file.size) => {
                    held.insert(file.name.clone());
                }
                Ok(_) => {}
                Err(source) => {
                    unreadable(&copy.shown, source)?;
                }
            }
        }
        Ok(held)
    }
}

impl Payload for Stored {
    fn deliver(
        &mut self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
        take: &mut Take<'_>,
    ) -> Result<(), NodeError> {
        for file in listed(files, wanted) {
            let store = self.store.as_ref();
            let copy = store.map(|store| Copy::open(store, &file.digest)).transpose()?;
            let copy = match copy.unwrap_or(Copy::Missing) {
                Copy::Open(copy) => copy,
                Copy::Missing => return Err(no_copy(file, None).into()),
                Copy::Unusable(reason) => return Err(no_copy(file, Some(&reason)).into()),
            };
            let mut source = Source { file: copy.file, failure: None };
            let taken = take(file, "the local store", &mut source);
            if let Some(failure) = source.failure {
                return Err(no_copy(file, Some(&unreadable(&copy.shown, failure)?)).into());
            }
            taken?;
        }
        Ok(())
    }
}

fn listed<'a>(
    files: &'a FileManifest,
    wanted: &'a BTreeSet<PluginName>,
) -> impl Iterator<Item = &'a PluginFile> {
    files.plugins.iter().filter(|file| wanted.contains(&file.name))
}

fn no_copy(file: &PluginFile, reason: Option<&str>) -> Finding {
    let message = format!("the local store has no copy of `{}` ({})", file.name, file.digest);
    let (message, hint) = match reason {
        None => (message, "install it again"),
        Some(reason) => {
            (format!("{message} that can be read: {reason}"), "fix that, or install it again")
        }
    };
    Finding::refusal(Code::NoCopy, message).hint(hint)
}

/// The copy of one file.
enum Copy {
    Open(RegularFile),
    Missing,
    /// Something has its name that cannot be read, for this reason.
    Unusable(String),
}

impl Copy {
    /// Opens it.
    ///
    /// # Errors
    /// If no file could be read now.
    fn open(store: &Directory, digest: &Digest) -> Result<Self, DiskError> {
        match store.open_file(digest.hex()) {
            Ok(copy) => Ok(Self::Open(copy)),
            Err(error) if error.is_not_found() => Ok(Self::Missing),
            Err(error) => error.of_one_file().map(Self::Unusable).ok_or(error),
        }
    }
}

/// Why a copy cannot be read further.
///
/// # Errors
/// If no file could be read now.
fn unreadable(shown: &str, source: io::Error) -> Result<String, DiskError> {
    let error = DiskError::Io { action: "read".to_owned(), path: shown.to_owned(), source };
    error.of_one_file().ok_or(error)
}

/// A copy that is read, and why that failed: whoever takes the bytes does not tell it from a
/// failure of where they go.
struct Source {
    file: File,
    failure: Option<io::Error>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        read.map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            let told = io::Error::from(error.kind());
            self.failure = Some(error);
            told
        })
    }
}
