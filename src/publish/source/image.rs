//! Plugins from container images: in a registry, a layout directory or an archive of one.
//!
//! A lock asks the place which image a reference names. A build takes the image by the digests that
//! the lock has: a tag that was moved since does not matter. Every document and layer is compared
//! with its digest before anything reads it; what came from a registry is kept in the cache.
//! Layers and plugins are stored in unnamed files, and are never held in memory.
//! [`crate::bundle::rootfs`] decides which file of which layer is a plugin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifest};

use super::asset::{expect_pinned, only};
use super::asset_error::AssetError;
use super::from_start::{FromStart, Hashing};
use super::image_error::ImageError;
use super::image_manifest::{choose, config, expect_platform, layers};
use super::image_signed::signed_image;
use super::requested::RequestedPlugins;
use super::spool::spool;
use super::{Evidence, Fetch, PluginSource, SourceError, Taken, Wanted};
use crate::bundle::definition::SourceName;
use crate::bundle::definition::source::UpstreamImage;
use crate::bundle::rootfs::{
    FileSearch, LayerError, LayerFile, LayerFiles, Rootfs, list_layer, take_files,
};
use crate::bundle::tar::TarError;
use crate::bundle::{Artefact, FoundMember, InImage, Origin};
use crate::disk::Directory;
use crate::model::media_type::{DOCKER_INDEX, INDEX, MANIFEST_LIMIT};
use crate::model::{Digest, Document, Location, Platform, Reference, Selector};
use crate::oci::{Layout, OciError, Registry, Source, by_its_names, sniff};

/// How much is read at a time.
const BUFFER: usize = 256 * 1024;

/// An image, or one per platform or plugin.
pub(super) struct ImageSource<'a> {
    pub(super) name: &'a SourceName,
    pub(super) folder: &'a Path,
    pub(super) image: &'a UpstreamImage,
    pub(super) fetch: &'a Fetch,
}

/// Where an image is.
enum ImageStore {
    Registry(Box<Registry>),
    /// A layout or an archive.
    Local(Box<dyn Source>),
}

impl ImageStore {
    fn source(&self) -> &dyn Source {
        match self {
            Self::Registry(registry) => registry.as_ref(),
            Self::Local(source) => source.as_ref(),
        }
    }
}

/// An image of one platform.
struct PlatformImage {
    index: Option<Document>,
    manifest: Document,
}

impl PluginSource for ImageSource<'_> {
    fn take(
        &self,
        wanted: &[Wanted],
        give: &mut dyn FnMut(&Wanted, Taken) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut images: BTreeMap<String, BTreeMap<&Platform, Vec<&Wanted>>> = BTreeMap::new();
        for wanted in wanted {
            let location = self.image.asset.location(&wanted.platform, &wanted.name);
            let platforms = images.entry(location).or_default();
            platforms.entry(&wanted.platform).or_default().push(wanted);
        }
        for (location, platforms) in &images {
            // A tag could be moved between two platforms: it is asked for once.
            let mut roots = Vec::new();
            for (platform, wanted) in platforms {
                let files =
                    self.take_from(location, platform, wanted, &mut roots).map_err(|problem| {
                        let asked = RequestedPlugins::of(self.name, wanted);
                        let (location, problem) = (location.clone(), Box::new(problem));
                        SourceError::Asset { asked, location, problem }
                    })?;
                for (wanted, file) in wanted.iter().zip(files) {
                    give(wanted, file)?;
                }
            }
        }
        Ok(())
    }
}

