//! What was asked of a source when it failed, as a sentence says it.

use std::collections::BTreeSet;
use std::fmt;

use super::Wanted;
use crate::bundle::definition::SourceName;
use crate::model::{Platform, PluginName, and_others};

/// Plugins of one source that are in one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedPlugins {
    source: SourceName,
    plugins: Vec<PluginName>,
    platforms: Vec<Platform>,
}

impl RequestedPlugins {
    pub(super) fn of(source: &SourceName, wanted: &[&Wanted]) -> Self {
        let plugins: BTreeSet<&PluginName> = wanted.iter().map(|wanted| &wanted.name).collect();
        let platforms: BTreeSet<&Platform> = wanted.iter().map(|wanted| &wanted.platform).collect();
        Self {
            source: source.clone(),
            plugins: plugins.into_iter().cloned().collect(),
            platforms: platforms.into_iter().cloned().collect(),
        }
    }
}

/// "`bridge`, `macvlan` and 3 others for linux/amd64 (source `upstream`)".
impl fmt::Display for RequestedPlugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let shown = self.plugins.iter().take(SHOWN);
        let plugins: Vec<String> = shown.map(|name| format!("`{name}`")).collect();
        let others = and_others(self.plugins.len().saturating_sub(SHOWN));
        let platforms: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
        let (plugins, platforms) = (plugins.join(", "), platforms.join(", "));
        write!(f, "{plugins}{others} for {platforms} (source `{}`)", self.source)
    }
}
