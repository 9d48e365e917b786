//! The same inputs give the same digest, regardless of user, place and time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::{Scene, digest_of, image, node_binary, peer};

const NAMES: [&str; 4] = ["bridge", "host-local", "loopback", "macvlan"];

/// Returns every blob and file of a layout, except those that depend on the image's name.
fn content(scene: &Scene, layout: &str) -> Vec<(String, String)> {
    let tree = scene.tree(layout);
    // Modes follow the umask of the user; digests of content do not.
    tree.into_iter()
        .map(|(path, what)| (path, what.split_once(' ').unwrap().1.to_owned()))
        .collect()
}

#[test]
fn two_users_build_the_same_image() {
    let (Some(node), Some(plugins), Some(setpriv)) =
        (node_binary(), image::plugins(), peer("setpriv"))
    else {
        return;
    };
    let scene = Scene::new();
    fs::set_permissions(scene.path(), Permissions::from_mode(0o755)).unwrap();
    let program = scene.at("cnister");
    fs::copy(env!("CARGO_BIN_EXE_cnister"), &program).unwrap();
    fs::copy(&node, scene.at("tool")).unwrap();
    for (folder, names) in [("one", NAMES.to_vec()), ("two", NAMES.iter().rev().copied().collect())]
    {
        fs::create_dir(scene.at(folder)).unwrap();
        for name in names {
            // Created in another order, so that directories list them differently, and with one
            // file that is not in the definition.
            fs::copy(plugins.join(name), scene.at(folder).join(name)).unwrap();
        }
        scene.write(
            &format!("{folder}.yaml"),
            image::definition(&NAMES)
                .replace("directory: plugins", &format!("directory: {folder}")),
        );
    }
    scene.write("two/README", "not a plugin");
    fs::set_permissions(scene.at("two/bridge"), Permissions::from_mode(0o700 | 0o055)).unwrap();

    let first = scene.run_command(
        scene
            .command("sh")
            .args(["-c", "umask 022; exec ./cnister build one.yaml -o first --tool tool"])
            .env("TZ", "UTC"),
    );
    assert_eq!(first.code, 0, "{}", first.stderr);

    fs::create_dir(scene.at("theirs")).unwrap();
    fs::set_permissions(scene.at("theirs"), Permissions::from_mode(0o777)).unwrap();
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = scene.command(setpriv);
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh"]);
        command
    } else {
        scene.command("sh")
    };
    command.args(["-c", "umask 077; exec ./cnister build two.yaml -o theirs/second --tool tool"]);
    command
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "tr_TR.UTF-8")
        .env("LANG", "C")
        .env("USER", "somebody");
    let second = scene.run_command(&mut command);
    assert_eq!(second.code, 0, "{}", second.stderr);

    assert_eq!(digest_of(&first), digest_of(&second));
    assert_eq!(content(&scene, "first"), content(&scene, "theirs/second"));
}

#[test]
fn the_time_inside_is_the_one_that_was_asked_for() {
    let Some(node) = node_binary() else { return };
    let scene = Scene::new();
    if image::unsigned(&scene, "none", &NAMES).is_none() {
        return;
    }
    let build = |layout: &str, epoch: &str| {
        let arguments = ["build", "bundle.yaml", "-o", layout, "--tool"];
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        scene.run_command(command.args(arguments).arg(&node).env("SOURCE_DATE_EPOCH", epoch))
    };
    let none = digest_of(&scene.run_ok("inspect oci:none"));
    assert_eq!(digest_of(&build("zero", "0")), none);
    let later = digest_of(&build("later", "1700000000"));
    assert_ne!(later, none);
    assert_eq!(digest_of(&build("again", "1700000000")), later);
    let wrong = build("wrong", "yesterday");
    assert_eq!(wrong.code, 2);
    assert_eq!(
        wrong.stderr,
        "error: SOURCE_DATE_EPOCH is `yesterday`, expected seconds since 1970\n"
    );
}

#[test]
fn another_byte_is_another_image() {
    let scene = Scene::new();
    let Some(first) = image::unsigned(&scene, "first", &NAMES) else { return };
    let path: &Path = &scene.at("plugins/bridge");
    let mut bytes = fs::read(path).unwrap();
    bytes.push(0);
    fs::write(path, bytes).unwrap();
    let run = scene.run_ok(&format!(
        "build bundle.yaml -o second --tool {}",
        node_binary().unwrap().display()
    ));
    assert_ne!(digest_of(&run), first);
}
