//! Writes OCI image layouts.
//!
//! Every blob is written under a temporary name and renamed once its digest is verified.
//! `index.json` is replaced as a whole, under a lock, so that two builds into one layout do not
//! lose each other's images. Referrers are stored in both ways that tools read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::image::Descriptor;
use serde_json::{Value, json};

use super::files::{DirectoryFiles, Files};
use super::layout::{Layout, blob_path, is_of_another, read_small, referrer_descriptor};
use super::verify_reader::VerifyReader;
use super::{OciError, Sink, Source};
use crate::model::document::sha256;
use crate::model::{Digest, Document, Hasher, Location, json as strict, media_type};

/// A layout directory that is being written to.
#[derive(Debug)]
pub struct LayoutWriter {
    path: PathBuf,
    /// The image name, without a tag, that containerd's import gives an image.
    image_name: Option<String>,
}

impl LayoutWriter {
    /// Opens the layout in `path`. Anything else is an error, and nothing is created there.
    pub fn open(path: &Path) -> Result<Self, OciError> {
        Layout::open(path, media_type::MANIFEST_LIMIT)?;
        Ok(Self { path: path.to_owned(), image_name: None })
    }

    /// Opens the layout in `path`, or creates one in a new or empty directory.
    pub fn create(path: &Path) -> Result<Self, OciError> {
        let writer = Self { path: path.to_owned(), image_name: None };
        let io = |action: &str| {
            let (origin, action) = (writer.origin(), action.to_owned());
            move |source| OciError::Io { origin, action, source }
        };
        fs::create_dir_all(path).map_err(io("create the directory"))?;
        if path.join("oci-layout").exists() {
            Layout::open(path, media_type::MANIFEST_LIMIT)?;
        } else {
            let mut entries = fs::read_dir(path).map_err(io("list the directory"))?;
            if entries.any(|entry| {
                entry.is_ok_and(|entry| {
                    entry.file_name() != "blobs" && entry.file_name() != "index.json"
                })
            }) {
                let reason =
                    "the directory contains other files; use a new or empty one".to_owned();
                return Err(OciError::NotALayout { origin: writer.origin(), reason });
            }
            let empty =
                json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": []});
            let empty = strict::canonical(&empty);
            // An interrupted run of ours may have left this file; any other content is not ours to
            // replace.
            match read_small(
                &DirectoryFiles(path.to_owned()),
                "index.json",
                media_type::MANIFEST_LIMIT,
            ) {
                Ok(bytes) if bytes != empty => {
                    let reason =
                        "the directory contains `index.json` but no `oci-layout`".to_owned();
                    return Err(OciError::NotALayout { origin: writer.origin(), reason });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io("read `index.json`")(error));
                }
                _ => {}
            }
            // `oci-layout` comes last: it makes the directory a layout.
            writer.replace("index.json", &empty).map_err(io("write `index.json`"))?;
            writer
                .replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
                .map_err(io("write `oci-layout`"))?;
        }
        fs::create_dir_all(path.join("blobs/sha256")).map_err(io("create `blobs/sha256`"))?;
        Ok(writer)
    }

    /// Names every image tagged from now on `NAME:TAG` for containerd's import.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.image_name = Some(name);
        self
    }

    fn origin(&self) -> String {
        Location::Layout(self.path.clone()).to_string()
    }

    fn io<A: Into<String>>(&self, action: A) -> impl FnOnce(io::Error) -> OciError + use<A> {
        let (origin, action) = (self.origin(), action.into());
        move |source| OciError::Io { origin, action, source }
    }

    /// Stores what `write` produces under its own digest.
    pub fn store(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(Digest, u64), OciError> {
        let (temporary, file) = self.temporary("blobs/sha256").map_err(self.io("create a blob"))?;
        let mut hasher = Hasher::new(io::BufWriter::with_capacity(128 * 1024, file));
        write(&mut hasher)
            .map_err(|error| OciError::from_io(error, &self.origin(), "write a blob"))?;
        let (digest, size, buffer) = hasher.finish();
        let file =
            buffer.into_inner().map_err(|error| self.io("write a blob")(error.into_error()))?;
        drop(file);
        temporary
            .publish(&self.path.join(blob_path(&digest)))
            .map_err(self.io(format!("store blob {digest}")))?;
        Ok((digest, size))
    }

    /// Replaces a file at the top level of the layout.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (temporary, mut file) = self.temporary(".")?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        temporary.publish(&self.path.join(name))
    }

    fn temporary(&self, folder: &str) -> io::Result<(Temporary, File)> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path =
                self.path.join(folder).join(format!(".cnister-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok((Temporary { path: Some(path) }, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes the entries of `index.json` under the layout's lock; unknown fields are preserved.
    fn edit(&self, change: impl FnOnce(&mut Vec<Value>)) -> Result<(), OciError> {
        let lock =
            File::open(self.path.join("oci-layout")).map_err(self.io("open `oci-layout`"))?;
        lock.lock().map_err(self.io("lock `oci-layout`"))?;
        let bytes = fs::read(self.path.join("index.json")).map_err(self.io("read `index.json`"))?;
        let invalid = |reason: String| OciError::NotALayout { origin: self.origin(), reason };
        let mut index: Value = strict::parse("`index.json`", &bytes, media_type::MANIFEST_LIMIT)
            .map_err(|error| invalid(error.to_string()))?;
        match index.get_mut("manifests").and_then(Value::as_array_mut) {
            Some(entries) => change(entries),
            None => return Err(invalid("`index.json` has no `manifests` list".to_owned())),
        }
        self.replace("index.json", &strict::canonical(&index))
            .map_err(self.io("write `index.json`"))
    }
}

impl Sink for LayoutWriter {
    fn has_blob(&mut self, descriptor: &Descriptor) -> Result<bool, OciError> {
        let Some(digest) = sha256(descriptor) else { return Ok(false) };
        let files = DirectoryFiles(self.path.clone());
        let Ok((content, length)) = files.open(&blob_path(&digest)) else { return Ok(false) };
        if length != descriptor.size() {
            return Ok(false);
        }
        // Read completely: what a crash or a faulty disk left under the right name must not pass
        // for the blob.
        let mut content = VerifyReader::new(content, self.origin(), digest, length);
        Ok(io::copy(&mut content, &mut io::sink()).is_ok())
    }

    fn put_blob(
        &mut self,
        descriptor: &Descriptor,
        content: &mut dyn Read,
    ) -> Result<(), OciError> {
        let digest = sha256(descriptor).ok_or_else(|| OciError::NotFound {
            origin: self.origin(),
            what: "support for blobs without a sha256 digest".to_owned(),
        })?;
        let mut content = VerifyReader::new(content, self.origin(), digest, descriptor.size());
        self.store(&mut |out| io::copy(&mut content, out).map(drop)).map(drop)
    }

    fn put_manifest(&mut self, document: &Document) -> Result<(), OciError> {
        self.store(&mut |out| out.write_all(&document.bytes)).map(drop)
    }

    fn put_referrers(&mut self, subject: &Digest, referrers: &[Document]) -> Result<(), OciError> {
        let origin = self.origin();
        let invalid = |source| OciError::Document { origin: origin.clone(), source };
        let mut listed = Layout::<DirectoryFiles>::open(&self.path, media_type::MANIFEST_LIMIT)?
            .referrers(subject)?;
        let mut entries = Vec::new();
        for document in referrers {
            self.put_manifest(document)?;
            let entry = referrer_descriptor(document).map_err(invalid)?;
            listed.retain(|known| known.digest() != entry.digest());
            entries.push(entry);
        }
        listed.extend(entries.iter().cloned());
        listed.sort_by_key(|entry| entry.digest().to_string());
        let list = Document::new(
            media_type::INDEX,
            strict::canonical(
                &json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": listed}),
            ),
        );
        self.put_manifest(&list)?;
        self.edit(|all| {
            for entry in &entries {
                let entry = strict_value(entry);
                all.retain(|known| known.get("digest") != entry.get("digest"));
                all.push(entry);
            }
            insert_tagged(all, &subject.referrers_tag(), None, list.descriptor());
        })
    }

    fn tag(&mut self, tag: &str, document: &Document) -> Result<(), OciError> {
        let name = match tag.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            // A whole name, which needs no other.
            true => Some(tag.to_owned()),
            false => {
                let name = self.image_name.as_ref().filter(|_| !tag.contains('/'));
                name.map(|name| format!("{name}:{tag}"))
            }
        };
        self.edit(|all| insert_tagged(all, tag, name, document.descriptor()))
    }
}

