//! The definition of a bundle: the YAML file that people write and keep under version control.
//!
//! ```yaml
//! apiVersion: cnister.dev/v1
//! kind: Bundle
//! name: debian
//! version: 1.1.1
//! platforms: [linux/amd64]
//! sources:
//!   - name: debian
//!     directory: /usr/lib/cni
//! plugins: [bridge, host-local]
//! ```
//!
//! Parsing has three stages: the text, `Raw` with the place of everything, and [`Definition`],
//! which is sound in itself. Whether the plugins exist is for `publish` to find out.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Compression, FileManifest};
use crate::model::yaml::{self, Spanned};
use crate::model::{BundleName, Platform, PluginName, YamlError, visible};

/// What a bundle shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: BundleName,
    /// Its version, which is part of what is signed.
    pub version: Version,
    /// The platforms, in the order of the file.
    pub platforms: Vec<Platform>,
    /// Where plugins come from.
    pub sources: Vec<Source>,
    /// The plugins, in the order of the file, each from one of the sources.
    pub plugins: Vec<Plugin>,
    /// How the layers are compressed.
    pub compression: Compression,
    /// Whether the image carries the tool.
    pub tool: ToolChoice,
}

/// A place that plugins come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the definition and the command line call it.
    pub name: SourceName,
    /// The directory.
    pub directory: DirectoryPattern,
}

/// One plugin and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which is its file name in the source and in the image.
    pub name: PluginName,
    /// The source that has it; one of the definition's.
    pub source: SourceName,
}

/// Whether a bundle's image carries the tool, and can therefore hand its own files out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// It does; a build without one is refused. In a file, this is what saying nothing means.
    #[default]
    #[serde(skip)]
    Required,
    /// It does not: it is for image volumes, `pull` and layouts alone.
    None,
}

/// The name of a source: lower-case letters, digits and dashes, 1 to 63 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SourceName(String);

/// Why a text is not the name of a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a source: 1 to 63 lower-case letters, digits and dashes")]
pub struct ParseSourceNameError(String);

/// A directory; `{architecture}` in it stands for the architecture of each platform in Go's words
/// (`amd64`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DirectoryPattern(String);

/// Why a text is not a directory pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDirectoryError {
    /// Nothing.
    #[error("a directory is missing; `.` is the one of the definition")]
    Empty,
    /// A placeholder that does not exist, or half of one.
    #[error("`{0}` has a brace that is not part of `{{architecture}}`, the only placeholder")]
    Placeholder(String),
    /// A character that does not belong into a path.
    #[error("`{0}` has a control character")]
    Control(String),
}

const PLACEHOLDER: &str = "{architecture}";

impl DirectoryPattern {
    /// The directory of one platform.
    pub fn of(&self, platform: &Platform) -> String {
        self.0.replace(PLACEHOLDER, platform.architecture())
    }

    /// Whether it is another directory for another platform.
    pub fn differs_by_platform(&self) -> bool {
        self.0.contains(PLACEHOLDER)
    }
}

