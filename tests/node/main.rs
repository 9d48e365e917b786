//! Installs a bundle on a real node: containerd, runc and the plugins work as in a cluster,
//! `crictl` makes the requests of a kubelet, and the DaemonSet is the one that `render` printed.

#![cfg(feature = "publish")]
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod attachments;
mod daemonset;
mod explain;
mod from_source;
mod image;
mod namespace;
mod netns;
mod peers;
mod release;
mod requirements;
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod volume;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use daemonset::{DaemonSet, Pod, string};
use namespace::{eventually, host_network, write_plugin};
use netns::PodNetwork;
use release::Release;
use rig::{Ended, Rig, Sandbox};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

const MISSING: &str = r#"failed to find plugin "macvlan" in path [/opt/cni/bin]"#;

#[test]
fn a_pod_that_misses_a_plugin_starts_after_the_daemonset_installed_it() {
    if !Rig::possible() || !Release::possible() {
        return;
    }
    let host = host_network();
    let rig = Rig::start();
    let app = rig.pod("app");
    let refusal = rig.run(&app).expect_err("the node has no macvlan");
    assert!(
        refusal.ends_with(&format!(r#"plugin type="macvlan" failed (add): {MISSING}"#)),
        "{refusal}"
    );
    let cause = explain::only_cause(rig.namespace(), &refusal);
    assert_eq!(
        (&cause["cause"], &cause["plugin"]),
        (&"plugin-absent".into(), &"macvlan".into()),
        "{cause}"
    );

    let release = Release::new();
    let set = release.bring_to(&rig);
    assert!(set.guaranteed());
    let pod = set.place(&rig, "first");
    let sandbox = rig.run(&pod.sandbox()).expect("a pod on the host's network needs no plugin");
    for container in set.init_containers() {
        let ended = run(&rig, &pod, &sandbox, container);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_confined(&rig.inspect("inspect", &ended.id)["info"]["runtimeSpec"], container);
    }
    let installed = rig.namespace().node("/opt/cni/bin/macvlan");
    assert_eq!(fs::read(&installed).expect("can read the plugin"), peers::plugin("macvlan"));
    assert_eq!(installed.metadata().expect("a file").permissions().mode() & 0o7777, 0o755);
    assert_eq!(names(installed.parent().expect("a directory")), ["loopback", "macvlan", "static"]);

    let running = rig.run(&app).expect("the plugin is there");
    assert_eq!(rig.interfaces(&running), ["eth0 macvlan 10.99.0.2"]);
    for sandbox in rig.sandboxes() {
        rig.remove(&sandbox).expect("every sandbox can be removed");
    }
    assert_eq!(rig.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(host_network(), host);
}

#[test]
fn ctr_imports_the_images_and_runs_them() {
    if !Rig::possible() || !Release::possible() {
        return;
    }
    let rig = Rig::start();
    Release::new().bring_to(&rig);
    let version = format!("cnister {}\n", env!("CARGO_PKG_VERSION"));
    let tool = format!("localhost/cnister:{}", env!("CARGO_PKG_VERSION"));
    for image in ["localhost/test:1.0.0", &tool] {
        assert_eq!(rig.run_image(image, &["/usr/bin/cnister", "--version"]), version, "{image}");
    }
}

#[test]
fn the_watch_becomes_ready_as_process_1_and_repairs_and_ends_when_it_is_told_to() {
    if !Rig::possible() || !Release::possible() {
        return;
    }
    let rig = Rig::start();
    let set = Release::new().bring_to(&rig);
    let pod = set.place(&rig, "watched");
    let sandbox = rig.run(&pod.sandbox()).expect("a pod on the host's network needs no plugin");
    for container in set.init_containers() {
        assert_eq!(run(&rig, &pod, &sandbox, container).code, 0);
    }
    let (id, log) = watch(&rig, &set, &pod, &sandbox);
    assert!(log.ends_with("yes: every installed file is the one that was signed\n"), "{log}");
    assert_eq!(rig.innermost_process(&id), "1");
    eventually("the watch is ready", LIMIT, || {
        rig.probe(&id, &set.readiness_probe()).then_some(())
    });
    // Without capabilities, on a read-only root file system: what is altered is restored.
    let bin = rig.namespace().node("/opt/cni/bin");
    let (good, macvlan) = (content(&bin), bin.join("macvlan"));
    let harm: [(&dyn Fn(), &str); 2] = [
        (&|| alter(&macvlan), "  repair   /opt/cni/bin/macvlan"),
        (
            &|| fs::remove_file(&macvlan).expect("can remove a plugin"),
            "  new      /opt/cni/bin/macvlan",
        ),
    ];
    for (harm, said) in harm {
        harm();
        eventually("the watch says what it repaired", LIMIT, || {
            rig.container_log(&id).contains(said).then_some(())
        });
        assert!(content(&bin) == good, "{}", rig.container_log(&id));
        assert_eq!(macvlan.metadata().expect("a file").permissions().mode() & 0o7777, 0o755);
    }
    eventually("the watch is ready again", LIMIT, || {
        rig.probe(&id, &set.readiness_probe()).then_some(())
    });
    assert_eq!(rig.stop_within_a_second(&id), 0, "{}", rig.container_log(&id));
}

#[test]
fn a_refused_release_leaves_the_proven_one_and_a_watch_that_is_not_ready() {
    if !Rig::possible() || !Release::possible() {
        return;
    }
    let rig = Rig::start();
    let mut release = Release::new();
    let set = release.bring_to(&rig);
    let pod = set.place(&rig, "proven");
    let sandbox = rig.run(&pod.sandbox()).expect("a pod on the host's network needs no plugin");
    for container in set.init_containers() {
        assert_eq!(run(&rig, &pod, &sandbox, container).code, 0);
    }
    let bin = rig.namespace().node("/opt/cni/bin");
    let proven = content(&bin);

    release = release.next();
    let set = release.bring_to(&rig);
    let pod = set.place(&rig, "altered");
    let sandbox = rig.run(&pod.sandbox()).expect("a pod on the host's network needs no plugin");
    let [stage, install] = set.init_containers() else { panic!("two init containers") };
    assert_eq!(run(&rig, &pod, &sandbox, stage).code, 0);
    alter(&rig.namespace().node(staged("altered")).join("bridge"));
    let ended = run(&rig, &pod, &sandbox, install);
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(ended.log.contains("the wanted release is NOT installed"), "{}", ended.log);
    assert!(content(&bin) == proven, "the proven plugins stay");
    let (id, log) = watch(&rig, &set, &pod, &sandbox);
    assert!(log.contains("wanted-not-installed: "), "{log}");
    assert!(!rig.probe(&id, &set.readiness_probe()));
    rig.run(&rig.pod("app")).expect("the proven plugin is there");
}

#[test]
fn a_staged_file_that_was_altered_does_not_reach_the_node() {
    let nothing = |_: &Release, _: &mut DaemonSet| {};
    refuses("file-altered", nothing, |staged| alter(&staged.join("macvlan")));
    refuses("extra-entry", nothing, |staged| {
        fs::write(staged.join("other"), "#!/bin/sh\n").expect("can add a file")
    });
}

#[test]
fn what_a_stranger_signed_does_not_reach_the_node() {
    let other_key = |release: &Release, set: &mut DaemonSet| {
        set.replace_policy(&release.policy_of_another_key())
    };
    refuses("signer-not-allowed", other_key, |_| {});
}

#[test]
fn a_policy_that_was_exchanged_decides_nothing() {
    let exchange = |release: &Release, set: &mut DaemonSet| {
        set.exchange_policy(&release.policy_of_another_key())
    };
    refuses("policy-digest", exchange, |_| {});
}

/// Asserts that the second init container refuses with this code and leaves the node unchanged.
/// Before that, `change` is called with the DaemonSet, and `meddle` with the directory that the
/// first one filled.
fn refuses(code: &str, change: impl FnOnce(&Release, &mut DaemonSet), meddle: impl FnOnce(&Path)) {
    if !Rig::possible() || !Release::possible() {
        return;
    }
    let rig = Rig::start();
    let release = Release::new();
    let mut set = release.bring_to(&rig);
    change(&release, &mut set);
    let pod = set.place(&rig, "refused");
    let sandbox = rig.run(&pod.sandbox()).expect("a pod on the host's network needs no plugin");
    assert_eq!(run(&rig, &pod, &sandbox, &set.init_containers()[0]).code, 0);
    meddle(&rig.namespace().node(staged("refused")));
    let bin = rig.namespace().node("/opt/cni/bin");
    let found = content(&bin);

    let ended = run(&rig, &pod, &sandbox, &set.init_containers()[1]);
    assert_eq!((ended.code, ended.reason.as_str()), (1, "Error"), "{}", ended.log);
    assert!(ended.log.contains(&format!("no: {code}: ")), "{}", ended.log);
    assert_eq!(content(&bin), found);
    let refusal = rig.run(&rig.pod("app")).expect_err("the node has no macvlan");
    assert!(refusal.ends_with(MISSING), "{refusal}");
}

#[test]
fn a_pod_cannot_leave_its_network_while_the_plugin_is_missing() {
    if !Rig::possible() {
        return;
    }
    let rig = Rig::start();
    let plugin = rig.namespace().node("/opt/cni/bin/macvlan");
    write_plugin(&plugin, &peers::plugin("macvlan"), 0o755);
    let app = rig.run(&rig.pod("app")).expect("the plugin is there");
    fs::remove_file(&plugin).expect("can remove the plugin");
    let refusal = rig.remove(&app).expect_err("the plugin is missing");
    assert!(
        refusal.ends_with(&format!(r#"plugin type="macvlan" failed (delete): {MISSING}"#)),
        "{refusal}"
    );
    let cause = explain::only_cause(rig.namespace(), &refusal);
    assert_eq!(
        (&cause["cause"], cause["effect"].is_string()),
        (&"plugin-absent".into(), true),
        "{cause}"
    );
    write_plugin(&plugin, &peers::plugin("macvlan"), 0o755);
    rig.remove(&app).expect("the plugin is back");
}

#[test]
fn a_plugin_that_was_installed_gives_the_pod_an_interface_and_takes_it_away() {
    if !PodNetwork::possible() || !Release::possible() {
        return;
    }
    let host = host_network();
    let pod = PodNetwork::start();
    let network = PodNetwork::macvlan();
    assert_eq!(
        pod.add(&network).expect_err("no plugin"),
        format!(r#"plugin type="macvlan" failed (add): {MISSING}"#)
    );
    let installed = Release::new().install_on(&pod.namespace().root());
    assert_eq!(installed.code, 0, "{}{}", installed.stdout, installed.stderr);
    let result = pod.add(&network).expect("the plugin is there");
    assert_eq!(result["ips"][0]["address"], "10.99.0.2/24");
    assert_eq!(pod.interfaces(), ["net1 macvlan 10.99.0.2"]);
    pod.delete(&network).expect("the plugin is there");
    assert_eq!(pod.interfaces(), [""; 0]);
    assert_eq!(pod.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(host_network(), host);
}

#[test]
fn a_plugin_that_cannot_run_fails_with_the_words_of_libcni() {
    if !PodNetwork::possible() {
        return;
    }
    let pod = PodNetwork::start();
    let plugin = pod.namespace().node("/opt/cni/bin/macvlan");
    let whole = peers::plugin("macvlan");
    let cases: [(&[u8], u32, &str); 5] = [
        (
            &whole,
            0o644,
            "netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: permission denied",
        ),
        (
            b"",
            0o755,
            "netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: exec format error",
        ),
        (
            &whole[..1000],
            0o755,
            "netplugin failed with no error message: signal: segmentation fault",
        ),
        (b"#!/bin/sh\n", 0o755, "failed to unmarshal raw result: unexpected end of JSON input"),
        (
            b"#!/absent\n",
            0o755,
            "netplugin failed with no error message: fork/exec /opt/cni/bin/macvlan: no such file or directory",
        ),
    ];
    for (content, mode, expected) in cases {
        write_plugin(&plugin, content, mode);
        let error = pod.add(&PodNetwork::macvlan()).expect_err(expected);
        assert_eq!(error, format!(r#"plugin type="macvlan" failed (add): {expected}"#));
    }
}

/// Asserts that the settings arrived: `crictl` ignores a field that it does not know.
fn assert_confined(specification: &Value, container: &Value) {
    let process = &specification["process"];
    let granted = ["bounding", "effective", "permitted", "inheritable", "ambient"]
        .map(|set| process["capabilities"][set].as_array());
    assert!(granted.into_iter().flatten().all(Vec::is_empty), "{process}");
    assert_eq!(process["user"]["uid"], container["securityContext"]["runAsUser"]);
    assert_eq!(process["user"]["gid"], container["securityContext"]["runAsGroup"]);
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(specification["root"]["readonly"], true);
    assert_eq!(specification["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(specification["linux"]["resources"]["memory"]["limit"].is_i64());
    let namespaces = specification["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(
        !namespaces
            .iter()
            .any(|namespace| namespace["type"] == "network" && namespace["path"].is_null())
    );
}

fn run(rig: &Rig, pod: &Pod, sandbox: &Sandbox, container: &Value) -> Ended {
    let image = rig.image(&string(&container["image"]));
    rig.run_to_end(sandbox, &pod.sandbox(), &pod.container(container, &image))
}

/// Starts the long-running container, and returns it with the report of its first check.
fn watch(rig: &Rig, set: &DaemonSet, pod: &Pod, sandbox: &Sandbox) -> (String, String) {
    let [watch] = set.containers() else { panic!("one container") };
    let image = rig.image(&string(&watch["image"]));
    let id = rig.launch(sandbox, &pod.sandbox(), &pod.container(watch, &image));
    let log = eventually("the watch says what it found", LIMIT, || {
        let log = rig.container_log(&id);
        assert_eq!(rig.inspect("inspect", &id)["status"]["state"], "CONTAINER_RUNNING", "{log}");
        (!log.is_empty()).then_some(log)
    });
    (id, log)
}

/// Returns the directory where the first init container of a pod puts plugins.
fn staged(uid: &str) -> String {
    format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/staged/opt/cni/bin")
}

/// Flips one bit of a staged plugin.
fn alter(path: &Path) {
    let mut content = fs::read(path).expect("can read the staged file");
    content[4096] ^= 1;
    // A process that may write to the directory may replace a file of any mode.
    fs::remove_file(path).expect("can remove the staged file");
    fs::write(path, content).expect("can write another");
}

/// Returns the names in a directory, including hidden ones, which a runtime would execute as well.
fn names(directory: &Path) -> Vec<String> {
    content(directory).into_keys().collect()
}

/// Returns the contents of a directory, byte for byte.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory)
        .expect("can list a directory")
        .map(|entry| entry.expect("an entry").path());
    let name =
        |path: &Path| path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
    entries.map(|path| (name(&path), fs::read(&path).unwrap_or_default())).collect()
}
