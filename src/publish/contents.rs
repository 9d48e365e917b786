//! Reads what an image contains, so that it can be compared with another.
//!
//! `bundle.json` says which files there are. What they link is read out of the programs themselves,
//! and only where it is asked for: the layer of that platform has to be fetched for it. It is
//! compared with `bundle.json` as on a node. Signatures are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::attest::{Contents, Side};
use crate::binary::{BuildInfo, Elf, ReadAt, ReadElfError};
use crate::disk::{Directory, DiskError};
use crate::model::{Classed, Digest, Document, ErrorClass, Platform, PluginName, Selector};
use crate::node::{Layer, NodeError, Payload};
use crate::oci::{CollectError, Description, OciError, Source, describe};

/// Why the contents of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The image cannot be described.
    #[error(transparent)]
    Describe(#[from] CollectError),
    /// A document that cannot be fetched.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// None of its manifests has a `bundle.json`.
    #[error("{0} is not a bundle: none of its manifests lists plugins")]
    NotABundle(Digest),
    /// A plugin layer that is not what `bundle.json` says, or cannot be fetched.
    #[error("cannot read the plugins for {platform}")]
    Layer {
        /// The platform.
        platform: Platform,
        /// What is wrong with the layer.
        source: Box<NodeError>,
    },
    /// The directory for temporary files.
    #[error(transparent)]
    Temporary(#[from] DiskError),
}

impl Classed for ContentsError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Describe(CollectError::Oci(error)) | Self::Oci(error) => error.class(),
            Self::NotABundle(_) => ErrorClass::Request,
            Self::Describe(_) | Self::Layer { .. } | Self::Temporary(_) => ErrorClass::CouldNot,
        }
    }
}

/// An image whose contents were read.
pub struct ContainedImage<'a> {
    source: &'a dyn Source,
    description: Description,
    /// What it contains; without modules as long as they were not asked for.
    pub contents: Contents,
}

impl<'a> ContainedImage<'a> {
    /// Reads what an image contains; `from` is what the user calls it.
    pub fn read(
        source: &'a dyn Source,
        root: &Document,
        from: String,
    ) -> Result<Self, ContentsError> {
        let description = describe(source, root)?;
        let bundles = || description.platforms.iter().filter_map(|it| it.bundle.as_ref());
        let first = bundles().next().ok_or(ContentsError::NotABundle(root.digest))?;
        let (name, version) = (first.name.clone(), Some(first.version.clone()));
        let mut contents = Contents::new(Side { from, name, version, digest: Some(root.digest) });
        bundles().for_each(|bundle| contents.add(bundle));
        Ok(Self { source, description, contents })
    }

    /// Its platforms and what is attached to it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Reads which modules these plugins link. `temporary` is a directory for files without a name.
    pub fn read_modules(
        &mut self,
        wanted: &BTreeSet<(PluginName, Platform)>,
        temporary: &Path,
    ) -> Result<(), ContentsError> {
        let mut by_platform: BTreeMap<&Platform, BTreeSet<PluginName>> = BTreeMap::new();
        for (name, platform) in wanted {
            by_platform.entry(platform).or_default().insert(name.clone());
        }
        let temporary = Directory::open(temporary)?;
        for entry in &self.description.platforms {
            let Some(bundle) = &entry.bundle else { continue };
            let Some(names) = by_platform.remove(&bundle.platform) else { continue };
            let selector = Selector { tag: None, digest: Some(entry.digest) };
            let document = self.source.manifest(&selector)?;
            let manifest = document
                .manifest()
                .map_err(|source| OciError::Document { origin: self.source.origin(), source })?;
            let Some(layer) = manifest.layers().first() else { continue };
            let plugins = &mut self.contents.plugins;
            let delivered = Layer::new(self.source, layer, &temporary).deliver(
                bundle,
                &names,
                &mut |file, _, content| {
                    let spooled = Spooled::copy(temporary.create_unnamed()?, content)
                        .map_err(transfer_error)?;
                    let info = spooled.build_info().map_err(transfer_error)?;
                    let key = (file.name.clone(), bundle.platform.clone());
                    if let Some(plugin) = plugins.get_mut(&key) {
                        plugin.set_modules(info.as_ref());
                    }
                    Ok(())
                },
            );
            delivered.map_err(|source| ContentsError::Layer {
                platform: bundle.platform.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }
}

fn transfer_error(source: io::Error) -> NodeError {
    NodeError::Transfer { action: "read a plugin of the layer".to_owned(), source }
}

/// A plugin in a file without a name.
struct Spooled {
    file: File,
    size: u64,
}

impl Spooled {
    fn copy(mut file: File, content: &mut dyn Read) -> io::Result<Self> {
        io::copy(content, &mut file)?;
        let size = file.stream_position()?;
        Ok(Self { file, size })
    }

    /// What Go's linker recorded; `None` for what is no program of Go.
    fn build_info(&self) -> io::Result<Option<BuildInfo>> {
        match Elf::read(self) {
            Ok(elf) => BuildInfo::of(&elf),
            Err(ReadElfError::Elf(_)) => Ok(None),
            Err(ReadElfError::Read(error)) => Err(error),
        }
    }
}

impl ReadAt for &Spooled {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