impl FromStr for DirectoryPattern {
    type Err = ParseDirectoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseDirectoryError::Empty);
        }
        if visible(text) != text {
            return Err(ParseDirectoryError::Control(visible(text).into_owned()));
        }
        if text.replace(PLACEHOLDER, "").contains(['{', '}']) {
            return Err(ParseDirectoryError::Placeholder(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for DirectoryPattern {
    type Error = ParseDirectoryError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for SourceName {
    type Err = ParseSourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=63).contains(&text.len()) && text.chars().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err(ParseSourceNameError(visible(text).into_owned()))
    }
}

impl TryFrom<String> for SourceName {
    type Error = ParseSourceNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file as it was written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    name: BundleName,
    #[serde(deserialize_with = "version")]
    version: Version,
    platforms: Spanned<Vec<Spanned<Platform>>>,
    sources: Spanned<Vec<Spanned<RawSource>>>,
    plugins: Spanned<Vec<Spanned<RawPlugin>>>,
    #[serde(default)]
    compression: Compression,
    #[serde(default)]
    tool: ToolChoice,
}

#[derive(Debug, Deserialize)]
enum ApiVersion {
    #[serde(rename = "cnister.dev/v1")]
    V1,
}

#[derive(Debug, Deserialize)]
enum Kind {
    Bundle,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: SourceName,
    directory: DirectoryPattern,
}

/// `bridge`, or `{name: bridge, source: debian}`.
#[derive(Debug)]
struct RawPlugin {
    name: PluginName,
    source: Option<SourceName>,
}

impl Definition {
    /// Parses the text of a definition; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, YamlError> {
        let raw: Raw = yaml::parse(file, text)?;
        check_list(file, "platform", &raw.platforms, |platform| platform)?;
        check_list(file, "source", &raw.sources, |source| &source.name)?;
        check_list(file, "plugin", &raw.plugins, |plugin| &plugin.name)?;
        if raw.plugins.value.len() > FileManifest::MAX_PLUGINS {
            let message = format!("a bundle has at most {} plugins", FileManifest::MAX_PLUGINS);
            return Err(YamlError::at(file, &raw.plugins, message));
        }
        let plugins = raw
            .plugins
            .value
            .iter()
            .map(|plugin| raw.plugin(file, plugin))
            .collect::<Result<Vec<_>, _>>()?;
        for source in &raw.sources.value {
            if !plugins.iter().any(|plugin| plugin.source == source.value.name) {
                let message = format!("no plugin is taken from the source `{}`", source.value.name);
                return Err(YamlError::at(file, source, message));
            }
            if raw.platforms.value.len() > 1 && !source.value.directory.differs_by_platform() {
                let message = format!(
                    "several platforms need a directory each: write `{PLACEHOLDER}` into `directory`"
                );
                return Err(YamlError::at(file, source, message));
            }
        }
        let Raw { name, version, platforms, sources, compression, tool, .. } = raw;
        let platforms = platforms.value.into_iter().map(|platform| platform.value).collect();
        let sources = sources.value.into_iter().map(|source| source.value);
        let sources =
            sources.map(|RawSource { name, directory }| Source { name, directory }).collect();
        Ok(Self { name, version, platforms, sources, plugins, compression, tool })
    }

    /// The source of this name.
    pub fn source(&self, name: &SourceName) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == *name)
    }
}

/// Refuses an empty list and two entries of one key.
fn check_list<T, K: Ord + fmt::Display>(
    file: &str,
    what: &str,
    list: &Spanned<Vec<Spanned<T>>>,
    key: fn(&T) -> &K,
) -> Result<(), YamlError> {
    if list.value.is_empty() {
        return Err(YamlError::at(file, list, format!("a bundle has at least one {what}")));
    }
    let mut seen = BTreeSet::new();
    match list.value.iter().find(|entry| !seen.insert(key(&entry.value))) {
        Some(entry) => Err(YamlError::at(
            file,
            entry,
            format!("the {what} `{}` appears twice", key(&entry.value)),
        )),
        None => Ok(()),
    }
}

impl Raw {
    fn plugin(&self, file: &str, plugin: &Spanned<RawPlugin>) -> Result<Plugin, YamlError> {
        let RawPlugin { name, source } = &plugin.value;
        let names = || self.sources.value.iter().map(|source| &source.value.name);
        let list = || names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let source = match (source, self.sources.value.as_slice()) {
            (Some(source), _) if names().any(|name| name == source) => source,
            (Some(source), _) => {
                let message = format!("there is no source `{source}`, only {}", list());
                return Err(YamlError::at(file, plugin, message));
            }
            (None, [only]) => &only.value.name,
            (None, _) => {
                let message = format!(
                    "there are several sources: write `{{name: {name}, source: …}}` with one of {}",
                    list()
                );
                return Err(YamlError::at(file, plugin, message));
            }
        };
        Ok(Plugin { name: name.clone(), source: source.clone() })
    }
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        de::Error::custom(format_args!(
            "`{}` is not a version like `1.1.1` (semver): {error}",
            visible(&text)
        ))
    })
}

impl<'de> Deserialize<'de> for RawPlugin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PluginVisitor)
    }
}

/// By hand, since serde's `untagged` loses the place and the reason of a mistake.
struct PluginVisitor;

