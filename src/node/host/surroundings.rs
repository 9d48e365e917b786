//! The surroundings of the installed plugins: who can change their directory, which runtimes search
//! it, and how it is labelled.
//!
//! None of this says anything about the content of the plugins. `fact.rs` decides what counts at
//! which moment; everything else here is a warning or a note.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::runtime::{PlacedPlugins, compare};
use crate::disk::Root;
use crate::disk::{Directory, Looked, Ownership, Passed};
use crate::model::{Code, Finding, HostPath, PluginName, and_others, visible};
use crate::node::fact::{Fact, Moment};

/// In such a directory, only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// Looks around the plugin directories and the state directory. What cannot be looked at is left to
/// those who use it.
pub(crate) fn look_around(
    root: &Root,
    state: &HostPath,
    installed: &PlacedPlugins,
    moment: Moment,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for path in installed.keys() {
        let Some(looked) = look(root, path) else { continue };
        findings.extend(linked(path, &looked));
        let own = looked.directory().ok();
        findings.extend(changeable(root, path, &looked, own.as_ref(), moment, &mut seen));
        if let Some(directory) = &own {
            findings.extend(no_execute(path, directory, installed, moment));
            findings.extend(label(path, directory, installed));
        }
    }
    // The state directory itself is refused elsewhere if others can write to it; only the
    // directories that lead to it are judged here.
    if let Some(looked) = look(root, state) {
        findings.extend(changeable(root, state, &looked, None, moment, &mut seen));
    }
    findings.extend(compare(root, installed, moment));
    findings
}

fn look(root: &Root, path: &HostPath) -> Option<Looked> {
    root.look_up(path).ok().flatten().filter(Looked::is_directory)
}

fn linked(path: &HostPath, looked: &Looked) -> Option<Finding> {
    looked.linked.then(|| {
        let message = format!(
            "`{path}` is reached through a symbolic link and is actually `{}`",
            shown(&looked.path)
        );
        Finding::note(Code::LinkedDirectory, message)
    })
}

/// Who may exchange a file in a directory, or the directory itself, has what root has: the runtime
/// executes it.
fn changeable(
    root: &Root,
    path: impl Display,
    looked: &Looked,
    own: Option<&Directory>,
    moment: Moment,
    seen: &mut BTreeSet<PathBuf>,
) -> Vec<Finding> {
    let user = rustix::process::geteuid().as_raw();
    let mut passed = looked.passed.clone();
    let ownership = own.and_then(|directory| directory.ownership().ok());
    passed.extend(ownership.map(|ownership| Passed { path: looked.path.clone(), ownership }));
    let what = if looked.is_directory() { "directory" } else { "file" };
    let mut findings = Vec::new();
    for passed in passed {
        let is_itself = passed.path == looked.path;
        let who = others(passed.ownership, is_itself, user);
        let is_listed = who.is_none() && is_listed(root, &passed, is_itself);
        let Some(who) = who.or_else(|| is_listed.then(|| LISTED.to_owned())) else { continue };
        if !seen.insert(passed.path.clone()) {
            continue;
        }
        let here = shown(&passed.path);
        let message = match is_itself {
            true => format!("{who} can change files in `{here}`"),
            false => {
                format!("{who} can replace the {what} `{path}`, through `{here}`")
            }
        };
        findings.extend(writable(message, passed.ownership, is_listed, &here, moment));
    }
    findings
}

/// In a sentence about who may change something.
const LISTED: &str = "a user or group on an access control list";

/// Whether an access control list gives more than the mode says.
fn is_listed(root: &Root, passed: &Passed, is_itself: bool) -> bool {
    if !is_itself && passed.ownership.mode & STICKY != 0 {
        return false;
    }
    let looked = root.look_up(&passed.path).ok().flatten();
    let directory = looked.and_then(|looked| looked.directory().ok());
    directory.is_some_and(|directory| directory.has_list_of_writers().unwrap_or(false))
}

fn writable(
    message: String,
    Ownership { uid, gid, mode }: Ownership,
    is_listed: bool,
    here: &str,
    moment: Moment,
) -> Option<Finding> {
    let finding = Fact::OthersMayWrite.finding(moment, Code::WritableByOthers, message)?;
    let (list, hint) = match is_listed {
        true => (", with an access control list", format!("setfacl -b -k {here}")),
        false => ("", format!("chown 0:0 {here} && chmod go-w {here}")),
    };
    let found = format!("user {uid}, group {gid}, mode {mode:04o}{list}");
    Some(finding.mismatch("user 0, mode 0755", found).hint(format!("on that node: {hint}")))
}

