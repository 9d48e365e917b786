//! What is concluded from a text and a node. The ways to break a plugin that a real libcni
//! complains about are in `tests/node/explain.rs`; here are those that need an installation,
//! another place, or luck.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::binary::sample::Sample;
use crate::check::FileState;
use crate::check::report::{PluginReport, Report};
use crate::model::Digest;

const BIN: &str = "/opt/cni/bin";

struct Scene {
    folder: tempfile::TempDir,
    checked: Option<Report>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("opt/cni/bin")).unwrap();
        Self { folder, checked: None }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn file(self, path: &str, bytes: &[u8], mode: u32) -> Self {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), bytes).unwrap();
        std::fs::set_permissions(self.at(path), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.at(path)).unwrap();
        self
    }

    /// What `check` says.
    fn installed(mut self, plugins: &[(&str, FileState)]) -> Self {
        let installed = Installed {
            bundle: "edge".parse().unwrap(),
            version: semver::Version::new(1, 2, 3),
            index: Digest::of(b"index"),
            strength: None,
            rule: None,
        };
        let plugin = |(name, condition): &(&str, FileState)| {
            let (directory, name) = (BIN.parse().unwrap(), name.parse().unwrap());
            PluginReport { directory, name, state: *condition, versions: None }
        };
        let plugins = plugins.iter().map(plugin).collect();
        self.checked = Some(Report { installed: Some(installed), plugins, ..Report::default() });
        self
    }

    fn explain(&self, text: &str) -> Explained {
        let root = Root::open(self.folder.path()).unwrap();
        let directories = [BIN.parse().unwrap(), "/usr/lib/cni".parse().unwrap()];
        let explanation = explain(&root, &directories, text.as_bytes(), || self.checked.clone());
        let [explained] = explanation.causes.as_slice() else { panic!("{text}: {explanation:?}") };
        explained.clone()
    }
}

/// A program for this machine.
fn program() -> Vec<u8> {
    Sample { machine: if cfg!(target_arch = "aarch64") { 183 } else { 62 }, ..Sample::default() }
        .bytes()
}

const NOT_FOUND: &str =
    r#"plugin type="macvlan" failed (add): failed to find plugin "macvlan" in path [/opt/cni/bin]"#;
const DENIED: &str = r#"plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: permission denied"#;
const FORMAT: &str = r#"plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: exec format error"#;
const NO_FILE: &str = r#"plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: no such file or directory"#;
const CRASHED: &str = r#"plugin type="macvlan" failed (add): netplugin failed with no error message: signal: segmentation fault"#;
const SILENT: &str = r#"plugin type="macvlan" failed (add): failed to unmarshal raw result: unexpected end of JSON input"#;
const BUSY: &str = r#"plugin type="macvlan" failed (add): netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: text file busy"#;

