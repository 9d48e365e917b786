//! `check --view`: what a process in another mount namespace would find, with a real namespace and
//! with a directory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};

use release::Release;
use support::{Scene, peer, plugin, release};

/// A process with its own root and mount namespace, as in a container, after running `shell` there.
/// It ends when the value is dropped.
struct Pod {
    process: Child,
}

impl Pod {
    fn start(scene: &Scene, shell: &str) -> Self {
        let script =
            format!("set -e; {shell}; exec chroot pod /busybox sh -c 'echo ready; read _'");
        let mut process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .current_dir(scene.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "does this machine let the test make a mount namespace?");
        Self { process }
    }

    /// The arguments that check the node as this process sees it.
    fn words(&self) -> String {
        format!("check --root root --view /proc/{}/root", self.process.id())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// A node with a bundle and another installer's plugin, a link out of the plugin directory as in
/// k3s, and `pod`, the root of a container.
fn scene() -> Option<Scene> {
    let (busybox, _) = (peer("busybox")?, peer("unshare")?);
    let scene = Scene::new();
    Release::new(&scene, "a", "1.0.0", &["bridge", "macvlan"], 0);
    fs::create_dir(scene.at("root")).unwrap();
    scene.run_ok("install --key cosign.pub --root root oci:layout-a");
    scene.put_program(&busybox, "pod/busybox");
    fs::create_dir_all(scene.at("pod/opt/cni/bin")).unwrap();
    scene.write("root/data/flannel", "another owner's");
    fs::set_permissions(scene.at("root/data/flannel"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("/data/flannel", scene.at("root/opt/cni/bin/flannel")).unwrap();
    scene.write(
        "root/etc/cni/net.d/10-a.conf",
        r#"{"cniVersion":"1.0.0","name":"a","type":"bridge"}"#,
    );
    Some(scene)
}

#[test]
fn a_pod_that_mounts_the_plugin_directory_sees_the_same_plugins() {
    let Some(scene) = scene() else { return };
    let pod = Pod::start(&scene, "mount --bind root/opt/cni/bin pod/opt/cni/bin");
    let run = scene.run_ok(&pod.words());
    assert!(
        !run.stdout.contains("supports CNI"),
        "nothing is executed under --view:\n{}",
        run.stdout
    );
    // The mount exists only in that namespace: what was inspected is not this process's own view of
    // the directory.
    let run = scene.run("check --root root --view pod");
    let differs = "no: view-differs: `/opt/cni/bin` in `pod` has no `bridge`, `macvlan`\n";
    assert!(run.code == 1 && run.stdout.contains(differs), "{}", run.stdout);

    // The target of a link on the node does not exist in the pod.
    scene.write("root/etc/cni/net.d/20-b.conf", r#"{"name":"b","type":"flannel"}"#);
    scene.write("root/opt/cni/bin/host-local", "another owner's");
    fs::set_permissions(scene.at("root/opt/cni/bin/host-local"), PermissionsExt::from_mode(0o755))
        .unwrap();
    scene.run_ok("check --root root");
    let run = scene.run(&pod.words());
    assert_eq!(run.code, 1);
    let differs = format!(
        "no: view-differs: `/opt/cni/bin` in `/proc/{}/root` has no `flannel`\n  hint: mount the node's directory \
         into that pod, with plugins that are files, not links out of it\n",
        pod.process.id()
    );
    assert!(
        run.stdout.contains(&differs) && run.stdout.matches("view-differs").count() == 1,
        "{}",
        run.stdout
    );
}

#[test]
fn a_pod_that_sees_other_plugins_is_reported_and_they_are_not_executed() {
    let Some(scene) = scene() else { return };
    let trace = scene.at("it-ran");
    scene.write("pod/other/bridge", plugin::leaving(&trace, 0));
    fs::set_permissions(scene.at("pod/other/bridge"), PermissionsExt::from_mode(0o755)).unwrap();
    let mounts = "mount --bind root/opt/cni/bin pod/opt/cni/bin; mount --bind pod/other/bridge pod/opt/cni/bin/bridge";
    let pod = Pod::start(&scene, mounts);
    // The twin: that program does run if it is executed.
    assert!(Command::new(scene.at("pod/other/bridge")).status().unwrap().success());
    fs::remove_file(&trace).expect("it leaves a trace");
    let run = scene.run(&pod.words());
    assert_eq!(run.code, 1);
    let differs = format!(
        "`/opt/cni/bin/bridge` in `/proc/{}/root` differs from the file on the node",
        pod.process.id()
    );
    assert!(run.stdout.contains(&differs), "{}", run.stdout);
    assert!(!trace.exists(), "a plugin of another view was executed");
    // On the node itself nothing has changed.
    scene.run_ok("check --root root");
}

#[test]
fn no_link_of_a_view_leads_out_of_it() {
    let Some(scene) = scene() else { return };
    let bin = scene.at("root/opt/cni/bin");
    for (name, target) in [
        ("bridge", bin.join("bridge")),
        (
            "macvlan",
            std::path::Path::new("../../../../../../../../..")
                .join(bin.strip_prefix("/").unwrap())
                .join("macvlan"),
        ),
    ] {
        symlink(target, scene.at(&format!("pod/opt/cni/bin/{name}"))).unwrap();
        // The twin: this process finds the right content behind it.
        assert_eq!(
            fs::read(scene.at(&format!("pod/opt/cni/bin/{name}"))).unwrap(),
            fs::read(bin.join(name)).unwrap()
        );
    }
    let pod = Pod::start(&scene, ":");
    for words in [pod.words(), "check --root root --view pod".to_owned()] {
        let run = scene.run(&words);
        assert!(
            run.code == 1 && run.stdout.contains("has no `bridge`, `macvlan`\n"),
            "{}",
            run.stdout
        );
    }
}
