//! The public keys of a policy while it is parsed: written into it, or in files that it names.
//!
//! Opening a file is the caller's job: it passes a function that returns the text of a key file.
//! What was read is remembered, because the stored policy contains the text of every key file:
//! otherwise a process that may write the key file, but not the policy, could change the policy's
//! meaning without changing its digest.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

use super::error::PolicyError;
use crate::model::visible;
use crate::trust::signature::Key;

/// One key that a rule trusts, and the name that reports use for it.
#[derive(Debug)]
pub(in crate::trust) struct Authority {
    pub(in crate::trust) name: String,
    pub(in crate::trust) key: Key,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawAuthority {
    name: String,
    key: RawKey,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawKey {
    file: Option<String>,
    data: Option<String>,
}

/// The key files of a policy that is being parsed.
pub(super) struct KeyFiles<'a> {
    /// The policy's name, for errors.
    pub(super) file: &'a str,
    /// What the policy's own `files` contains, if it has that field.
    pub(super) held: Option<BTreeMap<String, String>>,
    /// Returns the text of a key file.
    pub(super) read: &'a mut dyn FnMut(&str) -> io::Result<String>,
    /// What `read` returned.
    pub(super) fetched: BTreeMap<String, String>,
}

impl KeyFiles<'_> {
    /// The error of a rule in this policy.
    pub(super) fn rule_error(&self, rule: &str, reason: impl Into<String>) -> PolicyError {
        PolicyError::Rule {
            file: self.file.to_owned(),
            rule: visible(rule).into_owned(),
            reason: reason.into(),
        }
    }

    /// Parses the key of an authority of `rule`.
    pub(super) fn authority(
        &mut self,
        rule: &str,
        raw: RawAuthority,
    ) -> Result<Authority, PolicyError> {
        let (holder, pem) = match (raw.key.file, raw.key.data) {
            (None, Some(data)) => (format!("authority `{}`", visible(&raw.name)), data),
            (Some(name), None) => {
                let pem = self.key_file(&name)?;
                (format!("key `{}`", visible(&name)), pem)
            }
            _ => {
                let reason = format!(
                    "authority `{}`: `key` must have either `file` or `data`",
                    visible(&raw.name)
                );
                return Err(self.rule_error(rule, reason));
            }
        };
        match Key::parse(&pem) {
            Ok(key) => Ok(Authority { name: raw.name, key }),
            Err(source) => Err(PolicyError::Key { file: self.file.to_owned(), holder, source }),
        }
    }

    fn key_file(&mut self, name: &str) -> Result<String, PolicyError> {
        let held = self.held.as_ref().and_then(|held| held.get(name));
        if let Some(pem) = held.or_else(|| self.fetched.get(name)) {
            return Ok(pem.clone());
        }
        let cannot_read = |source| PolicyError::ReadKey {
            file: self.file.to_owned(),
            key: visible(name).into_owned(),
            source,
        };
        if self.held.is_some() {
            // With some keys in the policy and some beside it, one policy would have two texts.
            let reason = "`files` of the policy does not contain it";
            return Err(cannot_read(io::Error::other(reason)));
        }
        let pem = (self.read)(name).map_err(cannot_read)?;
        // As it will be read again from the stored policy: the lines of a block scalar, with one
        // line feed at the end.
        let pem = pem.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
        self.fetched.insert(name.to_owned(), pem.clone());
        Ok(pem)
    }
}
