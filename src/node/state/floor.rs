//! The newest version of each bundle that a node ever accepted, which a rule with `rollback:
//! monotonic` needs to refuse downgrades.
//!
//! A record of its own, which outlives the receipt and an uninstallation. It is written for every
//! proven installation. On a fresh node it is empty: there only the policy's `minVersion`, or a
//! pinned release, protects against a downgrade.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::lock::{RECORD_MODE, Reading, Writing};
use super::receipt::{RECORD_LIMIT, Receipt, Schema};
use crate::disk::Prepared;
use crate::model::{BundleName, Code, Digest, Finding, JsonError, json};
use crate::node::error::NodeError;
use crate::trust::{Bundle, Rollback, Strength, Verified};

const FLOORS: &str = "floors.json";

/// What a node accepted, by the names of bundles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Floors {
    /// Always 1.
    pub schema_version: Schema,
    /// The floor of each bundle.
    pub bundles: BTreeMap<BundleName, Floor>,
}

/// What a node accepted of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Floor {
    /// The newest version.
    pub highest: Version,
    /// Older releases that a rollback on this node returned to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exceptions: BTreeSet<Digest>,
}

impl Floors {
    /// Parses the record.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("floors", bytes, RECORD_LIMIT)
    }

    /// Why the rule refuses this bundle; `None` if it does not. `present` is the installed release:
    /// installing it again is not a downgrade, and it is a floor itself, whatever is recorded.
    pub fn against(&self, bundle: &Verified<Bundle>, present: Option<&Receipt>) -> Option<Finding> {
        let Bundle { index, files, .. } = bundle.value();
        if bundle.rollback() == Rollback::Allowed
            || present.is_some_and(|present| present.index == *index)
        {
            return None;
        }
        let mut floors = self.clone();
        present.into_iter().for_each(|present| floors.count(present));
        floors.below(&files.name, &files.version, index)
    }

    /// Counts the installed release if it was proven: the record may be gone, or an installation
    /// may have been interrupted between receipt and record.
    pub(crate) fn count(&mut self, present: &Receipt) {
        if present.strength != Strength::Proven {
            return;
        }
        let new = || Floor { highest: present.version.clone(), exceptions: BTreeSet::new() };
        let floor = self.bundles.entry(present.bundle.clone()).or_insert_with(new);
        if floor.highest < present.version {
            *floor = new();
        }
    }

    /// Why the installed release cannot have been installed under this rule; `None` if it can.
    pub(crate) fn against_installed(
        floors: Option<&Self>,
        bundle: &Verified<Bundle>,
    ) -> Option<Finding> {
        let Bundle { index, files, .. } = bundle.value();
        if bundle.rollback() == Rollback::Allowed || bundle.proof().strength != Strength::Proven {
            return None;
        }
        if floors.is_none_or(|floors| !floors.bundles.contains_key(&files.name)) {
            let message = format!(
                "the rule forbids downgrades, and the record of the newest version of `{}` is missing",
                files.name
            );
            let hint = "find out what deleted it, then install again";
            return Some(Finding::refusal(Code::FloorMissing, message).hint(hint));
        }
        floors?.below(&files.name, &files.version, index)
    }

    fn below(&self, name: &BundleName, version: &Version, index: &Digest) -> Option<Finding> {
        let floor = self.bundles.get(name).filter(|floor| floor.highest > *version)?;
        let message = format!(
            "bundle `{name}` is older than one that this node had, and the rule forbids downgrades"
        );
        let hint = format!(
            "set `rollback: allowed` in the policy, or on this node only run cnister rollback to a generation \
             that it keeps ({index})"
        );
        (!floor.exceptions.contains(index)).then(|| {
            let finding = Finding::refusal(Code::VersionBelowFloor, message);
            finding.mismatch(format_args!("{} or newer", floor.highest), version).hint(hint)
        })
    }

    /// Records that this bundle was accepted; returns whether that changed the record.
    pub(crate) fn raise(&mut self, bundle: &Verified<Bundle>) -> bool {
        let files = &bundle.value().files;
        if bundle.proof().strength != Strength::Proven {
            return false;
        }
        let version = &files.version;
        match self.bundles.get_mut(&files.name) {
            Some(floor) if floor.highest >= *version => false,
            Some(floor) => {
                // Earlier exceptions end here.
                *floor = Floor { highest: version.clone(), exceptions: BTreeSet::new() };
                true
            }
            None => {
                let floor = Floor { highest: version.clone(), exceptions: BTreeSet::new() };
                self.bundles.insert(files.name.clone(), floor);
                true
            }
        }
    }

    /// Allows an older release by exception; returns whether that changed the record.
    pub(crate) fn except(&mut self, bundle: &Bundle) -> bool {
        let floor = self
            .bundles
            .get_mut(&bundle.files.name)
            .filter(|floor| floor.highest > bundle.files.version);
        floor.is_some_and(|floor| floor.exceptions.insert(bundle.index))
    }
}

