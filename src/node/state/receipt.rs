//! The receipt: what is installed on a node.
//!
//! It is a cache of decisions and never their proof: content is compared with signed digests again
//! before the receipt is believed.

use std::collections::{BTreeMap, BTreeSet};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::release::Release;
use crate::model::{
    BundleName, Code, Digest, Finding, HostPath, JsonError, Platform, PluginName, Repository, json,
};
use crate::trust::Strength;

/// The longest file of the state directory that is read, in bytes: some 250 for each file of the
/// largest bundle.
pub(crate) const RECORD_LIMIT: usize = 1024 * 1024;

/// Bits that let a program act as its owner or group. An original that comes back does not get
/// them.
pub(crate) const SET_ID: u32 = 0o7000;

/// What is installed on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// Always 1.
    pub schema_version: Schema,
    /// Which installation it is of those that brought another release; so is a rollback.
    #[serde(default = "first")]
    pub generation: u64,
    /// The digest of the index that it came in.
    pub index: Digest,
    /// The digest of its `bundle.json`: the release. Receipts of earlier versions of this program
    /// do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_json: Option<Digest>,
    /// The platform of this node.
    pub platform: Platform,
    /// The bundle's name.
    pub bundle: BundleName,
    /// The bundle's version.
    pub version: Version,
    /// The name that the policy's rule was matched with.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "repository")]
    pub repository: Option<Repository>,
    /// The digest of the policy's text.
    pub policy: Digest,
    /// How much the acceptance was worth.
    #[serde(with = "strength")]
    pub strength: Strength,
    /// The digest of the evidence file, which is also its name.
    pub evidence: Digest,
    /// What is in each plugin directory.
    pub directories: BTreeMap<HostPath, InstalledDirectory>,
}

/// What was installed in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstalledDirectory {
    /// The plugins of the bundle.
    pub files: BTreeMap<PluginName, InstalledFile>,
    /// Plugins of an earlier bundle that were left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leftovers: BTreeMap<PluginName, InstalledFile>,
    /// Wanted names with a foreign file that was left alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<PluginName>,
}

impl InstalledDirectory {
    /// Whether it names no file at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.leftovers.is_empty() && self.kept.is_empty()
    }
}

/// One installed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InstalledFile {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Who owns the file, and what it replaced.
    pub owner: Owner,
}

/// Whose a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// Installed by this program; no file had the name before.
    Ours,
    /// Installed over a foreign file, which was kept.
    Adopted(Original),
    /// A foreign file with the wanted content.
    Foreign,
}

/// A foreign file, as it was before it was replaced; its content is in the state directory
/// under its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Original {
    /// The digest of its content.
    pub digest: Digest,
    /// Its size in bytes; older records do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its permission bits, written as `0755`.
    #[serde(with = "octal")]
    pub mode: u32,
}

/// The version of these formats; another number is another format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Schema;

/// Of receipts that an earlier version of this program wrote.
fn first() -> u64 {
    1
}

impl TryFrom<u32> for Schema {
    type Error = String;
    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            1 => Ok(Self),
            other => Err(format!(
                "schemaVersion is {other}, expected 1; was this written by a newer cnister?"
            )),
        }
    }
}

impl From<Schema> for u32 {
    fn from(Schema: Schema) -> Self {
        1
    }
}

impl Owner {
    /// Whether the file may be changed and removed.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Foreign)
    }

    /// The file that it replaced.
    pub fn original(&self) -> Option<&Original> {
        match self {
            Self::Adopted(original) => Some(original),
            Self::Ours | Self::Foreign => None,
        }
    }

    /// The owner of a file that this program installs, over `original` if there was one.
    pub fn of(original: Option<Original>) -> Self {
        original.map_or(Self::Ours, Self::Adopted)
    }
}

impl Receipt {
    /// Whether it lists this file as one of its bundle.
    pub(crate) fn has(&self, path: &HostPath, name: &PluginName, file: &InstalledFile) -> bool {
        let listed = self.directories.get(path).and_then(|directory| directory.files.get(name));
        listed.is_some_and(|listed| listed.digest == file.digest)
    }

