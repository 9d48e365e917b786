//! Whether another mount namespace shows the same plugins.
//!
//! A plugin that delegates may run in a pod and search for the others there, as the Multus daemon
//! does; a file that the node has can then be missing, or be another one. Every link is followed as
//! a process of that namespace follows it, and none leads out of it. Nothing is executed.

use std::collections::{BTreeMap, BTreeSet};

use super::report::Report;
use crate::disk::DiskError;
use crate::model::{Code, Finding, HostPath, PluginName, and_others};
use crate::node::{Found, NodeError, Obstacle, Root, Sizes, hash_plugin};

/// Compares the plugins that a report names, and those that configurations need, with what `view`
/// shows under the same paths, and adds what differs to the report. It changes nothing.
///
/// # Errors
/// If a file of the node itself cannot be read. What `view` does not show is a finding.
pub fn compare_view(root: &Root, view: &Root, report: &mut Report) -> Result<(), NodeError> {
    let installed = report.plugins.iter().map(|plugin| (&plugin.directory, &plugin.name));
    let needed =
        report.needs.iter().filter_map(|need| Some((need.found_in.as_ref()?, &need.plugin)));
    let wanted: BTreeSet<(&HostPath, &PluginName)> = installed.chain(needed).collect();
    let mut absent: BTreeMap<&HostPath, Vec<&PluginName>> = BTreeMap::new();
    let mut findings = Vec::new();
    for (directory, name) in wanted {
        // Only files of one size are read.
        let there = look(view, directory, name, &Sizes::default());
        let sizes = match &there {
            Ok(Found::OtherSize(size)) => Sizes::one(*size),
            _ => Sizes::default(),
        };
        let here = look(root, directory, name, &sizes)?;
        let differs = |what: String| {
            let message = format!("`{directory}/{name}` in `{}` {what}", view.shown());
            Finding::refusal(Code::ViewDiffers, message)
        };
        let there = match (&here, there) {
            (Found::Regular { .. }, Ok(Found::OtherSize(_))) => look(view, directory, name, &sizes),
            // What the node itself lacks is reported already.
            (Found::Absent | Found::Other(_) | Found::Unreadable(_), _) => continue,
            (_, there) => there,
        };
        match there {
            Ok(Found::Absent) => absent.entry(directory).or_default().push(name),
            Ok(Found::Other(obstacle)) => findings.push(differs(format!("is {obstacle}"))),
            Ok(Found::OtherSize(size)) => {
                let differs = differs("differs from the file on the node".to_owned());
                findings.push(match &here {
                    Found::OtherSize(expected) => differs
                        .mismatch(format_args!("{expected} bytes"), format_args!("{size} bytes")),
                    _ => differs,
                });
            }
            Ok(Found::Regular { digest, .. }) if here.digest() != Some(digest) => {
                let differs = differs("differs from the file on the node".to_owned());
                findings.push(match here.digest() {
                    Some(expected) => differs.mismatch(expected, digest),
                    None => differs,
                });
            }
            Ok(Found::Regular { mode, .. }) if mode & 0o111 == 0 => {
                findings.push(differs(format!("has mode {mode:04o} and cannot be executed")));
            }
            Ok(Found::Regular { .. }) => {}
            Ok(Found::Unreadable(reason)) => {
                findings.push(differs(format!("cannot be inspected: {reason}")));
            }
            Err(error) => {
                let cause =
                    std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                findings.push(differs(format!("cannot be inspected: {cause}")));
            }
        }
    }
    findings.extend(absent.into_iter().map(|(directory, names)| {
        let message = format!("`{directory}` in `{}` has no {}", view.shown(), shown(&names));
        Finding::refusal(Code::ViewDiffers, message).hint(
            "mount the node's directory into that pod, with plugins that are files, not links out of it",
        )
    }));
    report.findings.append(&mut findings);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(())
}

/// What a name refers to, with links followed.
fn look(
    root: &Root,
    directory: &HostPath,
    name: &PluginName,
    sizes: &Sizes,
) -> Result<Found, DiskError> {
    let Some(looked) = root.look_up(directory.join(name))? else { return Ok(Found::Absent) };
    match looked.open() {
        Ok(opened) => hash_plugin(&opened, sizes),
        Err(DiskError::NotRegular { kind, .. }) => Ok(Found::Other(Obstacle::Kind(kind))),
        Err(error) if error.is_not_found() => Ok(Found::Absent),
        Err(error) => Err(error),
    }
}

