//! The image that a verb works on, and what the owner demands of it.
//!
//! The name that policy rules are matched against is decided here: it is the reference asked for,
//! or `--as`, and never what evidence or an archive says about itself.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::model::{
    Digest, Document, Location, Platform, Reference, Repository, Selector, media_type,
};
use crate::oci::{Layout, OciError, Registry, Source};

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

/// The reference as it is meant where the text alone does not tell: names in a layout may have
/// colons and slashes (`oci:DIR:localhost:5000/a:tag`), and so may paths. What is there decides.
///
/// 1. A path that exists is the path.
/// 2. Colons in directories that exist belong to the path.
/// 3. Of the other colons, the last with something before it ends the path.
/// 4. If nothing is there, the first ends it, as for skopeo (containers/image, oci-layout).
pub(super) fn by_its_names(reference: &Reference) -> Reference {
    let (path, at): (&Path, fn(PathBuf) -> Location) = match &reference.location {
        Location::Layout(path) => (path, Location::Layout),
        Location::Archive(path) => (path, Location::Archive),
        Location::Registry(_) => return reference.clone(),
    };
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return reference.clone() };
    let above = path.ancestors().find(|above| above.is_dir()).and_then(Path::to_str);
    let above = above.map_or(0, str::len);
    let colons = || text.match_indices(':').map(|(at, _)| at).filter(|at| *at > above);
    let is_there = |at: &usize| text.get(..*at).is_some_and(|path| Path::new(path).exists());
    let Some(colon) = colons().rfind(is_there).or_else(|| colons().next()) else {
        return reference.clone();
    };
    let (path, name) = (&text[..colon], &text[colon + 1..]);
    let tag = reference.selector.tag.as_ref();
    let name = tag.map_or_else(|| name.to_owned(), |tag| format!("{name}:{tag}"));
    let selector = Selector { tag: Some(name), digest: reference.selector.digest };
    Reference { location: at(PathBuf::from(path)), selector }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_layout_may_have_ports_and_slashes() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("l")).unwrap();
        std::fs::create_dir_all(at("with:colon/deep")).unwrap();
        std::fs::write(at("a.tar"), "").unwrap();
        for (form, path, name) in [
            ("oci", "l", ":latest"),
            ("oci", "l", ":localhost/debian:latest"),
            ("oci", "l", ":localhost:5000/a:tag"),
            ("oci", "l", ":registry.example.com/cni/debian"),
            ("oci-archive", "a.tar", ":localhost:5000/a:tag"),
            ("oci", "with:colon", ":1"),
            ("oci", "with:colon", ":localhost/a:1"),
            ("oci", "l", ""),
            ("oci-archive", "a.tar", ":registry.example.com/cni/debian"),
            ("oci", "with:colon/deep", ":localhost:5000/a:1"),
            // What is not there is named as it is created: up to the first colon, unless that is in
            // a directory that is there.
            ("oci", "none", ":1"),
            ("oci", "none", ":localhost:5000/a:1"),
            ("oci", "none", ":registry.example.com/cni/debian"),
            ("oci-archive", "none.tar", ":localhost:5000/a:1"),
            ("oci", "with:colon/none", ""),
            ("oci", "with:colon/none", ":localhost:5000/a:1"),
            ("oci-archive", "with:colon/none.tar", ":localhost/a:1"),
        ] {
            let reference = by_its_names(&format!("{form}:{}{name}", at(path)).parse().unwrap());
            let expected = PathBuf::from(at(path));
            let location = match form {
                "oci" => Location::Layout(expected),
                _ => Location::Archive(expected),
            };
            assert_eq!(reference.location, location, "{path}{name}");
            let expected = name.strip_prefix(':').map(str::to_owned);
            assert_eq!(reference.selector.tag, expected, "{path}{name}");
        }
        let digest = Digest::of(b"x");
        let reference = format!("oci:{}:localhost/a:1@{digest}", at("l")).parse().unwrap();
        assert_eq!(by_its_names(&reference).selector.digest, Some(digest));
    }
}
