//! `--on-refusal keep`: the installed proven plugins stay, and the node reports that others were
//! wanted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::node;
use super::release::Release;
use super::support::{Run, Scene};
use super::watch::Watch;

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];

fn assert_kept(run: &Run) {
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("no: no-signature: "), "{}", run.stdout);
    assert!(run.stdout.ends_with("refused; the installed plugins were kept\n"), "{}", run.stdout);
    let loud = "warning: the wanted release is NOT installed; the installed plugins were kept\n";
    assert_eq!(run.stderr, loud);
}

#[test]
fn a_refused_release_leaves_the_proven_one_and_the_node_says_so_until_one_is_installed() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let unsigned = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&first.install_from_layout_args());
    let before = scene.tree(node::BIN);
    let mut watch = Watch::start(&scene);
    watch.wait_for("yes: every installed file is the one that was signed");
    assert_eq!(scene.run("watch --ready --root root").code, 0);

    // After a container or a node restarts, the answer is the same as at the first time.
    for _ in 0..3 {
        assert_kept(
            &scene.run(&format!("{} --on-refusal keep", unsigned.install_from_layout_args())),
        );
        node::assert_same(&before, &scene.tree(node::BIN), "kept");
    }
    let wanted =
        "no: wanted-not-installed: the wanted release `oci:layout-b` was refused (no-signature)";
    let checked = scene.run("check --root root");
    assert_eq!(checked.code, 1, "{}", checked.stdout);
    assert!(checked.stdout.contains(&format!("{wanted}\n")), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches("  proven ").count(), PLUGINS.len(), "{}", checked.stdout);
    watch.wait_for(wanted);
    watch.wait_for("no");
    assert_eq!(scene.run("watch --ready --root root").code, 1);
    // At boot, the installed plugins are better than none.
    scene.run_ok("check --root root --at-boot");

    // The owner goes back to what is installed.
    scene.run_ok(&first.install_from_layout_args());
    scene.run_ok("check --root root");
    watch.wait_for("yes: every installed file is the one that was signed");
    assert_eq!(scene.run("watch --ready --root root").code, 0);
    assert_eq!(watch.stop(), "");
}

#[test]
fn whatever_the_files_are_a_proven_set_is_kept() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&first.install_from_layout_args());
    let before = scene.tree(node::BIN);
    type Spoil = fn(&Path);
    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fn file_at(path: &Path) {
        fs::remove_dir_all(path).unwrap();
        fs::write(path, "a file").unwrap();
    }
    fn link_at(path: &Path, target: &str) {
        fs::remove_dir_all(path).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    // What is damaged, and the exit code if nothing may be kept.
    let staged: [(&str, Spoil, i32); 14] = [
        ("no directory", |at| fs::remove_dir_all(at).unwrap(), 3),
        ("a file", |at| file_at(at), 3),
        ("a dangling link", |at| link_at(at, "nowhere"), 3),
        ("a link to itself", |at| link_at(at, "staged-b"), 3),
        ("unreadable", |at| chmod(at, 0), 3),
        ("no plugins", |at| fs::remove_dir_all(at.join("opt")).unwrap(), 1),
        ("a file for plugins", |at| file_at(&at.join("opt/cni/bin")), 1),
        ("unreadable plugins", |at| chmod(&at.join("opt/cni/bin"), 0), 3),
        ("an unreadable plugin", |at| chmod(&at.join("opt/cni/bin/bridge"), 0), 3),
        ("no documents", |at| fs::remove_dir_all(at.join("usr")).unwrap(), 1),
        ("a file for documents", |at| file_at(&at.join("usr/share")), 1),
        ("dangling documents", |at| link_at(&at.join("usr/share"), "nowhere"), 1),
        ("endless documents", |at| link_at(&at.join("usr/share"), "share"), 1),
        ("unreadable documents", |at| chmod(&at.join("usr/share/cnister"), 0), 3),
    ];
    let Some(setpriv) = super::support::peer("setpriv") else { return };
    // Root may read what it may not, unless it has no capabilities.
    let run = |words: &str| {
        let mut command = scene.command(&setpriv);
        if rustix::process::geteuid().is_root() {
            command.args(["--bounding-set", "-all", "--inh-caps=-all"]);
        }
        command.arg(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(words.split(' ')))
    };
    let expect = |words: &str, what: &str, code: i32| {
        let failed = run(words);
        assert_eq!(failed.code, code, "{what}: {}{}", failed.stdout, failed.stderr);
        let kept = run(&format!("{words} --on-refusal keep"));
        assert_eq!(kept.code, 0, "{what}: {}{}", kept.stdout, kept.stderr);
        let last = "refused; the installed plugins were kept\n";
        assert!(kept.stdout.starts_with("no: ") && kept.stdout.ends_with(last), "{what}: {kept:?}");
        node::assert_same(&before, &scene.tree(node::BIN), what);
        let checked = scene.run("check --root root --no-probe");
        let wanted = "no: wanted-not-installed: ";
        assert!(checked.code == 1 && checked.stdout.contains(wanted), "{}", checked.stdout);
    };
    let copied = |from: &str, to: &str| {
        let _ = Command::new("chmod").args(["-Rf", "u+rwX"]).arg(scene.at(to)).status();
        drop(fs::remove_dir_all(scene.at(to)).or_else(|_| fs::remove_file(scene.at(to))));
        let copied = Command::new("cp").arg("-a").args([scene.at(from), scene.at(to)]).status();
        assert!(copied.unwrap().success());
    };
    copied("staged-b", "staged-good");
    for (what, spoil, code) in staged {
        copied("staged-good", "staged-b");
        spoil(&scene.at("staged-b"));
        expect(&second.install_args(), what, code);
    }
    // The same of a layout.
    copied("layout-b", "layout-good");
    let layouts: [(&str, Spoil); 5] = [
        ("no layout", |at| fs::remove_dir_all(at).unwrap()),
        ("a file for a layout", |at| file_at(at)),
        ("no index", |at| fs::remove_file(at.join("index.json")).unwrap()),
        ("an unreadable index", |at| chmod(&at.join("index.json"), 0)),
        ("no blobs", |at| fs::remove_dir_all(at.join("blobs")).unwrap()),
    ];
    for (what, spoil) in layouts {
        copied("layout-good", "layout-b");
        spoil(&scene.at("layout-b"));
        expect(&second.install_from_layout_args(), what, 3);
    }
    // A registry that is away may be there again in a moment.
    let away = "install --key cosign.pub --root root 127.0.0.1:1/acme/cni:v1 --on-refusal keep";
    assert_eq!(scene.run(away).code, 3);
}

