//! The gates of a definition: requirements for every plugin of a bundle.
//!
//! ```yaml
//! gates:
//!   static: true
//!   minGo: "1.24"
//!   minLevel: checksum-same-origin
//! ```
//!
//! A gate that is not listed is off. The list of gates is closed. They are only parsed here;
//! [`crate::bundle::gate`] decides. A program must always be for its platform, without a gate.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};

use super::source::parsed;
use crate::binary::GoRelease;
use crate::bundle::lock::Level;
use crate::model::{PluginName, excerpt};

/// One gate that is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// `static`: no plugin needs an interpreter.
    Static,
    /// `minGo`: each was built by this release of Go, or by a later one.
    MinGo(GoRelease),
    /// `oneToolchain`: all were built by the same release of Go.
    OneToolchain,
    /// `versionMatches`: the version inside of the program is the one that its source says.
    VersionMatches,
    /// `mainPackage`: the path of the main package ends in the plugin's name, or is the one that
    /// is given here.
    MainPackage(BTreeMap<PluginName, String>),
    /// `noDevel`: the version of the main module is known.
    NoDevel,
    /// `noPacker`: none unpacks itself.
    NoPacker,
    /// `allowSetId`: only these have set-ID bits or file capabilities in their source.
    AllowSetId(BTreeSet<PluginName>),
    /// `cniVersion`: each supports this version of the specification.
    CniVersion(Version),
    /// `kubernetes`: a plugin that calls the Kubernetes API links the client of a release in this
    /// range.
    Kubernetes(VersionReq),
    /// `minLevel`: the origin of each is verified at least this far.
    MinLevel(Level),
}

impl Gate {
    /// The key that sets it.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::MinGo(_) => "minGo",
            Self::OneToolchain => "oneToolchain",
            Self::VersionMatches => "versionMatches",
            Self::MainPackage(_) => "mainPackage",
            Self::NoDevel => "noDevel",
            Self::NoPacker => "noPacker",
            Self::AllowSetId(_) => "allowSetId",
            Self::CniVersion(_) => "cniVersion",
            Self::Kubernetes(_) => "kubernetes",
            Self::MinLevel(_) => "minLevel",
        }
    }

    /// The plugins that it names.
    fn named(&self) -> Vec<&PluginName> {
        match self {
            Self::MainPackage(paths) => paths.keys().collect(),
            Self::AllowSetId(names) => names.iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// The gates as they are written in a definition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct RawGates {
    #[serde(rename = "static")]
    is_static: bool,
    #[serde(deserialize_with = "parsed")]
    min_go: Option<GoRelease>,
    one_toolchain: bool,
    version_matches: bool,
    #[serde(deserialize_with = "main_package")]
    main_package: Option<BTreeMap<PluginName, String>>,
    no_devel: bool,
    no_packer: bool,
    #[serde(deserialize_with = "list")]
    allow_set_id: Option<BTreeSet<PluginName>>,
    #[serde(deserialize_with = "cni_version")]
    cni_version: Option<Version>,
    #[serde(deserialize_with = "range")]
    kubernetes: Option<VersionReq>,
    #[serde(deserialize_with = "level")]
    min_level: Option<Level>,
}

impl RawGates {
    /// The gates that are on, or why they do not fit these plugins.
    pub(super) fn check(&self, plugins: &BTreeSet<&PluginName>) -> Result<Vec<Gate>, String> {
        let gates = [
            self.is_static.then_some(Gate::Static),
            self.min_go.map(Gate::MinGo),
            self.one_toolchain.then_some(Gate::OneToolchain),
            self.version_matches.then_some(Gate::VersionMatches),
            self.main_package.clone().map(Gate::MainPackage),
            self.no_devel.then_some(Gate::NoDevel),
            self.no_packer.then_some(Gate::NoPacker),
            self.allow_set_id.clone().map(Gate::AllowSetId),
            self.cni_version.clone().map(Gate::CniVersion),
            self.kubernetes.clone().map(Gate::Kubernetes),
            self.min_level.map(Gate::MinLevel),
        ];
        let gates: Vec<Gate> = gates.into_iter().flatten().collect();
        for gate in &gates {
            if let Some(name) = gate.named().into_iter().find(|name| !plugins.contains(name)) {
                return Err(format!("`{}` names `{name}`, which is not in `plugins`", gate.key()));
            }
        }
        Ok(gates)
    }
}

fn list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeSet<PluginName>>, D::Error> {
    BTreeSet::deserialize(deserializer).map(Some)
}

fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Level>, D::Error> {
    Level::deserialize(deserializer).map(Some)
}

fn cni_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Version>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let version = text.parse().map_err(|_| {
        let text = excerpt(&text);
        de::Error::custom(format!("`{text}` is not a CNI version: expected one such as `1.0.0`"))
    });
    version.map(Some)
}