/// The first three names, and the number of the others.
fn shown(names: &[&PluginName]) -> String {
    let first: Vec<_> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
    format!("{}{}", first.join(", "), and_others(names.len() - first.len()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::super::report::{FileState, PluginReport};
    use super::*;

    const NAMES: [&str; 5] = ["bridge", "ipvlan", "macvlan", "ptp", "vlan"];

    fn fill(root: &Path) {
        let bin = root.join("opt/cni/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in NAMES {
            std::fs::write(bin.join(name), name).unwrap();
            std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755))
                .unwrap();
        }
    }

    fn compare(root: &Path, view: &Path) -> Vec<String> {
        let plugin = |name: &str| PluginReport {
            directory: HostPath::default_bin_directory(),
            name: name.parse().unwrap(),
            state: FileState::Proven,
            versions: None,
        };
        let plugins = NAMES.map(plugin).to_vec();
        let mut report = Report { plugins, ..Report::default() };
        compare_view(&Root::open(root).unwrap(), &Root::open(view).unwrap(), &mut report).unwrap();
        assert_eq!(report.findings.is_empty(), report.is_good());
        let tell = |finding: &Finding| format!("{}: {}", finding.code, finding.message);
        report
            .findings
            .iter()
            .map(|finding| tell(finding).replace(view.to_str().unwrap(), "VIEW"))
            .collect()
    }

    #[test]
    fn the_same_names_must_have_the_same_bytes() {
        let (root, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(root.path());
        let all = [
            "view-differs: `/opt/cni/bin` in `VIEW` has no `bridge`, `ipvlan`, `macvlan` and 2 others",
        ];
        assert_eq!(compare(root.path(), view.path()), all);
        fill(view.path());
        assert_eq!(compare(root.path(), view.path()), [""; 0]);

        let bin = view.path().join("opt/cni/bin");
        std::fs::write(bin.join("bridge"), "other").unwrap();
        std::fs::remove_file(bin.join("ipvlan")).unwrap();
        std::fs::set_permissions(bin.join("macvlan"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        std::fs::remove_file(bin.join("ptp")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, bin.join("ptp"), rustix::fs::Mode::RWXU).unwrap();
        let expected = [
            "view-differs: `/opt/cni/bin/bridge` in `VIEW` differs from the file on the node",
            "view-differs: `/opt/cni/bin/macvlan` in `VIEW` has mode 0600 and cannot be executed",
            "view-differs: `/opt/cni/bin/ptp` in `VIEW` is a FIFO",
            "view-differs: `/opt/cni/bin` in `VIEW` has no `ipvlan`",
        ];
        assert_eq!(compare(root.path(), view.path()), expected);
    }

    #[test]
    fn a_link_leads_where_it_leads_in_that_view_and_nowhere_else() {
        let (root, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill(root.path());
        fill(view.path());
        let bin = view.path().join("opt/cni/bin");
        // The right bytes, and outside of the view: a process there does not see them.
        let outside = root.path().join("opt/cni/bin");
        for (name, target) in [
            ("bridge", outside.join("bridge")),
            (
                "ipvlan",
                Path::new("../../../../../../../../")
                    .join(outside.strip_prefix("/").unwrap())
                    .join("ipvlan"),
            ),
            ("macvlan", "/data/macvlan".into()),
            ("ptp", "ptp".into()),
        ] {
            std::fs::remove_file(bin.join(name)).unwrap();
            symlink(target, bin.join(name)).unwrap();
        }
        std::fs::create_dir(view.path().join("data")).unwrap();
        std::fs::copy(outside.join("macvlan"), view.path().join("data/macvlan")).unwrap();
        let expected = [
            "view-differs: `/opt/cni/bin/ptp` in `VIEW` cannot be inspected: Too many levels of symbolic links (os error 40)",
            "view-differs: `/opt/cni/bin` in `VIEW` has no `bridge`, `ipvlan`",
        ];
        assert_eq!(compare(root.path(), view.path()), expected);
        // k3s: links out of the mount, which the node follows and a pod cannot.
        std::fs::remove_file(root.path().join("opt/cni/bin/ptp")).unwrap();
        std::fs::create_dir(root.path().join("data")).unwrap();
        std::fs::write(root.path().join("data/ptp"), "ptp").unwrap();
        symlink("/data/ptp", root.path().join("opt/cni/bin/ptp")).unwrap();
        std::fs::remove_dir_all(view.path().join("opt")).unwrap();
        symlink(root.path().join("opt"), view.path().join("opt")).unwrap();
        let all = [
            "view-differs: `/opt/cni/bin` in `VIEW` has no `bridge`, `ipvlan`, `macvlan` and 2 others",
        ];
        assert_eq!(compare(root.path(), view.path()), all);
    }
}