    /// Parses a receipt.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("receipt", bytes, RECORD_LIMIT)
    }

    /// The release that is installed.
    pub fn release(&self) -> Release {
        Release { index: self.index, bundle_json: self.bundle_json }
    }

    /// Says how many of the wanted plugins are left to other installers; `None` if none is.
    pub fn foreign(&self) -> Option<Finding> {
        let kept = || self.directories.values().flat_map(|directory| &directory.kept);
        let ours = self.directories.values().map(|directory| directory.files.len());
        let (count, wanted) = (kept().count(), kept().count() + ours.sum::<usize>());
        let first = kept().next()?;
        let message =
            format!("{count} of {wanted} wanted plugins are another installer's, unproven");
        let hint = format!(
            "take them over (a copy is kept): install with --foreign adopt={first},...; or leave them out with --skip"
        );
        Some(Finding::warning(Code::ForeignUnproven, message).hint(hint))
    }

    /// What it knows of a file, of this bundle or an earlier one.
    pub fn file(&self, directory: &HostPath, name: &PluginName) -> Option<&InstalledFile> {
        let directory = self.directories.get(directory)?;
        directory.files.get(name).or_else(|| directory.leftovers.get(name))
    }
}

/// A repository as text; its parser is the check.
pub(crate) mod repository {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::model::Repository;

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Repository>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(repository) => serializer.collect_str(repository),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Repository>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// [`Strength`] in the words of receipts and reports: `proven` or `unproven`.
pub(crate) mod strength {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::trust::Strength;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Proven,
        Unproven,
    }

    pub(crate) fn serialize<S: Serializer>(
        strength: &Strength,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match strength {
            Strength::Proven => Word::Proven.serialize(serializer),
            Strength::Admitted => Word::Unproven.serialize(serializer),
        }
    }

