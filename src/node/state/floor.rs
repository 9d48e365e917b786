//! The newest version of each bundle that a node ever accepted, which a rule with `rollback:
//! monotonic` needs to refuse downgrades.
//!
//! A record of its own, which outlives the receipt and an uninstallation. It is written for every
//! proven installation. On a fresh node it is empty: there only the policy's `minVersion`, or a
//! pinned release, protects against a downgrade.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use super::lock::{RECORD_MODE, Reading, Writing};
use super::names::FLOORS;
use super::receipt::{RECORD_LIMIT, Receipt, Schema};
use super::release::{Release, Releases};
use crate::disk::Prepared;
use crate::model::{BundleName, Code, Finding, JsonError, json};
use crate::node::error::NodeError;
use crate::trust::{Bundle, Rollback, Strength, Verified};

/// What a node accepted, by the names of bundles.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Floors {
    /// Always 1.
    pub schema_version: Schema,
    /// The floor of each bundle.
    pub bundles: BTreeMap<BundleName, Floor>,
    /// Whether an uninstallation removed what was installed last, and every record of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uninstalled: bool,
}

/// What a node accepted of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Floor {
    /// The newest version that this node accepted.
    pub highest: Version,
    /// Older releases that a rollback on this node returned to. One counts while it is installed:
    /// whatever else is installed ends it.
    #[serde(default, skip_serializing_if = "Releases::is_empty")]
    pub exceptions: Releases,
}

impl Floors {
    /// Parses `floors.json`, of at most 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("floors", bytes, RECORD_LIMIT)
    }

    /// Why the rule refuses this bundle; `None` if it does not. `present` is the installed release,
    /// which is a floor itself, whatever is recorded. It is refused as well if a newer one was
    /// accepted before: `check` would refuse it afterwards.
    pub fn against(&self, bundle: &Verified<Bundle>, present: Option<&Receipt>) -> Option<Finding> {
        if bundle.rollback() == Rollback::Allowed {
            return None;
        }
        let mut floors = self.clone();
        present.into_iter().for_each(|present| floors.count(present));
        floors.below(bundle.value())
    }

    /// Counts the installed release if it was proven: the record may be gone, or an installation
    /// may have been interrupted between receipt and record.
    pub(crate) fn count(&mut self, present: &Receipt) {
        if present.strength != Strength::Proven {
            return;
        }
        let new = || Floor::at(&present.version);
        let floor = self.bundles.entry(present.bundle.clone()).or_insert_with(new);
        if is_newer(&present.version, &floor.highest) {
            *floor = new();
        }
    }

    /// Why the installed release cannot have been installed under this rule; `None` if it can.
    pub(crate) fn against_installed(
        floors: Option<&Self>,
        bundle: &Verified<Bundle>,
    ) -> Option<Finding> {
        let files = &bundle.value().files;
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
        floors?.below(bundle.value())
    }

    fn below(&self, bundle: &Bundle) -> Option<Finding> {
        let Bundle { index, files, .. } = bundle;
        let (name, version) = (&files.name, &files.version);
        let floor = self.bundles.get(name).filter(|floor| is_newer(&floor.highest, version))?;
        let message = format!(
            "bundle `{name}` is older than one that this node had, and the rule forbids downgrades"
        );
        let hint = format!(
            "set `rollback: allowed` in the policy, or, on this node only, run cnister rollback to a generation that it keeps ({index})"
        );
        let finding = Finding::refusal(Code::VersionBelowFloor, message);
        (!floor.exceptions.contains(&Release::of(bundle))).then(|| {
            finding.mismatch(format_args!("{} or newer", floor.highest), version).hint(hint)
        })
    }

    /// Ends the exceptions of releases that are not installed any more: who can only move a tag
    /// would take the node back to one.
    pub(crate) fn end_exceptions(&mut self, present: Option<&Receipt>) {
        for floor in self.bundles.values_mut() {
            match present {
                Some(present) => {
                    floor.exceptions.keep_only(present.release());
                }
                None => floor.exceptions = Releases::default(),
            }
        }
    }

    /// Records that this bundle was accepted and is installed; returns whether that changed the
    /// record.
    pub(crate) fn raise(&mut self, bundle: &Verified<Bundle>) -> bool {
        let files = &bundle.value().files;
        if bundle.proof().strength != Strength::Proven {
            return false;
        }
        let version = &files.version;
        match self.bundles.get_mut(&files.name) {
            Some(floor) if !is_newer(version, &floor.highest) => {
                floor.exceptions.keep_only(Release::of(bundle.value()))
            }
            Some(floor) => {
                *floor = Floor::at(version);
                true
            }
            None => {
                self.bundles.insert(files.name.clone(), Floor::at(version));
                true
            }
        }
    }

    /// Allows an older release by exception: the node's owner goes back to it from `present`, whose
    /// own exception lasts until it is gone.
    pub(crate) fn except(&mut self, bundle: &Verified<Bundle>, present: &Receipt) {
        let files = &bundle.value().files;
        let Some(floor) = self.bundles.get_mut(&files.name) else { return };
        floor.exceptions.keep_only(present.release());
        if is_newer(&floor.highest, &files.version) {
            floor.exceptions.insert(Release::of(bundle.value()));
        } else if bundle.proof().strength == Strength::Proven {
            floor.highest = files.version.clone();
        }
    }
}

