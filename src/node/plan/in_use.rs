//! What attachments say against the removal of a plugin: without it, DEL fails and a pod cannot
//! end. Pure: the caller decides whether it is removed anyway.

use crate::model::{Code, Finding, HostPath, PluginName};
use crate::node::host::Attachments;

/// How many attachments a finding names.
const NAMED: usize = 3;

impl Attachments {
    /// Why the plugin must stay; `None` if no attachment needs it.
    pub(crate) fn against_removal(
        &self,
        directory: &HostPath,
        name: &PluginName,
    ) -> Option<Finding> {
        let place = format!("`{directory}/{name}`");
        let users = self.of(name);
        if !users.is_empty() {
            let message = format!("{place} is needed to take down {}", count(users.len()));
            let found = list(users.iter().map(ToString::to_string));
            return Some(
                Finding::refusal(Code::InUse, message)
                    .mismatch("no attachment that needs it", found)
                    .hint("end these pods first; without the plugin they cannot be deleted"),
            );
        }
        (!self.unknown.is_empty()).then(|| {
            let message =
                format!("{place} may be needed: not every record of an attachment can be read");
            Finding::refusal(Code::InUse, message)
                .mismatch(
                    "records that can be read",
                    list(self.unknown.iter().map(|finding| finding.message.clone())),
                )
                .hint("look at these records; remove those that no pod needs")
        })
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
    use crate::node::host::Attachment;

    #[test]
    fn says_who_needs_a_plugin_and_stays_short() {
        let mut attachments = Attachments::default();
        let (directory, name): (HostPath, PluginName) =
            (HostPath::default_bin_directory(), "macvlan".parse().unwrap());
        assert_eq!(attachments.against_removal(&directory, &name), None);
        let users = (0..5).map(|number| Attachment {
            container: number.to_string(),
            network: "front".to_owned(),
            interface: None,
        });
        attachments.needed.insert(name.clone(), users.collect());
        let finding = attachments.against_removal(&directory, &name).unwrap();
        assert_eq!(finding.message, "`/opt/cni/bin/macvlan` is needed to take down 5 attachments");
        let found = "container `0` in network `front`, container `1` in network `front`, container `2` in network \
                     `front` and 2 more";
        assert_eq!(finding.found.as_deref(), Some(found));
        let other = "vlan".parse().unwrap();
        assert_eq!(attachments.against_removal(&directory, &other), None);
        attachments.unknown.push(Finding::refusal(Code::InUse, "`x` cannot be read"));
        let finding = attachments.against_removal(&directory, &other).unwrap();
        assert_eq!(finding.found.as_deref(), Some("`x` cannot be read"));
    }
}
