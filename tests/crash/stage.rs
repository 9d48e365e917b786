//! Staging: over the leftovers of an interrupted run, and without privileges.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::node;
use super::places::is_root;
use super::release::Release;
use super::support::{Scene, node_binary, peer};

const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];
/// The user of bundle images.
const USER: u32 = 65532;

/// A scene that everyone can read, with a program in it that everyone can execute.
fn open_scene(program: &Path) -> Scene {
    let scene = Scene::new();
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o755)).unwrap();
    scene.put_program(program, "cnister");
    scene
}

#[test]
fn a_staging_over_an_interrupted_one_finishes_it() {
    let scene = Scene::in_memory();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    let wanted = scene.tree("staged-a");
    // As much of everything as a run could have written, and what a disk may have made of it.
    let half = |name: &str| release.files[name][..100].to_vec();
    fs::remove_file(scene.at("staged-a/usr/share/cnister/bundle.json")).unwrap();
    scene.write("staged-a/usr/share/cnister/.cnister-0123456789abcdef", "{");
    scene.write("staged-a/opt/cni/bin/.cnister-fedcba9876543210", half("macvlan"));
    let replace = |name: &str, bytes: &[u8]| {
        fs::remove_file(scene.at("staged-a/opt/cni/bin").join(name)).unwrap();
        scene.write(&format!("staged-a/opt/cni/bin/{name}"), bytes);
    };
    replace("bridge", &half("bridge"));
    replace("macvlan", &vec![0; release.files["macvlan"].len()]);
    let run = scene.run_ok("stage --image image-a staged-a");
    assert_eq!(run.stdout, "staged test 1.0.0: 2 plugins copied, 1 already there\n");
    node::assert_same(&wanted, &scene.tree("staged-a"), "staged again");
    let run = scene.run_ok("stage --image image-a staged-a");
    assert_eq!(run.stdout, "staged test 1.0.0: 0 plugins copied, 3 already there\n");
    node::new(&scene);
    scene.run_ok(&release.install_args());
}

#[test]
fn staging_and_installing_need_no_capability() {
    let Some(setpriv) = peer("setpriv") else { return };
    if !is_root() {
        return;
    }
    let scene = open_scene(env!("CARGO_BIN_EXE_cnister").as_ref());
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    fs::create_dir(scene.at("out")).unwrap();
    chown(scene.at("out"), Some(USER), Some(USER)).unwrap();
    let powerless = [
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--no-new-privs",
        "--clear-groups",
    ];
    let run_as = |user: u32, words: &str| {
        let mut command = scene.command(&setpriv);
        command.args(powerless).args([format!("--reuid={user}"), format!("--regid={user}")]);
        let run = scene.run_command(command.arg(scene.at("cnister")).args(words.split(' ')));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{words}: {}", run.stdout);
        run
    };
    let run = run_as(USER, "stage --image image-a out");
    assert_eq!(run.stdout, "staged test 1.0.0: 3 plugins copied, 0 already there\n");
    for (name, mode) in [
        ("opt", 0o755),
        ("opt/cni/bin", 0o755),
        ("opt/cni/bin/bridge", 0o555),
        ("opt/cni/bin/host-local", 0o555),
        ("opt/cni/bin/macvlan", 0o555),
        ("usr/share/cnister", 0o755),
        ("usr/share/cnister/bundle.json", 0o444),
    ] {
        let metadata = fs::metadata(scene.at("out").join(name)).unwrap();
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()),
            (mode, USER, USER),
            "{name}"
        );
    }
    assert_eq!(scene.tree("out").len(), 10);
    // A pod's sandbox is lost, and its init containers run again in the same directory.
    let run = run_as(USER, "stage --image image-a out");
    assert_eq!(run.stdout, "staged test 1.0.0: 0 plugins copied, 3 already there\n");
    // The next container is root, and may read what everyone may.
    let install = release.install_args().replace("staged-a", "out");
    assert!(run_as(0, &install).stdout.ends_with("\ninstalled\n"));
    assert!(run_as(0, "check --root root").stdout.contains("supports CNI 0.4.0, 1.0.0"));
    assert_eq!(node::unsound(&scene, &[&release]), None);
}

#[test]
fn a_bundle_image_with_nothing_else_in_it_stages_itself() {
    let (Some(program), Some(chroot)) = (node_binary(), peer("chroot")) else { return };
    if !is_root() {
        return;
    }
    let scene = open_scene(&program);
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    scene.put_program(&program, "image-a/usr/bin/cnister");
    fs::create_dir(scene.at("image-a/staged")).unwrap();
    chown(scene.at("image-a/staged"), Some(USER), Some(USER)).unwrap();
    let mut command = scene.command(chroot);
    command.arg(format!("--userspec={USER}:{USER}")).arg("image-a").args([
        "/usr/bin/cnister",
        "stage",
        "/staged",
    ]);
    let run = scene.run_command(&mut command);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    assert_eq!(run.stdout, "staged test 1.0.0: 3 plugins copied, 0 already there\n");
    node::assert_same(&scene.tree("staged-a"), &scene.tree("image-a/staged"), "staged by itself");
    node::new(&scene);
    scene.run_ok(&release.install_args().replace("staged-a", "image-a/staged"));
}
