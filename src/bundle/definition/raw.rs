//! A definition as it was written: every value with its place, so that a mistake can be shown.
//!
//! Each value is checked by its type while it is parsed. Checked here is whether the values fit
//! together: repeated names, a plugin of a source that does not exist, a source that no plugin
//! uses. Nothing is opened.

use std::collections::BTreeSet;
use std::fmt;

use semver::Version;
use serde::{Deserialize, Deserializer, de};

use super::gates::RawGates;
use super::plugin::RawPlugin;
use super::source::{ARCHITECTURE, RawSource, check_url, parsed};
use super::{Definition, Plugin, Source, ToolChoice};
use crate::bundle::{Encoding, FileManifest};
use crate::model::yaml::{self, Spanned};
use crate::model::{BundleName, Party, Platform, PluginName, Repository, YamlError, visible};

impl Definition {
    /// Parses the text of a definition; `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, YamlError> {
        let raw: Raw = yaml::parse(file, text)?;
        raw.check(file)
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
    compression: Encoding,
    #[serde(default)]
    tool: ToolChoice,
    gates: Option<Spanned<RawGates>>,
    #[serde(default, deserialize_with = "parsed")]
    author: Option<Party>,
    repository: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "parsed")]
    image: Option<Repository>,
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

impl Raw {
    /// What it means, if it is consistent; errors call it `file`.
    fn check(self, file: &str) -> Result<Definition, YamlError> {
        check_list(file, "platform", &self.platforms, |platform| platform)?;
        check_list(file, "source", &self.sources, |source| &source.name)?;
        check_list(file, "plugin", &self.plugins, |plugin| &plugin.name)?;
        if self.plugins.value.len() > FileManifest::MAX_PLUGINS {
            let message =
                format!("a bundle can have at most {} plugins", FileManifest::MAX_PLUGINS);
            return Err(YamlError::at(file, &self.plugins, message));
        }
        let plugins = self
            .plugins
            .value
            .iter()
            .map(|plugin| self.plugin(file, plugin))
            .collect::<Result<Vec<_>, _>>()?;
        let platforms: Vec<Platform> =
            self.platforms.value.iter().map(|platform| platform.value.clone()).collect();
        let mut sources = Vec::new();
        for source in &self.sources.value {
            let at = |message: String| YamlError::at(file, source, message);
            let source = source.value.check().map_err(at)?;
            let Source { name, kind, .. } = &source;
            let of_source = plugins.iter().filter(|plugin| plugin.source == *name);
            let of_source: Vec<&PluginName> = of_source.map(|plugin| &plugin.name).collect();
            if of_source.is_empty() {
                return Err(at(format!("no plugin uses the source `{name}`")));
            }
            if platforms.len() > 1 && !kind.differs_by_platform() {
                let (key, article) = kind.words();
                return Err(at(format!(
                    "several platforms need {article} each: write `{ARCHITECTURE}` into `{key}`"
                )));
            }
            kind.check(&platforms, &of_source).map_err(at)?;
            sources.push(source);
        }
        let names = plugins.iter().map(|plugin| &plugin.name).collect();
        let gates = match &self.gates {
            Some(gates) => {
                gates.value.check(&names).map_err(|message| YamlError::at(file, gates, message))?
            }
            None => Vec::new(),
        };
        if let Some(url) = &self.repository {
            check_url("repository", Some(&url.value))
                .map_err(|message| YamlError::at(file, url, message))?;
        }
        let Raw { name, version, compression, tool, author, repository, image, .. } = self;
        Ok(Definition {
            name,
            version,
            platforms,
            sources,
            plugins,
            compression,
            tool,
            gates,
            author,
            repository: repository.map(|it| it.value),
            image,
        })
    }

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
                    "there is more than one source: write `{{name: {name}, source: …}}` with one of {}",
                    list()
                );
                return Err(YamlError::at(file, plugin, message));
            }
        };
        Ok(Plugin { name: name.clone(), source: source.clone() })
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
        return Err(YamlError::at(file, list, format!("a bundle must have at least one {what}")));
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

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Version, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        de::Error::custom(format_args!(
            "`{}` is not a valid version (semver, such as `1.1.1`): {error}",
            visible(&text)
        ))
    })
}
