//! How a published program was built, as a definition writes it: `reproduce: {vendored: …}`.
//!
//! `lock --reproduce` builds the program again from a recipe and compares. The source is a Go
//! module, or an archive of sources with a `vendor` directory, which is how most projects build
//! their releases. As for a source of kind `go`, the options are a closed list, and nothing in them
//! names a program. Without `-trimpath`, a program has the paths of its source, so that the recipe
//! says where that was. Only the text is checked here; `publish` compiles.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::beside::without_query;
use super::super::given::{checked_texts, given};
use super::super::pattern::{
    ARCHITECTURE, Filling, LocationPattern, MemberPattern, PLUGIN, UpstreamVersion, VERSION,
};
use super::super::pins::Hex;
use super::{
    BuildTag, GoModule, GoRelease, GoRequest, LinkerFlags, Packages, VariableName, VariableValue,
};
use crate::bundle::ModuleSum;
use crate::model::{Digest, Platform, PluginName, excerpt, visible};

/// The pattern of [`BuildDirectory`].
const DIRECTORY: &str = "^(/[A-Za-z0-9._@+~-]+)+$";

/// How the programs of a source were built.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRecipe")]
pub struct Recipe {
    /// From which source.
    pub source: RecipeSource,
    /// The directory that the source was in: of the unpacked archive, or of the module cache. It is
    /// only given for programs that were built without `-trimpath`.
    pub directory: Option<BuildDirectory>,
    /// The directory that Go was installed in, if it was another one than on this machine.
    pub goroot: Option<BuildDirectory>,
    /// The text of `-ldflags`, if it was another one than `strip` and `variables` make.
    pub ldflags: Option<LinkerFlags>,
}

/// The source that published programs were built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipeSource {
    /// A Go module, whose sum is pinned if the checksum database is not asked.
    Go(Box<GoModule>, Option<ModuleSum>),
    /// An archive of a module with its `vendor` directory.
    Vendored(Box<VendoredArchive>),
}

/// An archive with the sources of a module and of all modules that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendoredArchive {
    from: LocationPattern,
    sha256: Hex,
    /// The directory of the module in the archive.
    #[serde(default, deserialize_with = "given")]
    inside: Option<MemberPattern>,
    toolchain: GoRelease,
    packages: Packages,
    #[serde(default)]
    tags: Vec<BuildTag>,
    #[serde(default)]
    variables: BTreeMap<VariableName, VariableValue>,
    #[serde(default)]
    strip: bool,
}

/// A recipe for one plugin on one platform, with the placeholders filled in. A lock stores it
/// beside the digest that it led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecipeRequest {
    /// The path of a Go module, or the URL or path of an archive.
    pub location: String,
    /// The import path of the package in a Go module; its path in an archive.
    pub package: String,
    /// The version of a Go module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The sum of a Go module, if the definition pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<ModuleSum>,
    /// The digest of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The directory of the module in an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    /// Where the source was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Where Go was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goroot: Option<String>,
    /// How it is compiled.
    pub build: GoRequest,
}

/// The absolute path of a directory on the machine that built a program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BuildDirectory(String);

/// Why a recipe is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of a variant says what it is")]
pub enum ParseRecipeError {
    #[error(
        "`{0}` is not a valid build directory: expected an absolute path of letters, digits and \
         `._@+~-`"
    )]
    Directory(String),
    #[error("`reproduce` must have exactly one of `go` or `vendored`; found {0}")]
    NotOne(&'static str),
    #[error("`goroot` has no effect with -trimpath: add `directory`, or remove `goroot`")]
    Goroot,
    #[error(
        "the checksum database does not know the module (`sumdb: off`): pin it with `sum` \
         (h1:…, as in go.sum)"
    )]
    Unpinned,
    #[error("`ldflags` is the whole text: remove `strip` and `variables`")]
    Ldflags,
    #[error("`sum` is only for a module with `sumdb: off`; an archive has `sha256`")]
    Sum,
}

/// A recipe as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecipe {
    #[serde(default, deserialize_with = "given")]
    go: Option<GoModule>,
    #[serde(default, deserialize_with = "given")]
    vendored: Option<VendoredArchive>,
    #[serde(default, deserialize_with = "given")]
    sum: Option<ModuleSum>,
    #[serde(default, deserialize_with = "given")]
    directory: Option<BuildDirectory>,
    #[serde(default, deserialize_with = "given")]
    goroot: Option<BuildDirectory>,
    #[serde(default, deserialize_with = "given")]
    ldflags: Option<LinkerFlags>,
}

impl TryFrom<RawRecipe> for Recipe {
    type Error = ParseRecipeError;

