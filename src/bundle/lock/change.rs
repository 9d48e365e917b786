//! What a new lock changes, as a reviewer reads it, and which of it needs a word of consent.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{BundleLock, LockedPlugin};
use crate::bundle::InImage;
use crate::bundle::definition::source::without_query;
use crate::model::{Digest, Platform, PluginName, visible};

/// What becomes of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LockChange {
    /// The plugin.
    pub name: PluginName,
    /// Its platform.
    pub platform: Platform,
    /// What happens to the entry.
    pub kind: ChangeKind,
    /// Each value that changes, as "WHAT OLD -> NEW"; the whole of an entry that is added.
    pub values: Vec<String>,
    /// Why it is not made without consent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs_consent: Option<String>,
}

/// What happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// There was none.
    Added,
    /// It goes.
    Removed,
    /// It has other values.
    Changed,
}

impl LockChange {
    /// What `new` changes, sorted by plugin and platform.
    pub fn between(old: Option<&BundleLock>, new: &BundleLock) -> Vec<Self> {
        let keys = |lock: &BundleLock| -> Vec<(PluginName, Platform)> {
            let keys = lock.plugins.iter().map(|it| (it.name.clone(), it.platform.clone()));
            keys.collect()
        };
        let all: BTreeSet<_> = old.map(keys).into_iter().flatten().chain(keys(new)).collect();
        let changes = all.into_iter().filter_map(|(name, platform)| {
            let of = |lock: &BundleLock| lock.entry(&platform, &name).cloned();
            let (kind, values, needs_consent) = match (old.and_then(of), of(new)) {
                (None, Some(new)) => (ChangeKind::Added, values(None, &new), None),
                (Some(_), None) => (ChangeKind::Removed, Vec::new(), None),
                (Some(old), Some(new)) if old != new => {
                    (ChangeKind::Changed, values(Some(&old), &new), consent(&old, &new))
                }
                _ => return None,
            };
            Some(LockChange { name, platform, kind, values, needs_consent })
        });
        changes.collect()
    }

    /// Why it is not made without consent, with the plugin and the platform.
    pub fn refusal(&self) -> Option<String> {
        let reason = self.needs_consent.as_ref()?;
        Some(format!("`{}` on {}: {reason}", self.name, self.platform))
    }
}

/// Why a change is more than an update: bytes that change under one request were replaced by
/// their publisher, a compiler that gives other bytes for one request is not the same compiler,
/// and a level that falls may be an attack on the origin. The files of a directory are the user's
/// own.
fn consent(old: &LockedPlugin, new: &LockedPlugin) -> Option<String> {
    let mut reasons = Vec::new();
    if let (Some(before), Some(after)) = (old.module_sum, new.module_sum)
        && old.request == new.request
    {
        if before != after {
            reasons.push("its module changed under the same version".to_owned());
        } else if old.digest != new.digest {
            reasons.push("the same source was compiled to other bytes".to_owned());
        }
    }
    let bytes = |entry: &LockedPlugin| Some((entry.artefact?.digest, entry.digest));
    if let (Some(before), Some(after)) = (bytes(old), bytes(new))
        && old.request == new.request
        && before != after
    {
        let same = match &new.request.version {
            Some(version) => format!("under the same version `{}`", visible(version)),
            None => "under the same location".to_owned(),
        };
        let but = if before.1 == after.1 { ", those of the plugin did not" } else { "" };
        reasons.push(format!("upstream's bytes changed {same}{but}"));
    }
    if new.level < old.level {
        reasons.push(format!("its level falls from {} to {}", old.level, new.level));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The values of an entry, those that differ from `old`.
fn values(old: Option<&LockedPlugin>, new: &LockedPlugin) -> Vec<String> {
    let all = |entry: &LockedPlugin| -> Vec<(&'static str, String)> {
        let go = |value: fn(&crate::bundle::GoBuild) -> Option<String>| {
            entry.go.as_ref().and_then(value).unwrap_or_else(|| "unknown".to_owned())
        };
        let cni = entry.cni_versions.as_ref().map(ToString::to_string);
        let artefact = entry.artefact.as_ref().map(|it| short(&it.digest));
        let image = |digest: fn(InImage) -> Option<Digest>| {
            let digest = entry.image.and_then(digest);
            digest.map_or_else(|| "none".to_owned(), |digest| short(&digest))
        };
        let sum = entry.module_sum.map(|sum| sum.to_string());
        let licence = entry.licence().unwrap_or("unknown").to_owned();
        let reproduced = entry.reproduced.as_ref().map(|it| it.recipe.to_string());
        vec![
            ("version", entry.request.version.clone().unwrap_or_else(|| "none".to_owned())),
            ("from", without_query(&entry.request.location).to_owned()),
            ("artefact", artefact.unwrap_or_else(|| "none".to_owned())),
            ("index", image(|image| image.index)),
            ("layer", image(|image| Some(image.layer))),
            ("member", entry.member.clone().unwrap_or_else(|| "none".to_owned())),
            ("module sum", sum.unwrap_or_else(|| "none".to_owned())),
            ("digest", short(&entry.digest)),
            ("size", entry.size.to_string()),
            ("linkage", entry.linkage.to_string()),
            ("toolchain", go(|go| Some(go.go.clone()))),
            ("package", go(|go| Some(go.path.clone()))),
            ("module version", go(|go| go.version.clone())),
            ("licence", licence),
            ("supplier", entry.supplier.clone().unwrap_or_else(|| "unknown".to_owned())),
            ("CNI versions", cni.unwrap_or_else(|| "unknown".to_owned())),
            ("key", entry.request.key.map_or_else(|| "none".to_owned(), |key| short(&key))),
            ("reproduced from", reproduced.unwrap_or_else(|| "none".to_owned())),
            ("level", entry.level.to_string()),
        ]
    };
    let new = all(new);
    let Some(old) = old else {
        let shown = ["version", "digest", "toolchain", "level"];
        let is_shown =
            |what: &str, value: &str| shown.contains(&what) && (value != "none" || what == "level");
        let shown = new.into_iter().filter(|(what, value)| is_shown(what, value));
        return shown.map(|(what, value)| format!("{what} {}", visible(&value))).collect();
    };
    let pairs = all(old).into_iter().zip(new).filter(|(old, new)| old != new);
    let shown = |(what, old): (&str, String), (_, new): (&str, String)| {
        format!("{what} {} -> {}", visible(&old), visible(&new))
    };
    pairs.map(|(old, new)| shown(old, new)).collect()
}

/// As much of a digest as a reader compares.
fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

impl fmt::Display for LockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, platform, kind, values, .. } = self;
        let sign = match kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        write!(f, "  {sign} {name} {platform}")?;
        if !values.is_empty() {
            write!(f, ": {}", values.join(", "))?;
        }
        Ok(())
    }
}
