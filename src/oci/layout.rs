//! Reads OCI image layouts, in a directory or in an archive (image-spec, image-layout.md).
//!
//! Tools store referrers in two ways: listed in `index.json` without a tag (oras), or in an index
//! under the tag `sha256-<hex>` (regctl, registries without the referrers API). Both are read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;

use super::files::{ArchiveFiles, DirectoryFiles, Files};
use super::verify_reader::VerifyReader;
use super::{OciError, Source};
#[cfg(feature = "publish")]
use crate::model::document::descriptor;
use crate::model::document::sha256;
use crate::model::json::Limits;
use crate::model::{
    Digest, Document, Location, Reference, Selector, image_fields, json, media_type, visible,
};

/// A layout that is open for reading.
#[derive(Debug)]
pub struct Layout<F> {
    origin: String,
    files: F,
    /// The longest manifest or index that is read, in bytes.
    limit: usize,
    index: ImageIndex,
    /// The subject of each manifest read so far: a list may name one a thousand times.
    subjects: RefCell<BTreeMap<Digest, Option<Digest>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutVersion {
    image_layout_version: String,
}

/// The two fields in which a document declares its type.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Layout<DirectoryFiles> {
    /// Opens the layout in a directory. Manifests and indexes longer than `limit` bytes are errors.
    pub fn open(path: &Path, limit: usize) -> Result<Self, OciError> {
        let origin = Location::Layout(path.to_owned()).to_string();
        Self::read(origin, DirectoryFiles(path.to_owned()), limit)
    }
}

impl Layout<ArchiveFiles> {
    /// Opens the layout in an uncompressed tar archive. Manifests and indexes longer than `limit`
    /// bytes are errors.
    pub fn open_archive(path: &Path, limit: usize) -> Result<Self, OciError> {
        let origin = Location::Archive(path.to_owned()).to_string();
        let files = ArchiveFiles::index(path).map_err(|source| OciError::Io {
            origin: origin.clone(),
            action: "read the archive".to_owned(),
            source,
        })?;
        Self::read(origin, files, limit)
    }
}

impl<F: Files> Layout<F> {
    fn read(origin: String, files: F, limit: usize) -> Result<Self, OciError> {
        let not = |reason: String| OciError::NotALayout { origin: origin.clone(), reason };
        let version = read_small(&files, "oci-layout", 4096).map_err(|error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            not(match files.instead().filter(|_| is_missing) {
                Some(instead) => format!("it has no `oci-layout`; {instead}"),
                None => format!("`oci-layout`: {error}"),
            })
        })?;
        let version: LayoutVersion =
            json::parse_as("`oci-layout`", &version, Limits::typed(4096), image_fields::LAYOUT)
                .map_err(|error| not(error.to_string()))?;
        if version.image_layout_version != "1.0.0" {
            let found = visible(&version.image_layout_version).into_owned();
            return Err(not(format!("its version is `{found}`, expected `1.0.0`")));
        }
        let bytes = read_small(&files, "index.json", limit)
            .map_err(|error| not(format!("`index.json`: {error}")))?;
        let index = Document::new(media_type::INDEX, bytes).index();
        let index =
            index.map_err(|source| OciError::Document { origin: origin.clone(), source })?;
        Ok(Self { origin, files, limit, index, subjects: RefCell::default() })
    }

    /// Returns the entries of `index.json` that are images: neither referrers nor lists of
    /// referrers.
    fn images(&self) -> Result<Vec<&Descriptor>, OciError> {
        let mut images = Vec::new();
        for entry in self.index.manifests() {
            let is_listing = tag_of(entry).is_some_and(|tag| is_of_another(tag));
            if !is_listing && self.subject_of(entry)?.is_none() {
                images.push(entry);
            }
        }
        Ok(images)
    }

    /// Returns the subject of an entry, if it is a manifest that has one.
    fn subject_of(&self, entry: &Descriptor) -> Result<Option<Digest>, OciError> {
        if entry.media_type().to_string() != media_type::MANIFEST {
            return Ok(None);
        }
        let Some(digest) = sha256(entry) else { return Ok(None) };
        if let Some(known) = self.subjects.borrow().get(&digest) {
            return Ok(*known);
        }
        let subject = match self.document(digest, Some(media_type::MANIFEST)) {
            Ok(document) => {
                document.manifest().ok().and_then(|manifest| sha256(manifest.subject().as_ref()?))
            }
            // Layouts may be sparse (image-layout.md, "Blobs"); what is missing refers to nothing
            // here.
            Err(OciError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        self.subjects.borrow_mut().insert(digest, subject);
        Ok(subject)
    }

    /// Reads a manifest or index by digest and verifies it.
    fn document(&self, digest: Digest, media_type: Option<&str>) -> Result<Document, OciError> {
        let what = || format!("manifest {digest}");
        let path = blob_path(&digest);
        let bytes = read_small(&self.files, &path, self.limit)
            .map_err(|source| self.io(&what(), source))?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(OciError::Digest { origin: self.origin.clone(), expected: digest, found });
        }
        let media_type = match media_type {
            Some(media_type) => media_type.to_owned(),
            None => sniff(&bytes).map_err(|source| OciError::Document {
                origin: self.origin.clone(),
                source: source.into(),
            })?,
        };
        Ok(Document { media_type, digest, bytes })
    }

    /// The error of an entry whose blob is not there.
    fn missing(&self, entry: &Descriptor) -> Option<OciError> {
        let digest = sha256(entry)?;
        let error = self.files.open(&blob_path(&digest)).err()?;
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        is_missing.then(|| self.io(&format!("manifest {digest}"), error))
    }

    fn io(&self, what: &str, source: io::Error) -> OciError {
        if source.kind() == io::ErrorKind::NotFound {
            return OciError::NotFound { origin: self.origin.clone(), what: what.to_owned() };
        }
        OciError::Io { origin: self.origin.clone(), action: format!("read {what}"), source }
    }
}

