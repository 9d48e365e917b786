//! A plugin that a build takes in: what is known about it, and the file that this was read from.
//!
//! The facts are read in one place for all kinds of sources, so that none of them lets a program
//! for another platform, a script or a truncated file through. The facts are signed later, and the
//! bytes are compared with them again while they are packed.

use super::{Evidence, Fetch, SourceError, Taken, Wanted};
use crate::binary::{BuildInfo, Comparison, GoBuild, Packer};
use crate::bundle::lock::ProgramFacts;
use crate::bundle::{Entry, Facts, PluginFile};
use crate::model::Sha512;

/// A program for the wanted platform, whatever kind of source it came from.
#[derive(Debug)]
pub struct Plugin {
    /// What is known of it.
    pub facts: PluginFile,
    sha512: Sha512,
    file: Taken,
}

impl Plugin {
    /// Reads the facts of a file, and refuses what no node of the platform could run.
    pub(super) fn describe(
        wanted: &Wanted,
        file: Taken,
        fetch: &Fetch,
    ) -> Result<Self, SourceError> {
        let elf = file.program()?;
        elf.expect_platform(&wanted.platform)
            .map_err(|problem| SourceError::Program { origin: file.origin.clone(), problem })?;
        let facts = PluginFile {
            name: wanted.name.clone(),
            digest: file.digest,
            size: file.size,
            linkage: elf.linkage().clone(),
            go: GoBuild::of(&elf).map_err(|source| file.unreadable(source))?,
            facts: Facts::default(),
        };
        // A lock repeats nothing that was found out before.
        let cache = (fetch.evidence == Evidence::Skip).then_some(&fetch.cache);
        Ok(Self { facts, sha512: file.sha512(cache)?, file })
    }

    /// The SHA-512 of its bytes; its SHA-256 is in the facts.
    pub fn sha512(&self) -> Sha512 {
        self.sha512
    }

    /// The file that the facts were read from, and what is known of its origin.
    pub fn taken(&self) -> &Taken {
        &self.file
    }

    /// Other facts about the program that a lock keeps.
    pub fn program(&self) -> Result<ProgramFacts, SourceError> {
        let packer = Packer::of(&self.file.program()?);
        let packer = packer.map_err(|source| self.file.unreadable(source))?;
        let privileges = self.file.privileges().clone();
        let facts = ProgramFacts::of(self.build_info()?.as_ref(), packer, privileges);
        Ok(ProgramFacts { license: self.file.license().cloned(), ..facts })
    }

    /// What Go's linker recorded in it: every module that is linked, and how it was built.
    pub fn build_info(&self) -> Result<Option<BuildInfo>, SourceError> {
        let elf = self.file.program()?;
        BuildInfo::of(&elf).map_err(|source| self.file.unreadable(source))
    }

    /// How it differs from what was built again.
    pub fn compare(&self, rebuilt: &Self) -> Result<Comparison, SourceError> {
        let comparison = Comparison::of(&self.file.program()?, &rebuilt.file.program()?);
        comparison.map_err(|source| self.file.unreadable(source))
    }

    /// Its entry in a layer, in `directory`.
    pub fn entry(&self, directory: &str) -> Entry<'_> {
        self.file.entry(format!("{directory}/{}", self.facts.name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;
    use crate::binary::Linkage;
    use crate::binary::sample::Sample;
    use crate::model::Digest;
    use crate::publish::source::tests::{open, write};

    #[test]
    fn describes_a_plugin_and_packs_what_it_described() {
        let folder = tempfile::tempdir().unwrap();
        let content = Sample::named("bridge");
        write(&folder.path().join("cni-amd64/bridge"), &content);
        let plugin = open(folder.path(), "bridge").unwrap();
        let expected = PluginFile {
            name: "bridge".parse().unwrap(),
            digest: Digest::of(&content),
            size: content.len() as u64,
            linkage: Linkage::Static,
            go: Some(GoBuild {
                go: "go1.26.3".to_owned(),
                path: "example.com/cni/bridge".to_owned(),
                version: Some("v1.2.3".to_owned()),
            }),
            facts: Facts::default(),
        };
        assert_eq!(plugin.facts, expected);
        for _ in 0..2 {
            let mut entry = plugin.entry("opt/cni/bin");
            let mut packed = Vec::new();
            entry.content.read_to_end(&mut packed).unwrap();
            assert_eq!(entry.path, "opt/cni/bin/bridge");
            assert_eq!(
                (entry.digest, entry.size, packed.as_slice()),
                (expected.digest, expected.size, &content[..])
            );
        }
    }

    #[test]
    fn refuses_what_no_node_could_run() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("cni-amd64");
        let arm = Sample { machine: 183, ..Sample::default() }.bytes();
        let whole = Sample::named("bridge");
        write(&directory.join("script"), b"#!/bin/sh\n");
        write(&directory.join("arm"), &arm);
        write(&directory.join("cut"), &whole[..whole.len() - 1]);
        fs::create_dir(directory.join("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
        for (name, expected) in [
            ("script", "is not an ELF program: it is a script (it starts with `#!`)".to_owned()),
            ("arm", "is built for linux/arm64, expected linux/amd64".to_owned()),
            (
                "cut",
                format!(
                    "is cut short: its table of sections ends at byte {}, the file has {}",
                    whole.len(),
                    whole.len() - 1
                ),
            ),
            ("directory", "is a directory, expected a regular file".to_owned()),
            ("socket", "is a device, FIFO or socket, expected a regular file".to_owned()),
        ] {
            let expected = format!("`{}` {expected}", directory.join(name).display());
            assert_eq!(open(folder.path(), name).expect_err(name), expected);
        }
    }
}
