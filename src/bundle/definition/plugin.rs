//! A plugin of a bundle, as the definition names it: by its name alone, or with its source.
//!
//! The name is a file name in the source and in the image, so it is a [`PluginName`] from the
//! start: nothing else could leave the directory it is looked for in.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::SourceName;
use crate::model::PluginName;

/// One plugin and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name, which is its file name in the source and in the image.
    pub name: PluginName,
    /// The source that has it; one of the definition's.
    pub source: SourceName,
}

/// `bridge`, or `{name: bridge, source: debian}`.
#[derive(Debug)]
pub(super) struct RawPlugin {
    pub(super) name: PluginName,
    pub(super) source: Option<SourceName>,
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
