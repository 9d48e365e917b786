//! Plugins with the right content that others can alter, and installations that would leave nothing
//! to check.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::release::Release;
use super::support::{Scene, say_skipped};
use super::{assert_refused, node, of_release, upgraded};

fn mode(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.mode() & 0o7777)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_plugin_with_another_owner_is_refused_and_repaired() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    let bridge = scene.at(node::BIN).join("bridge");
    scene.run_ok("check --root root");
    for words in ["check --root root --repair".to_owned(), second.install_from_layout_args()] {
        chown(&bridge, Some(1000), None).unwrap();
        let run = scene.run("check --root root");
        assert_refused(&run, "digest-drift");
        assert!(run.stdout.contains("user 1000, mode 0755"), "{}", run.stdout);
        assert_refused(&scene.run("check --root root --at-boot"), "digest-drift");
        scene.run_ok(&words);
        assert_eq!(mode(&bridge), (0, 0o755), "{words}");
        scene.run_ok("check --root root");
    }
    // From an earlier bundle: no repair restores it, so its owner has to.
    let leftover = scene.at(node::BIN).join("host-local");
    chmod(&leftover, 0o4777);
    assert_refused(&scene.run("check --root root"), "digest-drift");
    chmod(&leftover, 0o755);
    scene.run_ok("check --root root");
}

/// VFS_CAP_REVISION_2, effective, with `cap_net_admin` permitted (capabilities(7)).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access control list of five entries: the owner, another user, the group, the mask, others.
fn list(user: u32, rights: u8) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1, 7, none), (2, rights, user), (4, 5, none), (16, 7, none), (32, 5, none)];
    let entries = entries.iter().flat_map(|&(tag, rights, id): &(u8, u8, u32)| {
        [[tag, 0, rights, 0], id.to_le_bytes()].concat()
    });
    [2, 0, 0, 0].into_iter().chain(entries).collect()
}

/// Sets an attribute; false, with a line, where the file system has none of its kind.
fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    let set = rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty());
    if set.is_err() {
        say_skipped(&format!("no {name} here"));
    }
    set.is_ok()
}

#[test]
fn capabilities_and_lists_that_give_write_are_refused_and_repaired() {
    let scene = Scene::in_memory();
    let (_, second) = upgraded(&scene);
    let bridge = scene.at(node::BIN).join("bridge");
    let (capability, acl) = ("security.capability", "system.posix_acl_access");
    let said = "an access control list that lets others write";
    for (name, value, expected) in [
        (capability, CAPABILITY.to_vec(), "mode 0755, file capabilities"),
        // With a namespaced root, as a container sets it (revision 3).
        (
            capability,
            [&[1, 0, 0, 3][..], &CAPABILITY[4..], &[0, 0, 0, 0]].concat(),
            "mode 0755, file capabilities",
        ),
        (acl, list(1000, 7), said),
        (acl, list(1000, 2), said),
    ] {
        for words in ["check --root root --repair".to_owned(), second.install_from_layout_args()] {
            if !set(&bridge, name, &value) {
                continue;
            }
            for occasion in ["--no-probe", "--at-boot"] {
                let run = scene.run(&format!("check --root root {occasion}"));
                assert_refused(&run, "digest-drift");
                assert!(run.stdout.contains("lets other users run code as root"), "{}", run.stdout);
                assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
            }
            scene.run_ok(&words);
            let mut buffer = [0_u8; 64];
            let left = rustix::fs::lgetxattr(&bridge, name, &mut buffer[..]);
            assert_eq!(left.err(), Some(rustix::io::Errno::NODATA), "{words}: a new file");
            scene.run_ok("check --root root");
        }
    }
    // The twin gives nothing.
    if set(&bridge, "user.comment", b"hello") {
        scene.run_ok("check --root root");
    }
}

