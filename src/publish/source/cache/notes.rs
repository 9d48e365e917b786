//! Notes in the cache: what was found out about bytes of a digest, so that it is not found out
//! again.
//!
//! A note starts with the digest of its topic, its subject and its content, so that one that was
//! cut, altered or renamed counts as absent. That is no signature: whoever may write to the cache
//! can write false notes, which is why a cache that others may write to has none. No note replaces
//! the hashing of bytes that go into an image, and none leads from a URL to a digest.

use std::io::{Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cache, CacheError, NOTES, is_own};
use crate::disk::Directory;
use crate::model::{Digest, json};

/// The most bytes of a note.
const LIMIT: u64 = 1 << 20;

impl Cache {
    /// The note of a topic about a subject; `None` if there is none, a damaged one, or no cache.
    pub(in crate::publish) fn note<T: DeserializeOwned>(
        &self,
        topic: &str,
        subject: &impl Serialize,
    ) -> Option<T> {
        let directory = Directory::open(&self.place()?.join(NOTES)).ok()?;
        self.expect_own(&directory).ok()?;
        let name = name_of(topic, subject);
        let file = directory.open_file(name.hex()).ok()?;
        is_own(file.uid, file.mode).then_some(())?;
        let mut bytes = Vec::new();
        file.file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        let (seal, content) = bytes.split_at_checked(SEAL)?;
        (seal == seal_of(name, content).as_bytes()).then_some(())?;
        json::parse("note", content, content.len()).ok()
    }

    /// Keeps a note. If it cannot be kept, it has to be found out again.
    pub(in crate::publish) fn keep_note(
        &self,
        topic: &str,
        subject: &impl Serialize,
        content: &impl Serialize,
    ) {
        let (name, content) = (name_of(topic, subject), json::canonical(content));
        let kept = || -> Result<(), CacheError> {
            let directory = self.create(NOTES)?;
            let mut file = directory.create_unnamed()?;
            let text = [seal_of(name, &content).as_bytes(), &content].concat();
            file.write_all(&text).map_err(CacheError::Io)?;
            Ok(directory.name_unnamed(&file, name.hex())?)
        };
        // Without it, everything is the same, and slower.
        drop(kept());
    }
}

/// How long the seal is: the digest in hexadecimal digits, and a line feed.
const SEAL: usize = 65;

fn name_of(topic: &str, subject: &impl Serialize) -> Digest {
    Digest::of(&json::canonical(&(topic, subject)))
}

fn seal_of(name: Digest, content: &[u8]) -> String {
    format!("{}\n", Digest::of(&[name.hex().as_bytes(), content].concat()).hex())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_note_that_is_not_the_one_that_was_kept_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        let note = |subject: u8| cache.note::<String>("topic", &subject);
        assert_eq!(note(1), None);
        assert!(!folder.path().join("cache").exists(), "asking creates nothing");
        let keep = |subject: u8| cache.keep_note("topic", &subject, &format!("note {subject}"));
        keep(1);
        keep(2);
        assert_eq!((note(1), note(2)), (Some("note 1".into()), Some("note 2".into())));
        assert_eq!(cache.note::<String>("another", &1), None);
        assert_eq!(cache.note::<u64>("topic", &1), None, "of another type");

        let path =
            |subject: u8| folder.path().join("cache/notes").join(name_of("topic", &subject).hex());
        let whole = fs::read(path(1)).unwrap();
        let altered = String::from_utf8(whole.clone()).unwrap().replace("note 1", "note 3");
        for damaged in [altered.as_bytes(), &whole[..whole.len() - 1], &whole[..SEAL], b""] {
            fs::write(path(1), damaged).unwrap();
            assert_eq!(note(1), None);
        }
        fs::copy(path(2), path(1)).unwrap();
        assert_eq!(note(1), None, "under another name");
        keep(1);
        assert_eq!(note(1), Some("note 1".into()));

        let notes = folder.path().join("cache/notes");
        fs::set_permissions(&notes, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(note(1), None, "others may write");
        fs::set_permissions(&notes, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(note(1), Some("note 1".into()));
        assert_eq!(cache.prune().unwrap().removed, 2);
        assert_eq!(note(1), None);
    }

    #[test]
    fn without_a_place_nothing_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        for cache in [Cache::of_user(None, None), Cache::at(&file), Cache::at(file.join("below"))] {
            cache.keep_note("topic", &1, &1);
            assert_eq!(cache.note::<u8>("topic", &1), None);
        }
    }
}
