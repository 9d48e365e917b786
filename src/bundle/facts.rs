//! The `facts` of a plugin in `bundle.json`: where it came from, how far that was verified, which
//! CNI versions it speaks, which revision it was built from, and its licence.
//!
//! No decision of a node depends on them: they are signed with the rest and shown. This is the one
//! object of `bundle.json` in which readers ignore fields that they do not know, so that a later
//! release can say more and an older tool in an initramfs still reads it. Every value is text here
//! for the same reason: a level or a kind of source that is added later is shown as it is written.
//! `publish` fills in the values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::json::{Fields, Outline};
use crate::model::visible;

/// Facts about a plugin beyond its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<PluginOrigin>,
    /// The versions of the CNI specification that it answered with; empty if it was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cni_versions: Vec<String>,
    /// The revision that it was built from, as Go recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcs: Option<Revision>,
    /// The licence of its source, as an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
}

/// Where a plugin came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginOrigin {
    /// The kind of its source, as a definition writes it (`archive`).
    pub kind: String,
    /// The name of its source in the definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The URL or path. A directory of the machine that built the bundle is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The path inside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// The upstream version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How far it was verified when the bundle was built.
    pub level: String,
}

/// A revision of a version control system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Such as `git`.
    pub system: String,
    /// The revision that was checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Its time, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Whether files differed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<bool>,
}

impl Facts {
    /// The fields that are read; what is not known is not kept, of any length.
    pub(super) const OUTLINE: Outline = Outline::Fields(&Fields::exact(&[
        (
            "origin",
            Outline::Fields(&Fields::exact(&[
                ("kind", Outline::Any),
                ("source", Outline::Any),
                ("location", Outline::Any),
                ("member", Outline::Any),
                ("version", Outline::Any),
                ("level", Outline::Any),
            ])),
        ),
        ("cniVersions", Outline::Any),
        (
            "vcs",
            Outline::Fields(&Fields::exact(&[
                ("system", Outline::Any),
                ("revision", Outline::Any),
                ("time", Outline::Any),
                ("modified", Outline::Any),
            ])),
        ),
        ("license", Outline::Any),
    ]));

    /// Whether they say nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every text in them.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let origin = self.origin.iter().flat_map(|it| {
            let optional = [&it.source, &it.location, &it.member, &it.version];
            let optional = optional.into_iter().filter_map(Option::as_deref);
            optional.chain([it.kind.as_str(), it.level.as_str()])
        });
        let vcs = self.vcs.iter().flat_map(|it| {
            let optional = [&it.revision, &it.time].into_iter().filter_map(Option::as_deref);
            optional.chain([it.system.as_str()])
        });
        let license = self.license.as_deref();
        origin.chain(self.cni_versions.iter().map(String::as_str)).chain(vcs).chain(license)
    }
}

/// "archive `https://example.com/cni-v1.tgz`, version v1, level checksum-same-origin". The member
/// is left out: plugins of one archive have the same origin.
impl fmt::Display for PluginOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, source, location, member: _, version, level } = self;
        f.write_str(&visible(kind))?;
        if let Some(name) = location.as_ref().or(source.as_ref()) {
            write!(f, " `{}`", visible(name))?;
        }
        if let Some(version) = version {
            write!(f, ", version {}", visible(version))?;
        }
        write!(f, ", level {}", visible(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> PluginOrigin {
        PluginOrigin {
            kind: "archive".to_owned(),
            source: Some("upstream".to_owned()),
            location: Some("https://example.com/cni.tgz".to_owned()),
            member: Some("./bridge".to_owned()),
            version: Some("v1.9.1".to_owned()),
            level: "checksum-same-origin".to_owned(),
        }
    }

    #[test]
    fn an_origin_is_named_in_one_line() {
        for (origin, expected) in [
            (
                origin(),
                "archive `https://example.com/cni.tgz`, version v1.9.1, level checksum-same-origin",
            ),
            (
                PluginOrigin {
                    kind: "directory".to_owned(),
                    location: None,
                    version: None,
                    level: "none".to_owned(),
                    ..origin()
                },
                "directory `upstream`, level none",
            ),
            (
                PluginOrigin {
                    kind: "later\n".to_owned(),
                    source: None,
                    location: None,
                    version: None,
                    ..origin()
                },
                "later\\u{a}, level checksum-same-origin",
            ),
        ] {
            assert_eq!(origin.to_string(), expected);
        }
    }
}
