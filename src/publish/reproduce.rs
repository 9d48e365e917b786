//! Reproducing plugins for a lock: building each again by its recipe, and comparing the bytes.
//!
//! Equal bytes are written into the entry as a statement; what it means for the level is decided in
//! [`crate::bundle::lock`]. Other bytes are explained and leave no statement.

use std::collections::BTreeMap;
use std::path::Path;

use super::lock::NewLock;
use super::source::{Fetch, Plugin, RebuiltPlugin, SourceError, Wanted, rebuild};
use crate::binary::Comparison;
use crate::bundle::Definition;
use crate::bundle::lock::Reproduced;
use crate::model::{Platform, PluginName};

/// A plugin that was built again.
#[derive(Debug)]
pub struct Reproduction {
    /// The plugin.
    pub name: PluginName,
    /// Its platform.
    pub platform: Platform,
    /// How the result differs from the published program; `None` if it is the same.
    pub difference: Option<Comparison>,
}

/// Builds the plugins of a new lock again that were taken from an asset with a recipe, and writes
/// into their entries which are the same.
pub fn reproduce(
    definition: &Definition,
    folder: &Path,
    fetch: &Fetch,
    new: &mut NewLock,
) -> Result<Vec<Reproduction>, SourceError> {
    let mut published: BTreeMap<Wanted, &Plugin> = BTreeMap::new();
    for (platform, plugins) in &new.taken {
        for plugin in plugins.iter().filter(|plugin| plugin.taken().artefact().is_some()) {
            let (name, platform) = (plugin.facts.name.clone(), platform.clone());
            published.insert(Wanted { name, platform }, plugin);
        }
    }
    let wanted: Vec<Wanted> = published.keys().cloned().collect();
    let mut reproductions = Vec::new();
    let mut reproduced: BTreeMap<Wanted, Reproduced> = BTreeMap::new();
    rebuild(definition, folder, fetch, &wanted, &mut |wanted, built| {
        let RebuiltPlugin { recipe, module_sum, plugin: rebuilt } = built;
        let Some(plugin) = published.get(wanted) else { return Ok(()) };
        let Wanted { name, platform } = wanted.clone();
        let digest = plugin.facts.digest;
        let difference = match digest == rebuilt.facts.digest {
            true => {
                let statement = Reproduced { recipe, module_sum, digest };
                reproduced.insert(wanted.clone(), statement);
                None
            }
            false => Some(plugin.compare(&rebuilt)?),
        };
        reproductions.push(Reproduction { name, platform, difference });
        Ok(())
    })?;
    for Reproduction { name, platform, .. } in &reproductions {
        let wanted = Wanted { name: name.clone(), platform: platform.clone() };
        new.state(&wanted, reproduced.remove(&wanted));
    }
    Ok(reproductions)
}
