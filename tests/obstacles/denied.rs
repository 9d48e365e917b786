//! What the system denies: a read-only file system, and a user who may not write. Every verb that
//! changes a node says it as its dry run does, and changes nothing.

use super::{BIN, PLUGINS, installed, is_root, with_own_mounts};
use crate::support::{Run, Scene, peer, release::Release};
use std::fs;

/// A directory that is made read-only, and the verbs that would change it.
const PLACES: [(&str, &[&str]); 2] = [
    (
        "root/var/lib/cnister",
        &["{next}", "rollback --root root", "uninstall --root root", "gc --root root"],
    ),
    ("root/opt/cni/bin", &["{next}", "rollback --root root", "uninstall --root root"]),
];

fn assert_denied(run: &Run, code: &str, words: &str) {
    let shown = format!("{words}\n{}{}", run.stdout, run.stderr);
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{shown}");
    assert!(run.stdout.contains(&format!("no: {code}: ")), "{shown}");
    assert!(run.stdout.ends_with("refused; nothing was changed\n"), "{shown}");
}

/// A node with two generations, and the words that install another one.
fn upgraded(scene: &Scene) -> String {
    installed(scene);
    let second = Release::new(scene, "b", "1.1.0", &PLUGINS, 0);
    scene.run_ok(&second.install_from_layout_args());
    Release::new(scene, "c", "1.2.0", &PLUGINS, 0).install_from_layout_args()
}

#[test]
fn a_read_only_disk_is_reported_by_every_verb_as_by_its_dry_run() {
    let scene = Scene::new();
    let next = upgraded(&scene);
    let before = scene.tree("root");
    for (place, verbs) in PLACES {
        let script = format!(
            "mount --bind {place} {place}
             mount -o remount,bind,ro {place}
             exec \"$0\" \"$@\""
        );
        for words in verbs.iter().map(|words| words.replace("{next}", &next)) {
            let Some(run) = with_own_mounts(&scene, &script, &words) else { return };
            assert_denied(&run, "read-only", &words);
            if !words.starts_with("gc") {
                let dry = with_own_mounts(&scene, &script, &format!("{words} --dry-run")).unwrap();
                assert_eq!(dry.stdout, run.stdout, "{words}");
            }
        }
        assert_eq!(scene.tree("root"), before, "{place}");
    }
    // A repair says what is wrong, and why it stays so.
    fs::remove_file(scene.at(BIN).join("bridge")).unwrap();
    for (place, _) in PLACES {
        let script = format!(
            "mount --bind {place} {place}
             mount -o remount,bind,ro {place}
             exec \"$0\" \"$@\""
        );
        let run = with_own_mounts(&scene, &script, "check --root root --repair").unwrap();
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{}", run.stdout);
        for said in ["no: plugin-missing: ", "no: read-only: "] {
            assert!(run.stdout.contains(said), "{place}: {said}\n{}", run.stdout);
        }
    }
}

#[test]
fn a_user_without_rights_is_reported_by_every_verb_as_by_its_dry_run() {
    let (scene, Some(setpriv)) = (Scene::new(), peer("setpriv")) else { return };
    if !is_root() {
        return;
    }
    let next = upgraded(&scene);
    let before = scene.tree("root");
    // The state directory is root's alone.
    for words in [next.as_str(), "rollback --root root", "uninstall --root root", "gc --root root"]
    {
        let run = |words: &str| {
            let mut command = scene.command(&setpriv);
            command.args(["--bounding-set", "-all", "--inh-caps=-all", "--reuid=1000"]).args([
                "--regid=1000",
                "--clear-groups",
                env!("CARGO_BIN_EXE_cnister"),
            ]);
            scene.run_command(command.args(words.split(' ')))
        };
        let real = run(words);
        if real.stderr.contains("cannot") && real.stdout.is_empty() {
            // The scene itself is not readable for another user.
            crate::say_skipped("another user cannot read the scene");
            return;
        }
        assert_denied(&real, "not-permitted", words);
        if words != "gc --root root" {
            assert_eq!(run(&format!("{words} --dry-run")).stdout, real.stdout, "{words}");
        }
    }
    assert_eq!(scene.tree("root"), before);
}
