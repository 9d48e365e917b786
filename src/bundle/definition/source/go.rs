//! A Go module whose packages are compiled, as a definition writes it: `go: {module: …}`.
//!
//! The options of a build are a closed list: the module and its version, the packages, the
//! release of Go, build tags, variables that the linker sets, and whether symbols are stripped.
//! There is no field for a flag or a program, so that no definition can name something to execute.
//! Only the text is checked here; `publish::source` compiles.

mod flags;
mod module;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::given::{Written, given, text_or_fields};
use super::pattern::{PLUGIN, VERSION};
use crate::model::{Platform, PluginName};

pub use flags::{BuildTag, ParseFlagError, VariableName, VariableValue};
pub use module::{GoRelease, ModulePath, ModuleVersion, PackagePattern, ParseModuleError};

/// The packages of a module that are plugins, and how they are compiled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoModule {
    /// The path of the module.
    pub module: ModulePath,
    /// Its version.
    pub version: ModuleVersion,
    /// The release of Go that compiles it.
    pub toolchain: GoRelease,
    /// The package of each plugin.
    pub packages: Packages,
    /// Build tags (`-tags`).
    #[serde(default)]
    pub tags: Vec<BuildTag>,
    /// Variables that the linker sets (`-ldflags=-X`).
    #[serde(default)]
    pub variables: BTreeMap<VariableName, VariableValue>,
    /// Whether the symbol table and debug information are left out (`-ldflags='-s -w'`).
    #[serde(default)]
    pub strip: bool,
    /// Whether the module's sum is compared with the checksum database.
    #[serde(default, deserialize_with = "given")]
    sumdb: Option<Off>,
}

/// The only value of a switch that is on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Off {
    Off,
}

/// The package of each plugin: one pattern, or one for each plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// The same pattern for all.
    All(PackagePattern),
    /// By plugin.
    Each(BTreeMap<PluginName, PackagePattern>),
}

/// How a program is asked to be compiled; a lock stores it as a part of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GoRequest {
    /// The release of Go, as it calls itself (`go1.26.8`).
    pub toolchain: String,
    /// Build tags, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Variables that the linker sets, with the placeholders filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Whether the symbol table and debug information are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip: bool,
    /// Whether the checksum database is not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_sumdb: bool,
}

impl GoModule {
    /// The import path of a plugin's package; the module's own for a plugin that it does not have.
    pub fn package(&self, plugin: &PluginName) -> String {
        let pattern = match &self.packages {
            Packages::All(pattern) => Some(pattern),
            Packages::Each(packages) => packages.get(plugin),
        };
        match pattern.map(|pattern| pattern.fill(plugin)) {
            Some(path) if path != "." => format!("{}/{path}", self.module),
            _ => self.module.to_string(),
        }
    }

    /// Whether the module's sum is compared with the checksum database.
    pub fn has_sumdb(&self) -> bool {
        self.sumdb.is_none()
    }

    /// How its programs are compiled.
    pub fn request(&self) -> GoRequest {
        let fill = |value: &VariableValue| value.fill(&self.version);
        let variables = self.variables.iter().map(|(name, value)| (name.to_string(), fill(value)));
        let tags: BTreeSet<String> = self.tags.iter().map(ToString::to_string).collect();
        GoRequest {
            toolchain: self.toolchain.to_string(),
            tags: tags.into_iter().collect(),
            variables: variables.collect(),
            strip: self.strip,
            without_sumdb: !self.has_sumdb(),
        }
    }

    /// It is compiled for each platform.
    pub fn differs_by_platform(&self) -> bool {
        true
    }

    pub(super) fn check(&self, _: &[Platform], plugins: &[&PluginName]) -> Result<(), String> {
        match &self.packages {
            Packages::All(pattern) if plugins.len() > 1 && !pattern.has_plugin() => Err(format!(
                "`packages` is one package and cannot be several plugins: write `{PLUGIN}` into it"
            )),
            Packages::All(_) => Ok(()),
            Packages::Each(packages) => {
                if let Some(name) = packages.keys().find(|name| !plugins.contains(name)) {
                    return Err(format!(
                        "`packages` has `{name}`, which is not a plugin of this source"
                    ));
                }
                match plugins.iter().find(|name| !packages.contains_key(**name)) {
                    Some(name) => Err(format!("`packages` has no package for `{name}`")),
                    None => Ok(()),
                }
            }
        }?;
        // A name with three dots would be a pattern of several packages.
        match plugins.iter().find(|name| self.package(name).contains("...")) {
            Some(name) => Err(format!("the package of `{name}` must not have `...` in its path")),
            None => Ok(()),
        }
    }

    pub(super) fn schema() -> Value {
        let package = json!({ "type": "string", "minLength": 1 });
        json!({
            "description":
                "A Go module whose packages are compiled for each platform, with `CGO_ENABLED=0`, \
                 `-trimpath`, `-buildvcs=false` and `-mod=readonly`.",
            "type": "object",
            "additionalProperties": false,
            "required": ["module", "version", "toolchain", "packages"],
            "properties": {
                "module": {
                    "description": "The path of the module, as its go.mod has it.",
                    "type": "string",
                    "minLength": 1,
                },
                "version": {
                    "description":
                        "The version: a full semantic version (v1.9.1) or a pseudo-version. The \
                         name of a branch and `latest` are not accepted.",
                    "type": "string",
                    "pattern": "^v[0-9]",
                },
                "toolchain": {
                    "description": "The only release of Go that compiles it, such as 1.26.8.",
                    "type": "string",
                    "pattern": module::RELEASE,
                },
                "packages": {
                    "description": format!(
                        "The package of each plugin, relative to the module (./plugins/main/macvlan), or \
                         one pattern with `{PLUGIN}` for all."
                    ),
                    "anyOf": [
                        package,
                        { "type": "object", "minProperties": 1, "additionalProperties": package },
                    ],
                },
                "tags": {
                    "description": "Build tags.",
                    "type": "array",
                    "items": { "type": "string", "pattern": flags::TAG },
                },
                "variables": {
                    "description": format!(
                        "String variables that the linker sets, by import path and name \
                         (example.com/app/version.Version); `{VERSION}` stands for `version`."
                    ),
                    "type": "object",
                    "additionalProperties": { "type": "string", "pattern": flags::VALUE },
                },
                "strip": {
                    "description": "Whether symbols and debug information are left out.",
                    "type": "boolean",
                    "default": false,
                },
                "sumdb": {
                    "description":
                        "With off, the checksum database is not asked, for a module that is not public. \
                         The lock pins its sum.",
                    "enum": ["off"],
                },
            },
        })
    }
}

/// As a sentence names it: "go1.26.8 -tags=netgo -s -w".
impl fmt::Display for GoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { toolchain, tags, variables, strip, without_sumdb } = self;
        f.write_str(toolchain)?;
        if !tags.is_empty() {
            write!(f, " -tags={}", tags.join(","))?;
        }
        f.write_str(if *strip { " -s -w" } else { "" })?;
        for (name, value) in variables {
            write!(f, " -X {name}={value}")?;
        }
        f.write_str(if *without_sumdb { ", without checksum database" } else { "" })
    }
}

impl<'de> Deserialize<'de> for Packages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "the path of a package, or one for each plugin";
        match text_or_fields(deserializer, EXPECTED)? {
            Written::Text(text) => text.parse().map(Self::All).map_err(serde::de::Error::custom),
            Written::Fields(packages) => Ok(Self::Each(packages)),
        }
    }
}

#[cfg(test)]
mod tests;