impl<F: Files> Source for Layout<F> {
    fn origin(&self) -> String {
        self.origin.clone()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn manifest(&self, selector: &Selector) -> Result<Document, OciError> {
        if let Some(digest) = selector.digest {
            let listed = self.index.manifests().iter().find(|entry| sha256(entry) == Some(digest));
            return self
                .document(digest, listed.map(|entry| entry.media_type().to_string()).as_deref());
        }
        let images = self.images()?;
        let chosen = match &selector.tag {
            Some(tag) => named(&images, tag),
            None => images.clone(),
        };
        let chosen = if is_one(&chosen) { chosen.into_iter().take(1).collect() } else { chosen };
        match (chosen.as_slice(), &selector.tag) {
            ([entry], _) => match sha256(entry) {
                Some(digest) => self.document(digest, Some(entry.media_type().as_ref())),
                None => Err(OciError::NotFound {
                    origin: self.origin.clone(),
                    what: "image with a sha256 digest".to_owned(),
                }),
            },
            ([], Some(tag)) => Err(OciError::NotFound {
                origin: self.origin.clone(),
                what: format!("tag `{tag}`{}", there_is(&images)),
            }),
            ([], None) => {
                Err(OciError::NotFound { origin: self.origin.clone(), what: "image".to_owned() })
            }
            (several, _) => {
                let missing: Option<Vec<_>> =
                    several.iter().map(|entry| self.missing(entry)).collect();
                // A copy without its blobs: no choice would help.
                let missing = missing.and_then(|missing| missing.into_iter().next());
                Err(missing.unwrap_or_else(|| OciError::Ambiguous {
                    origin: self.origin.clone(),
                    count: several.len(),
                    choices: choices(several, &images),
                }))
            }
        }
    }

    /// What has this tag is not an image of the layout, so it is looked for among all entries.
    fn tagged_signatures(&self, subject: &Digest) -> Result<Document, OciError> {
        let tag = format!("{}.sig", subject.referrers_tag());
        let entries = self.index.manifests().iter();
        let mut tagged = entries.filter(|entry| tag_of(entry) == Some(&tag));
        match tagged.next().and_then(|entry| Some((entry, sha256(entry)?))) {
            Some((entry, digest)) => self.document(digest, Some(entry.media_type().as_ref())),
            None => Err(OciError::NotFound {
                origin: self.origin.clone(),
                what: format!("tag `{tag}`"),
            }),
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        let shown = || visible(descriptor.digest().as_ref()).into_owned();
        let Some(digest) = sha256(descriptor) else {
            return Err(OciError::NotFound {
                origin: self.origin.clone(),
                what: format!("blob {}", shown()),
            });
        };
        let what = format!("blob {digest}");
        let (reader, _) =
            self.files.open(&blob_path(&digest)).map_err(|source| self.io(&what, source))?;
        Ok(Box::new(VerifyReader::new(reader, self.origin.clone(), digest, descriptor.size())))
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, OciError> {
        let mut found: Vec<Descriptor> = Vec::new();
        let mut known = BTreeSet::new();
        let mut add = |entry: &Descriptor, found: &mut Vec<Descriptor>| {
            if known.insert(entry.digest().to_string()) {
                found.push(entry.clone());
            }
        };
        let listing = subject.referrers_tag();
        for entry in self.index.manifests() {
            if tag_of(entry) == Some(&listing)
                && entry.media_type().to_string() == media_type::INDEX
            {
                let Some(digest) = sha256(entry) else { continue };
                let index = self.document(digest, Some(media_type::INDEX))?.index();
                let index = index
                    .map_err(|source| OciError::Document { origin: self.origin.clone(), source })?;
                index.manifests().iter().for_each(|entry| add(entry, &mut found));
            } else if self.subject_of(entry)? == Some(*subject) {
                add(entry, &mut found);
            }
        }
        Ok(found)
    }
}

/// Returns the entries of this name, or else those whose name ends in it as a tag: other tools
/// write whole names such as `localhost/debian:latest` (image-spec#796), or the tag alone and the
/// whole name for containerd.
fn named<'a>(images: &[&'a Descriptor], name: &str) -> Vec<&'a Descriptor> {
    let suffix = format!(":{name}");
    let by = |key: &str, is_it: &dyn Fn(&str) -> bool| -> Vec<&'a Descriptor> {
        let is_it = |entry: &&Descriptor| annotation(entry, key).is_some_and(|name| is_it(name));
        images.iter().copied().filter(is_it).collect()
    };
    let (tag, whole) = (media_type::REF_NAME, media_type::CONTAINERD_NAME);
    let found = [
        by(tag, &|found| found == name),
        by(whole, &|found| found == name),
        by(tag, &|found| found.ends_with(&suffix)),
        by(whole, &|found| found.ends_with(&suffix)),
    ];
    found.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

