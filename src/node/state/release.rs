//! What identifies a release.
//!
//! A release is what is installed: its `bundle.json`, which names the version, the platform and
//! every file. Anyone can write another index around a signed manifest, so the index only says in
//! which form the release came.

use serde::{Deserialize, Serialize};

use crate::model::Digest;
use crate::trust::Bundle;

/// A release, as records name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Release {
    /// The digest of the index, or of the single manifest, that it came in.
    pub index: Digest,
    /// The digest of its `bundle.json`; `None` in records of earlier versions of this program.
    pub bundle_json: Option<Digest>,
}

/// Releases that a record names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Releases(Vec<Release>);

/// The index alone, as earlier versions of this program wrote it, or both digests.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Index(Digest),
    #[serde(rename_all = "camelCase")]
    Both {
        index: Digest,
        bundle_json: Digest,
    },
}

impl Release {
    /// The release of a verified bundle.
    pub fn of(bundle: &Bundle) -> Self {
        Self { index: bundle.index, bundle_json: Some(bundle.manifest_json) }
    }

    /// Whether both are one release, however it was wrapped. Where a record does not say what was
    /// in it, the index decides.
    pub fn is(&self, other: &Self) -> bool {
        match (self.bundle_json, other.bundle_json) {
            (Some(one), Some(other)) => one == other,
            _ => self.index == other.index,
        }
    }
}

impl Releases {
    /// Whether this release is one of them.
    pub fn contains(&self, release: &Release) -> bool {
        self.0.iter().any(|known| known.is(release))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a release; returns whether that changed anything.
    pub(crate) fn insert(&mut self, release: Release) -> bool {
        if self.0.contains(&release) {
            return false;
        }
        self.remove(&release);
        self.0.push(release);
        self.0.sort_by_key(|release| release.index);
        true
    }

    /// Removes a release, whatever it was wrapped in; returns whether it was one of them.
    pub(crate) fn remove(&mut self, release: &Release) -> bool {
        let before = self.0.len();
        self.0.retain(|known| !known.is(release));
        self.0.len() != before
    }

    /// Keeps this release alone, if it is one of them; returns whether that changed anything.
    pub(crate) fn keep_only(&mut self, release: Release) -> bool {
        let kept = if self.contains(&release) { vec![release] } else { Vec::new() };
        let changed = self.0 != kept;
        self.0 = kept;
        changed
    }

    /// The releases.
    pub fn iter(&self) -> impl Iterator<Item = &Release> {
        self.0.iter()
    }
}

impl FromIterator<Release> for Releases {
    fn from_iter<T: IntoIterator<Item = Release>>(releases: T) -> Self {
        let mut all = Self::default();
        for release in releases {
            all.insert(release);
        }
        all
    }
}

impl From<Wire> for Release {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Index(index) => Self { index, bundle_json: None },
            Wire::Both { index, bundle_json } => Self { index, bundle_json: Some(bundle_json) },
        }
    }
}

impl From<Release> for Wire {
    fn from(Release { index, bundle_json }: Release) -> Self {
        match bundle_json {
            Some(bundle_json) => Self::Both { index, bundle_json },
            None => Self::Index(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(index: &str, bundle_json: Option<&str>) -> Release {
        let digest = |text: &str| Digest::of(text.as_bytes());
        Release { index: digest(index), bundle_json: bundle_json.map(digest) }
    }

    #[test]
    fn a_release_is_known_by_its_bundle_json_and_without_one_by_its_index() {
        for (one, other, same) in [
            (release("a", Some("x")), release("b", Some("x")), true),
            (release("a", Some("x")), release("a", Some("y")), false),
            (release("a", None), release("a", Some("x")), true),
            (release("a", None), release("b", Some("x")), false),
            (release("a", None), release("a", None), true),
        ] {
            assert_eq!((one.is(&other), other.is(&one)), (same, same), "{one:?} {other:?}");
        }
    }

    #[test]
    fn releases_are_one_entry_each_and_what_an_earlier_version_wrote_is_read() {
        let mut all = Releases::default();
        assert!(all.insert(release("a", Some("x"))));
        assert!(all.insert(release("b", Some("x"))), "in another index");
        assert!(!all.insert(release("b", Some("x"))));
        assert_eq!(all.iter().count(), 1);
        assert!(all.insert(release("c", None)));
        assert!(all.contains(&release("c", Some("y"))));

        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Releases>(&text).unwrap(), all);
        let old = format!("[\"{}\"]", Digest::of(b"a"));
        let old: Releases = serde_json::from_str(&old).unwrap();
        assert!(old.contains(&release("a", Some("x"))) && !old.contains(&release("b", Some("x"))));

        assert!(all.keep_only(release("d", Some("x"))));
        assert_eq!(all.iter().collect::<Vec<_>>(), [&release("d", Some("x"))]);
        assert!(all.remove(&release("a", Some("x"))) && all.is_empty());
    }
}
