//! What a source is asked for.

use crate::model::{Platform, PluginName};

/// A plugin that a source is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The platform that it has to be for.
    pub platform: Platform,
    /// Its name.
    pub name: PluginName,
}