impl Reading {
    /// What the node accepted so far; `None` if that was never recorded.
    pub fn floors(&self) -> Result<Option<Floors>, NodeError> {
        self.record(FLOORS, Floors::parse)
    }
}

impl Writing {
    /// Writes a record that counts when it is published.
    pub(crate) fn prepare_floors(&self, floors: &Floors) -> Result<Prepared, NodeError> {
        Ok(self.directory.prepare(json::readable(floors).as_bytes(), RECORD_MODE)?)
    }

    /// Replaces the record with the prepared one.
    pub(crate) fn publish_floors(&self, prepared: Prepared) -> Result<(), NodeError> {
        self.directory.publish(prepared, FLOORS).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: &str = include_str!("../../../tests/data/floors.json");

    fn floors() -> Floors {
        let floor = Floor {
            highest: Version::new(1, 2, 0),
            exceptions: BTreeSet::from([Digest::of(b"older")]),
        };
        Floors {
            schema_version: Schema,
            bundles: BTreeMap::from([("debian".parse().unwrap(), floor)]),
        }
    }

    #[test]
    fn the_sample_file_is_what_is_written() {
        assert_eq!(json::readable(&floors()), FLOORS);
        assert_eq!(Floors::parse(FLOORS.as_bytes()).unwrap(), floors());
    }

    #[test]
    fn rejects_what_it_would_not_write() {
        for (good, bad) in [
            ("\"schemaVersion\": 1", "\"schemaVersion\": 2"),
            ("1.2.0", "1.2"),
            ("\"debian\"", "\"../debian\""),
            ("\"highest\"", "\"extra\": 1, \"highest\""),
        ] {
            assert!(FLOORS.contains(good), "{good}");
            assert!(
                matches!(
                    Floors::parse(FLOORS.replace(good, bad).as_bytes()),
                    Err(JsonError::Invalid { .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_older_version_is_below_the_floor_unless_it_is_an_exception() {
        let code = |version: &str, index: &[u8]| {
            let finding = floors().below(
                &"debian".parse().unwrap(),
                &version.parse().unwrap(),
                &Digest::of(index),
            );
            finding.map(|finding| (finding.code, finding.expected.unwrap(), finding.found.unwrap()))
        };
        let below = |version: &str| {
            Some((Code::VersionBelowFloor, "1.2.0 or newer".to_owned(), version.to_owned()))
        };
        assert_eq!(code("1.1.9", b"another"), below("1.1.9"));
        assert_eq!(code("1.2.0-rc.1", b"another"), below("1.2.0-rc.1"));
        for (version, index) in
            [("1.1.9", &b"older"[..]), ("1.2.0", b"another"), ("2.0.0", b"another")]
        {
            assert_eq!(code(version, index), None, "{version}");
        }
        assert_eq!(
            floors().below(&"other".parse().unwrap(), &Version::new(0, 1, 0), &Digest::of(b"")),
            None
        );
    }
}