#[test]
fn names_the_cause_that_the_node_shows() {
    const MACVLAN: &str = "/opt/cni/bin/macvlan";
    let new = Scene::new;
    let there = || new().file(MACVLAN, &program(), 0o755);
    let cut = |scene: Scene, path: &str| scene.file(path, &program()[..40], 0o755);
    let rows = [
        (NOT_FOUND, new(), Cause::PluginAbsent),
        (NOT_FOUND, new().link(MACVLAN, "nowhere"), Cause::LinkDangling),
        // The host has it; the node, whose root is elsewhere, has not.
        (NOT_FOUND, new().link(MACVLAN, "/etc/passwd"), Cause::LinkDangling),
        (NOT_FOUND, new().link(MACVLAN, "macvlan"), Cause::LinkDangling),
        (NOT_FOUND, new().link(MACVLAN, "/opt/cni"), Cause::PluginNotAFile),
        (
            NOT_FOUND,
            new().file("/k3s/macvlan", b"", 0o755).link(MACVLAN, "/k3s/macvlan"),
            Cause::LinkUnseen,
        ),
        (NOT_FOUND, there(), Cause::NoLongerSo),
        (NOT_FOUND, new().file("/usr/lib/cni/macvlan", b"", 0o755), Cause::PluginElsewhere),
        // What the runtime finds first counts; here that is a directory where it looks.
        (NOT_FOUND, new().file("/opt/cni/bin/macvlan/x", b"", 0o755), Cause::PluginIsDirectory),
        (DENIED, there(), Cause::PermissionDenied),
        (DENIED, new().file(MACVLAN, &program(), 0o644), Cause::NotExecutable),
        // Root needs one execute bit, no matter whose.
        (DENIED, new().file(MACVLAN, &program(), 0o645), Cause::PermissionDenied),
        (DENIED, new(), Cause::PluginAbsent),
        (FORMAT, there(), Cause::NoLongerSo),
        (FORMAT, new().file(MACVLAN, b"", 0o755), Cause::PluginEmpty),
        (FORMAT, new().file(MACVLAN, b"text", 0o755), Cause::NotAProgram),
        (FORMAT, new().file(MACVLAN, b"#!/x", 0o755), Cause::NoLongerSo),
        (FORMAT, cut(new(), MACVLAN), Cause::PluginTruncated),
        (FORMAT, new().link(MACVLAN, "nowhere"), Cause::LinkDangling),
        (
            FORMAT,
            new().file("/k3s/macvlan", b"", 0o755).link(MACVLAN, "/k3s/macvlan"),
            Cause::ExecFormat,
        ),
        (NO_FILE, there(), Cause::NoLongerSo),
        (NO_FILE, new(), Cause::PluginAbsent),
        (NO_FILE, new().file(MACVLAN, b"#!/x\n", 0o755), Cause::InterpreterMissing),
        (NO_FILE, new().file(MACVLAN, b"#! /../x y\n", 0o755), Cause::InterpreterMissing),
        (
            NO_FILE,
            new().file("/x", b"", 0o755).file(MACVLAN, b"#! /x y\n", 0o755),
            Cause::NoLongerSo,
        ),
        (CRASHED, there(), Cause::PluginCrashed),
        (CRASHED, cut(new(), MACVLAN), Cause::PluginTruncated),
        (CRASHED, cut(there(), "/opt/cni/bin/static"), Cause::PluginTruncated),
        // The second directory's is not the one that runs.
        (CRASHED, cut(there(), "/usr/lib/cni/macvlan"), Cause::PluginCrashed),
        (CRASHED, there().installed(&[("macvlan", FileState::Altered)]), Cause::PluginAltered),
        (CRASHED, there().installed(&[("macvlan", FileState::Proven)]), Cause::PluginCrashed),
        (SILENT, there(), Cause::SilentPlugin),
        (SILENT, there().installed(&[("macvlan", FileState::Proven)]), Cause::StillBeingWritten),
        (SILENT, there().installed(&[("macvlan", FileState::Altered)]), Cause::PluginAltered),
        (SILENT, new().file(MACVLAN, b"#!/bin/sh\n", 0o755), Cause::NotAPlugin),
        (SILENT, there().file("/opt/cni/bin/static", b"#!/bin/sh\n", 0o755), Cause::NotAPlugin),
        (BUSY, there(), Cause::StillBeingWritten),
    ];
    for (row, (text, scene, cause)) in rows.into_iter().enumerate() {
        let explained = scene.explain(text);
        assert_eq!(explained.cause, cause, "row {row}: {explained:#?}");
        assert!(!explained.actions.is_empty(), "row {row}: {explained:#?}");
        assert_eq!(explained.message.lines().count(), 1);
    }
}

#[test]
fn a_directory_that_the_owner_did_not_name_is_not_looked_into() {
    let scene = Scene::new().file("/secret/macvlan", &[], 0o644);
    for (text, cause) in [
        (NOT_FOUND, Cause::PluginNotFound),
        (DENIED, Cause::PermissionDenied),
        (FORMAT, Cause::ExecFormat),
        (NO_FILE, Cause::ExecNoSuchFile),
        (BUSY, Cause::StillBeingWritten),
    ] {
        let explained = scene.explain(&text.replace(BIN, "/secret"));
        assert_eq!(
            (explained.cause, explained.searched),
            (cause, vec!["/secret".to_owned()]),
            "{text}"
        );
        if cause != Cause::StillBeingWritten {
            assert!(
                explained.actions[0].ends_with("`--bin-dir /secret`"),
                "{:?}",
                explained.actions
            );
        }
        // It is part of a command that a reader may copy: only characters without a meaning to a
        // shell.
        for path in ["/a;reboot", "/$(reboot)", "/a b", "/../a", "not/absolute", "/a'"] {
            let explained = scene.explain(&text.replace(BIN, path));
            assert!(
                explained.actions.iter().all(|action| !action.contains(path)),
                "{:?}",
                explained.actions
            );
        }
    }
}

#[test]
fn says_how_to_get_the_plugin_back() {
    let action = |scene: Scene, text: &str| scene.explain(text).actions.join("\n");
    let scene = Scene::new;
    assert_eq!(
        action(scene(), NOT_FOUND),
        "install a bundle that contains `macvlan` (`cnister install`); it is part of containernetworking/plugins"
    );
    assert_eq!(
        action(scene(), &NOT_FOUND.replace("macvlan", "ovs")),
        "install a bundle that contains `ovs` (`cnister install`); it comes from k8snetworkplumbingwg/ovs-cni"
    );
    assert_eq!(
        action(scene().installed(&[("macvlan", FileState::Missing)]), NOT_FOUND),
        "`macvlan` is part of the installed bundle `edge 1.2.3`: run `cnister check --repair`, which needs no network, or the \
         same `cnister install` again"
    );
    assert_eq!(
        action(
            scene().installed(&[("vlan", FileState::Proven)]),
            &NOT_FOUND.replace("macvlan", "tap")
        ),
        "the installed bundle `edge 1.2.3` does not contain `tap`: `tap` has been part of containernetworking/plugins since v1.3.0; add it to the bundle"
    );
    assert_eq!(
        action(scene().installed(&[("macvlan", FileState::Kept)]), NOT_FOUND),
        "`macvlan` belongs to another installer: run that one again, or take the file over with `cnister install --foreign adopt=macvlan`"
    );
}