    fn try_from(raw: RawRecipe) -> Result<Self, Self::Error> {
        let RawRecipe { go, vendored, sum, directory, goroot, ldflags } = raw;
        if goroot.is_some() && directory.is_none() {
            return Err(ParseRecipeError::Goroot);
        }
        let source = match (go, vendored) {
            (Some(module), None) => match (module.has_sumdb(), sum) {
                (false, None) => return Err(ParseRecipeError::Unpinned),
                (true, Some(_)) => return Err(ParseRecipeError::Sum),
                _ => RecipeSource::Go(Box::new(module), sum),
            },
            (None, Some(_)) if sum.is_some() => return Err(ParseRecipeError::Sum),
            (None, Some(archive)) => RecipeSource::Vendored(Box::new(archive)),
            (None, None) => return Err(ParseRecipeError::NotOne("none")),
            (Some(_), Some(_)) => return Err(ParseRecipeError::NotOne("both")),
        };
        let has_others = match &source {
            RecipeSource::Go(module, _) => module.strip || !module.variables.is_empty(),
            RecipeSource::Vendored(archive) => archive.strip || !archive.variables.is_empty(),
        };
        match ldflags.is_some() && has_others {
            true => Err(ParseRecipeError::Ldflags),
            false => Ok(Self { source, directory, goroot, ldflags }),
        }
    }
}

impl Recipe {
    /// What is built for a plugin. `version` is that of the published asset.
    pub(in crate::bundle::definition::source) fn request(
        &self,
        version: Option<&UpstreamVersion>,
        platform: &Platform,
        plugin: &PluginName,
    ) -> RecipeRequest {
        let directory = self.directory.as_ref().map(|it| it.0.clone());
        let goroot = self.goroot.as_ref().map(|it| it.0.clone());
        let ldflags = self.ldflags.as_ref().map(|it| it.fill(&self.version(version)));
        match &self.source {
            RecipeSource::Go(module, sum) => RecipeRequest {
                location: module.module.to_string(),
                package: module.package(plugin),
                version: Some(module.version.to_string()),
                sum: *sum,
                sha256: None,
                inside: None,
                directory,
                goroot,
                // The linker records tags in their order.
                build: GoRequest { ldflags, tags: listed(&module.tags), ..module.request() },
            },
            RecipeSource::Vendored(archive) => {
                let filling = Filling { platform, version, plugin };
                let path = archive.packages.of(plugin).unwrap_or_else(|| ".".to_owned());
                RecipeRequest {
                    location: archive.from.fill(filling),
                    package: if path == "." { path } else { format!("./{path}") },
                    version: None,
                    sum: None,
                    sha256: Some(archive.sha256.0),
                    inside: archive.inside.as_ref().map(|inside| inside.fill(filling)),
                    directory,
                    goroot,
                    build: GoRequest {
                        ldflags,
                        tags: listed(&archive.tags),
                        ..archive.request(version)
                    },
                }
            }
        }
    }

    /// What is put in for `{version}` in flags: the version of the module, or of the published
    /// asset.
    fn version(&self, published: Option<&UpstreamVersion>) -> String {
        match &self.source {
            RecipeSource::Go(module, _) => module.version.to_string(),
            RecipeSource::Vendored(_) => {
                published.map_or_else(String::new, |version| version.as_str().to_owned())
            }
        }
    }

    /// Refuses what does not fit together; `version` is that of the published asset.
    pub(in crate::bundle::definition::source) fn check(
        &self,
        version: Option<&UpstreamVersion>,
        plugins: &[&PluginName],
    ) -> Result<(), String> {
        let has_version = self.ldflags.as_ref().is_some_and(LinkerFlags::has_version);
        match &self.source {
            RecipeSource::Go(module, _) => module.packages.check(plugins),
            RecipeSource::Vendored(archive) => archive.check(has_version, version, plugins),
        }
        .map_err(|problem| format!("`reproduce`: {problem}"))
    }

    pub(in crate::bundle::definition) fn schema() -> Value {
        let mut go = GoModule::schema();
        if let Some(description) = go.get_mut("description") {
            *description = json!(
                "A Go module, with the fields of a source of kind `go`, compiled with \
                 `CGO_ENABLED=0`, `-buildvcs=false` and `-mod=readonly`."
            );
        }
        let directory = |description: &str| json!({ "description": description, "type": "string", "pattern": DIRECTORY });
        json!({
            "description":
                "How the programs were built: exactly one of `go` (a module) and `vendored` (an \
                 archive). `cnister lock --reproduce` builds them again and compares.",
            "type": "object",
            "additionalProperties": false,
            "oneOf": [{ "required": ["go"] }, { "required": ["vendored"] }],
            "properties": {
                "go": go,
                "vendored": VendoredArchive::schema(),
                "sum": {
                    "description":
                        "The sum of a module that the checksum database does not know, as in go.sum.",
                    "type": "string",
                    "pattern": "^h1:[A-Za-z0-9+/]{43}=$",
                },
                "directory": directory(
                    "The absolute path of the directory that the source was in, for programs that \
                     were built without -trimpath: of the unpacked archive, or of the module cache \
                     (go env GOMODCACHE). Without it, -trimpath is used.",
                ),
                "ldflags": {
                    "description": format!(
                        "The text of -ldflags as the build had it, instead of `strip` and \
                         `variables`: of -s, -w, -buildid=, -extldflags -static and -X NAME=VALUE. \
                         `{VERSION}` stands for the version."
                    ),
                    "type": "string",
                    "minLength": 1,
                },
                "goroot": directory(
                    "The absolute path that Go was installed in (go env GOROOT), if it is not the \
                     one of this machine; only with `directory`.",
                ),
            },
        })
    }
}

