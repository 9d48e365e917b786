//! Which package is which plugin, as a definition writes it: one pattern, or one for each plugin.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::super::given::{Written, text_or_fields};
use super::super::pattern::PLUGIN;
use super::PackagePattern;
use crate::model::PluginName;

/// The package of each plugin: one pattern, or one for each plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packages {
    /// The same pattern for all.
    All(PackagePattern),
    /// By plugin.
    Each(BTreeMap<PluginName, PackagePattern>),
}

impl Packages {
    /// The path of a plugin's package below its module, without `./`; `.` is the module's own.
    /// `None` for a plugin that has none.
    pub(super) fn of(&self, plugin: &PluginName) -> Option<String> {
        let pattern = match self {
            Self::All(pattern) => Some(pattern),
            Self::Each(packages) => packages.get(plugin),
        };
        pattern.map(|pattern| pattern.fill(plugin))
    }

    /// Refuses packages that are not one for each plugin.
    pub(super) fn check(&self, plugins: &[&PluginName]) -> Result<(), String> {
        match self {
            Self::All(pattern) if plugins.len() > 1 && !pattern.has_plugin() => Err(format!(
                "`packages` is one package and cannot be several plugins: write `{PLUGIN}` into it"
            )),
            Self::All(_) => Ok(()),
            Self::Each(packages) => {
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
        let has_dots = |name: &&&PluginName| self.of(name).is_some_and(|it| it.contains("..."));
        match plugins.iter().find(has_dots) {
            Some(name) => Err(format!("the package of `{name}` must not have `...` in its path")),
            None => Ok(()),
        }
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
