//! Environments: a root that contains nothing else, directories that cannot be written to, and full
//! disks.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::geteuid;

use super::node;
use super::release::Release;
use super::support::{Run, Scene, node_binary, peer, say_skipped};

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];

/// Returns whether this is root; otherwise prints what is skipped.
pub(super) fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        say_skipped("only root may do this");
    }
    root
}

/// Runs a shell script in the scene, in its own mount namespace; `None` if that is not allowed. Its
/// arguments are the program and the program's arguments.
fn with_own_mounts(scene: &Scene, script: &str, words: &str) -> Option<Run> {
    let unshare = peer("unshare")?;
    if !is_root() {
        return None;
    }
    if !Command::new(&unshare)
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        say_skipped("no mount namespaces here");
        return None;
    }
    let mut command = scene.command(unshare);
    command
        .args(["--mount", "sh", "-e", "-c", script, env!("CARGO_BIN_EXE_cnister")])
        .args(words.split(' '));
    Some(scene.run_command(&mut command))
}

#[test]
fn the_static_program_needs_nothing_around_it() {
    let (Some(program), Some(chroot)) = (node_binary(), peer("chroot")) else { return };
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    // The policy with its key in one text, as an installation keeps it.
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok(&release.install_args());
    fs::create_dir(scene.at("empty")).unwrap();
    fs::rename(scene.at("staged-a"), scene.at("empty/staged")).unwrap();
    fs::copy(scene.at("root/etc/cnister/policy.yaml"), scene.at("empty/policy.yaml")).unwrap();
    fs::copy(scene.at("evidence-a.json"), scene.at("empty/evidence.json")).unwrap();
    scene.put_program(&program, "empty/cnister");
    let before = scene.tree("empty");

    let run = |words: &str| {
        let mut command = scene.command(&chroot);
        scene.run_command(command.arg("empty").arg("/cnister").args(words.split(' ')))
    };
    let run_ok = |words: &str| {
        let run = run(words);
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        assert_eq!(run.stderr, "", "{words}");
        run
    };
    assert!(run_ok("--help").stdout.contains("\nCommands:\n"));
    node::assert_same(&before, &scene.tree("empty"), "help");
    let install = "install --from /staged --evidence /evidence.json --policy /policy.yaml";
    assert!(run_ok(install).stdout.ends_with("\ninstalled\n"));
    let after = scene.tree("empty");
    let created = after.keys().filter(|name| !before.contains_key(*name)).map(String::as_str);
    let (copies, created): (BTreeSet<_>, BTreeSet<_>) =
        created.partition(|name| name.starts_with("var/lib/cnister/store/"));
    assert_eq!(copies.len(), PLUGINS.len());
    let evidence =
        created.iter().find(|name| name.starts_with("var/lib/cnister/evidence/")).copied().unwrap();
    let expected = [
        "etc",
        "etc/cnister",
        "etc/cnister/policy.yaml",
        "opt",
        "opt/cni",
        "opt/cni/bin",
        "opt/cni/bin/bridge",
        "opt/cni/bin/host-local",
        "opt/cni/bin/macvlan",
        "var",
        "var/lib",
        "var/lib/cnister",
        "var/lib/cnister/evidence",
        evidence,
        "var/lib/cnister/floors.json",
        "var/lib/cnister/lock",
        "var/lib/cnister/receipt.json",
        "var/lib/cnister/store",
    ];
    assert_eq!(created, BTreeSet::from(expected));

    let checked = run_ok("check").stdout;
    assert_eq!(checked.matches("  proven ").count(), PLUGINS.len(), "{checked}");
    assert!(
        checked.contains(
            "note: probe-skipped: `/opt/cni/bin/bridge` and 2 others: each cannot be started: "
        ),
        "{checked}"
    );
    assert!(
        checked.ends_with("\nyes: every installed file is the one that was signed\n"),
        "{checked}"
    );
    run_ok("check --at-boot");
    node::assert_nothing_to_do(&run_ok(install), "again");
    fs::write(scene.at("empty/opt/cni/bin/macvlan"), "altered").unwrap();
    assert_eq!(run("check").code, 1);
    assert!(run_ok(install).stdout.contains("  repair   /opt/cni/bin/macvlan"));
    node::assert_same(&after, &scene.tree("empty"), "repaired");
}