impl VendoredArchive {
    fn request(&self, version: Option<&UpstreamVersion>) -> GoRequest {
        let request = GoRequest::of(&self.toolchain, &self.tags, self.strip);
        let version = version.map_or("", UpstreamVersion::as_str);
        let fill = |(name, value): (&VariableName, &VariableValue)| {
            (name.to_string(), value.fill(version))
        };
        GoRequest { variables: self.variables.iter().map(fill).collect(), ..request }
    }

    /// `has_version` is about the flags of the recipe.
    fn check(
        &self,
        has_version: bool,
        version: Option<&UpstreamVersion>,
        plugins: &[&PluginName],
    ) -> Result<(), String> {
        let patterns = |placeholder: &str| {
            self.from.has(placeholder)
                || self.inside.as_ref().is_some_and(|inside| inside.has(placeholder))
        };
        for placeholder in [ARCHITECTURE, PLUGIN] {
            if patterns(placeholder) {
                return Err(format!(
                    "`{placeholder}` makes several archives, and `sha256` is for one"
                ));
            }
        }
        let is_used =
            has_version || patterns(VERSION) || self.variables.values().any(|it| it.has_version());
        if is_used && version.is_none() {
            return Err(format!("`{VERSION}` is used and its source has no `version`"));
        }
        self.packages.check(plugins)
    }

    fn schema() -> Value {
        let mut fields = GoRequest::schema_of_fields();
        fields.extend([
            (
                "from",
                json!({
                    "description": format!(
                        "The URL or path of a tar archive with the module and its `vendor` directory; a \
                         relative path is relative to this file. `{VERSION}` stands for the `version` \
                         of the published program."
                    ),
                    "type": "string",
                    "minLength": 1,
                }),
            ),
            (
                "sha256",
                json!({
                    "description": "The SHA-256 of the archive.",
                    "type": "string",
                    "pattern": "^[0-9a-f]{64}$",
                }),
            ),
            (
                "inside",
                json!({
                    "description":
                        "The directory of the module in the archive; by default, the module is at the \
                         top.",
                    "type": "string",
                    "minLength": 1,
                }),
            ),
        ]);
        json!({
            "description":
                "An archive of a module with its `vendor` directory, compiled with `CGO_ENABLED=0`, \
                 `-buildvcs=false` and `-mod=vendor`.",
            "type": "object",
            "additionalProperties": false,
            "required": ["from", "sha256", "toolchain", "packages"],
            "properties": fields,
        })
    }
}

fn listed(tags: &[BuildTag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}

impl RecipeRequest {
    /// Whether paths are left out (`-trimpath`).
    pub fn is_trimmed(&self) -> bool {
        self.directory.is_none()
    }
}

/// As a sentence names it: "`example.com/cni@v1.0.0`, package `./cmd`, by go1.26.8".
impl fmt::Display for RecipeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = without_query(&self.location);
        write!(f, "`{}", visible(location))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", visible(version))?;
        }
        write!(f, "`, package `{}`", visible(&self.package))?;
        if let Some(digest) = &self.sha256 {
            write!(f, ", {digest}")?;
        }
        if let Some(sum) = &self.sum {
            write!(f, ", {sum}")?;
        }
        if let Some(inside) = &self.inside {
            write!(f, ", inside `{}`", visible(inside))?;
        }
        match &self.directory {
            Some(directory) => write!(f, ", in `{}`", visible(directory))?,
            None => write!(f, ", with -trimpath")?,
        }
        if let Some(goroot) = &self.goroot {
            write!(f, ", GOROOT `{}`", visible(goroot))?;
        }
        write!(f, ", by {}", visible(&self.build.to_string()))
    }
}

impl FromStr for BuildDirectory {
    type Err = ParseRecipeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._@+~-".contains(c);
            !matches!(name, "" | "." | "..") && name.chars().all(allowed)
        };
        match text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_name)) {
            true if text.len() <= 256 => Ok(Self(text.to_owned())),
            _ => Err(ParseRecipeError::Directory(excerpt(text))),
        }
    }
}

checked_texts! { BuildDirectory }

#[cfg(test)]
mod tests;
