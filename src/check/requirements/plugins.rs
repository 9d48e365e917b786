//! What is wrong with the plugins that configurations need: missing, unusable, or of another
//! version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::searches::{Searches, unsupported};
use super::{Wanted, WantedPlugin};
use crate::check::report::{NeedReport, Report};
use crate::cni;
use crate::model::{Code, Finding, HostPath, PluginName, and_others};
use crate::node::Root;

/// The configurations that something is wrong for.
#[derive(Default)]
struct Users {
    /// Those that decide come first.
    names: Vec<String>,
    decide: bool,
}

/// What the needs of all configurations have in common.
#[derive(Default)]
struct Wrong {
    /// By plugin and list of directories.
    missing: BTreeMap<(PluginName, usize), Missing>,
    /// By reason.
    unusable: BTreeMap<String, (PluginName, Users)>,
    /// By plugin, wanted version and supported versions.
    strangers: BTreeMap<(PluginName, String, Vec<String>), Users>,
}

/// A plugin that is in none of the directories of a list.
#[derive(Default)]
struct Missing {
    users: Users,
    /// What was skipped on the way.
    obstacles: Vec<String>,
    /// Where else a file of the name is.
    elsewhere: Option<HostPath>,
}

impl Wanted {
    /// Looks for every plugin where the runtimes that call it search, and adds what is wrong.
    pub(super) fn look_for_plugins(
        &mut self,
        root: &Root,
        searches: &mut Searches,
        elsewhere: usize,
        report: &Report,
    ) {
        let mut wrong = Wrong::default();
        for wanted in &mut self.needs {
            let lists = wanted.lists.iter();
            let found: Vec<_> = lists
                .map(|list| wrong.add(root, searches, (*list, elsewhere), wanted, report))
                .collect();
            let everywhere: Option<Vec<_>> = found.into_iter().collect();
            wanted.need.found_in = everywhere.and_then(|found| found.into_iter().next());
        }
        self.tell(wrong, searches);
    }

    fn tell(&mut self, wrong: Wrong, searches: &Searches) {
        for ((plugin, list), Missing { users, obstacles, elsewhere }) in wrong.missing {
            let beside = if obstacles.is_empty() {
                String::new()
            } else {
                format!(": {}", obstacles.join(", "))
            };
            let searched = searches.shown(list);
            let message =
                format!("`{plugin}` is needed by {users}, but is not in {searched}{beside}");
            let hint = match elsewhere {
                Some(directory) => format!(
                    "it is in `{directory}`: install it into a directory that the runtime searches \
                     (`--bin-dir`), or make the runtime search that one"
                ),
                None => cni::advice(&plugin),
            };
            self.push_for(&users, Finding::refusal(Code::PluginNeeded, message).hint(hint));
        }
        for (reason, (plugin, users)) in wrong.unusable {
            let message =
                format!("`{plugin}` is needed by {users}, but cannot be executed: {reason}");
            self.push_for(&users, Finding::refusal(Code::PluginUnusable, message));
        }
        for ((plugin, version, supported), users) in wrong.strangers {
            self.push_for(&users, incompatible(&plugin, &version, &supported, &users));
        }
        self.decides = true;
    }

    /// Adds a finding about what these configurations need.
    fn push_for(&mut self, users: &Users, finding: Finding) {
        self.decides = users.decide;
        let message = match users.decide {
            true => finding.message.clone(),
            false => format!("{}; no runtime on this node uses that file", finding.message),
        };
        self.push(Finding { message, ..finding });
    }
}

impl Wrong {
    /// Looks for the plugin of one need in one list of directories; returns where it is.
    fn add(
        &mut self,
        root: &Root,
        searches: &mut Searches,
        (list, elsewhere): (usize, usize),
        wanted: &WantedPlugin,
        report: &Report,
    ) -> Option<HostPath> {
        let WantedPlugin { need, first, decides, .. } = wanted;
        let place = searches.place(root, first.as_ref(), list, &need.plugin);
        let Some(directory) = place.directory.clone() else {
            let obstacles = place.obstacles.clone();
            let other = searches.place(root, None, elsewhere, &need.plugin).directory.clone();
            let entry = self.missing.entry((need.plugin.clone(), list)).or_default();
            entry.users.add(need, *decides);
            (entry.obstacles, entry.elsewhere) = (obstacles, other);
            return None;
        };
        if let Some(reason) = &place.unusable {
            let new = || (need.plugin.clone(), Users::default());
            self.unusable.entry(reason.clone()).or_insert_with(new).1.add(need, *decides);
        }
        let version = &need.cni_version;
        if let Some(supported) = unsupported(&need.plugin, version, &directory, report) {
            let key = (need.plugin.clone(), version.clone(), supported);
            self.strangers.entry(key).or_default().add(need, *decides);
        }
        Some(directory)
    }
}

fn incompatible(
    plugin: &PluginName,
    version: &str,
    supported: &[String],
    users: &Users,
) -> Finding {
    let message =
        format!("`{plugin}` is called by {users} with a CNI version that it does not support");
    let hint = match supported.iter().all(|other| cni::is_older(version, other)) {
        true => format!(
            "raise `cniVersion` in the configuration; one that is missing or empty means {}",
            cni::OLDEST
        ),
        false => "install a newer plugin, or lower `cniVersion` in the configuration".to_owned(),
    };
    Finding::refusal(Code::IncompatibleVersion, message)
        .mismatch(format_args!("CNI {version}"), format_args!("CNI {}", supported.join(", ")))
        .hint(hint)
}

impl Users {
    fn add(&mut self, need: &NeedReport, decides: bool) {
        if decides && !self.decide {
            self.decide = true;
            self.names.insert(0, need.configuration.clone());
        } else {
            self.names.push(need.configuration.clone());
        }
    }
}

/// The first of them, and the number of the others.
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct: BTreeSet<_> = self.names.iter().collect();
        match self.names.first() {
            Some(first) => write!(f, "`{first}`{}", and_others(distinct.len() - 1)),
            None => f.write_str("nothing"),
        }
    }
}