fn range<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<VersionReq>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let range = text.parse().map_err(|error| {
        let text = excerpt(&text);
        de::Error::custom(format!(
            "`{text}` is not a range of versions, such as `>=1.28, <1.35`: {error}"
        ))
    });
    range.map(Some)
}

/// `true`, or the paths of those whose main package has another name.
fn main_package<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<PluginName, String>>, D::Error> {
    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = Option<BTreeMap<PluginName, String>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("true, false, or the main package of each plugin where it has another name")
        }

        fn visit_bool<E>(self, is_on: bool) -> Result<Self::Value, E> {
            Ok(is_on.then(BTreeMap::new))
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            BTreeMap::deserialize(de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Visitor)
}

/// The schema of the object.
pub(super) fn schema() -> Value {
    let on = |description: &str| json!({ "description": description, "type": "boolean" });
    let text = |description: &str, pattern: &str| json!({ "description": description, "type": "string", "pattern": pattern });
    json!({
        "description":
            "Requirements for every plugin: `lock` and `build` refuse a plugin that does not meet \
             them. A gate that is not listed is off; one that cannot be decided for a plugin refuses \
             it. Changes here do not make a lock stale.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "static": on("No plugin needs an interpreter or a C library on the node."),
            "minGo": text(
                "The oldest Go release that a plugin may be built with, such as 1.24 or 1.24.3.",
                r"^[0-9]+\.[0-9]+(\.[0-9]+|rc[0-9]+|beta[0-9]+)?$",
            ),
            "oneToolchain": on("All plugins, of all platforms, are built with the same Go release."),
            "versionMatches": on(
                "The `version` of the source is the version of the main module, or one that the \
                 build set with the linker's -X. A source without a version is refused."
            ),
            "mainPackage": {
                "description":
                    "The path of each plugin's main package ends in the plugin's name. For a plugin \
                     whose package has another name, its whole path.",
                "anyOf": [
                    { "type": "boolean" },
                    { "type": "object", "additionalProperties": { "type": "string" } },
                ],
            },
            "noDevel": on("The version of each main module is known, and not (devel)."),
            "noPacker": on("No plugin is packed with UPX: a packed program cannot be inspected."),
            "allowSetId": {
                "description":
                    "The plugins whose file may have set-ID bits or file capabilities in its \
                     source; with an empty list, none. The bundle never has them.",
                "type": "array",
                "uniqueItems": true,
                "items": { "$ref": "#/definitions/plugin" },
            },
            "cniVersion": text(
                "The version of the CNI specification that each plugin must support. `lock` asks \
                 each for its VERSION; a plugin that it could not ask is refused.",
                r"^[0-9]+\.[0-9]+\.[0-9]+$",
            ),
            "kubernetes": text(
                "The Kubernetes releases that the bundle is for, such as `>=1.28, <1.35`: if a \
                 plugin links k8s.io/client-go, it must be that of a release in this range.",
                "^.+$",
            ),
            "minLevel": {
                "description": "How far the origin of each plugin must be verified at least.",
                "enum": Level::ALL,
            },
        },
    })
}
