//! The lock of a definition: which bytes each plugin is, and where they came from.
//!
//! A lock is stored beside its definition and is reviewed like code. An entry has what was asked
//! for ([`Request`]) and what came of it; a build takes nothing that it does not pin. Whether an
//! entry still answers the definition is found without a network, by comparing requests. What
//! upstream says of an asset is kept beside the lock, and levels are computed from it: the level in
//! an entry is for readers, and one that its evidence does not support is refused. Reading and
//! writing files is the caller's business, and so is fetching.

mod answer;
mod change;
mod error;
mod kept;
mod level;
mod program;
mod published;
mod reproduced;
mod signed;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::checksum::{ChecksumFile, Sum};
use super::definition::source::{Request, base_name, checksums_beside};
use super::{Artefact, Definition, GoBuild, InImage, Linkage, ModuleSum, PluginFile, SumProof};
use crate::model::json::{self, Limits, Outline};
use crate::model::{BundleName, Digest, JsonError, Platform, PluginName, Reference, Sha512};

pub use answer::{CniAnswer, HowAsked};
pub use change::{ChangeKind, LockChange};
pub use error::LockError;
pub use kept::KeptEvidence;
pub use level::Level;
pub use program::ProgramFacts;
pub use reproduced::Reproduced;
pub use signed::LockedSigned;

/// The parsed `STEM.lock.json` of the definition `STEM.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleLock {
    /// The schema that editors read this file with; it is kept when the lock is written again.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Always `cnister.dev/v1`.
    pub api_version: ApiVersion,
    /// Always `BundleLock`.
    pub kind: Kind,
    /// The name of the definition's bundle.
    pub name: BundleName,
    /// Every plugin of every platform, sorted by name and platform.
    pub plugins: Vec<LockedPlugin>,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum ApiVersion {
    /// The only one.
    #[serde(rename = "cnister.dev/v1")]
    V1,
}

/// The kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Kind {
    /// The only one.
    BundleLock,
}

/// A plugin for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedPlugin {
    /// The name of its file in the bundle.
    pub name: PluginName,
    /// The platform that it runs on.
    pub platform: Platform,
    /// What was asked of its source.
    pub request: Request,
    /// The archive or file that was fetched, or the manifest of the image; none for a file of a
    /// directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefact: Option<Artefact>,
    /// The path inside of the archive or image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Where in the image it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<InImage>,
    /// The sum of the Go module that it was compiled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_sum: Option<ModuleSum>,
    /// The digest of the proof that the checksum database has that sum, which is kept beside the
    /// lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sumdb: Option<Digest>,
    /// The digest of the plugin's bytes.
    pub digest: Digest,
    /// The SHA-512 of the same bytes.
    pub sha512: Sha512,
    /// Their number.
    pub size: u64,
    /// How the program is linked.
    pub linkage: Linkage,
    /// What Go's linker recorded in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<GoBuild>,
    /// Other facts about the program.
    #[serde(default, skip_serializing_if = "ProgramFacts::is_empty")]
    pub facts: ProgramFacts,
    /// The licence that the definition stated when it was locked. Like `supplier`, it is for
    /// readers and not compared: a better description needs no new lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The supplier that the definition stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// The CNI versions that it answered with; none if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni_versions: Option<CniAnswer>,
    /// How far its origin was verified.
    pub level: Level,
    /// The checksum file that names the artefact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<LockedChecksum>,
    /// The signatures of the artefact's publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<LockedSigned>,
    /// The statement that it was built again with the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduced: Option<Reproduced>,
}

/// A checksum file that was found beside an asset, and is kept beside the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedChecksum {
    /// Where it was.
    pub location: String,
    /// The name by which it lists the asset.
    pub name: String,
    /// The digest of the checksum file, which is its name in the directory of evidence.
    pub digest: Digest,
    /// The SHA-512 of the asset, if that is what the checksum file lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<Sha512>,
}

impl BundleLock {
    /// The longest lock: the largest bundle for six platforms.
    pub const LIMIT: usize = 8 << 20;
    const LIMITS: Limits = Limits { bytes: Self::LIMIT, values: 128 * 1024 };

    /// A lock of these entries, in their order.
    pub fn new(name: BundleName, mut plugins: Vec<LockedPlugin>) -> Self {
        plugins.sort_by(|a, b| a.key().cmp(&b.key()));
        Self { schema: None, api_version: ApiVersion::V1, kind: Kind::BundleLock, name, plugins }
    }

