//! Reads what an image contains, so that it can be compared with another or shown.
//!
//! For each platform, the `bundle.json` is read that a node would read: the one that the
//! configuration of the platform's manifest names. Anything else that an index lists, such as a
//! manifest without a platform, is ignored, so that a verdict on the platforms covers all that is
//! shown. The modules that files link are read from the programs themselves, and only on request,
//! because the layer of the platform has to be fetched for it. The layer is compared with
//! `bundle.json` as on a node. Signatures are not verified.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use oci_spec::image::Descriptor;

use super::source::FileRanges;
use crate::attest::{Contents, Side};
use crate::binary::{BuildInfo, Elf, ReadElfError};
use crate::bundle::FileManifest;
use crate::disk::{Directory, DiskError};
use crate::model::document::{platform as platform_of, sha256};
use crate::model::{Classed, Digest, Document, ErrorClass, Platform, PluginName, Selector};
use crate::node::{Layer, NodeError, Payload};
use crate::oci::{OciError, Source, files_of};

/// Why the contents of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A document that cannot be fetched.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// None of its manifests has a `bundle.json` for its platform.
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
            Self::Oci(error) => error.class(),
            Self::NotABundle(_) => ErrorClass::Request,
            Self::Layer { .. } | Self::Temporary(_) => ErrorClass::CouldNot,
        }
    }
}

/// An image whose contents were read.
pub struct ContainedImage<'a> {
    source: &'a dyn Source,
    /// The files of each platform, and the layer that has them.
    platforms: Vec<(FileManifest, Descriptor)>,
    /// Its contents, without modules until they are requested.
    pub contents: Contents,
}

impl<'a> ContainedImage<'a> {
    /// Reads what an image contains; `from` is what the user calls it.
    pub fn read(
        source: &'a dyn Source,
        root: &Document,
        from: String,
    ) -> Result<Self, ContentsError> {
        let invalid = |error| OciError::Document { origin: source.origin(), source: error };
        let mut platforms = Vec::new();
        for (listed, document) in manifests(source, root)? {
            let Some(files) = files_of(source, &document)? else { continue };
            let manifest = document.manifest().map_err(invalid)?;
            let Some(layer) = manifest.layers().first() else { continue };
            if listed.is_none_or(|platform| platform == files.platform) {
                platforms.push((files, layer.clone()));
            }
        }
        let (first, _) = platforms.first().ok_or(ContentsError::NotABundle(root.digest))?;
        let (name, version) = (first.name.clone(), Some(first.version.clone()));
        let mut contents = Contents::new(Side { from, name, version, digest: Some(root.digest) });
        platforms.iter().for_each(|(files, _)| contents.add(files));
        Ok(Self { source, platforms, contents })
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
        for (files, layer) in &self.platforms {
            let Some(names) = by_platform.remove(&files.platform) else { continue };
            let plugins = &mut self.contents.plugins;
            let delivered = Layer::new(self.source, layer, &temporary).deliver(
                files,
                &names,
                &mut |file, _, content| {
                    let mut program = temporary.create_unnamed()?;
                    let info = io::copy(content, &mut program)
                        .and_then(|size| build_info(FileRanges { file: &program, size }));
                    let info = info.map_err(|source| NodeError::Transfer {
                        action: "read a plugin of the layer".to_owned(),
                        source,
                    })?;
                    let key = (file.name.clone(), files.platform.clone());
                    if let Some(plugin) = plugins.get_mut(&key) {
                        plugin.set_modules(info.as_ref());
                    }
                    Ok(())
                },
            );
            delivered.map_err(|source| ContentsError::Layer {
                platform: files.platform.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }
}

/// The manifests that an index lists for platforms, as far as they are there, each with its
/// platform; or the one manifest that there is.
fn manifests(
    source: &dyn Source,
    root: &Document,
) -> Result<Vec<(Option<Platform>, Document)>, OciError> {
    if !root.is_index() {
        return Ok(vec![(None, root.clone())]);
    }
    let invalid = |error| OciError::Document { origin: source.origin(), source: error };
    let mut manifests = Vec::new();
    for entry in root.index().map_err(invalid)?.manifests() {
        let Some(platform) = platform_of(entry) else { continue };
        match source.manifest(&Selector { tag: None, digest: sha256(entry) }) {
            Ok(manifest) => manifests.push((Some(platform), manifest)),
            Err(OciError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(manifests)
}

/// The build information of Go's linker; `None` if it is not a Go program.
fn build_info(file: FileRanges<'_>) -> io::Result<Option<BuildInfo>> {
    match Elf::read(file) {
        Ok(elf) => BuildInfo::of(&elf),
        Err(ReadElfError::Elf(_)) => Ok(None),
        Err(ReadElfError::Read(error)) => Err(error),
    }
}