#[test]
fn a_record_with_a_list_that_gives_write_is_refused_with_what_removes_the_list() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    scene.run_ok("rollback --root root");
    for (name, verb) in [
        ("receipt.json", "check --no-probe"),
        ("floors.json", "check --no-probe"),
        ("journal.json", "check --at-boot"),
        ("rolled-back.json", "status"),
    ] {
        node::keep_as(&scene, "kept");
        let path = scene.at("root/var/lib/cnister").join(name);
        if name == "journal.json" {
            fs::copy(scene.at("root/var/lib/cnister/receipt.json"), &path).unwrap();
        }
        for (value, refused) in [(list(1000, 6), true), (list(1000, 7), true), (list(0, 4), false)]
        {
            chmod(&path, 0o600);
            if !set(&path, "system.posix_acl_access", &value) {
                return;
            }
            let run = scene.run(&format!("{verb} --root root"));
            let hint = format!("setfacl -b root/var/lib/cnister/{name}\n");
            let said = run.stdout.contains("no: state-not-private: ") && run.stdout.contains(&hint);
            assert_eq!(said, refused, "{name}: {}", run.stdout);
        }
        node::bring_back(&scene, "kept");
    }
    scene.run_ok("check --root root");
}

#[test]
fn capabilities_of_an_adopted_file_are_dropped_with_a_note() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/bridge", node::BIN), &release.files["bridge"]);
    chmod(&theirs, 0o755);
    if !set(&theirs, "security.capability", &CAPABILITY) {
        return;
    }
    let run = scene.run_ok(&format!("{} --foreign keep", release.install_args()));
    assert!(run.stdout.contains("lets other users run code as root"), "{}", run.stdout);
    let run = scene.run_ok(&release.install_args());
    let note = "note: setuid-dropped: `/opt/cni/bin/bridge` gave capabilities to whoever ran it\n";
    assert!(run.stdout.contains(note), "{}", run.stdout);
    scene.run_ok("check --root root");
}

#[test]
fn another_installers_plugin_that_others_may_alter_is_not_taken_for_the_signed_one() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/bridge", node::BIN), &release.files["bridge"]);
    chmod(&theirs, 0o6777);
    let run = scene.run_ok(&format!("{} --foreign keep", release.install_args()));
    assert!(run.stdout.contains("foreign-kept"), "{}", run.stdout);
    assert_eq!(mode(&theirs), (0, 0o6777));
    let run = scene.run_ok(&release.install_args());
    assert!(run.stdout.contains("mode 6777"), "{}", run.stdout);
    assert_eq!(mode(&theirs), (0, 0o755));
    scene.run_ok("check --root root");
    assert_eq!(of_release(&scene, &release).len(), 3);
}

#[test]
fn an_update_that_leaves_every_plugin_is_checked_like_any_other() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan"], 0);
    node::new(&scene);
    scene.run_ok(&first.install_args());
    scene.run_ok(&format!("{} --no-update", second.install_args()));
    let run = scene.run_ok("check --root root");
    assert!(
        run.stdout.contains("mixed: `/opt/cni/bin/bridge` is from an earlier bundle"),
        "{}",
        run.stdout
    );
    // It is in the installed bundle, so a node without it is incomplete.
    let bridge = scene.at(node::BIN).join("bridge");
    fs::remove_file(&bridge).unwrap();
    for words in ["check --root root", "check --root root --at-boot"] {
        assert_refused(&scene.run(words), "plugin-missing");
    }
    // The node keeps the generation that it is from.
    scene.run_ok("check --root root --repair");
    assert_eq!(of_release(&scene, &first).len(), 2);
    fs::remove_file(&bridge).unwrap();
    scene.run_ok(&format!("{} --no-update", second.install_args()));
    scene.run_ok("check --root root");
    assert_eq!(
        (of_release(&scene, &first), of_release(&scene, &second)),
        (vec!["macvlan".into()], vec!["bridge".into()])
    );
}

#[test]
fn an_installation_that_would_leave_nothing_is_refused() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    let nothing = format!("{} --skip bridge,host-local,macvlan", first.install_args());
    for words in [nothing.clone(), format!("{nothing} --dry-run")] {
        assert_refused(&scene.run(&words), "nothing-wanted");
    }
    assert!(!scene.at("root/var/lib/cnister/receipt.json").exists());
    // Its twins: something is left.
    scene.run_ok(&format!("{} --skip bridge,host-local", first.install_args()));
    scene.run_ok(&nothing);
    let nothing = format!("{} --skip bridge,macvlan,vlan", second.install_args());
    assert_refused(&scene.run(&format!("{nothing} --prune")), "nothing-wanted");
    scene.run_ok(&nothing);
    scene.run_ok("check --root root");
}
