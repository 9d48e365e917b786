//! The layers of an image: composed, or taken from the cache if they were composed before.
//!
//! The cache has the layer under its digest, and a note that leads to it from the digest of all
//! that decides its bytes ([`composition`]). Both are only a shortcut: a layer that is missing,
//! damaged or cannot be stored is composed, and the result is the same. The files of a layer were
//! hashed when they were taken in, so that only their bytes can be found here. A forged note would
//! make an image that no node installs, since `bundle.json` has the digests of the layer and of
//! every plugin.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::blob_store::BlobStore;
use super::error::BuildError;
use super::source::Cache;
use crate::bundle::{Encoding, Entry, Layer, composition, layer};
use crate::model::{Digest, Platform};

/// Where layers come from and go to.
pub(super) struct Layers<'a> {
    pub(super) store: &'a dyn BlobStore,
    /// Has layers that were composed before.
    pub(super) cache: Option<&'a Cache>,
    pub(super) encoding: Encoding,
    /// The time of all files, in seconds since 1970.
    pub(super) epoch: u64,
}

/// The note about a composed layer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KnownLayer {
    digest: Digest,
    diff_id: Digest,
    size: u64,
}

/// The topic of the notes.
const TOPIC: &str = "layer";

impl Layers<'_> {
    /// Stores the layer of these files.
    pub(super) fn store(
        &self,
        platform: &Platform,
        entries: Vec<Entry<'_>>,
    ) -> Result<Layer, BuildError> {
        let composition = composition(&entries, self.encoding, self.epoch);
        match self.stored_from_cache(composition)? {
            Some(layer) => Ok(layer),
            None => self.compose(platform, entries, composition),
        }
    }

    /// Copies the layer from the cache, if it is there.
    fn stored_from_cache(&self, composition: Digest) -> Result<Option<Layer>, BuildError> {
        let Some((known, mut file)) = self.cache.and_then(|cache| find(cache, composition)) else {
            return Ok(None);
        };
        let expected = known.digest;
        let (found, _) = self.store.store(&mut |output| io::copy(&mut file, output).map(|_| ()))?;
        if found != expected {
            return Err(BuildError::Stored { expected, found });
        }
        let KnownLayer { digest, diff_id, size } = known;
        Ok(Some(Layer::encoded(self.encoding, digest, size, diff_id)))
    }

    fn compose(
        &self,
        platform: &Platform,
        entries: Vec<Entry<'_>>,
        composition: Digest,
    ) -> Result<Layer, BuildError> {
        let mut entries = Some(entries);
        let mut outcome = None;
        let mut kept = self.cache.and_then(|cache| cache.spool().ok());
        let stored = self.store.store(&mut |output| {
            let entries =
                entries.take().ok_or_else(|| io::Error::other("the layer was written already"))?;
            let output = Twice { output, copy: &mut kept };
            let written = layer::write(entries, self.encoding, self.epoch, output);
            let result =
                written.as_ref().map(|_| ()).map_err(|error| io::Error::other(error.to_string()));
            outcome = Some(written);
            result
        });
        // Where the layer itself fails, the store repeats it in fewer words.
        let layer = match outcome {
            Some(Err(source)) => {
                return Err(BuildError::Layer { platform: platform.clone(), source });
            }
            Some(Ok(layer)) => Some(layer),
            None => None,
        };
        let (found, _) = stored?;
        let layer = match layer {
            Some(layer) if layer.digest == found => layer,
            layer => {
                let expected = layer.map_or(Digest::of(b""), |layer| layer.digest);
                return Err(BuildError::Stored { expected, found });
            }
        };
        if let (Some(cache), Some(file)) = (self.cache, kept)
            && cache.keep(&file, layer.digest).is_ok()
        {
            let Layer { digest, diff_id, size, .. } = layer;
            cache.keep_note(TOPIC, &composition, &KnownLayer { digest, diff_id, size });
        }
        Ok(layer)
    }
}

/// The layer that was composed of these inputs, and its file, hashed just now.
fn find(cache: &Cache, composition: Digest) -> Option<(KnownLayer, impl Read)> {
    let known: KnownLayer = cache.note(TOPIC, &composition)?;
    let file = cache.find(known.digest).ok()??;
    let has_size = file.metadata().is_ok_and(|found| found.len() == known.size);
    has_size.then_some((known, file))
}

/// Writes to an output, and a copy that ends with the first error.
struct Twice<'a, O, C> {
    output: O,
    copy: &'a mut Option<C>,
}

impl<O: Write, C: Write> Write for Twice<'_, O, C> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        let bytes = bytes.get(..written).unwrap_or(bytes);
        if self.copy.as_mut().is_some_and(|copy| copy.write_all(bytes).is_err()) {
            *self.copy = None;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::bundle::EntryKind;
    use crate::oci::OciError;

    /// A store that keeps nothing.
    struct Nowhere;

    impl BlobStore for Nowhere {
        fn store(
            &self,
            write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
        ) -> Result<(Digest, u64), OciError> {
            let mut bytes = Vec::new();
            write(&mut bytes)
                .map_err(|error| OciError::from_io(error, "nowhere", "write a blob"))?;
            Ok((Digest::of(&bytes), bytes.len() as u64))
        }
    }

    const CONTENT: &[u8] = b"the content of a plugin";

    /// Content that is read only if the layer is composed.
    struct Unread;

    impl Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("read"))
        }
    }

    fn stored(cache: Option<&Cache>, content: impl Read + Send) -> Option<Layer> {
        let layers = Layers { store: &Nowhere, cache, encoding: Encoding::Balanced, epoch: 0 };
        let entry = Entry::of_bytes("a", EntryKind::Program, CONTENT);
        let entry = Entry { content: Box::new(content), ..entry };
        layers.store(&"linux/amd64".parse().unwrap(), vec![entry]).ok()
    }

    fn only_file(directory: &Path) -> std::path::PathBuf {
        let mut files = fs::read_dir(directory).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none());
        file
    }

    #[test]
    fn a_layer_from_the_cache_is_the_one_that_was_composed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let composed = stored(None, CONTENT);
        assert!(composed.is_some());
        assert_eq!(stored(Some(&cache), Unread), None);
        assert_eq!(stored(Some(&cache), CONTENT), composed);
        assert_eq!(stored(Some(&cache), Unread), composed);
        assert_eq!(stored(None, Unread), None);
        cache.prune().unwrap();
        assert_eq!(stored(Some(&cache), Unread), None);
    }

    #[test]
    fn what_is_damaged_is_composed_again_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let composed = stored(Some(&cache), CONTENT);
        for directory in ["sha256", "notes"] {
            let path = only_file(&folder.path().join("cache").join(directory));
            let whole = fs::read(&path).unwrap();
            let altered: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
            for damaged in [Some(&altered[..]), Some(&whole[1..]), Some(b""), None] {
                match damaged {
                    Some(bytes) => fs::write(&path, bytes).unwrap(),
                    None => fs::remove_file(&path).unwrap(),
                }
                assert_eq!(stored(Some(&cache), Unread), None);
                assert_eq!(stored(Some(&cache), CONTENT), composed);
                assert!(fs::read(&path).unwrap() == whole);
                assert_eq!(stored(Some(&cache), Unread), composed);
            }
        }
    }

    #[test]
    fn without_a_cache_of_its_own_it_is_composed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let composed = stored(None, CONTENT);
        for cache in [Cache::of_user(None, None), Cache::at(file), Cache::at(open)] {
            for _ in 0..2 {
                assert_eq!(stored(Some(&cache), Unread), None);
                assert_eq!(stored(Some(&cache), CONTENT), composed);
            }
        }
    }
}
