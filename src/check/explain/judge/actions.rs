//! What the reader of a verdict can do. Pure.

use super::super::cause::Cause;
use super::super::look::Seen;
use super::super::symptom::{Complaint, Symptom};
use super::{Node, Verdict, names};
use crate::cni::MULTUS_DIRECTORIES;
use crate::model::HostPath;

impl Verdict {
    /// What the reader can do.
    pub(super) fn actions(
        &self,
        symptom: &Symptom,
        node: &Node<'_>,
        plugin: Option<&str>,
    ) -> Vec<String> {
        let cure =
            || plugin.and_then(|plugin| plugin.parse().ok()).map(|plugin| node.cure(&plugin));
        let one = |text: &str| vec![text.to_owned()];
        let searched = symptom.searched();
        match self.cause {
            Cause::PluginAbsent
            | Cause::PluginEmpty
            | Cause::WrongMachine
            | Cause::PluginTruncated
            | Cause::NotAProgram
            | Cause::PluginAltered
            | Cause::NotAPlugin => cure().into_iter().collect(),
            Cause::LinkDangling | Cause::PluginIsDirectory | Cause::PluginNotAFile => {
                let mut actions =
                    one("find out what created it, then remove it: cnister does not replace it");
                actions.extend(cure());
                actions
            }
            Cause::LinkUnseen => one(
                "for a runtime in a pod (thick Multus), absolute links lead into the pod: install the plugin as a file, or also mount the link's target there",
            ),
            Cause::PluginElsewhere => match searched.iter().find(|path| is_harmless(path)) {
                Some(path) => vec![format!(
                    "install with `--bin-dir {path}`, or make the runtime search its directory"
                )],
                None => one("make the runtime search its directory"),
            },
            Cause::PluginNotFound
            | Cause::PermissionDenied
            | Cause::ExecFormat
            | Cause::ExecNoSuchFile => {
                let looked_at = |seen: &Seen| names(&searched, &seen.directory);
                let looked_at =
                    node.suspects.iter().flat_map(|suspect| &suspect.seen).any(looked_at);
                let path = searched.iter().find(|path| is_harmless(path)).filter(|_| !looked_at);
                let again =
                    |path| format!("to have it inspected, run this again with `--bin-dir {path}`");
                let mut actions: Vec<_> = path.map(again).into_iter().collect();
                if self.cause == Cause::PermissionDenied {
                    actions.push(
                        "search the kernel log for a denial by SELinux or AppArmor".to_owned(),
                    );
                }
                actions.extend(cure());
                actions
            }
            Cause::PluginNameInvalid => one(
                "use the plain name of the plugin as `type`, and install it in the plugin directory",
            ),
            Cause::NotExecutable => {
                let seen = node
                    .suspects
                    .iter()
                    .flat_map(|suspect| suspect.seen.iter().map(|seen| (&suspect.name, seen)));
                let mut there = seen.filter(|(_, seen)| names(&searched, &seen.directory));
                let by_hand = there.next().map(|(name, seen)| {
                    format!("or by hand: chmod 0755 {}", seen.directory.join(name))
                });
                cure().into_iter().chain(by_hand).collect()
            }
            Cause::MountNoexec => one(
                "remount it with exec, or install into another directory and make the runtime search that",
            ),
            Cause::InterpreterMissing => one(
                "use a statically linked build of the plugin, or install the interpreter: this build is for another distribution",
            ),
            Cause::LibraryMissing => one(
                "use a statically linked build of the plugin: this build is for another distribution",
            ),
            Cause::ConfigurationInvalid => {
                one("let `cnister check` say what is wrong with it, then correct or remove it")
            }
            Cause::PluginCrashed => one("compare the plugins with what was signed: cnister check"),
            Cause::StillBeingWritten => one(
                "try again; if it persists, an installer overwrites the plugin in place: cnister replaces plugins atomically",
            ),
            Cause::SilentPlugin => one(
                "try again; if it persists, compare the plugins with what was signed: cnister check",
            ),
            Cause::IncompatibleVersions => {
                let mut actions = Vec::new();
                if let Complaint::Versions { supported, .. } = &symptom.complaint {
                    actions.push(match supported.last() {
                        Some(last) => format!("set cniVersion {last} in the configuration"),
                        None => "set a cniVersion that the plugin supports".to_owned(),
                    });
                }
                actions.extend(plugin.map(|plugin| {
                    format!("or install a newer `{plugin}`, or a newer plugin for its `ipam`")
                }));
                actions
            }
            Cause::DriverMissing => {
                let module = match &symptom.complaint {
                    Complaint::Driver { kind } if kind == "vlan" => "8021q",
                    Complaint::Driver { kind } => kind,
                    _ => "NAME",
                };
                vec![format!("load it (modprobe {module}), or use a kernel that was built with it")]
            }
            Cause::LinkNotFound => one(
                "compare the configuration's `master` (or `device`) with what `ip link` shows on this node",
            ),
            // Where Multus looks for a network that a definition only names.
            Cause::NoConfiguration if searched.iter().any(|path| is_of_multus(path.as_str())) => {
                one(
                    "a NetworkAttachmentDefinition without `spec.config` names a configuration there: write it into the definition, or put the file on this node",
                )
            }
            Cause::NoConfiguration => one(
                "the network provider writes it once it runs: check its pods on this node; a bundle of plugins contains no configuration",
            ),
            Cause::NoLongerSo => one(
                "try again; if it persists, the runtime sees other files: compare its mounts with this node's",
            ),
        }
    }
}

/// Whether a directory of configuration is one of Multus, whose `confDir` may be elsewhere.
fn is_of_multus(path: &str) -> bool {
    MULTUS_DIRECTORIES.contains(&path) || path.ends_with("multus/net.d")
}

/// Whether a path of the text may be part of a command that a reader copies into a shell.
fn is_harmless(path: &str) -> bool {
    path.parse::<HostPath>().is_ok()
        && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
}
