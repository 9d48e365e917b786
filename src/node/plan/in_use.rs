//! Attachments that prevent the removal of a plugin: without it, DEL fails and the pod cannot be
//! deleted. Pure: the caller decides whether the plugin is removed anyway.

use super::Step;
use crate::model::{Code, Finding};
use crate::node::host::Attachments;

/// How many attachments a finding names.
const NAMED: usize = 3;

impl Attachments {
    /// Why the plugin of a step must stay; `None` if no attachment needs it, or if the step leaves
    /// a plugin of this name: what was there before serves as well.
    pub(crate) fn against(&self, step: &Step) -> Option<Finding> {
        let Step::Remove { directory, name, restores: false, .. } = step else { return None };
        let place = format!("`{directory}/{name}`");
        let users = self.of(name);
        if !users.is_empty() {
            let message = format!("{place} is needed to tear down {}", count(users.len()));
            let found = list(users.iter().map(ToString::to_string));
            return Some(
                Finding::refusal(Code::InUse, message)
                    .mismatch("no attachment that needs it", found)
                    .hint("delete these pods first; without the plugin, their deletion fails"),
            );
        }
        (!self.unknown.is_empty()).then(|| {
            let message =
                format!("{place} may be needed: some records of attachments cannot be read");
            let finding = Finding::refusal(Code::InUse, message);
            finding.mismatch("readable records", self.unread()).hint(self.hint())
        })
    }

    /// What cannot be known about all plugins together.
    pub(crate) fn about_unknown(&self) -> Option<Finding> {
        let message = "plugins may be needed: some records of attachments cannot be read";
        (!self.unknown.is_empty()).then(|| {
            let finding = Finding::refusal(Code::AttachmentUnknown, message);
            finding.mismatch("readable records", self.unread()).hint(self.hint())
        })
    }

    /// What to say besides the notes of a plan: that something stays because of what cannot be
    /// seen, and which records do not count.
    pub(crate) fn about(&self, notes: &[Finding]) -> Vec<Finding> {
        let stays = notes.iter().any(|note| note.code == Code::InUse);
        let unknown = self.about_unknown().filter(|_| stays).map(Finding::into_warning);
        unknown.into_iter().chain(self.about_stale()).collect()
    }

    fn unread(&self) -> String {
        list(self.unknown.iter().map(|finding| finding.message.clone()))
    }

    fn hint(&self) -> String {
        let own = self.unknown.first().filter(|_| self.unknown.len() == 1);
        own.and_then(|finding| finding.hint.clone())
            .unwrap_or_else(|| "inspect these records; remove those that no pod needs".to_owned())
    }
}

fn count(users: usize) -> String {
    if users == 1 { "1 attachment".to_owned() } else { format!("{users} attachments") }
}

fn list(mut names: impl ExactSizeIterator<Item = String>) -> String {
    let shown: Vec<_> = names.by_ref().take(NAMED).collect();
    match names.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostPath, PluginName};
    use crate::node::host::{Attachment, Found};

    fn removal(name: &PluginName, restores: bool) -> Step {
        let (directory, name) = (HostPath::default_bin_directory(), name.clone());
        Step::Remove { directory, name, restores, before: Found::Absent, original: None }
    }

    #[test]
    fn says_who_needs_a_plugin_and_stays_short() {
        let mut attachments = Attachments::default();
        let name: PluginName = "macvlan".parse().unwrap();
        assert_eq!(attachments.against(&removal(&name, false)), None);
        let users = (0..5).map(|number| Attachment {
            container: number.to_string(),
            network: "front".to_owned(),
            interface: None,
            pod: None,
        });
        attachments.needed.insert(name.clone(), users.collect());
        let finding = attachments.against(&removal(&name, false)).unwrap();
        assert_eq!(finding.message, "`/opt/cni/bin/macvlan` is needed to tear down 5 attachments");
        let found = "container `0` in network `front`, container `1` in network `front`, container `2` in network \
                     `front` and 2 more";
        assert_eq!(finding.found.as_deref(), Some(found));
        // What was there before comes back, and takes the pods down.
        assert_eq!(attachments.against(&removal(&name, true)), None);
        let other = "vlan".parse().unwrap();
        assert_eq!(attachments.against(&removal(&other, false)), None);
        attachments.unknown.push(Finding::refusal(Code::InUse, "`x` cannot be read"));
        let finding = attachments.against(&removal(&other, false)).unwrap();
        assert_eq!(finding.found.as_deref(), Some("`x` cannot be read"));
        assert_eq!(attachments.against(&removal(&other, true)), None);
    }
}
