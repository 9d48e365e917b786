//! Removing plugins: pruning, uninstallation, and the two variables that other installers know.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::release::Release;
use super::support::Scene;
use super::{assert_refused, node, of_release, upgraded};

/// A record of an attachment that needs `plugin`, as written by libcni.
fn attach(scene: &Scene, plugin: &str) {
    use base64::Engine as _;
    let config =
        format!(r#"{{"cniVersion":"1.0.0","name":"front","plugins":[{{"type":"{plugin}"}}]}}"#);
    let config = base64::engine::general_purpose::STANDARD.encode(config);
    scene.write(
        "root/var/lib/cni/results/front-0123abcd-net1",
        format!(
            r#"{{"kind":"cniCacheV1","containerId":"0123abcd","config":"{config}","ifName":"net1","networkName":"front","result":{{}}}}"#
        ),
    );
}

fn detach(scene: &Scene) {
    fs::remove_dir_all(scene.at("root/var/lib/cni/results")).unwrap();
}

#[test]
fn without_the_records_of_attachments_no_plugin_is_known_to_be_free() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    fs::remove_dir_all(scene.at("root/var/lib/cni")).unwrap();
    // As in a pod that has only some of the node's directories.
    let prune = format!("{} --prune", second.install_from_layout_args());
    for words in [prune.clone(), format!("{prune} --dry-run")] {
        let run = scene.run_ok(&words);
        assert!(run.stdout.contains("warning: attachment-unknown: "), "{}", run.stdout);
        assert!(!run.stdout.contains("  remove "), "{}", run.stdout);
    }
    assert_eq!(of_release(&scene, &first), ["host-local"]);
    scene.run_ok("rollback --root root --prune");
    assert!(scene.at(node::BIN).join("vlan").exists());
    let installed = scene.tree("root");
    for words in ["uninstall --root root --dry-run", "uninstall --root root"] {
        let run = scene.run(words);
        assert_refused(&run, "attachment-unknown");
        assert_eq!(run.stdout.matches("attachment-unknown").count(), 1, "{}", run.stdout);
        node::assert_same(&installed, &scene.tree("root"), words);
    }
    // On a whole node, what is not there does not exist.
    fs::create_dir_all(scene.at("root/usr/lib")).unwrap();
    scene.run_ok("uninstall --root root --dry-run");
    fs::remove_dir_all(scene.at("root/usr")).unwrap();
    scene.run_ok("uninstall --root root --force");
    assert!(of_release(&scene, &second).is_empty());
}

#[test]
fn plugins_of_an_earlier_bundle_are_removed_when_no_attachment_needs_them() {
    let scene = Scene::in_memory();
    let (first, second) = upgraded(&scene);
    let prune = format!("{} --prune", second.install_from_layout_args());
    attach(&scene, "host-local");
    let run = scene.run_ok(&prune);
    assert!(
        run.stdout.contains("warning: in-use: `/opt/cni/bin/host-local` is needed"),
        "{}",
        run.stdout
    );
    assert_eq!(of_release(&scene, &first), ["host-local"]);
    // A record that cannot be read may mean anything.
    scene.write("root/var/lib/cni/results/front-0123abcd-net1", "{");
    assert!(scene.run_ok(&prune).stdout.contains("warning: in-use: "));
    assert_eq!(of_release(&scene, &first), ["host-local"]);
    detach(&scene);
    let planned = scene.run_ok(&format!("{prune} --dry-run"));
    assert!(planned.stdout.contains("  remove   /opt/cni/bin/host-local\n"), "{}", planned.stdout);
    assert_eq!(of_release(&scene, &first), ["host-local"]);
    let run = scene.run_ok(&prune);
    assert!(run.stdout.ends_with("installed; 1 plugin removed\n"), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first), [""; 0]);
    node::assert_nothing_to_do(&scene.run_ok(&prune), "pruned");
    assert_eq!(node::unsound(&scene, &[&second]), None);
    scene.run_ok("check --root root");
    // A rollback restores it.
    let run = scene.run_ok("rollback --root root --prune");
    let last = "rolled back from test 1.1.0; 3 plugins written, 1 removed\n";
    assert!(run.stdout.ends_with(last), "{}", run.stdout);
    assert_eq!(of_release(&scene, &first).len(), 3);
    assert!(!scene.at(node::BIN).join("vlan").exists());
}