    pub(crate) fn serialize_option<S: Serializer>(
        strength: &Option<Strength>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match strength {
            Some(strength) => serialize(strength, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Strength, D::Error> {
        Word::deserialize(deserializer).map(|word| match word {
            Word::Proven => Strength::Proven,
            Word::Unproven => Strength::Admitted,
        })
    }
}

/// Permission bits as people write them.
mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(mode),
            _ => Err(de::Error::custom("a mode is four octal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::Journal;
    use super::super::refusal::{Reason, Refusal};
    use super::*;

    const RECEIPT: &str = include_str!("../../../tests/data/receipt.json");
    const JOURNAL: &str = include_str!("../../../tests/data/journal.json");
    const REFUSAL: &str = include_str!("../../../tests/data/refusal.json");

    fn receipt() -> Receipt {
        let file = |bytes: &[u8], owner| InstalledFile {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            owner,
        };
        let original = Original { digest: Digest::of(b"theirs"), size: Some(6), mode: 0o755 };
        let directory = InstalledDirectory {
            files: BTreeMap::from([
                ("bridge".parse().unwrap(), file(b"bridge", Owner::Ours)),
                ("host-local".parse().unwrap(), file(b"host-local", Owner::Foreign)),
                ("macvlan".parse().unwrap(), file(b"macvlan", Owner::Adopted(original))),
            ]),
            leftovers: BTreeMap::from([("vlan".parse().unwrap(), file(b"old vlan", Owner::Ours))]),
            kept: BTreeSet::from(["loopback".parse().unwrap()]),
        };
        Receipt {
            schema_version: Schema,
            generation: 3,
            index: Digest::of(b"index"),
            bundle_json: Some(Digest::of(b"bundle.json")),
            platform: "linux/amd64".parse().unwrap(),
            bundle: "debian".parse().unwrap(),
            version: Version::new(1, 1, 1),
            repository: Some("ghcr.io/acme/cni".parse().unwrap()),
            policy: Digest::of(b"policy"),
            strength: Strength::Proven,
            evidence: Digest::of(b"evidence"),
            directories: BTreeMap::from([(HostPath::default_bin_directory(), directory)]),
        }
    }

    #[test]
    fn the_sample_files_are_what_is_written() {
        assert_eq!(json::readable(&receipt()), RECEIPT);
        assert_eq!(Receipt::parse(RECEIPT.as_bytes()).unwrap(), receipt());
        let journal = Journal::of(&receipt());
        assert_eq!(json::readable(&journal), JOURNAL);
        assert_eq!(Journal::parse(JOURNAL.as_bytes()).unwrap(), journal);
        let refusal = Refusal {
            schema_version: Schema,
            wanted: "ghcr.io/acme/cni:v2".to_owned(),
            reasons: vec![Reason {
                code: "no-signature".to_owned(),
                message: "the image is not signed".to_owned(),
            }],
        };
        assert_eq!(json::readable(&refusal), REFUSAL);
        assert_eq!(Refusal::parse(REFUSAL.as_bytes()).unwrap(), refusal);
    }

    #[test]
    fn reads_originals_whose_size_was_not_recorded() {
        let old = RECEIPT.replacen(",\n              \"size\": 6\n", "\n", 1);
        assert_ne!(old, RECEIPT);
        let read = Receipt::parse(old.as_bytes()).unwrap();
        let originals = |receipt: &Receipt| {
            let files = receipt.directories.values().flat_map(|directory| directory.files.values());
            files.filter_map(|file| file.owner.original().cloned()).collect::<Vec<_>>()
        };
        assert_eq!(originals(&receipt())[0].size, Some(6));
        assert_eq!(originals(&read)[0].size, None);
        assert!(!json::readable(&originals(&read)[0]).contains("size"));
    }

    #[test]
    fn reads_journals_that_do_not_name_what_they_install() {
        let old = JOURNAL.replacen("  \"bundle\": \"debian\",\n", "", 1);
        assert_ne!(old, JOURNAL);
        let expected = Journal { bundle: None, ..Journal::of(&receipt()) };
        assert_eq!(Journal::parse(old.as_bytes()).unwrap(), expected);
        assert_eq!(json::readable(&expected), old);
    }

    #[test]
    fn reads_what_it_writes() {
        type Change = fn(&mut Receipt);
        let adopt =
            |mode| Owner::of(Some(Original { digest: Digest::of(b"theirs"), size: None, mode }));
        for mode in [0, 0o7, 0o644, 0o4755, 0o7777] {
            let mut receipt = receipt();
            for file in
                receipt.directories.values_mut().flat_map(|directory| directory.files.values_mut())
            {
                file.owner = adopt(mode);
            }
            assert_eq!(
                Receipt::parse(json::readable(&receipt).as_bytes()).unwrap(),
                receipt,
                "{mode:o}"
            );
            let journal = Journal::of(&receipt);
            assert_eq!(
                Journal::parse(json::readable(&journal).as_bytes()).unwrap(),
                journal,
                "{mode:o}"
            );
        }
        let changes: [Change; 5] = [
            |r| r.repository = None,
            |r| r.strength = Strength::Admitted,
            |r| r.version = "1.2.3-rc.1+build.5".parse().unwrap(),
            |r| r.directories.clear(),
            |r| {
                let path = "/var/lib/cni \"bin\"".parse().unwrap();
                r.directories.insert(path, InstalledDirectory::default());
            },
        ];
        for change in changes {
            let mut receipt = receipt();
            change(&mut receipt);
            assert_eq!(Receipt::parse(json::readable(&receipt).as_bytes()).unwrap(), receipt);
            let journal = Journal::of(&receipt);
            assert_eq!(Journal::parse(json::readable(&journal).as_bytes()).unwrap(), journal);
        }
    }

    #[test]
    fn a_journal_holds_no_path_and_nothing_foreign() {
        let journal = Journal::of(&receipt());
        let names: Vec<_> = journal.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["bridge", "macvlan", "vlan"]);
        assert!(!JOURNAL.contains("\"/"), "{JOURNAL}");
        assert_eq!(journal.entries_of(&HostPath::default_bin_directory()).count(), 3);
        assert_eq!(journal.entries_of(&"/opt/cni".parse().unwrap()).count(), 0);
    }

    #[test]
    fn rejects_what_it_would_not_write() {
        let cases = [
            ("\"schemaVersion\": 1", "\"schemaVersion\": 2", "schemaVersion is 2, expected 1"),
            ("\"bridge\"", "\"../bridge\"", "contains `/`"),
            ("\"/opt/cni/bin\"", "\"/opt/../etc\"", "is not a valid path on the node"),
            ("\"ghcr.io/acme/cni\"", "\"cni\"", "does not name a registry"),
            ("\"ours\"", "\"mine\"", "unknown variant `mine`"),
            ("\"0755\"", "\"17777\"", "a mode is four octal digits"),
            ("\"strength\"", "\"extra\": 1, \"strength\"", "unknown field `extra`"),
            (
                "\"bridge\": {",
                "\"vrf\": {}, \"vrf\": {}, \"bridge\": {",
                "the key `vrf` appears twice",
            ),
        ];
        for (from, to, expected) in cases {
            assert!(RECEIPT.contains(from), "{from}");
            let error =
                Receipt::parse(RECEIPT.replacen(from, to, 1).as_bytes()).expect_err(to).to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
