//! What a source is asked for.

use crate::model::{Platform, PluginName};

/// A plugin that a source is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The platform that it has to be for.
    pub platform: Platform,
    /// The plugin's name, as the definition lists it.
    pub name: PluginName,
}