impl Floor {
    /// A floor without exceptions.
    fn at(version: &Version) -> Self {
        Self { highest: version.clone(), exceptions: Releases::default() }
    }
}

/// Whether a version takes precedence. Build metadata does not count (SemVer 2.0.0, 10).
fn is_newer(version: &Version, than: &Version) -> bool {
    version.cmp_precedence(than).is_gt()
}

impl Reading {
    /// What the node accepted so far; `None` if that was never recorded.
    pub fn floors(&self) -> Result<Option<Floors>, NodeError> {
        self.record(FLOORS, Floors::parse)
    }

    /// Whether an uninstallation has to record that it took place: something was installed, and no
    /// uninstallation since said so.
    pub(crate) fn records_uninstallation(&self) -> Result<bool, NodeError> {
        let floors = self.floors()?.unwrap_or_default();
        let had_any = !floors.bundles.is_empty() || self.receipt()?.is_some();
        Ok(had_any && !floors.uninstalled)
    }
}

impl Writing {
    /// Writes a record that counts when it is published.
    pub(crate) fn prepare_floors(&self, floors: &Floors) -> Result<Prepared, NodeError> {
        Ok(self.directory.prepare(json::readable(floors).as_bytes(), RECORD_MODE)?)
    }

    /// Says that what was installed was uninstalled: its other records are about to go.
    pub(crate) fn record_uninstallation(&self) -> Result<(), NodeError> {
        if !self.records_uninstallation()? {
            return Ok(());
        }
        let mut floors = self.floors()?.unwrap_or_default();
        floors.uninstalled = true;
        self.write_record(FLOORS, json::readable(&floors))
    }

    /// Replaces the record with the prepared one.
    pub(crate) fn publish_floors(&self, prepared: Prepared) -> Result<(), NodeError> {
        self.directory.publish(prepared, FLOORS).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;
    use crate::node::test_support::bundle;

    const FLOORS: &str = include_str!("../../../tests/data/floors.json");

    fn floors() -> Floors {
        let floor = Floor {
            highest: Version::new(1, 2, 0),
            exceptions: [Release { index: Digest::of(b"older"), bundle_json: None }]
                .into_iter()
                .collect(),
        };
        Floors {
            schema_version: Schema,
            bundles: BTreeMap::from([("debian".parse().unwrap(), floor)]),
            uninstalled: false,
        }
    }

    #[test]
    fn the_sample_file_is_what_is_written() {
        assert_eq!(json::readable(&floors()), FLOORS);
        assert_eq!(Floors::parse(FLOORS.as_bytes()).unwrap(), floors());
        let gone = Floors { uninstalled: true, ..floors() };
        let text = json::readable(&gone);
        assert!(text.contains("\"uninstalled\": true"), "{text}");
        assert_eq!(Floors::parse(text.as_bytes()).unwrap(), gone);
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
    fn an_older_version_of_the_same_bundle_is_below_the_floor() {
        let code = |name: &str, version: &str| {
            let mut bundle = bundle(&[]).value().clone();
            bundle.files.name = name.parse().unwrap();
            bundle.files.version = version.parse().unwrap();
            let finding = floors().below(&bundle)?;
            Some((finding.code, finding.expected.unwrap(), finding.found.unwrap()))
        };
        let below = |version: &str| {
            Some((Code::VersionBelowFloor, "1.2.0 or newer".to_owned(), version.to_owned()))
        };
        assert_eq!(code("debian", "1.1.9"), below("1.1.9"));
        assert_eq!(code("debian", "1.2.0-rc.1"), below("1.2.0-rc.1"));
        assert_eq!(code("debian", "1.1.9+99"), below("1.1.9+99"));
        for (name, version) in
            [("debian", "1.2.0"), ("debian", "1.2.0+0"), ("debian", "2.0.0"), ("other", "0.1.0")]
        {
            assert_eq!(code(name, version), None, "{name} {version}");
        }
    }

    #[test]
    fn an_exception_ends_with_the_installation_of_anything_else() {
        let older = Release { index: Digest::of(b"older"), bundle_json: None };
        let newest = bundle(&[]);
        let mut floors = floors();
        let name = newest.value().files.name.clone();
        floors.bundles = floors.bundles.into_values().map(|floor| (name.clone(), floor)).collect();
        let mut same = floors.clone();
        let highest = &mut same.bundles.get_mut(&name).unwrap().highest;
        *highest = newest.value().files.version.clone();
        for (mut floors, what) in [(floors, "a newer version"), (same, "the newest version")] {
            assert!(floors.raise(&newest), "{what}");
            assert!(!floors.bundles[&name].exceptions.contains(&older), "{what}");
            assert!(!floors.raise(&newest), "{what}, again");
        }
    }
}