/// Who may change a file that decides something: the policy, a key, or the unit of a boot. Nothing
/// is said of a file that is not there, or that is mounted read-only, as a volume in a pod is.
pub(crate) fn exposed_file(root: &Root, path: impl AsRef<Path>, moment: Moment) -> Vec<Finding> {
    let looked = root.look_up(&path).ok().flatten();
    let Some((looked, file)) = looked.and_then(|it| it.open().ok().map(|file| (it, file))) else {
        return Vec::new();
    };
    if file.file_system().is_ok_and(|system| system.read_only) {
        return Vec::new();
    }
    let user = rustix::process::geteuid().as_raw();
    let path = shown(path.as_ref());
    let ownership = Ownership { uid: file.uid, gid: file.gid, mode: file.mode };
    let who = others(ownership, true, user);
    let is_listed = who.is_none() && file.attributes().is_ok_and(|given| given.writers);
    let who = who.or_else(|| is_listed.then(|| LISTED.to_owned()));
    let own = who.and_then(|who| {
        writable(format!("{who} can change `{path}`"), ownership, is_listed, &path, moment)
    });
    let on_the_way = changeable(root, &path, &looked, None, moment, &mut BTreeSet::new());
    own.into_iter().chain(on_the_way).collect()
}

/// Who may change the entries of a directory whose files decide something, or put another in its
/// place.
pub(crate) fn exposed_directory(root: &Root, path: &HostPath, moment: Moment) -> Vec<Finding> {
    let Some(looked) = look(root, path) else { return Vec::new() };
    let own = looked.directory().ok();
    changeable(root, path, &looked, own.as_ref(), moment, &mut BTreeSet::new())
}

/// Who besides root and this user may change the entries of a directory.
fn others(ownership: Ownership, is_itself: bool, user: u32) -> Option<String> {
    let Ownership { uid, gid, mode } = ownership;
    // Of a parent it is the entry that leads on which counts, and with the sticky bit only its
    // owner may rename it. In the directory itself a new name is enough: a runtime calls any file
    // there.
    let kept = !is_itself && mode & STICKY != 0;
    if uid != 0 && uid != user {
        return Some(format!("user {uid}"));
    }
    match mode {
        _ if kept => None,
        mode if mode & 0o002 != 0 => Some("any user".to_owned()),
        mode if mode & 0o020 != 0 && gid != 0 && !is_own_group(user, gid) => {
            Some(format!("group {gid}"))
        }
        _ => None,
    }
}

/// Whether it is the group of a user who is not root and works with files of their own.
fn is_own_group(user: u32, gid: u32) -> bool {
    user != 0
        && user == rustix::process::geteuid().as_raw()
        && gid == rustix::process::getegid().as_raw()
}

fn no_execute(
    path: &HostPath,
    directory: &Directory,
    installed: &PlacedPlugins,
    moment: Moment,
) -> Option<Finding> {
    if directory.file_system().ok()?.no_execute {
        return not_executable(Fact::NotExecutable, moment, path);
    }
    // A file that is mounted over a plugin has a file system of its own.
    let names = installed.get(path).into_iter().flat_map(|plugins| plugins.keys());
    let is_noexec = |name: &&PluginName| {
        let system = directory.open_file(name.as_str()).and_then(|file| file.file_system());
        system.is_ok_and(|system| system.no_execute)
    };
    let mounted: Vec<_> = names.filter(is_noexec).collect();
    let (name, others) = mounted.split_first()?;
    let message = format!(
        "`{path}/{name}`{} cannot run: a file system that is mounted noexec is mounted over it",
        and_others(others.len())
    );
    let finding = Fact::NotExecutable.finding(moment, Code::NotExecutable, message)?;
    Some(finding.hint(format!("umount {path}/{name}")))
}

/// Says that a plugin there can never run.
pub(crate) fn not_executable(fact: Fact, moment: Moment, path: &HostPath) -> Option<Finding> {
    let message =
        format!("`{path}` is on a file system that is mounted noexec: no plugin there can run");
    let finding = fact.finding(moment, Code::NotExecutable, message)?;
    Some(finding.hint("mount it without noexec, or install somewhere else with --bin-dir"))
}

