//! One rule of a policy: as it is written, and with its patterns and keys parsed.
//!
//! A field that a rule can have is declared here, twice, and judged in `condition.rs`; no other
//! file knows it. Rules that contradict themselves, or that nothing can satisfy, are refused when
//! the policy is read, not when the first image is.

use semver::Version;
use serde::Deserialize;

use super::error::PolicyError;
use super::keys::{Authority, KeyFiles, RawAuthority};
use crate::model::{BundleName, PluginName, predicate_type};
use crate::trust::age::MaxAge;
use crate::trust::glob::Glob;

/// One rule of a policy.
#[derive(Debug)]
pub struct Rule {
    name: String,
    pub(super) images: Vec<Glob>,
    pub(in crate::trust) deny: bool,
    pub(in crate::trust) authorities: Vec<Authority>,
    pub(in crate::trust) bundles: Vec<BundleName>,
    pub(in crate::trust) plugins: Vec<PluginName>,
    pub(in crate::trust) min_version: Option<Version>,
    pub(in crate::trust) max_age: Option<MaxAge>,
    pub(in crate::trust) rollback: Rollback,
    pub(in crate::trust) attestations: Vec<Attestation>,
    pub(in crate::trust) mode: Mode,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawRule {
    name: String,
    images: Vec<String>,
    #[serde(default)]
    deny: bool,
    #[serde(default)]
    authorities: Vec<RawAuthority>,
    #[serde(default)]
    bundles: Vec<BundleName>,
    #[serde(default)]
    plugins: Vec<PluginName>,
    #[serde(default)]
    min_version: Option<Version>,
    #[serde(default)]
    max_age: Option<MaxAge>,
    #[serde(default)]
    rollback: Rollback,
    #[serde(default)]
    attestations: Vec<RawAttestation>,
    #[serde(default)]
    mode: Mode,
}

/// What a rule does with an image that it cannot prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The image is refused.
    #[default]
    Enforce,
    /// It is admitted, and every report calls it unproven.
    Warn,
}

/// Whether a node that had a newer version of a bundle accepts an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// Yes, down to the rule's `minVersion`.
    #[default]
    Allowed,
    /// No: the newest version that the node ever accepted is its floor.
    Monotonic,
}

/// One kind of attestation that a rule requires.
#[derive(Debug)]
pub(in crate::trust) struct Attestation {
    pub(in crate::trust) name: String,
    pub(in crate::trust) predicate_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawAttestation {
    name: String,
    predicate_type: String,
}

impl Rule {
    /// The name that reports use for the rule.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl RawRule {
    /// Parses patterns and keys.
    pub(super) fn parse(self, keys: &mut KeyFiles<'_>) -> Result<Rule, PolicyError> {
        if let Err(reason) = self.check() {
            return Err(keys.rule_error(&self.name, reason));
        }
        let mut images = Vec::new();
        for text in &self.images {
            images.push(Glob::parse(text).map_err(|reason| keys.rule_error(&self.name, reason))?);
        }
        let mut authorities = Vec::new();
        for authority in self.authorities {
            authorities.push(keys.authority(&self.name, authority)?);
        }
        Ok(Rule {
            images,
            authorities,
            deny: self.deny,
            bundles: self.bundles,
            plugins: self.plugins,
            min_version: self.min_version,
            max_age: self.max_age,
            rollback: self.rollback,
            attestations: self.attestations.into_iter().map(RawAttestation::parse).collect(),
            mode: self.mode,
            name: self.name,
        })
    }

    /// Why the fields do not go together.
    fn check(&self) -> Result<(), &'static str> {
        let keyless = self.authorities.is_empty();
        if self.name.is_empty() || self.name.contains(char::is_control) {
            return Err("a rule must have a printable name");
        }
        if self.images.is_empty() {
            return Err(
                "`images` is empty, so it matches nothing; write [\"**\"] to match every image",
            );
        }
        if self.deny && !(keyless && self.attestations.is_empty()) {
            return Err("a rule with `deny: true` cannot have `authorities` or `attestations`");
        }
        if !self.deny && keyless && self.mode == Mode::Enforce {
            return Err(
                "`authorities` is empty, so no image can satisfy it; write `deny: true` to refuse",
            );
        }
        Ok(())
    }
}

impl RawAttestation {
    fn parse(self) -> Attestation {
        let known = predicate_type::named(&self.predicate_type);
        let predicate_type = known.map_or(self.predicate_type, str::to_owned);
        Attestation { name: self.name, predicate_type }
    }
}