    /// Parses the text of a lock; `file` is what errors call it.
    ///
    /// # Errors
    /// If it is not one, or lists a plugin twice for one platform.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, LockError> {
        let lock: Self = json::parse_as(&format!("`{file}`"), bytes, Self::LIMITS, Outline::Any)?;
        let mut seen = BTreeSet::new();
        match lock.plugins.iter().find(|entry| !seen.insert(entry.key())) {
            Some(entry) => Err(LockError::Repeated {
                name: entry.name.clone(),
                platform: entry.platform.clone(),
            }),
            None => Ok(lock),
        }
    }

    /// The text that is written: sorted keys, one line for each value.
    pub fn to_text(&self) -> String {
        json::readable(self)
    }

    /// The entry of a plugin.
    pub fn entry(&self, platform: &Platform, name: &PluginName) -> Option<&LockedPlugin> {
        self.plugins.iter().find(|entry| entry.key() == (name, platform))
    }

    /// The digests of the evidence that it keeps.
    pub fn evidence(&self) -> BTreeSet<Digest> {
        let checksums = self.plugins.iter().filter_map(|it| it.checksum.as_ref());
        let proofs = self.plugins.iter().filter_map(|it| it.sumdb);
        let signed = self.plugins.iter().filter_map(|it| it.signed.as_ref());
        let signed = signed.flat_map(LockedSigned::files);
        checksums.map(|it| it.digest).chain(proofs).chain(signed).collect()
    }

    /// Everything that keeps a build from using the lock for the definition; empty if it holds.
    pub fn problems(&self, definition: &Definition, kept: &KeptEvidence) -> Vec<LockError> {
        let mut problems = self.stale(definition);
        problems.extend(self.unsupported(kept));
        problems
    }

    /// What keeps the lock from answering the definition: entries that are missing, were locked for
    /// another request, or are of plugins that the definition does not have. Empty if it holds.
    ///
    /// Only requests are compared, so that a change of a comment or of the compression makes
    /// nothing stale.
    pub fn stale(&self, definition: &Definition) -> Vec<LockError> {
        if self.name != definition.name {
            let (expected, found) = (definition.name.clone(), self.name.clone());
            return vec![LockError::OtherBundle { expected, found }];
        }
        let mut problems = Vec::new();
        let (wanted, recipes) = (definition.requests(), definition.recipes());
        for (key, request) in &wanted {
            let (name, platform) = key;
            let (name, platform) = (name.clone(), platform.clone());
            match self.entry(&platform, &name) {
                None => problems.push(LockError::Missing { name, platform }),
                Some(entry) if entry.request != *request => {
                    let requests = Box::new((request.clone(), entry.request.clone()));
                    problems.push(LockError::Stale { name, platform, requests });
                }
                Some(entry) => {
                    problems.extend(entry.pinned_elsewhere(definition));
                    problems.extend(entry.reproduced_otherwise(recipes.get(key)));
                }
            }
        }
        problems.extend(self.two_digests());
        problems.extend(self.two_sums());
        let unknown = self
            .plugins
            .iter()
            .filter(|entry| !wanted.contains_key(&(entry.name.clone(), entry.platform.clone())));
        problems.extend(unknown.map(|entry| LockError::Unknown {
            name: entry.name.clone(),
            platform: entry.platform.clone(),
        }));
        problems
    }

    /// Two entries for one asset that have it with different digests: no build could take both.
    fn two_digests(&self) -> Option<LockError> {
        let mut seen = BTreeMap::new();
        self.plugins.iter().find_map(|entry| {
            let artefact = entry.artefact?;
            // An image has a manifest for each platform.
            let platform = entry.image.map(|_| &entry.platform);
            let first: &LockedPlugin =
                seen.entry((&entry.request.location, platform)).or_insert(entry);
            let other = first.artefact.filter(|other| other.digest != artefact.digest)?;
            let digests = Box::new((other.digest, artefact.digest));
            Some(LockError::TwoDigests {
                names: (first.name.clone(), entry.name.clone()),
                platform: entry.platform.clone(),
                digests,
            })
        })
    }

    /// Two entries for one version of a module that have it with different sums.
    fn two_sums(&self) -> Option<LockError> {
        let mut seen = BTreeMap::new();
        self.plugins.iter().find_map(|entry| {
            let sum = entry.module_sum?;
            let module = (&entry.request.location, &entry.request.version);
            let first: &LockedPlugin = seen.entry(module).or_insert(entry);
            let other = first.module_sum.filter(|other| *other != sum)?;
            Some(LockError::TwoSums {
                names: (first.name.clone(), entry.name.clone()),
                platform: entry.platform.clone(),
                sums: Box::new((other, sum)),
            })
        })
    }

    /// What is wrong with the levels, given the evidence that is kept.
    pub fn unsupported(&self, kept: &KeptEvidence) -> Vec<LockError> {
        let problems = self.plugins.iter().filter_map(|entry| match entry.computed_level(kept) {
            Ok(level) if level == entry.level => None,
            Ok(computed) => Some(LockError::Level {
                name: entry.name.clone(),
                platform: entry.platform.clone(),
                said: entry.level,
                computed,
            }),
            Err(reason) => Some(LockError::Evidence {
                name: entry.name.clone(),
                platform: entry.platform.clone(),
                reason,
            }),
        });
        problems.collect()
    }
}