impl<'de> Visitor<'de> for PluginVisitor {
    type Value = RawPlugin;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a plugin, or `name` and `source`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawPlugin, E> {
        Ok(RawPlugin { name: text.parse().map_err(E::custom)?, source: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawPlugin, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            name: PluginName,
            source: SourceName,
        }
        let Named { name, source } =
            Named::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(RawPlugin { name, source: Some(source) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "\
apiVersion: cnister.dev/v1
kind: Bundle
name: debian
version: 1.1.1
platforms: [linux/amd64]
sources:
  - name: debian
    directory: /usr/lib/cni
plugins: [bridge, host-local]
";

    fn small() -> Definition {
        let source: SourceName = "debian".parse().unwrap();
        let plugin = |name: &str| Plugin { name: name.parse().unwrap(), source: source.clone() };
        Definition {
            name: "debian".parse().unwrap(),
            version: Version::new(1, 1, 1),
            platforms: vec!["linux/amd64".parse().unwrap()],
            sources: vec![Source {
                name: source.clone(),
                directory: "/usr/lib/cni".parse().unwrap(),
            }],
            plugins: vec![plugin("bridge"), plugin("host-local")],
            compression: Compression::Zstd,
            tool: ToolChoice::Required,
        }
    }

    fn parse(text: &str) -> Result<Definition, String> {
        Definition::parse("it.yaml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse(SMALL), Ok(small()));
        let text = SMALL.replace("host-local]", "{name: host-local, source: debian}]")
            + "compression: gzip\ntool: none\n";
        assert_eq!(
            parse(&text),
            Ok(Definition { compression: Compression::Gzip, tool: ToolChoice::None, ..small() })
        );
    }

    #[test]
    fn a_directory_may_differ_by_platform() {
        let several = SMALL.replace("[linux/amd64]", "[linux/amd64, linux/arm64]");
        let error = "it.yaml:7:5: several platforms need a directory each: write `{architecture}` into `directory`";
        assert_eq!(parse(&several), Err(error.to_owned()));
        let definition = parse(&several.replace("/usr/lib/cni", "cni-{architecture}/bin")).unwrap();
        let directories: Vec<_> = definition
            .platforms
            .iter()
            .map(|platform| definition.sources[0].directory.of(platform))
            .collect();
        assert_eq!(directories, ["cni-amd64/bin", "cni-arm64/bin"]);
    }

    #[test]
    fn each_plugin_has_one_source() {
        let two = SMALL.replace("plugins:", "  - {name: flannel, directory: flannel}\nplugins:");
        for (plugins, expected) in [
            (
                "[bridge]",
                "it.yaml:10:11: there are several sources: write `{name: bridge, source: …}` with one of `debian`, `flannel`",
            ),
            (
                "[{name: bridge, source: deb}]",
                "it.yaml:10:11: there is no source `deb`, only `debian`, `flannel`",
            ),
            (
                "[{name: bridge, source: debian}]",
                "it.yaml:9:5: no plugin is taken from the source `flannel`",
            ),
            ("[{name: bridge}]", "it.yaml:10:12: field `source` is missing"),
        ] {
            assert_eq!(
                parse(&two.replace("[bridge, host-local]", plugins)),
                Err(expected.to_owned())
            );
        }
        let plugins = "[{name: bridge, source: debian}, {name: flannel, source: flannel}]";
        assert!(parse(&two.replace("[bridge, host-local]", plugins)).is_ok());
    }

    #[test]
    fn names_the_place_of_a_mistake_and_what_is_allowed() {
        let cases = [
            (
                "cnister.dev/v1",
                "cnister.dev/v2",
                "1:13: unknown value `cnister.dev/v2`, expected `cnister.dev/v1`",
            ),
            ("kind: Bundle", "kind: Policy", "2:7: unknown value `Policy`, expected `Bundle`"),
            (
                "name: debian\nv",
                "name: Debian\nv",
                "3:7: `Debian` is not a bundle name: 1 to 63 lower-case letters, digits and dashes, starting with a letter",
            ),
            (
                "1.1.1",
                "1.1",
                "4:10: `1.1` is not a version like `1.1.1` (semver): unexpected end of input while parsing minor version number",
            ),
            (
                "linux/amd64",
                "linux/x86_64",
                "5:13: `linux/x86_64` is not a platform; write one of linux/amd64, linux/arm64, linux/arm, linux/ppc64le, linux/riscv64, linux/s390x",
            ),
            ("[linux/amd64]", "[]", "5:12: a bundle has at least one platform"),
            ("[linux/amd64]", "linux/amd64", "5:12: expected a list"),
            (
                "linux/amd64",
                "linux/arm64, linux/arm64/v8",
                "5:26: the platform `linux/arm64` appears twice",
            ),
            (
                "directory: /usr",
                "path: /usr",
                "8:5: unknown field `path`, expected `name` or `directory`",
            ),
            (
                "/usr/lib/cni",
                "/usr/{arch}",
                "8:16: `/usr/{arch}` has a brace that is not part of `{architecture}`, the only placeholder",
            ),
            (
                "/usr/lib/cni",
                "\"\"",
                "8:16: a directory is missing; `.` is the one of the definition",
            ),
            (
                "  - name: debian",
                "  - name: a/b",
                "7:11: `a/b` is not the name of a source: 1 to 63 lower-case letters, digits and dashes",
            ),
            ("host-local", "bridge", "9:19: the plugin `bridge` appears twice"),
            (
                "host-local",
                "../sh",
                "9:19: plugin name `../sh` contains `/`; letters, digits, `-`, `_` and `.` are allowed",
            ),
            (
                "host-local",
                "[a]",
                "9:19: invalid type: sequence, expected the name of a plugin, or `name` and `source`",
            ),
            (
                "host-local",
                "{name: a, file: b}",
                "9:29: unknown field `file`, expected `name` or `source`",
            ),
            ("plugins:", "tool: any\nplugins:", "9:7: unknown value `any`, expected `none`"),
            (
                "plugins:",
                "compression: xz\nplugins:",
                "9:14: unknown value `xz`, expected `zstd`, `gzip` or `none`",
            ),
            ("plugins: [bridge, host-local]", "", "6:1: field `plugins` is missing"),
        ];
        for (from, to, expected) in cases {
            assert_eq!(parse(&SMALL.replace(from, to)), Err(format!("it.yaml:{expected}")));
        }
        let many: Vec<String> = (0..257).map(|number| format!("p{number}")).collect();
        let many = SMALL.replace("bridge, host-local", &many.join(", "));
        assert_eq!(parse(&many), Err("it.yaml:9:10: a bundle has at most 256 plugins".to_owned()));
    }

    fn bundles() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles")
    }

    #[test]
    fn every_file_under_bundles_is_a_definition() {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(bundles()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".yaml") {
                Definition::parse(name, &std::fs::read_to_string(&path).unwrap()).unwrap();
                found.push(name.to_owned());
            }
        }
        found.sort();
        assert_eq!(found, ["debian.yaml"]);
    }

    #[test]
    fn the_debian_bundle_holds_what_its_comment_says() {
        let text = std::fs::read_to_string(bundles().join("debian.yaml")).unwrap();
        let definition = Definition::parse("debian.yaml", &text).unwrap();
        let names =
            definition.plugins.iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>();
        let (plugins, addresses) = names.split_at(6);
        assert!(text.contains(&format!("({})", plugins.join(", "))), "{plugins:?}");
        assert!(text.contains(&format!("({})", addresses.join(", "))), "{addresses:?}");
    }

    #[test]
    fn the_schema_has_the_fields_and_values_of_the_parser() {
        let schema: serde_json::Value =
            serde_json::from_slice(&std::fs::read(bundles().join("bundle.schema.json")).unwrap())
                .unwrap();
        let sorted = |mut texts: Vec<String>| {
            texts.sort();
            texts
        };
        let in_error = |from: &str, to: &str| {
            let error = parse(&SMALL.replace(from, to)).expect_err(to);
            let (_, allowed) = error.split_once("expected ").unwrap();
            sorted(allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        };
        let fields = |at: &serde_json::Value| {
            sorted(at["properties"].as_object().unwrap().keys().cloned().collect())
        };
        let values = |at: &serde_json::Value| {
            sorted(
                at["enum"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|value| value.as_str().unwrap().to_owned())
                    .collect(),
            )
        };
        assert_eq!(fields(&schema), in_error("plugins:", "unknown:"));
        let properties = &schema["properties"];
        assert_eq!(fields(&properties["sources"]["items"]), in_error("directory:", "unknown:"));
        let plugin = &properties["plugins"]["items"]["anyOf"][1];
        assert_eq!(fields(plugin), in_error("host-local", "{unknown: a}"));
        assert_eq!(
            values(&properties["compression"]),
            in_error("plugins:", "compression: unknown\nplugins:")
        );
        assert_eq!(values(&properties["tool"]), in_error("plugins:", "tool: unknown\nplugins:"));
        for platform in values(&properties["platforms"]["items"]) {
            assert!(parse(&SMALL.replace("linux/amd64", &platform)).is_ok(), "{platform}");
        }
    }
}