/// The files that have another label than their directory: a runtime that SELinux confines may not
/// execute them.
fn label(path: &HostPath, directory: &Directory, installed: &PlacedPlugins) -> Option<Finding> {
    let expected = directory.label()?;
    let names = installed.get(path).into_iter().flat_map(|plugins| plugins.keys());
    let differing = names.filter_map(|name| {
        let found = directory.label_of(name.as_str()).ok()?;
        (found.as_deref() != Some(expected.as_slice())).then_some((name, found))
    });
    let differing: Vec<_> = differing.collect();
    let ((name, found), others) = differing.split_first()?;
    let has = if others.is_empty() { "has" } else { "have" };
    let message = format!(
        "`{path}/{name}`{} {has} a different SELinux label from the directory",
        and_others(others.len())
    );
    let found = found.as_deref().map_or_else(|| "no label".to_owned(), shown_label);
    let finding =
        Finding::warning(Code::OtherLabel, message).mismatch(shown_label(&expected), found);
    Some(finding.hint(format!("on the node: restorecon -Rv {path}")))
}

/// A label as text; the kernel's ends with a zero byte.
fn shown_label(label: &[u8]) -> String {
    visible(String::from_utf8_lossy(label).trim_end_matches('\0')).into_owned()
}

fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::runtime::PlacedPlugin;
    use super::*;
    use crate::model::Digest;

    fn node() -> (tempfile::TempDir, Root, PlacedPlugins) {
        let temporary = tempfile::tempdir().unwrap();
        for path in ["opt/cni/bin", "var/lib/cnister"] {
            std::fs::create_dir_all(temporary.path().join(path)).unwrap();
        }
        std::fs::write(temporary.path().join("opt/cni/bin/bridge"), "bytes").unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let plugin = PlacedPlugin { digest: Digest::of(b"bytes"), size: 5 };
        let plugins = BTreeMap::from([("bridge".parse().unwrap(), plugin)]);
        (temporary, root, PlacedPlugins::from([(HostPath::default_bin_directory(), plugins)]))
    }

    fn found(root: &Root, installed: &PlacedPlugins) -> Vec<String> {
        let findings =
            look_around(root, &HostPath::default_state_directory(), installed, Moment::Running);
        findings.iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
    }

    #[test]
    fn nothing_is_reported_about_a_node_as_it_should_be() {
        let (_temporary, root, installed) = node();
        assert_eq!(found(&root, &installed), Vec::<String>::new());
    }

    #[test]
    fn says_who_else_can_change_what() {
        let parent = |who: &str, at: &str, path: &str| {
            vec![format!(
                "writable-by-others: {who} can replace the directory `{path}`, through `{at}`"
            )]
        };
        let itself = |who: &str| {
            vec![format!("writable-by-others: {who} can change files in `/opt/cni/bin`")]
        };
        let bin = "/opt/cni/bin";
        for (path, mode, expected) in [
            ("opt/cni/bin", 0o777, itself("any user")),
            ("opt/cni/bin", 0o1777, itself("any user")),
            ("opt/cni", 0o777, parent("any user", "/opt/cni", bin)),
            ("opt", 0o757, parent("any user", "/opt", bin)),
            ("", 0o777, parent("any user", "/", bin)),
            ("var/lib", 0o777, parent("any user", "/var/lib", "/var/lib/cnister")),
            // Only who owns `cni` may rename it there.
            ("opt", 0o1777, vec![]),
            ("opt/cni/bin", 0o755, vec![]),
            // The state directory has a refusal of its own.
            ("var/lib/cnister", 0o777, vec![]),
        ] {
            let (temporary, root, installed) = node();
            let path = temporary.path().join(path);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(found(&root, &installed), expected, "{} {mode:o}", path.display());
        }
    }

    #[test]
    fn a_file_that_decides_is_exposed_by_its_mode_and_by_the_way_to_it() {
        let place = "any user can replace the file `/etc/cnister/policy.yaml`";
        for (path, mode, expected) in [
            ("etc/cnister/policy.yaml", 0o644, vec![]),
            (
                "etc/cnister/policy.yaml",
                0o666,
                vec!["any user can change `/etc/cnister/policy.yaml`".to_owned()],
            ),
            ("etc/cnister", 0o777, vec![format!("{place}, through `/etc/cnister`")]),
            ("etc", 0o777, vec![format!("{place}, through `/etc`")]),
            ("etc", 0o1777, vec![]),
            ("etc/cnister", 0o1777, vec![]),
        ] {
            let temporary = tempfile::tempdir().unwrap();
            let at = |path: &str| temporary.path().join(path);
            std::fs::create_dir_all(at("etc/cnister")).unwrap();
            std::fs::write(at("etc/cnister/policy.yaml"), "rules").unwrap();
            std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(mode)).unwrap();
            let root = Root::open(temporary.path()).unwrap();
            let findings = |moment| exposed_file(&root, "/etc/cnister/policy.yaml", moment);
            let messages: Vec<_> =
                findings(Moment::Running).into_iter().map(|finding| finding.message).collect();
            assert_eq!(messages, expected, "{path} {mode:o}");
            assert!(findings(Moment::Running).iter().all(Finding::is_refusal));
            for moment in [Moment::Install, Moment::Boot] {
                assert!(!findings(moment).iter().any(Finding::is_refusal), "{path} {mode:o}");
            }
            assert!(exposed_file(&root, "/etc/none", Moment::Running).is_empty());
        }
    }

    #[test]
    fn access_control_lists_count_like_modes() {
        // User 1000 may write: `setfacl -m u:1000:rwx`, in the kernel's form.
        let entries: [(u16, u16, u32); 5] = [
            (1, 7, u32::MAX),
            (2, 7, 1000),
            (4, 5, u32::MAX),
            (16, 7, u32::MAX),
            (32, 5, u32::MAX),
        ];
        let bytes = |(tag, rights, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let list =
            [2_u32.to_le_bytes().to_vec(), entries.into_iter().flat_map(bytes).collect()].concat();
        let who = "writable-by-others: a user or group on an access control list can";
        let bin = format!("{who} change files in `/opt/cni/bin`");
        let replaced =
            |path: &str, at: &str| format!("{who} replace the directory `{path}`, through `{at}`");
        for (path, name, expected) in [
            ("opt/cni/bin", "system.posix_acl_access", vec![bin.clone()]),
            ("opt/cni/bin", "system.posix_acl_default", vec![bin]),
            ("opt/cni", "system.posix_acl_access", vec![replaced("/opt/cni/bin", "/opt/cni")]),
            ("var/lib", "system.posix_acl_access", vec![replaced("/var/lib/cnister", "/var/lib")]),
        ] {
            let (temporary, root, installed) = node();
            let directory = std::fs::File::open(temporary.path().join(path)).unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            if rustix::fs::fsetxattr(&directory, name, &list, flags).is_err() {
                // The file system of the tests has no lists.
                return;
            }
            assert_eq!(found(&root, &installed), expected, "{path} {name}");
        }
    }

    #[test]
    fn groups_and_owners_count_as_others() {
        let ownership = |uid, gid, mode| Ownership { uid, gid, mode };
        for (given, is_itself, expected) in [
            (ownership(0, 0, 0o775), true, None),
            (ownership(0, 50, 0o775), true, Some("group 50")),
            (ownership(0, 50, 0o2775), false, Some("group 50")),
            (ownership(0, 50, 0o755), true, None),
            (ownership(1000, 1000, 0o755), true, None),
            (ownership(1001, 0, 0o755), true, Some("user 1001")),
            (ownership(1001, 0, 0o1755), false, Some("user 1001")),
            (ownership(0, 50, 0o1777), false, None),
        ] {
            assert_eq!(
                others(given, is_itself, 1000).as_deref(),
                expected,
                "{given:?} {is_itself}"
            );
        }
    }

    #[test]
    fn says_where_a_link_leads() {
        let (temporary, root, installed) = node();
        std::fs::create_dir_all(temporary.path().join("usr/libexec")).unwrap();
        std::fs::rename(
            temporary.path().join("opt/cni/bin"),
            temporary.path().join("usr/libexec/cni"),
        )
        .unwrap();
        symlink("../../usr/libexec/cni", temporary.path().join("opt/cni/bin")).unwrap();
        assert_eq!(
            found(&root, &installed),
            [
                "linked-directory: `/opt/cni/bin` is reached through a symbolic link and is actually `/usr/libexec/cni`"
            ]
        );
    }
}
