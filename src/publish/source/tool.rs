//! The tool: the static `cnister` that goes into an image.
//!
//! Like a plugin, it is streamed from one handle. It must be static, because its image has no
//! libraries. A node does not trust a tool that comes with a bundle, but that is decided elsewhere.

use std::path::Path;

use super::{SourceError, Taken};
use crate::binary::Linkage;
use crate::bundle::{Entry, Origin, ToolFile};
use crate::model::Platform;

/// The static `cnister` of one platform.
#[derive(Debug)]
pub struct Tool {
    /// The platform that it runs on.
    pub platform: Platform,
    /// Its digest and size.
    pub facts: ToolFile,
    file: Taken,
}

impl Tool {
    /// Opens a tool; its platform is what its ELF header says.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let file = Taken::open(path, Origin::file(path.display()))?;
        let elf = file.program()?;
        if let Linkage::Dynamic { interpreter } = elf.linkage() {
            let (origin, interpreter) = (file.origin.clone(), interpreter.clone());
            return Err(SourceError::NotStatic { origin, interpreter });
        }
        let platform = elf.platform().clone();
        let facts = ToolFile { digest: file.digest, size: file.size };
        Ok(Self { platform, facts, file })
    }

    /// Its entry in a layer, at `path`.
    pub fn entry(&self, path: &str) -> Entry<'_> {
        self.file.entry(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::binary::sample::Sample;
    use crate::model::Digest;

    #[test]
    fn is_a_static_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cnister");
        let content = Sample { machine: 183, ..Sample::default() }.bytes();
        fs::write(&path, &content).unwrap();
        let tool = Tool::open(&path).unwrap();
        assert_eq!(tool.platform.to_string(), "linux/arm64");
        assert_eq!(
            tool.facts,
            ToolFile { digest: Digest::of(&content), size: content.len() as u64 }
        );
        let dynamic = Sample { interpreter: Some("/lib/ld.so".into()), ..Sample::default() };
        fs::write(&path, dynamic.bytes()).unwrap();
        let expected = format!(
            "the tool `{}` is linked dynamically (it needs `/lib/ld.so`), expected a static program",
            path.display()
        );
        assert_eq!(Tool::open(&path).expect_err("dynamic").to_string(), expected);
    }
}
