//! A Go module whose packages are compiled, as a definition writes it: `go: {module: …}`.
//!
//! The options of a build are a closed list: the module and its version, the packages, the
//! release of Go, build tags, variables that the linker sets, and whether symbols are stripped.
//! There is no field for a flag or a program, so that no definition can name something to execute.
//! Only the text is checked here; `publish::source` compiles.

mod flags;
mod module;
mod packages;
mod recipe;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::given::given;
use super::pattern::{PLUGIN, VERSION};
use crate::model::{Platform, PluginName};

pub use flags::{BuildTag, LinkerFlags, ParseFlagError, VariableName, VariableValue};
pub use module::{GoRelease, ModulePath, ModuleVersion, PackagePattern, ParseModuleError};
pub use packages::Packages;
pub use recipe::{
    BuildDirectory, ParseRecipeError, Recipe, RecipeRequest, RecipeSource, VendoredArchive,
};

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
    /// The text of `-ldflags`, if a recipe gives it; `variables` and `strip` are then not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ldflags: Option<String>,
    /// Whether the checksum database is not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_sumdb: bool,
}

impl GoModule {
    /// The import path of a plugin's package; the module's own for a plugin that it does not have.
    pub fn package(&self, plugin: &PluginName) -> String {
        match self.packages.of(plugin) {
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
        let request = GoRequest::of(&self.toolchain, &self.tags, self.strip);
        let fill = |value: &VariableValue| value.fill(&self.version.to_string());
        let variables = self.variables.iter().map(|(name, value)| (name.to_string(), fill(value)));
        GoRequest { variables: variables.collect(), without_sumdb: !self.has_sumdb(), ..request }
    }

    /// It is compiled for each platform.
    pub fn differs_by_platform(&self) -> bool {
        true
    }

    pub(super) fn check(&self, _: &[Platform], plugins: &[&PluginName]) -> Result<(), String> {
        self.packages.check(plugins)
    }

    pub(super) fn schema() -> Value {
        let mut fields = GoRequest::schema_of_fields();
        fields.extend([
            (
                "module",
                json!({
                    "description": "The path of the module, as its go.mod has it.",
                    "type": "string",
                    "minLength": 1,
                }),
            ),
            (
                "version",
                json!({
                    "description":
                        "The version: a full semantic version (v1.9.1) or a pseudo-version. The \
                         name of a branch and `latest` are not accepted.",
                    "type": "string",
                    "pattern": "^v[0-9]",
                }),
            ),
            (
                "sumdb",
                json!({
                    "description":
                        "With off, the checksum database is not asked, for a module that is not public. \
                         The lock pins its sum.",
                    "enum": ["off"],
                }),
            ),
        ]);
        json!({
            "description":
                "A Go module whose packages are compiled for each platform, with `CGO_ENABLED=0`, \
                 `-trimpath`, `-buildvcs=false` and `-mod=readonly`.",
            "type": "object",
            "additionalProperties": false,
            "required": ["module", "version", "toolchain", "packages"],
            "properties": fields,
        })
    }
}

impl GoRequest {
    /// Without variables, from a module that the checksum database knows.
    fn of(toolchain: &GoRelease, tags: &[BuildTag], strip: bool) -> Self {
        let tags: BTreeSet<String> = tags.iter().map(ToString::to_string).collect();
        Self {
            toolchain: toolchain.to_string(),
            tags: tags.into_iter().collect(),
            variables: BTreeMap::new(),
            strip,
            ldflags: None,
            without_sumdb: false,
        }
    }

    /// The schema of the fields of a definition that become one.
    fn schema_of_fields() -> BTreeMap<&'static str, Value> {
        let package = json!({ "type": "string", "minLength": 1 });
        BTreeMap::from([
            (
                "toolchain",
                json!({
                    "description": "The only release of Go that compiles it, such as 1.26.8.",
                    "type": "string",
                    "pattern": module::RELEASE,
                }),
            ),
            (
                "packages",
                json!({
                    "description": format!(
                        "The package of each plugin, relative to the module (./plugins/main/macvlan), or \
                         one pattern with `{PLUGIN}` for all."
                    ),
                    "anyOf": [
                        package,
                        { "type": "object", "minProperties": 1, "additionalProperties": package },
                    ],
                }),
            ),
            (
                "tags",
                json!({
                    "description": "Build tags.",
                    "type": "array",
                    "items": { "type": "string", "pattern": flags::TAG },
                }),
            ),
            (
                "variables",
                json!({
                    "description": format!(
                        "String variables that the linker sets, by import path and name \
                         (example.com/app/version.Version); `{VERSION}` stands for `version`."
                    ),
                    "type": "object",
                    "additionalProperties": { "type": "string", "pattern": flags::VALUE },
                }),
            ),
            (
                "strip",
                json!({
                    "description": "Whether symbols and debug information are left out.",
                    "type": "boolean",
                    "default": false,
                }),
            ),
        ])
    }
}

/// As a sentence names it: "go1.26.8 -tags=netgo -s -w".
impl fmt::Display for GoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { toolchain, tags, variables, strip, ldflags, without_sumdb } = self;
        f.write_str(toolchain)?;
        if !tags.is_empty() {
            write!(f, " -tags={}", tags.join(","))?;
        }
        f.write_str(if *strip { " -s -w" } else { "" })?;
        for (name, value) in variables {
            write!(f, " -X {name}={value}")?;
        }
        if let Some(text) = ldflags {
            write!(f, " -ldflags=\"{text}\"")?;
        }
        f.write_str(if *without_sumdb { ", without checksum database" } else { "" })
    }
}

#[cfg(test)]
mod tests;
