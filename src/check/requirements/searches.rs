//! Where a runtime finds a plugin, in the directories that it searches.

use std::collections::BTreeMap;

use crate::check::report::Report;
use crate::disk::FileKind;
use crate::model::{HostPath, PluginName};
use crate::node::Root;

/// The lists of directories that runtimes search, and what is found there: each plugin is searched
/// for once per list, however many configurations need it.
#[derive(Debug, Default)]
pub(super) struct Searches {
    lists: Vec<Vec<HostPath>>,
    places: BTreeMap<(Option<HostPath>, usize, PluginName), Place>,
}

impl Searches {
    /// The number of a list.
    pub(super) fn list(&mut self, directories: &[HostPath]) -> usize {
        if let Some(known) = self.lists.iter().position(|list| list == directories) {
            return known;
        }
        self.lists.push(directories.to_vec());
        self.lists.len() - 1
    }

    /// Searches for a plugin, in this directory before those of the list.
    pub(super) fn place(
        &mut self,
        root: &Root,
        first: Option<&HostPath>,
        list: usize,
        plugin: &PluginName,
    ) -> &Place {
        let key = (first.cloned(), list, plugin.clone());
        let directories = self.lists.get(list).map_or(&[][..], Vec::as_slice);
        self.places
            .entry(key)
            .or_insert_with(|| locate(root, first.into_iter().chain(directories), plugin))
    }

    /// The directories of a list, in words.
    pub(super) fn shown(&self, list: usize) -> String {
        let paths = self.lists.get(list).into_iter().flatten();
        paths.map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" or ")
    }
}

/// Where a runtime finds a plugin.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The directory; `None` if no directory has it.
    pub(super) directory: Option<HostPath>,
    /// What it skips on the way.
    pub(super) obstacles: Vec<String>,
    /// Why it cannot execute the file that it finds.
    pub(super) unusable: Option<String>,
}

/// Searches for a plugin as libcni does (`FindInPath`).
fn locate<'a>(
    root: &Root,
    search: impl Iterator<Item = &'a HostPath>,
    plugin: &PluginName,
) -> Place {
    let mut place = Place::default();
    for directory in search {
        let path = directory.join(plugin);
        let found = match root.look_up(&path).map(|looked| looked.and_then(|looked| looked.target))
        {
            Ok(Some(found)) => found,
            Ok(None) => {
                // A runtime does not mention the link, only that there is no plugin.
                if root.is_link(&path) {
                    place.obstacles.push(format!("`{path}` is a dangling symbolic link"));
                }
                continue;
            }
            Err(error) => {
                place.obstacles.push(error.with_cause());
                continue;
            }
        };
        if found.kind != FileKind::Regular {
            place.obstacles.push(format!("`{path}` is {}", found.kind));
            continue;
        }
        place.unusable = match (found.mode & 0o111, found.size) {
            (0, _) => Some(format!("`{path}` has mode {:04o} (\"permission denied\")", found.mode)),
            (_, 0) => Some(format!("`{path}` is empty (\"exec format error\")")),
            _ => None,
        };
        place.directory = Some(directory.clone());
        break;
    }
    place
}

/// The versions that a plugin supports, if the one that it is called with is not one of them.
pub(super) fn unsupported(
    plugin: &PluginName,
    version: &str,
    directory: &HostPath,
    report: &Report,
) -> Option<Vec<String>> {
    let is_it = |name: &PluginName, place: &HostPath| name == plugin && place == directory;
    let installed = report.plugins.iter().find(|plugin| is_it(&plugin.name, &plugin.directory))?;
    let supported = &installed.versions.as_ref()?.supported;
    (!supported.iter().any(|known| known == version)).then(|| supported.clone())
}