impl LockedPlugin {
    fn key(&self) -> (&PluginName, &Platform) {
        (&self.name, &self.platform)
    }

    /// The licence: the one that the definition stated, else the one that was found.
    pub fn licence(&self) -> Option<&str> {
        let found = self.facts.license.as_ref().map(|found| found.expression.as_str());
        self.license.as_deref().or(found)
    }

    /// The digest that an image's reference named when it was locked: of an index or a manifest.
    pub fn root(&self) -> Option<Digest> {
        Some(self.image?.index.unwrap_or(self.artefact?.digest))
    }

    /// The digest that the definition fixes, if it is not the one of the entry.
    fn pinned_elsewhere(&self, definition: &Definition) -> Option<LockError> {
        let artefact = self.artefact?;
        let plugin = definition.plugins.iter().find(|plugin| plugin.name == self.name)?;
        let asset = definition.source(&plugin.source)?.kind.asset()?;
        let by_reference = self.root().and_then(|root| {
            let reference: Reference = self.request.location.parse().ok()?;
            Some((reference.selector.digest?, root))
        });
        let by_digest = asset.pin(&self.platform).map(|pin| (pin, artefact.digest));
        let differing = |(pin, found): &(Digest, Digest)| pin != found;
        let digests = by_reference.into_iter().chain(by_digest).find(differing)?;
        Some(LockError::Pinned {
            name: self.name.clone(),
            platform: self.platform.clone(),
            digests: Box::new(digests),
        })
    }

    /// The same with the level that the evidence gives; the least if it contradicts the entry.
    #[must_use]
    pub fn with_level(mut self, kept: &KeptEvidence) -> Self {
        self.level = self.computed_level(kept).unwrap_or(Level::None);
        self
    }

    /// How far the origin is verified by what is kept, or why what is kept contradicts the entry.
    fn computed_level(&self, kept: &KeptEvidence) -> Result<Level, String> {
        let level = self.unsigned_level(kept)?;
        let level = self.signed_level(kept)?.unwrap_or(level);
        match &self.reproduced {
            Some(reproduced) => reproduced.level_of(self),
            None => Ok(level),
        }
    }

    /// The same without what the publisher signed.
    ///
    /// A checksum file proves that who publishes the asset meant these bytes, and not more: it
    /// comes from the same place, unless the definition names another one.
    fn unsigned_level(&self, kept: &KeptEvidence) -> Result<Level, String> {
        if self.request.build.is_some() || self.module_sum.is_some() || self.sumdb.is_some() {
            return self.level_of_module(kept);
        }
        if !self.request.has_asset() && self.artefact.is_some() {
            return Err("a file of a directory is not taken from an asset".to_owned());
        }
        if self.request.is_image() && self.checksum.is_some() {
            return Err("an image has no checksum file".to_owned());
        }
        if self.image.is_some() != (self.request.is_image() && self.artefact.is_some()) {
            return Err(
                "a plugin has a layer if it is taken from an image, and only then".to_owned()
            );
        }
        let Some(artefact) = &self.artefact else {
            return match self.checksum {
                Some(_) => Err("there is no asset that the checksum file could name".to_owned()),
                None => Ok(Level::None),
            };
        };
        let Some(checksum) = &self.checksum else { return Ok(Level::Tofu) };
        let asset = &self.request.location;
        let is_expected = match &self.request.checksums {
            Some(named) => *named == checksum.location,
            None => checksums_beside(asset).iter().any(|(place, _)| *place == checksum.location),
        };
        if !is_expected || base_name(asset) != Some(checksum.name.as_str()) {
            let LockedChecksum { location, name, .. } = checksum;
            return Err(format!(
                "`{name}` in `{location}` is not the checksum of `{asset}` that the definition names"
            ));
        }
        let content = kept
            .get(&checksum.digest)
            .ok_or_else(|| format!("the checksum file {} is not kept", checksum.digest))?;
        let listed = ChecksumFile::parse(content)
            .and_then(|file| file.sum_of(&checksum.name))
            .map_err(|error| format!("`{}`: {error}", checksum.location))?;
        let recorded = match listed {
            Sum::Sha256(_) => Some(Sum::Sha256(artefact.digest)),
            Sum::Sha512(_) => checksum.sha512.map(Sum::Sha512),
        };
        if recorded != Some(listed) {
            let recorded = recorded.map_or_else(|| "none".to_owned(), |sum| sum.to_string());
            let LockedChecksum { location, name, .. } = checksum;
            return Err(format!("`{location}` says {listed} of `{name}`, the lock {recorded}"));
        }
        Ok(level::of_checksum(&self.request.location, &checksum.location))
    }

