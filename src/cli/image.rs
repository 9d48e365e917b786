//! The image that a verb works on, and what the owner demands of it.
//!
//! The name that policy rules are matched against is decided here: it is the reference asked for,
//! or `--as`, and never what evidence or an archive says about itself.

use clap::Args;

use crate::model::{Digest, Document, Location, Platform, Reference, Repository, media_type};
use crate::oci::{Layout, OciError, Registry, Source, by_its_names};

/// What the owner demands of an image, whatever place it comes from.
#[derive(Args)]
pub(super) struct OwnerArguments {
    /// The digest of the image index; any other release is refused, signed or not.
    #[arg(long, value_name = "sha256:INDEX")]
    pub(super) expect: Option<Digest>,
    /// The repository that the policy's rules are matched against [default: that of REF].
    #[arg(long = "as", value_name = "REPO")]
    pub(super) name: Option<Repository>,
}

/// An opened image.
pub(super) struct Image {
    /// Where it was found: what is written beside an image goes there, and not to what the text of
    /// its reference may seem to say.
    #[cfg(feature = "publish")]
    pub(super) location: Location,
    pub(super) source: Box<dyn Source>,
    pub(super) root: Document,
}

/// Opens the image that a reference names, as a node reads it: its documents are at most as long as
/// evidence.
pub(super) fn open(reference: &Reference) -> Result<Image, OciError> {
    open_limited(reference, media_type::NODE_MANIFEST_LIMIT)
}

/// Opens the image that a reference names, as registries accept it.
#[cfg(feature = "publish")]
pub(super) fn open_published(reference: &Reference) -> Result<Image, OciError> {
    open_limited(reference, media_type::MANIFEST_LIMIT)
}

fn open_limited(reference: &Reference, limit: usize) -> Result<Image, OciError> {
    let reference = by_its_names(reference);
    let source = open_source(&reference, limit)?;
    let root = source.manifest(&reference.selector)?;
    Ok(Image {
        #[cfg(feature = "publish")]
        location: reference.location,
        source,
        root,
    })
}

/// Opens the place that a reference names.
fn open_source(reference: &Reference, limit: usize) -> Result<Box<dyn Source>, OciError> {
    Ok(match &reference.location {
        Location::Layout(path) => Box::new(Layout::open(path, limit)?),
        Location::Archive(path) => Box::new(Layout::open_archive(path, limit)?),
        Location::Registry(repository) => {
            Box::new(Registry::new(repository.clone())?.limited(limit))
        }
    })
}

impl OwnerArguments {
    /// Returns the name to match rules against, which never comes from evidence or an archive.
    pub(super) fn name(&self, reference: Option<&Reference>) -> Option<Repository> {
        self.name.clone().or_else(|| reference.and_then(Reference::repository).cloned())
    }
}

/// Returns the platforms that an index lists, in its order; none for a single manifest.
pub(super) fn platforms(root: &Document) -> Vec<Platform> {
    let index = root.index().ok();
    let entries = index.iter().flat_map(|index| index.manifests());
    let mut platforms: Vec<_> = entries.filter_map(crate::model::document::platform).collect();
    platforms.dedup();
    platforms
}

/// Returns what an image calls itself: a name for containerd's import, and a tag. Nothing is
/// decided by it.
#[cfg(feature = "publish")]
pub(super) fn own_name(root: &Document) -> (Option<String>, Option<String>) {
    let annotations =
        root.index().ok().and_then(|index| index.annotations().clone()).unwrap_or_default();
    let of = |key: &str| annotations.get(key).filter(|text| !text.is_empty());
    let title = of("org.opencontainers.image.title")
        .filter(|title| title.parse::<crate::model::BundleName>().is_ok());
    let version = of("org.opencontainers.image.version").map(|version| tag_of_version(version));
    (title.map(|title| format!("localhost/{title}")), version)
}

/// Turns a version into a tag: a plus sign is not allowed there, so it becomes an underscore, as in
/// Helm.
#[cfg(feature = "publish")]
pub(super) fn tag_of_version(version: &str) -> String {
    version.replace('+', "_")
}