#[test]
fn an_uninstallation_leaves_the_directory_as_it_was_before_the_first_installation() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    let bridge = scene.write(&format!("{}/bridge", node::BIN), "theirs");
    fs::set_permissions(&bridge, fs::Permissions::from_mode(0o751)).unwrap();
    let before = scene.tree(node::BIN);
    assert_eq!(
        scene.run_ok("uninstall --root root").stdout,
        "nothing is installed; no file changed\n"
    );
    scene.run_ok(&format!("{} --foreign adopt=bridge", first.install_args()));
    // Whatever is there later, the first original is the one that is restored.
    fs::write(&bridge, "another owner's again").unwrap();
    scene.run_ok(&second.install_from_layout_args());

    attach(&scene, "macvlan");
    let installed = scene.tree("root");
    let run = scene.run("uninstall --root root");
    assert_refused(&run, "in-use");
    assert!(run.stdout.contains("container `0123abcd` in network `front`"), "{}", run.stdout);
    node::assert_same(&installed, &scene.tree("root"), "in use");
    detach(&scene);
    let planned = scene.run_ok("uninstall --root root --dry-run");
    assert!(
        planned.stdout.contains("  restore  /opt/cni/bin/bridge (what was there before)\n"),
        "{}",
        planned.stdout
    );
    let run = scene.run_ok("uninstall --root root");
    assert!(run.stdout.ends_with("uninstalled\n"), "{}", run.stdout);
    node::assert_same(&before, &scene.tree(node::BIN), "uninstalled");
    assert_eq!(
        scene.run_ok("uninstall --root root").stdout,
        "nothing is installed; no file changed\n"
    );
    assert_refused(&scene.run("check --root root"), "not-installed");
    let state: Vec<_> = scene.tree("root/var/lib/cnister").into_keys().collect();
    assert_eq!(state, ["floors.json", "lock"]);
    // And it can be installed again.
    scene.run_ok(&format!("{} --foreign adopt=bridge", second.install_from_layout_args()));
    scene.run_ok("check --root root");
}

#[test]
fn an_uninstallation_does_not_touch_foreign_files() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    node::new(&scene);
    let bridge = scene.write(&format!("{}/bridge", node::BIN), "theirs");
    fs::set_permissions(&bridge, fs::Permissions::from_mode(0o4755)).unwrap();
    let host_local = scene.write(&format!("{}/host-local", node::BIN), &first.files["host-local"]);
    fs::set_permissions(&host_local, fs::Permissions::from_mode(0o755)).unwrap();
    scene.run_ok(&format!("{} --foreign adopt", first.install_args()));
    assert_eq!(fs::metadata(&bridge).unwrap().permissions().mode() & 0o7777, 0o755);
    fs::write(scene.at(node::BIN).join("macvlan"), "a newer foreign file").unwrap();
    let originals = scene.at("root/var/lib/cnister/originals");
    let is_theirs = |path: &std::path::PathBuf| fs::read(path).unwrap() == b"theirs";
    let mut kept = fs::read_dir(&originals).unwrap().map(|entry| entry.unwrap().path());
    let original = kept.find(is_theirs).unwrap();
    fs::write(&original, "altered").unwrap();
    let installed = scene.tree("root");
    assert_refused(&scene.run("uninstall --root root"), "original-lost");
    node::assert_same(&installed, &scene.tree("root"), "the copy is not what was kept");
    fs::write(&original, "theirs").unwrap();
    let run = scene.run_ok("uninstall --root root");
    assert!(
        run.stdout.contains("`/opt/cni/bin/macvlan` was changed by another installer and stays"),
        "{}",
        run.stdout
    );
    assert_eq!(fs::read(&bridge).unwrap(), b"theirs");
    // Without the set-user-ID bit.
    assert_eq!(fs::metadata(&bridge).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read(&host_local).unwrap(), first.files["host-local"], "it was there before");
    assert_eq!(fs::read(scene.at(node::BIN).join("macvlan")).unwrap(), b"a newer foreign file");
}