/// Makes the plugin directory read-only, and verifies that it is.
const READ_ONLY: &str = "mount --bind root/opt/cni/bin root/opt/cni/bin
    mount -o remount,bind,ro root/opt/cni/bin
    if touch root/opt/cni/bin/file 2>/dev/null; then echo 'it can be written' >&2; exit 99; fi
    exec \"$0\" \"$@\"";

#[test]
fn a_read_only_directory_is_enough_where_it_has_what_is_wanted() {
    let scene = Scene::new();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&first.install_args());
    let before = scene.tree("root");
    let Some(run) = with_own_mounts(&scene, READ_ONLY, &first.install_args()) else { return };
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    node::assert_nothing_to_do(&run, "read-only");
    node::assert_same(&before, &scene.tree("root"), "read-only");
    // An image of a node does not contain the state: the files then count as its builder's.
    fs::remove_dir_all(scene.at("root/var")).unwrap();
    fs::remove_dir_all(scene.at("root/etc")).unwrap();
    let run = with_own_mounts(&scene, READ_ONLY, &first.install_args()).unwrap();
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.ends_with("\nrelease recorded; no file changed\n"), "{}", run.stdout);
    scene.run_ok("check --root root");
}

#[test]
fn a_read_only_directory_with_other_content_is_reported_and_nothing_changes() {
    let scene = Scene::new();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&first.install_args());
    let before = scene.tree("root");
    let dry = format!("{} --dry-run", second.install_args());
    for words in [second.install_args(), second.install_from_layout_args(), dry] {
        let Some(run) = with_own_mounts(&scene, READ_ONLY, &words) else { return };
        let refused = "no: read-only: `/opt/cni/bin` cannot be written: `/opt/cni/bin` is on a read-only file system\n  \
                       hint: mount it writable, choose another directory, or put the same plugins into the node's \
                       image\nrefused; nothing was changed\n";
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (1, refused, ""));
        node::assert_same(&before, &scene.tree("root"), &words);
    }
    scene.run_ok("check --root root");
    // The installed proven plugins stay, and the node reports that others were wanted.
    let keep = format!("{} --on-refusal keep", second.install_args());
    let run = with_own_mounts(&scene, READ_ONLY, &keep).unwrap();
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.ends_with("refused; the installed plugins were kept\n"), "{}", run.stdout);
    assert!(scene.run("check --root root").stdout.contains("was refused (read-only)"));
}

#[test]
fn a_full_disk_is_reported_and_leaves_everything_as_it_was() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 9_000);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 9_000);
    node::new(&scene);
    scene.run_ok(&first.install_args());
    node::keep_as(&scene, "before");
    let before = scene.tree("before/opt/cni/bin");
    let pages = |kilobytes: u64| kilobytes.next_multiple_of(4);
    let used = Command::new("du")
        .args(["-sk", "--apparent-size"])
        .arg(scene.at("before"))
        .output()
        .unwrap();
    let used: u64 =
        String::from_utf8(used.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let mut codes = Vec::new();
    for room in (pages(used)..pages(used) + 224).step_by(8) {
        let script = format!(
            "mount -t tmpfs -o size={room}k,mode=755 tmpfs root
            cp -a before/. root/ || exit 98
            code=0; \"$0\" \"$@\" || code=$?
            rm -rf after; cp -a root after
            exit $code"
        );
        let Some(run) = with_own_mounts(&scene, &script, &second.install_from_layout_args()) else {
            return;
        };
        if run.code == 98 {
            continue;
        }
        codes.push(run.code);
        let what = format!("{room} KiB: {}{}", run.stdout, run.stderr);
        fs::rename(scene.at("root"), scene.at("aside")).unwrap();
        fs::rename(scene.at("after"), scene.at("root")).unwrap();
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}");
        let checked = scene.run_ok("check --root root").stdout;
        if run.code == 1 {
            assert!(run.stdout.starts_with("no: no-space: not enough space for "), "{what}");
            node::assert_same(&before, &scene.tree(node::BIN), &what);
            assert!(checked.contains("\ntest 1.0.0, "), "{what}: {checked}");
        } else {
            assert_eq!(run.code, 0, "{what}");
            assert!(checked.contains("\ntest 1.1.0, "), "{what}: {checked}");
        }
        fs::remove_dir_all(scene.at("root")).unwrap();
        fs::rename(scene.at("aside"), scene.at("root")).unwrap();
    }
    eprintln!("from the smallest disk on: {codes:?}");
    assert!(
        codes.starts_with(&[1, 1]) && codes.ends_with(&[0]) && codes.is_sorted_by(|a, b| a >= b),
        "{codes:?}"
    );
}
