//! A policy as it is written: the YAML document before its keys are read.
//!
//! Unknown fields are refused, so that a misspelled condition is an error and not a condition that
//! silently does not apply.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::PolicyError;
use super::rule::RawRule;
use crate::model::{Digest, visible, yaml};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawPolicy {
    api_version: String,
    kind: String,
    pub(super) rules: Vec<RawRule>,
    #[serde(default)]
    pub(super) deny: Vec<Digest>,
    /// Key files that the policy contains: name and PEM text.
    pub(super) files: Option<BTreeMap<String, String>>,
}

impl RawPolicy {
    /// Parses the document, and checks that it is a policy of a known version.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        let raw: Self = yaml::parse(file, text)?;
        for (field, found, expected) in
            [("apiVersion", &raw.api_version, "cnister.dev/v1"), ("kind", &raw.kind, "Policy")]
        {
            if found != expected {
                let (file, found) = (file.to_owned(), visible(found).into_owned());
                return Err(PolicyError::Kind { file, field, found, expected });
            }
        }
        Ok(raw)
    }
}
