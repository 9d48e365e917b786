//! The tool: the static `cnister` that goes into an image.

use std::path::Path;

use super::{SourceError, program, read};
use crate::binary::Linkage;
use crate::bundle::{Entry, EntryKind, ToolFile};
use crate::model::{Digest, Platform};

/// The static `cnister` of one platform.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The platform that it runs on.
    pub platform: Platform,
    /// Its digest and size.
    pub facts: ToolFile,
    content: Vec<u8>,
}

impl Tool {
    /// Reads a tool; its platform is what its ELF header says.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let (_, content) = read(path, path)?;
        let elf = program(path, &content)?;
        if let Linkage::Dynamic { interpreter } = elf.linkage() {
            return Err(SourceError::NotStatic {
                path: path.to_owned(),
                interpreter: interpreter.clone(),
            });
        }
        let platform = elf.platform().clone();
        let facts = ToolFile { digest: Digest::of(&content), size: content.len() as u64 };
        Ok(Self { platform, facts, content })
    }

    /// Its entry in a layer, at `path`.
    pub fn entry(&self, path: &str) -> Entry<'_> {
        Entry::of_bytes(path, EntryKind::Program, &self.content)
    }
}