#[test]
fn a_release_that_is_accepted_later_takes_the_place_of_the_kept_one() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let second = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    node::new(&scene);
    scene.run_ok(&first.install_from_layout_args());
    let words = format!("{} --on-refusal keep", second.install_from_layout_args());
    assert_kept(&scene.run(&words));
    scene.run_ok("sign --key cosign.key oci:layout-b");
    let run = scene.run_ok(&words);
    assert!(run.stdout.ends_with("\ninstalled\n"), "{}", run.stdout);
    assert!(scene.run_ok("check --root root").stdout.contains("\ntest 1.1.0, "));
    assert_eq!(node::unsound(&scene, &[&second]), None);
}

#[test]
fn a_refusal_is_a_failure_where_nothing_proven_is_installed() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let unsigned = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    node::new(&scene);
    let before = scene.tree("root");
    let words = format!("{} --on-refusal keep", unsigned.install_from_layout_args());
    let run = scene.run(&words);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("no: no-signature: ") && run.stdout.contains("no: not-installed: "),
        "{}",
        run.stdout
    );
    assert!(run.stdout.ends_with("refused; nothing was changed\n"), "{}", run.stdout);
    node::assert_same(&before, &scene.tree("root"), "nothing was installed");

    // A set that was altered, or that today's policy does not accept, is not a proven one either.
    scene.run_ok(&first.install_from_layout_args());
    scene.write(&format!("{}/macvlan", node::BIN), "altered");
    let run = scene.run(&words);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("no: digest-drift: `/opt/cni/bin/macvlan` was altered"),
        "{}",
        run.stdout
    );
    scene.run_ok(&first.install_from_layout_args());
    scene.run_ok("keygen --output-key-prefix other");
    let run = scene.run(&words.replace("cosign.pub", "other.pub"));
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("no: no-longer-trusted: "), "{}", run.stdout);
    // None of these refusals is recorded: the node was asked for something else, and refused.
    scene.run_ok("check --root root");
}

#[test]
fn the_kept_release_is_judged_by_its_own_name() {
    let scene = Scene::in_memory();
    let first = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let second = Release::new(&scene, "b", "1.1.0", &PLUGINS, 0);
    scene.run_ok("keygen --output-key-prefix other");
    let rule = |name: &str, key: &str| {
        format!(
            "  - name: {name}\n    images: [example.com/{name}]\n    authorities: [{{name: {name}, key: {{file: {key}}}}}]\n"
        )
    };
    let rules = rule("one", "cosign.pub") + &rule("two", "other.pub");
    scene
        .write("policy.yaml", format!("apiVersion: cnister.dev/v1\nkind: Policy\nrules:\n{rules}"));
    node::new(&scene);
    let words = |release: &Release, name: &str| {
        release
            .install_from_layout_args()
            .replace("--key cosign.pub", &format!("--policy policy.yaml --as example.com/{name}"))
    };
    scene.run_ok(&words(&first, "one"));
    let run = scene.run(&format!("{} --on-refusal keep", words(&second, "two")));
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("no: signer-not-allowed: "), "{}", run.stdout);
    assert!(run.stdout.ends_with("refused; the installed plugins were kept\n"), "{}", run.stdout);
}

#[test]
fn a_node_where_nothing_was_ever_installed_is_not_ready() {
    let scene = Scene::in_memory();
    scene.run_ok("keygen");
    node::new(&scene);
    let before = scene.tree("root");
    let asked = scene.run("watch --ready --root root");
    assert_eq!((asked.code, asked.stderr.as_str()), (1, ""));
    let mut watch = Watch::start_with(&scene, &["--key", "cosign.pub"]);
    watch.wait_for(
        "no: not-installed: there is no receipt: nothing was installed here, or it was deleted",
    );
    assert_eq!(watch.stop(), "");
    node::assert_same(&before, &scene.tree("root"), "a watch changes nothing");
}
