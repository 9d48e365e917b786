//! Installations that are stopped at every action, and finished by the next run.

use super::*;

/// Each visible file is wholly old or wholly new and executable, foreign files are as they were,
/// and nothing unproven has a name that a runtime could call.
fn assert_whole(node: &Node, before: &BTreeMap<String, (Vec<u8>, u32)>, what: &str) {
    let new = expected(NEW);
    let found = node.bin();
    for (name, content) in &found {
        if name == STAGING {
            assert_eq!(content.1, 0o700, "{what}");
            for entry in std::fs::read_dir(node.path("opt/cni/bin/.cnister")).unwrap() {
                assert!(entry.unwrap().file_type().unwrap().is_file(), "{what}");
            }
            continue;
        }
        let good = before.get(name) == Some(content) || new.get(name) == Some(content);
        assert!(good, "{what}: {name} is {content:?}");
    }
    assert!(before.keys().all(|name| found.contains_key(name)), "{what}: {found:?}");
}

fn crash_at_every_action(prepare: impl Fn(&Node), options: &InstallOptions) {
    let mut actions = Vec::new();
    let clean = Node::new();
    prepare(&clean);
    clean
        .install_with(NEW, options, &mut |action| {
            actions.push(action.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    let wanted = (clean.bin(), clean.observe(NEW).receipt);
    assert!(actions.len() > 8, "{actions:?}");

    for (number, action) in actions.iter().enumerate() {
        let what = format!("stopped before {action:?}");
        let node = Node::new();
        prepare(&node);
        let before = node.bin();
        let mut left = number;
        let stopped = node.install_with(NEW, options, &mut |_| match left.checked_sub(1) {
            Some(rest) => {
                left = rest;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        });
        assert!(matches!(stopped, Err(NodeError::Stopped)), "{what}");
        assert_whole(&node, &before, &what);

        node.install_with(NEW, options, &mut go_on)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((node.bin(), node.observe(NEW).receipt), wanted, "{what}, then run again");
        assert!(!node.path("var/lib/cnister/journal.json").exists(), "{what}");
        let verified = bundle(NEW);
        assert!(
            plan(&verified, &node.observe(NEW), options).unwrap().changes_nothing(),
            "{what}: a third run"
        );
    }
}

#[test]
fn an_upgrade_that_is_stopped_anywhere_is_finished_by_the_next_run() {
    let prepare = |node: &Node| {
        node.install(OLD).unwrap();
        node.put("other", b"another installer's");
    };
    crash_at_every_action(prepare, &InstallOptions::default());
}

#[test]
fn a_first_installation_that_is_stopped_anywhere_is_finished_by_the_next_run() {
    crash_at_every_action(|_| {}, &InstallOptions::default());
}

#[test]
fn an_adoption_that_is_stopped_anywhere_is_finished_by_the_next_run() {
    let prepare = |node: &Node| {
        node.put("bridge", b"theirs");
        node.put("vlan", b"also theirs");
    };
    crash_at_every_action(
        prepare,
        &InstallOptions { foreign: ForeignRule::Adopt, ..InstallOptions::default() },
    );
}

#[test]
fn taking_over_the_signed_bytes_that_is_stopped_anywhere_is_finished_by_the_next_run() {
    let prepare = |node: &Node| {
        node.put("bridge", b"new bridge");
        let path = node.path("opt/cni/bin/vlan");
        node.put("vlan", b"vlan");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o555)).unwrap();
    };
    crash_at_every_action(prepare, &InstallOptions::default());
}

#[test]
fn what_the_new_set_lacks_goes_after_the_receipt_and_is_ours_until_then() {
    let node = Node::new();
    node.install(NEW).unwrap();
    let prune = InstallOptions { leftovers: Leftovers::Prune, ..InstallOptions::default() };
    let mut stop = |action: &Action| match action {
        Action::Remove(..) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(matches!(node.install_with(OLD, &prune, &mut stop), Err(NodeError::Stopped)));
    let receipt = node.observe(OLD).receipt.unwrap();
    let [directory] = receipt.directories.values().collect::<Vec<_>>()[..] else {
        panic!("{receipt:?}")
    };
    assert_eq!((directory.files.len(), directory.leftovers.len()), (OLD.len(), 0));
    assert_eq!(node.bin()["tap"].0, b"new tap");
    // The run that finishes it may keep the plugin: it is not taken for another installer's.
    let receipt = node.install(OLD).unwrap();
    let leftovers = &receipt.directories[&HostPath::default_bin_directory()].leftovers;
    assert_eq!(leftovers[&"tap".parse().unwrap()].owner, Owner::Ours);
    node.install_with(OLD, &prune, &mut go_on).unwrap();
    assert_eq!(node.bin(), expected(OLD));
}

#[test]
fn another_release_after_an_interruption_knows_what_was_installed_by_it() {
    let node = Node::new();
    node.install(OLD).unwrap();
    let mut stop = |action: &Action| match action {
        Action::WriteReceipt => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(matches!(
        node.install_with(NEW, &InstallOptions::default(), &mut stop),
        Err(NodeError::Stopped)
    ));
    assert_eq!(node.bin()["tap"].0, b"new tap");
    let receipt = node.install(OLD).unwrap();
    let mut wanted = expected(OLD);
    wanted.insert("tap".to_owned(), (b"new tap".to_vec(), 0o755));
    assert_eq!(node.bin(), wanted, "the staging directory of the interrupted run is gone as well");
    let leftovers = &receipt.directories[&HostPath::default_bin_directory()].leftovers;
    assert_eq!(leftovers[&"tap".parse().unwrap()].owner, Owner::Ours);
}

#[test]
fn a_second_interruption_does_not_forget_what_the_first_run_installed() {
    let node = Node::new();
    node.put("bridge", b"theirs");
    let adopt = InstallOptions { foreign: ForeignRule::Adopt, ..InstallOptions::default() };
    let mut before_the_receipt = |action: &Action| match action {
        Action::WriteReceipt => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut before_the_first_name = |action: &Action| match action {
        Action::Publish(..) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(matches!(
        node.install_with(OLD, &adopt, &mut before_the_receipt),
        Err(NodeError::Stopped)
    ));
    assert!(matches!(
        node.install_with(NEW, &adopt, &mut before_the_first_name),
        Err(NodeError::Stopped)
    ));
    let receipt = node.install(NEW).unwrap();
    assert_eq!(node.bin(), expected(NEW));
    let files = &receipt.directories[&HostPath::default_bin_directory()].files;
    let owners: Vec<_> = files.values().map(|file| file.owner.clone()).collect();
    let theirs = Original { digest: Digest::of(b"theirs"), size: Some(6), mode: 0o755 };
    assert_eq!(owners, [Owner::Adopted(theirs), Owner::Ours, Owner::Ours, Owner::Ours]);
}
