//! Who still needs which plugin: a plugin that is gone breaks DEL, and then a pod cannot end.

use std::collections::{BTreeMap, BTreeSet};

use super::root::HostPath;
use crate::model::{Code, Finding, PluginName, visible};

/// How many users a finding names.
const NAMED: usize = 3;

/// The plugins that live attachments need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    users: BTreeMap<PluginName, BTreeSet<String>>,
    unreadable: BTreeSet<String>,
}

impl InUse {
    /// Says that `user`, in the words of a message ("container 1f2e… on network `front`"), needs a plugin.
    pub fn add(&mut self, plugin: PluginName, user: String) {
        self.users.entry(plugin).or_default().insert(user);
    }

    /// Says that a file that records an attachment cannot be read: it may need anything.
    pub fn add_unreadable(&mut self, file: String) {
        self.unreadable.insert(file);
    }

    /// Why the plugin must stay; nothing, where nobody needs it.
    pub fn refusal(&self, directory: &HostPath, name: &PluginName) -> Option<Finding> {
        let place = format!("`{directory}/{name}`");
        if let Some(users) = self.users.get(name) {
            let message = format!("{place} is needed to take down {} attachments", users.len());
            return Some(
                Finding::refusal(Code::InUse, message)
                    .mismatch("no attachment that needs it", list(users))
                    .hint("end these pods first; without the plugin they cannot be deleted"),
            );
        }
        (!self.unreadable.is_empty()).then(|| {
            let message = format!("{place} may be needed: records of attachments cannot be read");
            Finding::refusal(Code::InUse, message)
                .mismatch("records that can be read", list(&self.unreadable))
                .hint("look at these files; remove those that no pod needs")
        })
    }
}

fn list(names: &BTreeSet<String>) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| visible(name).into_owned()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_needs_a_plugin_and_stays_short() {
        let mut in_use = InUse::default();
        let (directory, name): (HostPath, PluginName) = (HostPath::default_bin_directory(), "macvlan".parse().unwrap());
        assert_eq!(in_use.refusal(&directory, &name), None);
        for number in 0..5 {
            in_use.add(name.clone(), format!("container {number}"));
        }
        let finding = in_use.refusal(&directory, &name).unwrap();
        assert_eq!(finding.message, "`/opt/cni/bin/macvlan` is needed to take down 5 attachments");
        assert_eq!(finding.found.as_deref(), Some("container 0, container 1, container 2 and 2 more"));
        let other = "vlan".parse().unwrap();
        assert_eq!(in_use.refusal(&directory, &other), None);
        in_use.add_unreadable("/var/lib/cni/results/x\n".to_owned());
        let finding = in_use.refusal(&directory, &other).unwrap();
        assert_eq!(finding.found.as_deref(), Some("/var/lib/cni/results/x\\u{a}"));
    }
}