impl ImageSource<'_> {
    /// The files of these plugins for one platform, in this order.
    fn take_from(
        &self,
        location: &str,
        platform: &Platform,
        wanted: &[&Wanted],
        roots: &mut Vec<(Selector, Document)>,
    ) -> Result<Vec<Taken>, AssetError> {
        let reference = location.parse().map_err(ImageError::Reference)?;
        let (store, selector) = self.open(&reference)?;
        let image = self.resolve(&store, &selector, platform, wanted, roots)?;
        let signed = match self.image.asset.key() {
            Some(key) if self.fetch.evidence == Evidence::Collect => {
                Some(signed_image(store.source(), key, &image.manifest, image.index.as_ref())?)
            }
            _ => None,
        };
        let manifest = image.manifest.upstream_manifest().map_err(ImageError::Document)?;
        let layers = layers(&manifest)?;
        let mut files = Vec::new();
        for (digest, descriptor) in &layers {
            files.push((*digest, self.blob(&store, *digest, descriptor)?));
        }
        let found = self.search(&files, wanted)?;
        let artefact =
            Artefact { digest: image.manifest.digest, size: image.manifest.bytes.len() as u64 };
        let mut taken = self.extract(&files, &found)?;
        for ((path, file), taken) in found.iter().zip(&mut taken) {
            taken.origin = Origin { location: location.to_owned(), member: Some(path.clone()) };
            taken.artefact = Some(artefact);
            let layer = files.get(file.layer).map(|(digest, _)| *digest);
            let index = image.index.as_ref().map(|index| index.digest);
            taken.image = layer.map(|layer| InImage { index, layer });
            taken.signed.clone_from(&signed);
        }
        Ok(taken)
    }

    /// The place of an image. Relative paths are relative to the definition's folder.
    fn open(&self, reference: &Reference) -> Result<(ImageStore, Selector), AssetError> {
        let location = match &reference.location {
            Location::Layout(path) => Location::Layout(self.folder.join(path)),
            Location::Archive(path) => Location::Archive(self.folder.join(path)),
            Location::Registry(repository) => Location::Registry(repository.clone()),
        };
        let selector = reference.selector.clone();
        let Reference { location, selector } = by_its_names(&Reference { location, selector });
        let store = match location {
            Location::Layout(path) => {
                ImageStore::Local(Box::new(Layout::open(&path, MANIFEST_LIMIT)?))
            }
            Location::Archive(path) => {
                ImageStore::Local(Box::new(Layout::open_archive(&path, MANIFEST_LIMIT)?))
            }
            Location::Registry(repository) => {
                let client = self.fetch.client.clone();
                ImageStore::Registry(Box::new(Registry::with_client(repository, client)?))
            }
        };
        Ok((store, selector))
    }

    /// Finds the manifest of a platform, and compares it with what is pinned.
    fn resolve(
        &self,
        store: &ImageStore,
        selector: &Selector,
        platform: &Platform,
        wanted: &[&Wanted],
        roots: &mut Vec<(Selector, Document)>,
    ) -> Result<PlatformImage, AssetError> {
        let pin = self.fetch.pin(&self.image.asset, wanted)?;
        let root = only(wanted.iter().filter_map(|it| self.fetch.roots.get(it).copied()))?;
        // A lock asks the origin, whatever is known already.
        let known = root.or(pin).filter(|_| self.fetch.evidence == Evidence::Skip);
        let digest = selector.digest.or(known);
        let selector = Selector { tag: selector.tag.clone(), digest };
        let known = roots.iter().find(|(known, _)| *known == selector);
        let root = match known {
            Some((_, document)) => document.clone(),
            None => {
                let document = self.document(store, &selector)?;
                roots.push((selector, document.clone()));
                document
            }
        };
        let image = if [INDEX, DOCKER_INDEX].contains(&root.media_type.as_str()) {
            let index = root.upstream_index().map_err(ImageError::Document)?;
            let digest = choose(&index, platform)?;
            let manifest = Selector { tag: None, digest: Some(digest) };
            expect_pinned(pin, digest)?;
            let manifest = self.document(store, &manifest)?;
            PlatformImage { index: Some(root), manifest }
        } else {
            expect_pinned(pin, root.digest)?;
            let manifest = root.upstream_manifest().map_err(ImageError::Document)?;
            expect_platform(&self.config(store, &manifest)?, platform)?;
            PlatformImage { index: None, manifest: root }
        };
        Ok(image)
    }

    /// A manifest or an index: one of a known digest from the cache, if a build asks.
    fn document(&self, store: &ImageStore, selector: &Selector) -> Result<Document, AssetError> {
        let registry = match store {
            ImageStore::Local(source) => return Ok(source.manifest(selector)?),
            ImageStore::Registry(registry) => registry,
        };
        let cache = &self.fetch.cache;
        if let Some(digest) = selector.digest
            && self.fetch.evidence == Evidence::Skip
            && let Some(file) = cache.find(digest)?
        {
            let mut bytes = Vec::new();
            let limit = MANIFEST_LIMIT as u64;
            FromStart::of(&file)
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(AssetError::Read)?;
            let media_type = sniff(&bytes).map_err(ImageError::Json)?;
            return Ok(Document { media_type, digest, bytes });
        }
        (self.fetch.announce)(&format!("fetching {}", shown(registry, selector)));
        let document = registry.manifest(selector)?;
        let mut file = cache.spool()?;
        io::Write::write_all(&mut file, &document.bytes).map_err(AssetError::Spool)?;
        cache.keep(&file, document.digest)?;
        Ok(document)
    }

    /// The configuration of an image.
    fn config(&self, store: &ImageStore, manifest: &ImageManifest) -> Result<Vec<u8>, AssetError> {
        let (digest, descriptor) = config(manifest)?;
        let mut bytes = Vec::new();
        let file = self.blob(store, digest, descriptor)?;
        FromStart::of(&file).read_to_end(&mut bytes).map_err(AssetError::Read)?;
        Ok(bytes)
    }

    /// A layer or the configuration, which has the digest that its manifest says.
    fn blob(
        &self,
        store: &ImageStore,
        digest: Digest,
        descriptor: &Descriptor,
    ) -> Result<File, AssetError> {
        let registry = match store {
            ImageStore::Registry(registry) => registry,
            ImageStore::Local(source) => {
                let mut file = self.temporary()?.create_unnamed().map_err(AssetError::Temporary)?;
                let mut content = source.blob(descriptor)?;
                let action = format!("read blob {digest}");
                io::copy(&mut content, &mut file)
                    .map_err(|error| OciError::from_io(error, &source.origin(), &action))?;
                return Ok(file);
            }
        };
        let cache = &self.fetch.cache;
        if let Some(file) = cache.find(digest)? {
            return Ok(file);
        }
        (self.fetch.announce)(&format!("fetching {}@{digest}", registry.origin()));
        let mut file = cache.spool()?;
        registry.download(descriptor, &mut file)?;
        cache.keep(&file, digest)?;
        Ok(file)
    }

    fn temporary(&self) -> Result<Directory, AssetError> {
        Directory::open(&self.fetch.client.settings().temporary).map_err(AssetError::Temporary)
    }

    /// Where each plugin is: its path, and the member of a layer.
    fn search(
        &self,
        layers: &[(Digest, File)],
        wanted: &[&Wanted],
    ) -> Result<Vec<(String, LayerFile)>, AssetError> {
        let (mut rootfs, mut read) = (Rootfs::default(), 0);
        for (layer, file) in layers {
            let input = BufReader::with_capacity(BUFFER, FromStart::of(file));
            list_layer(input, &mut rootfs, &mut read)
                .map_err(|source| ImageError::Layer { layer: *layer, source })?;
        }
        let found = wanted.iter().map(|Wanted { platform, name }| {
            let path = self.image.path(platform, name);
            let found = FileSearch { name: name.clone(), path }.find(&rootfs);
            found.map_err(|error| ImageError::NotFound(error).into())
        });
        found.collect()
    }

    /// Copies the members that were found, in their order.
    fn extract(
        &self,
        layers: &[(Digest, File)],
        found: &[(String, LayerFile)],
    ) -> Result<Vec<Taken>, AssetError> {
        let temporary = self.temporary()?;
        let mut by_layer: BTreeMap<usize, LayerFiles<Vec<usize>>> = BTreeMap::new();
        for (number, (_, file)) in found.iter().enumerate() {
            let members = by_layer.entry(file.layer).or_default();
            members.entry(file.member).or_default().push(number);
        }
        let mut taken: Vec<Option<Taken>> = found.iter().map(|_| None).collect();
        for (layer, members) in by_layer {
            let Some((digest, file)) = layers.get(layer) else { continue };
            let in_layer = |source| ImageError::Layer { layer: *digest, source };
            let mut input = Hashing::of(file);
            let buffered = BufReader::with_capacity(BUFFER, &mut input);
            let read =
                take_files(buffered, members, |numbers, FoundMember { privileges, content }| {
                    let file = temporary.create_unnamed().map_err(AssetError::Temporary)?;
                    let mut spooled = spool(file, content, |error| {
                        in_layer(LayerError::Tar(TarError::Read(error))).into()
                    })?;
                    spooled.privileges = privileges;
                    for number in numbers {
                        if let Some(place) = taken.get_mut(number) {
                            *place = Some(spooled.try_clone().map_err(AssetError::Spool)?);
                        }
                    }
                    Ok(())
                });
            read.map_err(|stop| match stop {
                Stop::Layer(error) => in_layer(error).into(),
                Stop::Asset(error) => error,
            })?;
            // What the decoder left, if anything.
            io::copy(&mut input, &mut io::sink()).map_err(AssetError::Read)?;
            if input.finish().0 != *digest {
                return Err(AssetError::Changed);
            }
        }
        Ok(taken.into_iter().flatten().collect())
    }
}

/// The reason that ended reading a layer.
enum Stop {
    Layer(LayerError),
    Asset(AssetError),
}

impl From<LayerError> for Stop {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl From<AssetError> for Stop {
    fn from(error: AssetError) -> Self {
        Self::Asset(error)
    }
}

/// An image of a registry, for a message.
fn shown(registry: &Registry, selector: &Selector) -> String {
    let mut text = registry.origin();
    match (&selector.digest, &selector.tag) {
        (Some(digest), _) => drop(write!(text, "@{digest}")),
        (None, Some(tag)) => drop(write!(text, ":{tag}")),
        (None, None) => {}
    }
    text
}

#[cfg(test)]
mod tests;