fn strict_value(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).expect("a descriptor has string keys and finite numbers")
}

/// Puts `entry` under `tag`, replacing an entry with that tag. Images come first, for readers that
/// take the first entry.
fn insert_tagged(all: &mut Vec<Value>, tag: &str, name: Option<String>, mut entry: Descriptor) {
    let mut annotations = entry.annotations().clone().unwrap_or_default();
    annotations.insert(media_type::REF_NAME.to_owned(), tag.to_owned());
    annotations.extend(name.map(|name| (media_type::CONTAINERD_NAME.to_owned(), name)));
    entry.set_annotations(Some(annotations));
    let tagged = |known: &Value| {
        let tag_of = known.get("annotations").and_then(|all| all.get(media_type::REF_NAME));
        tag_of.and_then(Value::as_str) == Some(tag)
    };
    all.retain(|known| !tagged(known));
    let entry = strict_value(&entry);
    if is_of_another(tag) { all.push(entry) } else { all.insert(0, entry) }
}

/// A file under a temporary name, removed unless it is published.
struct Temporary {
    path: Option<PathBuf>,
}

impl Temporary {
    fn publish(mut self, name: &Path) -> io::Result<()> {
        let path = self.path.take().expect("published once");
        fs::rename(&path, name).inspect_err(|_| drop(fs::remove_file(&path)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nothing is lost: the hidden name is ours alone.
            drop(fs::remove_file(path));
        }
    }
}

/// Writes the layout in `path` as an uncompressed tar archive: equal layouts give equal bytes.
pub fn write_archive(path: &Path, out: &mut dyn Write) -> Result<(), OciError> {
    let origin = Location::Layout(path.to_owned()).to_string();
    let io = |action: &str| {
        let (origin, action) = (origin.clone(), action.to_owned());
        move |source| OciError::Io { origin, action, source }
    };
    // The two small files come first, so that a streaming reader knows early what follows.
    let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
    let blobs = fs::read_dir(path.join("blobs/sha256")).map_err(io("list blobs"))?;
    let mut blobs: Vec<Digest> = blobs
        .flatten()
        .filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?).ok())
        .collect();
    blobs.sort();
    names.extend(blobs.iter().map(blob_path));
    let mut archive = tar::Builder::new(out);
    for name in names {
        let file = File::open(path.join(&name)).map_err(io(&format!("open `{name}`")))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata().map_err(io("read a size"))?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, &name, file).map_err(io("write the archive"))?;
    }
    archive.finish().map_err(io("write the archive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::descriptor;

    #[test]
    fn an_altered_blob_counts_as_missing_and_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut layout = LayoutWriter::create(folder.path()).unwrap();
        let blob = descriptor("text/plain", Digest::of(b"good"), 4);
        assert!(!layout.has_blob(&blob).unwrap());
        layout.put_blob(&blob, &mut &b"good"[..]).unwrap();
        assert!(layout.has_blob(&blob).unwrap());
        let path = folder.path().join(blob_path(&Digest::of(b"good")));
        for altered in [&b"evil"[..], b"goo", b"goods"] {
            fs::write(&path, altered).unwrap();
            assert!(!layout.has_blob(&blob).unwrap());
        }
        layout.put_blob(&blob, &mut &b"good"[..]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"good");
        let error =
            layout.put_blob(&blob, &mut &b"evil"[..]).expect_err("another content").to_string();
        assert!(error.contains("is altered"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"good", "what was there stays");
    }

    #[test]
    fn a_whole_name_needs_no_other_for_containerd() {
        for (tag, expected) in [
            ("1", Some("localhost/debian:1")),
            ("sha256-x", Some("localhost/debian:sha256-x")),
            ("localhost:5000/z:9", Some("localhost:5000/z:9")),
            ("z:9", Some("z:9")),
            ("quay.io/z", None),
            ("localhost:5000/z", None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut layout = LayoutWriter::create(folder.path()).unwrap();
            layout = layout.named("localhost/debian".to_owned());
            let index =
                json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": []});
            layout.tag(tag, &Document::new(media_type::INDEX, strict::canonical(&index))).unwrap();
            let index = fs::read(folder.path().join("index.json")).unwrap();
            let index: Value = serde_json::from_slice(&index).unwrap();
            let annotations = &index["manifests"][0]["annotations"];
            assert_eq!(annotations[media_type::REF_NAME], tag);
            assert_eq!(annotations[media_type::CONTAINERD_NAME].as_str(), expected, "{tag}");
        }
    }

    #[test]
    fn opening_a_layout_creates_none() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["absent", "layout:localhost/debian", "deep/absent"] {
            let error = LayoutWriter::open(&folder.path().join(name)).expect_err(name).to_string();
            assert!(error.contains("is not an OCI layout: "), "{name}: {error}");
        }
        let error = LayoutWriter::open(folder.path()).expect_err("an empty directory").to_string();
        assert!(error.contains("is not an OCI layout: `oci-layout`: "), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        LayoutWriter::create(&folder.path().join("layout")).unwrap();
        assert!(LayoutWriter::open(&folder.path().join("layout")).is_ok());
    }
}