#[test]
fn says_who_is_blamed_for_whom_and_what_follows() {
    let text = r#"plugin type="macvlan" failed (delete): failed to find plugin "static" in path [/opt/cni/bin]"#;
    let explained = Scene::new().installed(&[("static", FileState::Missing)]).explain(text);
    let OnNode { directory, found, state } = explained.on_node[0].clone();
    assert_eq!(
        (directory.as_str(), found.as_str(), state),
        (BIN, "does not exist", Some(FileState::Missing))
    );
    assert_eq!(explained.plugin.as_deref(), Some("static"));
    assert_eq!(explained.called_by.as_deref(), Some("macvlan"));
    assert_eq!(
        explained.message,
        "there is no `static` in `/opt/cni/bin`; the error names `macvlan`, which will work once `static`, its IPAM plugin, does"
    );
    assert_eq!(
        explained.effect.as_deref(),
        Some(
            "pods that use it cannot be deleted either: they stay Terminating until this is fixed"
        )
    );
    assert_eq!(Scene::new().explain(NOT_FOUND).effect, None);
    let cut = Scene::new().file("/opt/cni/bin/static", &program()[..40], 0o755).explain(CRASHED);
    assert!(
        cut.message.ends_with(
            "; this explains the failure of `macvlan` if its configuration has `static` as its `ipam`"
        ),
        "{}",
        cut.message
    );
}

#[test]
fn a_name_that_is_none_is_never_looked_for() {
    let scene = Scene::new().file("/opt/cni/secret", b"", 0o644);
    for name in ["../secret", "/etc/passwd", ".hidden", "", "a\u{1b}[2J", "-rf"] {
        let explained =
            scene.explain(&format!("failed to find plugin \"{name}\" in path [/opt/cni/bin]"));
        assert_eq!(explained.cause, Cause::PluginNameInvalid, "{name}");
        assert_eq!(explained.on_node, []);
        assert!(!explained.message.contains('\u{1b}'));
    }
    for path in ["/opt/cni/bin/../macvlan", "/opt/cni/bin/..", "/opt/cni/bin/", "secret", ""] {
        let text = DENIED.replace("/opt/cni/bin/macvlan", path);
        assert_eq!(scene.explain(&text).cause, Cause::PermissionDenied, "{path}");
    }
}

#[test]
fn a_large_plugin_is_not_read() {
    let scene = Scene::new().file("/opt/cni/bin/macvlan", b"", 0o755);
    let file = std::fs::File::options().write(true).open(scene.at("/opt/cni/bin/macvlan")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(scene.explain(FORMAT).cause, Cause::ExecFormat);
}

#[test]
fn there_is_always_something_to_do() {
    for text in [
        "incompatible CNI versions; config is \"1.1.0\", plugin supports []",
        "plugin type=\"x\" failed (add): fork/exec : exec format error",
        "plugin type=\"x\" failed (add): fork/exec a\u{7}: no such file or directory",
    ] {
        assert_ne!(Scene::new().explain(text).actions, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_program_that_a_plugin_runs_is_not_a_plugin() {
    let explained = |text: &str| {
        let scene = Scene::new();
        let root = Root::open(scene.folder.path()).unwrap();
        let directories = [BIN.parse().unwrap(), "/srv/plugins".parse().unwrap()];
        let explanation = explain(&root, &directories, text.as_bytes(), || None);
        let plugins: Vec<_> = explanation.causes.into_iter().map(|cause| cause.plugin).collect();
        (plugins, explanation.unknown)
    };
    let failed = |path: &str| {
        explained(&format!(
            r#"plugin type="portmap" failed (add): fork/exec {path}: permission denied"#
        ))
    };
    for path in [
        "/usr/sbin/iptables",
        "/sbin/iptables",
        "/usr/bin/nsenter",
        "/usr/sbin/ip",
        "/app/run",
        // iproute2's.
        "/usr/sbin/bridge",
        "/sbin/bridge",
        "/opt/cni/bin/../secret",
    ] {
        assert_eq!(failed(path), (vec![], vec!["portmap".to_owned()]), "{path}");
    }
    for (path, name) in [
        ("/usr/sbin/portmap", "portmap"),
        ("/opt/cni/bin/own", "own"),
        ("/srv/plugins/own", "own"),
        ("/usr/libexec/cni/own", "own"),
        ("/host/opt/cni/bin/own", "own"),
        ("/var/lib/rancher/k3s/data/0a/bin/host-local", "host-local"),
    ] {
        assert_eq!(failed(path), (vec![Some(name.to_owned())], vec![]), "{path}");
    }
    // No plugin is blamed, and nothing is known.
    let text =
        r#"failed to setup network for sandbox "a": fork/exec /usr/bin/x: permission denied"#;
    assert_eq!(explained(text), (vec![], vec![]));
    // However many there are, they take no place from an error that is about a plugin.
    let programs =
        (0..2 * MOST_SYMPTOMS).map(|n| format!("fork/exec /app/{n}: permission denied\n"));
    let text = programs.collect::<String>() + NOT_FOUND;
    assert_eq!(explained(&text), (vec![Some("macvlan".to_owned())], vec![]));
}