/// Whether all are one image: it may have several names.
fn is_one(entries: &[&Descriptor]) -> bool {
    entries.iter().all(|entry| Some(entry.digest()) == entries.first().map(|it| it.digest()))
}

/// What can be written after the layout to choose one of these `images` of `all`.
fn choices(images: &[&Descriptor], all: &[&Descriptor]) -> String {
    let choices = images.iter().take(8).map(|entry| {
        let names = [media_type::REF_NAME, media_type::CONTAINERD_NAME];
        let names = names.iter().filter_map(|key| annotation(entry, key));
        let mut names = names.filter(|name| can_be_written(name));
        let is_alone = |name: &&String| {
            let named = named(all, name);
            is_one(&named) && named.first().is_some_and(|it| it.digest() == entry.digest())
        };
        let digest = visible(entry.digest().as_ref());
        match (names.clone().find(is_alone), names.next()) {
            (Some(name), _) => format!(":{name}"),
            (None, Some(name)) => format!(":{name}@{digest}"),
            (None, None) => format!("@{digest}"),
        }
    });
    choices.collect::<Vec<_>>().join(", ")
}

/// Whether a reference can say this name. What it may look like is up to who wrote the layout.
fn can_be_written(name: &str) -> bool {
    let reference = format!("oci:layout:{name}").parse::<Reference>();
    let is_plain = visible(name) == name && !name.contains(char::is_whitespace);
    is_plain && reference.is_ok_and(|reference| reference.selector.digest.is_none())
}

fn there_is(images: &[&Descriptor]) -> String {
    if images.is_empty() { String::new() } else { format!("; it has {}", choices(images, images)) }
}

/// Returns the tag of an entry of `index.json`.
pub(super) fn tag_of(entry: &Descriptor) -> Option<&String> {
    annotation(entry, media_type::REF_NAME)
}

fn annotation<'a>(entry: &'a Descriptor, key: &str) -> Option<&'a String> {
    entry.annotations().as_ref()?.get(key)
}