#[test]
fn the_variables_of_other_installers_mean_the_same_here() {
    let scene = Scene::in_memory();
    let (first, second) = (
        Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0),
        Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0),
    );
    node::new(&scene);
    let run = |words: &str, variables: &[(&str, &str)]| {
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(words.split(' ')).envs(variables.iter().copied()))
    };
    let run_ok = |words: &str, variables: &[(&str, &str)]| {
        let run = run(words, variables);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    };
    run_ok(
        &first.install_from_layout_args(),
        &[("SKIP_CNI_BINARIES", "macvlan, flannel,"), ("UPDATE_CNI_BINARIES", "true")],
    );
    assert_eq!(of_release(&scene, &first), ["bridge", "host-local"]);
    run_ok(
        &second.install_from_layout_args(),
        &[("UPDATE_CNI_BINARIES", "No"), ("SKIP_CNI_BINARIES", "")],
    );
    assert_eq!(of_release(&scene, &first), ["bridge", "host-local"], "what was there stays");
    assert_eq!(of_release(&scene, &second), ["macvlan", "vlan"], "what is missing comes");
    run_ok(&format!("{} --skip vlan", second.install_from_layout_args()), &[]);
    assert_eq!(of_release(&scene, &second), ["bridge", "macvlan", "vlan"]);
    scene.run_ok("check --root root");
    for (name, value) in [("SKIP_CNI_BINARIES", "../x"), ("UPDATE_CNI_BINARIES", "maybe")] {
        let run = run(&second.install_from_layout_args(), &[(name, value)]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
        assert!(run.stderr.starts_with(&format!("error: {name}")), "{}", run.stderr);
    }
}

#[test]
fn an_adopted_plugin_comes_back_where_even_its_directory_is_gone() {
    for (lost, words) in [(false, "uninstall --root root"), (true, "uninstall --root root --force")]
    {
        let scene = Scene::in_memory();
        let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local"], 0);
        node::new(&scene);
        let bridge = scene.write("root/usr/lib/cni/bridge", "theirs");
        fs::set_permissions(&bridge, fs::Permissions::from_mode(0o751)).unwrap();
        let before = scene.tree(node::BIN);
        let two = "--foreign adopt --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";
        scene.run_ok(&format!("{} {two}", release.install_args()));
        fs::remove_dir_all(scene.at("root/usr/lib")).unwrap();
        if lost {
            let original = cnister::model::Digest::of(b"theirs");
            fs::remove_file(scene.at("root/var/lib/cnister/originals").join(original.hex()))
                .unwrap();
            let installed = scene.tree("root");
            assert_refused(&scene.run("uninstall --root root"), "original-lost");
            node::assert_same(&installed, &scene.tree("root"), "nothing to put back");
        }
        scene.run_ok(words);
        node::assert_same(&before, &scene.tree(node::BIN), words);
        assert_eq!(scene.at("root/usr/lib").exists(), !lost);
        if !lost {
            assert_eq!(fs::read(&bridge).unwrap(), b"theirs");
            assert_eq!(fs::metadata(&bridge).unwrap().permissions().mode() & 0o7777, 0o751);
            assert_eq!(scene.tree("root/usr/lib/cni").len(), 1);
        }
        assert!(!scene.at("root/var/lib/cnister/receipt.json").exists());
    }
}

#[test]
fn an_uninstallation_that_cannot_begin_in_one_directory_leaves_no_trace_in_the_other() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local"], 0);
    node::new(&scene);
    let two = "--bin-dir /opt/cni/bin --bin-dir /usr/lib/cni";
    scene.run_ok(&format!("{} {two}", release.install_args()));
    let obstacle = scene.at("root/usr/lib/cni/.cnister");
    fs::create_dir_all(obstacle.join("theirs")).unwrap();
    let before = scene.tree("root");
    let run = scene.run("uninstall --root root");
    assert_ne!(run.code, 0, "{}", run.stdout);
    node::assert_same(&before, &scene.tree("root"), "it could not begin");
    fs::remove_dir_all(obstacle).unwrap();
    scene.run_ok("uninstall --root root");
    assert!(!scene.at(node::BIN).join("bridge").exists());
}