    /// The same for the module that it was compiled from just now, if it was.
    pub fn differs_in_module(&self, found: Option<ModuleSum>) -> Option<String> {
        let (expected, found) = (self.module_sum?, found?);
        (expected != found)
            .then(|| format!("the sum of its module is {found}, the lock says {expected}"))
    }

    /// The same for what is compiled: the checksum database has the sum of its module, or nothing
    /// is known of it.
    fn level_of_module(&self, kept: &KeptEvidence) -> Result<Level, String> {
        let Some(build) = &self.request.build else {
            return Err("it is not compiled from a module".to_owned());
        };
        let Some(sum) = self.module_sum else {
            // As with any source whose files were taken from a directory instead.
            return match self.sumdb {
                Some(_) => Err("there is no sum of its module".to_owned()),
                None => Ok(Level::None),
            };
        };
        if self.artefact.is_some() || self.checksum.is_some() {
            return Err("a compiled plugin is not taken from an asset".to_owned());
        }
        let Some(digest) = self.sumdb else { return Ok(Level::Tofu) };
        if build.without_sumdb {
            return Err("the definition does not ask the checksum database".to_owned());
        }
        let proof = kept.get(&digest).ok_or_else(|| format!("the proof {digest} is not kept"))?;
        let version = self.request.version.as_deref().unwrap_or_default();
        SumProof::parse(proof)
            .and_then(|proof| proof.verify(&self.request.location, version, sum))
            .map_err(|error| format!("the proof {digest} of the checksum database: {error}"))?;
        Ok(Level::ChecksumDatabase)
    }

    /// The same with the proof of an entry for the same module, if that still proves the level. A
    /// proof from today has another head of the tree, and would change a lock each time it is made.
    #[must_use]
    pub fn with_proof_of(mut self, old: Option<&Self>, kept: &KeptEvidence) -> Self {
        let before = old.map(|old| Self { sumdb: old.sumdb, ..self.clone() });
        let proves = |entry: &Self| entry.computed_level(kept) == Ok(Level::ChecksumDatabase);
        if let Some(before) = before.filter(proves) {
            self.sumdb = before.sumdb;
        }
        self
    }

    /// What of a plugin is not what is locked, as "WHAT is X, expected Y". `member` and `image` are
    /// those of an asset that it was taken from.
    pub fn differs(
        &self,
        facts: &PluginFile,
        program: &ProgramFacts,
        sha512: &Sha512,
        member: Option<&str>,
        image: Option<InImage>,
    ) -> Option<String> {
        let differs = |what: &str, expected: String, found: String| {
            (expected != found).then(|| format!("its {what} is {found}, the lock says {expected}"))
        };
        let layer = |image: InImage| image.layer.to_string();
        let go = |go: &Option<GoBuild>| match go {
            Some(GoBuild { go, path, version }) => {
                format!("{go} {path} {}", version.as_deref().unwrap_or("of no version"))
            }
            None => "none".to_owned(),
        };
        differs("digest", self.digest.to_string(), facts.digest.to_string())
            .or_else(|| differs("SHA-512", self.sha512.to_string(), sha512.to_string()))
            .or_else(|| differs("size", self.size.to_string(), facts.size.to_string()))
            .or_else(|| differs("linkage", self.linkage.to_string(), facts.linkage.to_string()))
            .or_else(|| differs("Go build information", go(&self.go), go(&facts.go)))
            .or_else(|| {
                let mut program = program.clone();
                if self.request.build.is_some() && program.license.is_none() {
                    // It was compiled before, and its module was not fetched again.
                    program.license.clone_from(&self.facts.license);
                }
                let (what, expected, found) = self.facts.difference(&program)?;
                differs(&what, expected, found)
            })
            .or_else(|| differs("layer", layer(self.image?), layer(image?)))
            .or_else(|| differs("member", self.member.clone()?, member?.to_owned()))
    }
}

impl From<JsonError> for LockError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
