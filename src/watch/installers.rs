//! Which installer may have written a file, by the names beside it. Pure.
//!
//! Installers leave files of their own beside the plugins: backups, links, temporary files of
//! interrupted runs. Such a name is a hint for people and proves nothing: no decision depends on
//! it. Reading the directory is the driver's job.

use crate::cni::is_multus;

/// A name that a known installer leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The name of the file beside the plugin.
    pub(crate) name: String,
    /// Who leaves such names.
    pub(crate) installer: &'static str,
}

/// Finds a trace of who wrote `plugin` among the names in its directory.
pub(crate) fn installer_of<'a>(
    plugin: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<Trace> {
    let found = names.into_iter().filter_map(|name| {
        let (rank, installer) = installer(plugin, name)?;
        Some((rank, name, installer))
    });
    // The most specific, and of several the first by name, so that the result depends only on the
    // directory.
    found.min().map(|(_, name, installer)| Trace { name: name.to_owned(), installer })
}

/// The installer that leaves `name`, and a rank: 0 for a name that is derived from the plugin's, 1
/// for one that is not.
fn installer(plugin: &str, name: &str) -> Option<(u8, &'static str)> {
    let of_plugin = [
        // dropgz/pkg/embed: the file that was there is renamed.
        (format!("{plugin}.old"), "dropgz (Azure)"),
        // The operator's link: the plugin's name leads to a file with its prefix.
        (format!("cnv-{plugin}"), "the cluster network addons operator (KubeVirt)"),
        // install-plugin.sh, interrupted.
        (format!(".{plugin}.new"), "install-plugin.sh (Cilium)"),
        // Interrupted; both use this name.
        (format!("{plugin}.tmp"), "hardened-cni-plugins (Rancher) or the VPC CNI (AWS)"),
    ];
    if let Some((_, installer)) = of_plugin.iter().find(|(pattern, _)| pattern == name) {
        return Some((0, installer));
    }
    // os.CreateTemp appends digits.
    let temporary = name.strip_prefix(plugin).and_then(|rest| rest.strip_prefix(".temp"));
    if is_multus(plugin) && temporary.is_some_and(|rest| rest.bytes().all(is_digit)) {
        return Some((0, "install_multus (Multus)"));
    }
    let uuid = name.strip_prefix("upgrade_").is_some_and(is_uuid);
    uuid.then_some((1, "cnibincopy (OpenShift)"))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plugin, the names beside it, and the name and the installer that are reported.
    type Case<'a> = (&'a str, &'a [&'a str], Option<(&'a str, &'a str)>);

    #[test]
    fn tells_installers_by_what_they_leave() {
        let uuid = "upgrade_0283ce13-d27b-4255-afc5-6f0b6c1b2796";
        let cases: [Case<'_>; 14] = [
            ("bridge", &["bridge", "vlan"], None),
            ("bridge", &["bridge", "bridge.old"], Some(("bridge.old", "dropgz (Azure)"))),
            ("bridge", &["vlan.old"], None),
            (
                "bridge",
                &["cnv-bridge"],
                Some(("cnv-bridge", "the cluster network addons operator (KubeVirt)")),
            ),
            ("loopback", &[".loopback.new"], Some((".loopback.new", "install-plugin.sh (Cilium)"))),
            (
                "portmap",
                &["portmap.tmp"],
                Some(("portmap.tmp", "hardened-cni-plugins (Rancher) or the VPC CNI (AWS)")),
            ),
            ("multus", &["multus.temp1234"], Some(("multus.temp1234", "install_multus (Multus)"))),
            ("multus", &["multus.tempest", "multus-shim.temp1"], None),
            ("bridge", &["bridge.temp1"], None),
            ("bridge", &[uuid], Some((uuid, "cnibincopy (OpenShift)"))),
            (
                "bridge",
                &["upgrade_notes", "upgrade_0283ce13-d27b-4255-afc5-6f0b6c1b279", "upgrade_"],
                None,
            ),
            ("bridge", &[uuid, "bridge.old"], Some(("bridge.old", "dropgz (Azure)"))),
            ("bridge", &["cnv-bridge", "bridge.old"], Some(("bridge.old", "dropgz (Azure)"))),
            ("bridge", &[], None),
        ];
        for (plugin, names, expected) in cases {
            let found = installer_of(plugin, names.iter().copied());
            let found = found.as_ref().map(|trace| (trace.name.as_str(), trace.installer));
            assert_eq!(found, expected, "{plugin} {names:?}");
        }
    }
}
