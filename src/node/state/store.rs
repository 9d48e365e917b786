//! The local store: a copy of every installed file of every kept generation, under the digits of
//! its digest.
//!
//! Copies, never links: a write into an installed file must not reach what repairs it. A copy is
//! compared with the signed digest again whenever it is used.

use std::collections::BTreeSet;

use super::lock::{Reading, Writing, existing, remove_others};
use super::names::STORE;
use crate::bundle::{FileManifest, PluginFile};
use crate::disk::{Directory, DiskError};
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
            let copy = store.as_ref().map(|store| open_copy(store, &digest)).transpose()?.flatten();
            if copy.is_none_or(|copy| copy.size != size) {
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
            Some(store) => remove_others(
                &store,
                &digests.iter().map(|digest| digest.hex().to_owned()).collect(),
            ),
            None => Ok(0),
        }
    }
}

/// The store as a payload.
#[derive(Debug)]
pub struct Stored {
    store: Option<Directory>,
}

impl Stored {
    /// Opens the store of this state.
    pub fn open(state: &Reading) -> Result<Self, NodeError> {
        Ok(Self { store: state.store()? })
    }

    /// Which of the wanted files the store has, with the bytes that were signed.
    pub(crate) fn holds(
        &self,
        files: &FileManifest,
        wanted: &BTreeSet<PluginName>,
    ) -> Result<BTreeSet<PluginName>, NodeError> {
        let mut held = BTreeSet::new();
        let Some(store) = &self.store else { return Ok(held) };
        for file in listed(files, wanted) {
            let Some(mut copy) = open_copy(store, &file.digest)? else { continue };
            if copy.size != file.size {
                continue;
            }
            let found = hash(&mut copy.file).map_err(|source| {
                let action = format!("read the copy of `{}` in `{}`", file.name, store.shown());
                NodeError::Transfer { action, source }
            })?;
            if found == (file.digest, file.size) {
                held.insert(file.name.clone());
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
            let copy = self
                .store
                .as_ref()
                .map(|store| open_copy(store, &file.digest))
                .transpose()?
                .flatten();
            let Some(mut copy) = copy else {
                let message =
                    format!("the local store has no copy of `{}` ({})", file.name, file.digest);
                return Err(Finding::refusal(Code::NoCopy, message)
                    .hint("install it again")
                    .into());
            };
            take(file, "the local store", &mut copy.file)?;
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

/// Opens a copy; a file that is not regular is not a copy.
fn open_copy(
    store: &Directory,
    digest: &Digest,
) -> Result<Option<crate::disk::RegularFile>, DiskError> {
    match store.open_file(digest.hex()) {
        Err(DiskError::NotRegular { .. }) => Ok(None),
        opened => existing(opened),
    }
}