#[test]
fn a_planned_uninstallation_only_reads() {
    let scene = Scene::in_memory();
    upgraded(&scene);
    scene.write("root/var/lib/cnister/store/.cnister-0123456789abcdef", "of an interrupted run");
    let before = scene.tree("root");
    let run = scene.run_ok("uninstall --root root --dry-run");
    assert!(run.stdout.ends_with("planned; nothing was done\n"), "{}", run.stdout);
    node::assert_same(&before, &scene.tree("root"), "planned");
    // Other readers hold the lock at the same time.
    let lock = fs::File::open(scene.at("root/var/lib/cnister/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    scene.run_ok("uninstall --root root --dry-run --lock-timeout 0");
    drop(lock);
    scene.run_ok("uninstall --root root");
    assert!(!scene.at("root/var/lib/cnister/store/.cnister-0123456789abcdef").exists());
}

#[test]
fn a_file_that_was_left_to_another_installer_is_missed_when_it_is_gone() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    node::new(&scene);
    let bridge = scene.write(&format!("{}/bridge", node::BIN), "theirs");
    scene.run_ok(&format!("{} --foreign keep", release.install_from_layout_args()));
    scene.run_ok("check --root root");
    fs::remove_file(bridge).unwrap();
    for words in ["check --root root", "check --root root --at-boot"] {
        let run = scene.run(words);
        assert_refused(&run, "plugin-missing");
        assert!(
            run.stdout.contains("`/opt/cni/bin/bridge` was left to another installer and is gone"),
            "{}",
            run.stdout
        );
    }
    scene.run_ok(&release.install_from_layout_args());
    scene.run_ok("check --root root");
}

#[test]
fn what_a_killed_first_installation_began_can_be_taken_away() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    node::new(&scene);
    let before = scene.tree(node::BIN);
    scene.write(&format!("{}/.cnister/bridge", node::BIN), "half of it");
    fs::create_dir_all(scene.at("root/var/lib/cnister")).unwrap();
    fs::set_permissions(scene.at("root/var/lib/cnister"), fs::Permissions::from_mode(0o700))
        .unwrap();
    let run = scene.run_ok("uninstall --root root");
    assert!(run.stdout.contains("  clean up /opt/cni/bin\n"), "{}", run.stdout);
    node::assert_same(&before, &scene.tree(node::BIN), "cleaned up");
    assert_eq!(
        scene.run_ok("uninstall --root root").stdout,
        "nothing is installed; no file changed\n"
    );
    // A deleted receipt is another matter, and is refused.
    scene.run_ok(&release.install_from_layout_args());
    fs::remove_file(scene.at("root/var/lib/cnister/receipt.json")).unwrap();
    assert_refused(&scene.run("uninstall --root root"), "records-lost");
    assert_eq!(of_release(&scene, &release).len(), 2);
}

#[test]
fn a_lost_original_is_told_and_what_is_said_about_it_can_be_done() {
    type Lose = fn(&std::path::Path);
    let ways: [Lose; 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "altered").unwrap(),
        |path| fs::write(path, "").unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        },
    ];
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(&scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(&scene);
    let left = scene.write(&format!("{}/host-local", node::BIN), "theirs");
    scene.run_ok(&format!("{} --foreign adopt", first.install_args()));
    scene.run_ok(&second.install_from_layout_args());
    node::keep_as(&scene, "good");
    let name = cnister::model::Digest::of(b"theirs").hex();
    let original = scene.at("root/var/lib/cnister/originals").join(name);
    let prune = format!("{} --prune", second.install_from_layout_args());
    for lose in ways {
        lose(&original);
        let installed = scene.tree("root");
        let refused = scene.run("uninstall --root root");
        assert_refused(&refused, "original-lost");
        assert!(refused.stdout.contains("--force\n"), "{}", refused.stdout);
        node::assert_same(&installed, &scene.tree("root"), "refused");
        // It stays where it is removed on request, as the dry run says.
        for words in [format!("{prune} --dry-run"), prune.clone()] {
            let told =
                "warning: original-lost: the file that `/opt/cni/bin/host-local` replaced is lost";
            let run = scene.run_ok(&words);
            assert!(run.stdout.contains(told), "{words}: {}", run.stdout);
            assert!(run.stdout.contains("hint: to remove it anyway: rm /opt/cni/bin/host-local"));
            assert_eq!(fs::read(&left).unwrap(), first.files["host-local"]);
        }
        fs::remove_file(&left).unwrap();
        scene.run_ok(&prune);
        assert!(!scene.run_ok("check --root root").stdout.contains("host-local"));
        node::bring_back(&scene, "good");
        // The hint of the uninstallation works as well.
        lose(&original);
        scene.run_ok("uninstall --root root --force --dry-run");
        scene.run_ok("uninstall --root root --force");
        assert!(!left.exists());
        node::bring_back(&scene, "good");
    }
    // The twin: with its copy, the original is restored.
    scene.run_ok(&prune);
    assert_eq!(fs::read(&left).unwrap(), b"theirs");
}
