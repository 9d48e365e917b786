//! The records of a refused release and of releases that were rolled back.
//!
//! They explain, or hold a release back. Neither makes anything trusted.

use serde::{Deserialize, Serialize};

use super::receipt::{RECORD_LIMIT, Schema};
use super::release::Releases;
use crate::model::{Finding, JsonError, json};

/// A release that was wanted and refused, while the installed set was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// Always 1.
    pub schema_version: Schema,
    /// What was wanted, in the words of the command.
    pub wanted: String,
    /// Why it was refused.
    pub reasons: Vec<Reason>,
}

/// The releases that were rolled back on this node: none of them is installed again unless the
/// owner asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolledBack {
    /// Always 1.
    pub schema_version: Schema,
    /// Each is known by what was installed, so that it is also held back in another index.
    pub releases: Releases,
}

/// One finding of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// The finding's code.
    pub code: String,
    /// The message of the finding.
    pub message: String,
}

impl RolledBack {
    /// Parses `rolled-back.json`, of at most 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("rolled-back", bytes, RECORD_LIMIT)
    }
}

impl Refusal {
    /// What is remembered of these findings.
    pub fn of(wanted: &str, findings: &[Finding]) -> Self {
        let reason = |finding: &Finding| Reason {
            code: finding.code.to_string(),
            message: finding.message.clone(),
        };
        Self {
            schema_version: Schema,
            wanted: wanted.to_owned(),
            reasons: findings.iter().map(reason).collect(),
        }
    }

    /// Parses `refusal.json`, of at most 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse("refusal", bytes, RECORD_LIMIT)
    }
}
