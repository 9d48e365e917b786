//! Plugins with the right content that others can alter, and installations that would leave nothing
//! to check.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::release::Release;
use super::support::Scene;
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

#[test]
fn another_installers_plugin_that_others_may_alter_is_not_taken_for_the_signed_one() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let theirs = scene.write(&format!("{}/bridge", node::BIN), &release.files["bridge"]);
    chmod(&theirs, 0o6777);
    let run = scene.run(&release.install_args());
    assert_refused(&run, "foreign-file");
    assert!(run.stdout.contains("mode 6777"), "{}", run.stdout);
    let run = scene.run_ok(&format!("{} --foreign keep", release.install_args()));
    assert!(run.stdout.contains("foreign-kept"), "{}", run.stdout);
    assert_eq!(mode(&theirs), (0, 0o6777));
    scene.run_ok(&format!("{} --foreign adopt", release.install_args()));
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
    fs::remove_file(scene.at(node::BIN).join("bridge")).unwrap();
    for words in ["check --root root", "check --root root --at-boot", "check --root root --repair"]
    {
        assert_refused(&scene.run(words), "plugin-missing");
    }
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
