//! A plugin that was taken in: its facts, and the file that they were read from.

use std::fs::File;
use std::io::Seek;
use std::path::PathBuf;

use super::SourceError;
use crate::bundle::{Entry, EntryKind, PluginFile};

/// A plugin whose file is open.
#[derive(Debug)]
pub struct Plugin {
    /// What is known of it.
    pub facts: PluginFile,
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl Plugin {
    /// Its entry in a layer, in `directory`; read from the file that was described.
    pub fn entry(&mut self, directory: &str) -> Result<Entry<'_>, SourceError> {
        let rewound = self.file.rewind();
        rewound.map_err(|source| SourceError::Read { path: self.path.clone(), source })?;
        let PluginFile { name, digest, size, .. } = &self.facts;
        let (path, digest, size) = (format!("{directory}/{name}"), *digest, *size);
        Ok(Entry {
            path,
            kind: EntryKind::Program,
            digest,
            size,
            content: Box::new(&mut self.file),
        })
    }
}