/// Whether a tag is one for what belongs to another image: its list of referrers, `sha256-<hex>`
/// (distribution-spec, "Referrers Tag Schema"), or what cosign 2 and regctl tag so, with `.sig` and
/// the like after it.
pub(super) fn is_of_another(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-").and_then(|rest| rest.split('.').next());
    hex.is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

/// Returns the path of a blob in a layout.
pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_small(files: &dyn Files, path: &str, limit: usize) -> io::Result<Vec<u8>> {
    let (reader, length) = files.open(path)?;
    let too_long = |length: u64| {
        io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is {length} bytes long, the limit is {limit}"),
        )
    };
    if length > limit as u64 {
        return Err(too_long(length));
    }
    let mut bytes = Vec::new();
    // One byte past the limit, so that a file that grew meanwhile is an error and not truncated.
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit { Err(too_long(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Returns the type that a document declares: its media type, or else what its fields show.
pub fn sniff(bytes: &[u8]) -> Result<String, crate::model::JsonError> {
    let limits = Limits::typed(media_type::MANIFEST_LIMIT);
    let shape: Shape = json::parse_as("manifest", bytes, limits, image_fields::DOCUMENT)?;
    let by_shape = if shape.manifests.is_some() { media_type::INDEX } else { media_type::MANIFEST };
    Ok(shape.media_type.unwrap_or_else(|| by_shape.to_owned()))
}

/// Returns the descriptor of a referrer with what registries copy into their lists: its effective
/// artifact type and all its annotations (distribution-spec, "Listing Referrers").
#[cfg(feature = "publish")]
pub(super) fn referrer_descriptor(
    document: &Document,
) -> Result<Descriptor, crate::model::DocumentError> {
    let manifest = document.manifest()?;
    let mut entry = descriptor(&document.media_type, document.digest, document.bytes.len() as u64);
    entry.set_artifact_type(Some(
        manifest.artifact_type().clone().unwrap_or_else(|| manifest.config().media_type().clone()),
    ));
    entry.set_annotations(manifest.annotations().clone());
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A layout with these names of these images.
    fn layout(entries: &[(Option<&str>, &str)]) -> tempfile::TempDir {
        let named: Vec<_> = entries.iter().map(|(name, image)| (*name, None, *image)).collect();
        layout_with_whole_names(&named)
    }

    /// The same, with names for containerd as well.
    fn layout_with_whole_names(
        entries: &[(Option<&str>, Option<&str>, &str)],
    ) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .unwrap();
        let entry = |(name, whole, image): &(Option<&str>, Option<&str>, &str)| -> Value {
            let text = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [],
                "annotations": {"image": image}})
            .to_string();
            let digest = Digest::of(text.as_bytes());
            std::fs::write(folder.path().join(blob_path(&digest)), &text).unwrap();
            let mut entry =
                json!({"mediaType": media_type::INDEX, "digest": digest, "size": text.len()});
            for (key, name) in [(media_type::REF_NAME, name), (media_type::CONTAINERD_NAME, whole)]
            {
                if let Some(name) = name {
                    entry["annotations"][key] = json!(name);
                }
            }
            entry
        };
        let manifests: Vec<_> = entries.iter().map(entry).collect();
        let index =
            json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": manifests});
        std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
        folder
    }

    #[test]
    fn an_image_is_found_by_each_of_its_names() {
        let two = [(Some("localhost/a:latest"), "a"), (Some("localhost/a:stable"), "a")];
        let different = [
            (Some("localhost:5000/a:1"), "a"),
            (Some("localhost:5000/b:1"), "b"),
            (Some("2"), "b"),
        ];
        type Case<'a> =
            (&'a [(Option<&'a str>, &'a str)], Option<&'a str>, Result<&'a str, &'a str>);
        let cases: [Case<'_>; 10] = [
            (&two, None, Ok("a")),
            (&two, Some("localhost/a:latest"), Ok("a")),
            (&two, Some("stable"), Ok("a")),
            (
                &two,
                Some("old"),
                Err("has no tag `old`; it has :localhost/a:latest, :localhost/a:stable"),
            ),
            (
                &different,
                None,
                Err(
                    "contains 3 images; choose one of: :localhost:5000/a:1, :localhost:5000/b:1, :2",
                ),
            ),
            (&different, Some("localhost:5000/b:1"), Ok("b")),
            (
                &different,
                Some("1"),
                Err("contains 2 images; choose one of: :localhost:5000/a:1, :localhost:5000/b:1"),
            ),
            (&different, Some("2"), Ok("b")),
            (&[(None, "a"), (None, "a")], None, Ok("a")),
            (&[], Some("1"), Err("has no tag `1`")),
        ];
        for (entries, tag, expected) in cases {
            let folder = layout(entries);
            let selector = Selector { tag: tag.map(str::to_owned), digest: None };
            let found = Layout::open(folder.path(), media_type::MANIFEST_LIMIT)
                .unwrap()
                .manifest(&selector);
            match (found, expected) {
                (Ok(document), Ok(image)) => {
                    let text = String::from_utf8(document.bytes).unwrap();
                    assert!(text.contains(&format!(r#""image":"{image}""#)), "{tag:?}: {text}");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().ends_with(expected), "{tag:?}: {error}");
                }
                (found, expected) => panic!("{tag:?}: {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_layout_without_its_blobs_proposes_no_choice() {
        let folder = layout_with_whole_names(&[(Some("1"), None, "a"), (Some("2"), None, "b")]);
        let asked = || {
            let layout = Layout::open(folder.path(), media_type::MANIFEST_LIMIT).unwrap();
            layout.manifest(&Selector::default()).expect_err("two images").to_string()
        };
        let blobs = folder.path().join("blobs/sha256");
        let mut blobs: Vec<_> =
            std::fs::read_dir(blobs).unwrap().map(|blob| blob.unwrap().path()).collect();
        std::fs::remove_file(blobs.pop().unwrap()).unwrap();
        assert!(asked().ends_with("contains 2 images; choose one of: :1, :2"), "one is there");
        std::fs::remove_file(blobs.pop().unwrap()).unwrap();
        assert!(asked().contains("manifest sha256:"), "{}", asked());
    }

    #[test]
    fn every_choice_that_is_proposed_can_be_made() {
        let tagged = |tag: &'static str, image: &'static str| (Some(tag), None, image);
        let both = |tag, whole, image| (Some(tag), Some(whole), image);
        let whole = |whole, image| (None, Some(whole), image);
        let digest = |image: &str| {
            let text = json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [],
                "annotations": {"image": image}});
            Digest::of(text.to_string().as_bytes())
        };
        let (a, b) = (digest("a"), digest("b"));
        for (entries, expected) in [
            (
                [
                    both("latest", "docker.io/library/d:latest", "a"),
                    both("latest", "d/e:latest", "b"),
                ],
                ":docker.io/library/d:latest, :d/e:latest".to_owned(),
            ),
            ([both("1", "a/b:1", "a"), tagged("1", "b")], format!(":a/b:1, :1@{b}")),
            ([tagged("1", "a"), tagged("1", "b")], format!(":1@{a}, :1@{b}")),
            ([tagged("", "a"), tagged(" 1 ", "b")], format!("@{a}, @{b}")),
            ([tagged("x y", "a"), tagged("x y/z:1", "b")], format!("@{a}, @{b}")),
            ([tagged("\u{202e}1:2", "a"), tagged("1:", "b")], format!("@{a}, @{b}")),
            ([whole("a/b:1", "a"), whole("quay.io/b", "b")], ":a/b:1, :quay.io/b".to_owned()),
            // One that others end in, and one that names another digest than its own.
            ([tagged("x:1", "a"), tagged("1", "b")], ":x:1, :1".to_owned()),
            ([tagged(&format!("a/b@{b}").leak()[..], "a"), tagged("2", "b")], format!("@{a}, :2")),
            ([tagged("ü:1", "a"), tagged("v1.0_2-x", "b")], ":ü:1, :v1.0_2-x".to_owned()),
        ] {
            let folder = layout_with_whole_names(&entries);
            let layout = Layout::open(folder.path(), media_type::MANIFEST_LIMIT).unwrap();
            let error = layout.manifest(&Selector::default()).expect_err(&expected);
            let OciError::Ambiguous { choices, .. } = error else { panic!("{error}") };
            assert_eq!(choices, expected);
            for (choice, image) in choices.split(", ").zip([a, b]) {
                let name = choice.strip_prefix(':').unwrap_or("");
                let (tag, pinned) = name.split_once('@').unwrap_or((name, ""));
                let pinned = pinned.parse().ok().or(choice.strip_prefix('@').map(|_| image));
                let selector = Selector { tag: Some(tag.to_owned()), digest: pinned };
                assert_eq!(layout.manifest(&selector).unwrap().digest, image, "{choice}");
            }
        }
    }

    #[test]
    fn only_the_tag_of_a_digest_is_a_list_of_referrers() {
        let hex = "0".repeat(64);
        for (tag, is_image) in [
            ("sha256-x".to_owned(), true),
            ("sha256-".to_owned(), true),
            (format!("sha256-{}", &hex[1..]), true),
            (format!("sha256-{hex}0"), true),
            (format!("sha256-{hex}-dev"), true),
            (format!("sha256-{}", "G".repeat(64)), true),
            (format!("sha256-{hex}"), false),
            (format!("sha256-{hex}.sig"), false),
            (format!("sha256-{hex}.att"), false),
        ] {
            let folder = layout(&[(Some(&tag), "a")]);
            let layout = Layout::open(folder.path(), media_type::MANIFEST_LIMIT).unwrap();
            for selector in [Selector::default(), Selector { tag: Some(tag.clone()), digest: None }]
            {
                assert_eq!(layout.manifest(&selector).is_ok(), is_image, "{tag}");
            }
        }
    }
}
