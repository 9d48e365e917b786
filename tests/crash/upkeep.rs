//! `watch --repair`: what it restores, and when it gives up.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::limits::spent;
use super::node;
use super::release::Release;
use super::strace::{Fault, Strace};
use super::support::{Scene, peer, say_skipped};
use super::watch::{PLUGINS, Watch, YES, eventually, get, node_with_a_release};

const REPAIR: [&str; 1] = ["--repair"];

/// Makes every image unavailable.
fn take_images_away(scene: &Scene) {
    for name in ["layout-a", "image-a", "staged-a", "plugins-a"] {
        fs::remove_dir_all(scene.at(name)).unwrap();
    }
}

/// Returns the copy of a file in the local store.
fn copy_of(scene: &Scene, bytes: &[u8]) -> PathBuf {
    let copies = fs::read_dir(scene.at("root/var/lib/cnister/store"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    copies.into_iter().find(|path| fs::read(path).unwrap() == bytes).unwrap()
}

/// A plugin, what happens to it, the finding, and the reaction.
type Alteration<'a> = (&'a str, &'a dyn Fn(&Path), &'a str, &'a str);

#[test]
fn brings_back_what_was_altered_at_once_and_without_any_image() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    take_images_away(&scene);
    let bin = scene.at(node::BIN);
    let good = scene.tree(node::BIN);
    let mut watch = Watch::start_for_changes(&scene, &["--repair", "--listen", "127.0.0.1:0"]);
    let address = watch.address();
    watch.wait_for(YES);
    let altered: [Alteration<'_>; 4] = [
        (
            "bridge",
            &|path| fs::write(path, "in place").unwrap(),
            "digest-drift: {} was altered",
            "repair  ",
        ),
        (
            "bridge",
            &|path| fs::rename(scene.write("new", "by a rename"), path).unwrap(),
            "digest-drift: {} was altered",
            "repair  ",
        ),
        (
            "macvlan",
            &|path| fs::remove_file(path).unwrap(),
            "plugin-missing: {} is gone",
            "new     ",
        ),
        (
            "macvlan",
            &|path| fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap(),
            "digest-drift: {} has a different mode",
            "repair  ",
        ),
    ];
    for (number, (name, change, found, step)) in (1..).zip(altered) {
        change(&bin.join(name));
        watch.wait_for(&format!("no: {}", found.replace("{}", &format!("`/opt/cni/bin/{name}`"))));
        watch.wait_for(&format!(
            "  {step} /opt/cni/bin/{name} ({} bytes)",
            release.files[name].len()
        ));
        watch.wait_for(YES);
        node::assert_same(&good, &scene.tree(node::BIN), found);
        eventually(|| get(&address, "/readyz").0 == "200");
        let metrics = get(&address, "/metrics").1;
        assert!(metrics.contains(&format!("\ncnister_repairs_total {number}\n")), "{metrics}");
    }
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_watch_without_repair_changes_nothing() {
    let scene = Scene::new();
    node_with_a_release(&scene);
    let bridge = scene.at(node::BIN).join("bridge");
    let mut watch = Watch::start_for_changes(&scene, &[]);
    watch.wait_for(YES);
    for content in ["one", "two"] {
        // The second answer would come after a repair of the first.
        fs::write(&bridge, content).unwrap();
        fs::remove_file(scene.at(node::BIN).join("macvlan")).ok();
        watch.wait_for("no");
        assert_eq!(fs::read(&bridge).unwrap(), content.as_bytes());
        fs::write(scene.at(node::BIN).join("host-local"), content).unwrap();
    }
    watch.stop();
}

/// The output of a watch that cannot write to a directory because it was created too late.
fn out_of_reach(path: &str) -> String {
    format!(
        "error: `{path}` is out of reach: it was created or removed after this watch had started\n\
         hint: restart the watch; the kubelet does so automatically\n"
    )
}

#[test]
fn a_directory_that_was_created_again_is_repaired_by_the_same_watch() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let mut watch = Watch::start_with(&scene, &REPAIR);
    watch.wait_for(YES);
    // As an update of the node does it, twice: with an empty directory, and with none.
    fs::create_dir(scene.at("empty")).unwrap();
    rustix::fs::renameat_with(
        rustix::fs::CWD,
        scene.at("empty"),
        rustix::fs::CWD,
        &bin,
        rustix::fs::RenameFlags::EXCHANGE,
    )
    .unwrap();
    for name in PLUGINS {
        watch.wait_for(&format!(
            "  new      /opt/cni/bin/{name} ({} bytes)",
            release.files[name].len()
        ));
    }
    watch.wait_for(YES);
    fs::rename(&bin, scene.at("aside")).unwrap();
    watch.wait_for(YES);
    for name in PLUGINS {
        assert_eq!(fs::read(bin.join(name)).unwrap(), release.files[name], "{name}");
    }
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_watch_ends_where_it_can_never_repair_and_the_next_one_does() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    scene.write("log", "");
    let words = ["--repair", "--termination-log", "log"];
    let mut watch = Watch::start_for_changes(&scene, &words);
    watch.wait_for(YES);
    // Before anything there is altered: nothing then has to wait for the next watch.
    scene.run_ok(&format!("{} --bin-dir /b", release.install_from_layout_args()));
    assert_eq!(watch.end(), out_of_reach("/b"));
    let log = fs::read_to_string(scene.at("log")).unwrap();
    assert_eq!(
        log,
        "error: `/b` is out of reach: it was created or removed after this watch had started; a new watch can reach it"
    );
    assert!(!scene.at("root/var/lib/cnister/ready").exists());
    fs::write(scene.at("root/b/bridge"), "altered").unwrap();
    let mut watch = Watch::start_for_changes(&scene, &words);
    watch.wait_for(&format!("  repair   /b/bridge ({} bytes)", release.files["bridge"].len()));
    watch.wait_for(YES);
    // The directory is created again, and no permission was granted on its parent.
    fs::rename(scene.at("root/b"), scene.at("aside")).unwrap();
    assert_eq!(watch.end(), out_of_reach("/b"));
    let mut watch = Watch::start_for_changes(&scene, &words);
    watch.wait_for(YES);
    assert_eq!(fs::read(scene.at("root/b/bridge")).unwrap(), release.files["bridge"]);
    assert_eq!(watch.stop(), "");
    // The twin: a watch that repairs nothing needs nothing there.
    let mut watch = Watch::start_for_changes(&scene, &[]);
    watch.wait_for(YES);
    scene.run_ok(&format!("{} --bin-dir /c", release.install_from_layout_args()));
    watch.wait_for(YES);
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_first_installation_is_repaired_or_ends_the_watch() {
    let state = |scene: &Scene| {
        fs::create_dir_all(scene.at("root/var/lib/cnister")).unwrap();
        fs::set_permissions(scene.at("root/var/lib/cnister"), PermissionsExt::from_mode(0o700))
            .unwrap();
    };
    let not_installed =
        "no: not-installed: there is no receipt: nothing was installed here, or it was deleted";
    let words = ["--repair", "--key", "cosign.pub"];
    for there in [true, false] {
        let scene = Scene::new();
        let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
        state(&scene);
        if there {
            fs::create_dir_all(scene.at("root/opt/cni")).unwrap();
        }
        let mut watch = Watch::start_for_changes(&scene, &words);
        watch.wait_for(not_installed);
        scene.run_ok(&release.install_from_layout_args());
        if !there {
            assert_eq!(watch.end(), out_of_reach("/opt/cni/bin"));
            watch = Watch::start_for_changes(&scene, &words);
        }
        watch.wait_for(YES);
        fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
        watch.wait_for(&format!(
            "  repair   /opt/cni/bin/bridge ({} bytes)",
            release.files["bridge"].len()
        ));
        watch.wait_for(YES);
        assert_eq!(watch.stop(), "");
    }
}

#[test]
fn a_directory_that_was_removed_behind_a_mount_ends_the_watch() {
    let Some(unshare) = peer("unshare") else { return };
    if !Command::new(&unshare)
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return say_skipped("no mount namespaces here");
    }
    let scene = Scene::new();
    node_with_a_release(&scene);
    // As in a pod: the node's directory is mounted, and the node does not see the mount.
    fs::rename(scene.at(node::BIN), scene.at("bin")).unwrap();
    fs::create_dir(scene.at(node::BIN)).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {} --mount sh -e -c 'mount --bind bin {}\nexec {} \"$@\"' sh \"$@\"\n",
        unshare.display(),
        node::BIN,
        env!("CARGO_BIN_EXE_cnister"),
    );
    let program = scene.write("mounted", script);
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut watch = Watch::start_program(&scene, &program, "1s", &REPAIR);
    watch.wait_for(YES);
    fs::remove_dir_all(scene.at("bin")).unwrap();
    fs::create_dir(scene.at("bin")).unwrap();
    assert_eq!(watch.end(), out_of_reach("/opt/cni/bin"));
    let mut watch = Watch::start_program(&scene, &program, "1s", &REPAIR);
    watch.wait_for(YES);
    assert!(PLUGINS.iter().all(|name| scene.at("bin").join(name).exists()));
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_state_directory_that_was_created_again_ends_the_watch() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let mut watch = Watch::start_for_changes(&scene, &["--key", "cosign.pub"]);
    watch.wait_for(YES);
    fs::rename(scene.at("root/var/lib/cnister"), scene.at("aside")).unwrap();
    let said = watch.end();
    assert!(said.ends_with(&out_of_reach("/var/lib/cnister")), "{said}");
    let mut watch = Watch::start_with(&scene, &["--key", "cosign.pub"]);
    scene.run_ok(&format!("{} --foreign adopt", release.install_from_layout_args()));
    watch.wait_for(YES);
    watch.stop();
}

/// Another installer, which repeatedly restores its own `bridge`, as dropgz does.
struct Rival {
    written: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the rival to stop.
const STOP: u32 = u32::MAX;

impl Rival {
    fn start(bin: &Path, aside: PathBuf) -> Self {
        let written = Arc::new(AtomicU32::new(0));
        let (count, bin) = (Arc::clone(&written), bin.to_owned());
        let thread = std::thread::spawn(move || {
            fs::write(bin.join("bridge.old"), "what was there").unwrap();
            loop {
                fs::write(&aside, "theirs").unwrap();
                fs::rename(&aside, bin.join("bridge")).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                if count
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
                        (n != STOP).then(|| n + 1)
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
        Self { written, thread: Some(thread) }
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.written.store(STOP, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[test]
fn leaves_a_file_alone_that_another_installer_writes_in_a_loop_and_repairs_the_others() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let mut watch = Watch::start_for_changes(&scene, &["--repair", "--listen", "127.0.0.1:0"]);
    let address = watch.address();
    watch.wait_for(YES);
    let rival = Rival::start(&bin, scene.at("aside"));
    watch.wait_for(
        "warning: repair-paused: `/opt/cni/bin/bridge` was repaired 3 times and altered again; it is left alone for \
         5 minutes; `bridge.old` beside it is typical of dropgz (Azure)",
    );
    watch.wait_for("no");
    let repairs = |count: u32| {
        get(&address, "/metrics").1.contains(&format!("\ncnister_repairs_total {count}\n"))
    };
    eventually(|| repairs(3));
    // Other files are restored, and this one is not touched.
    for (name, count) in [("macvlan", 4), ("host-local", 5)] {
        fs::remove_file(bin.join(name)).unwrap();
        watch.wait_for(&format!(
            "  new      /opt/cni/bin/{name} ({} bytes)",
            release.files[name].len()
        ));
        eventually(|| repairs(count));
        assert!(bin.join(name).exists());
        assert_eq!(fs::read_to_string(bin.join("bridge")).unwrap(), "theirs");
    }
    eventually(|| get(&address, "/readyz").0 == "503");
    // While the other installer continues to write, this one does nothing.
    let (time, begun) = (spent(watch.pid()).0, Instant::now());
    let written = rival.written.load(Ordering::SeqCst);
    while rival.written.load(Ordering::SeqCst) < written + 100 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let time = spent(watch.pid()).0 - time;
    let share = time as f64 / begun.elapsed().as_micros() as f64;
    eprintln!("beside another installer that writes 100 times: {time} microseconds");
    assert!(share < 0.05, "{time} microseconds, {:.1} %", share * 100.0);
    assert!(repairs(5));
    drop(rival);
    let said = watch.stop();
    assert!(
        said.lines()
            .all(|line| line
                .starts_with("note: `bridge.old` beside `/opt/cni/bin/bridge` is typical")),
        "{said}"
    );
    assert!(said.lines().count() <= 5, "{said}");
}

#[test]
fn a_missing_copy_is_reported_once_and_delays_no_other() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let copy = copy_of(&scene, &release.files["bridge"]);
    fs::remove_file(&copy).unwrap();
    let mut watch =
        Watch::start_program(&scene, Path::new(env!("CARGO_BIN_EXE_cnister")), "1s", &REPAIR);
    watch.wait_for(YES);
    for name in PLUGINS {
        fs::write(bin.join(name), "altered").unwrap();
    }
    let digest = cnister::model::Digest::of(&release.files["bridge"]);
    let failed = format!("no: no-copy: the local store has no copy of `bridge` ({digest})");
    watch.wait_for(&failed);
    for name in ["host-local", "macvlan"] {
        assert_eq!(fs::read(bin.join(name)).unwrap(), release.files[name], "{name}");
    }
    assert_eq!(fs::read_to_string(bin.join("bridge")).unwrap(), "altered");
    // Checks in the next seconds report the same, so nothing is printed, and nothing is tried again
    // within a minute.
    let store = fs::metadata(scene.at("root/var/lib/cnister")).unwrap().modified().unwrap();
    let ready = scene.at("root/var/lib/cnister/ready");
    assert!(!ready.exists());
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(fs::metadata(scene.at("root/var/lib/cnister")).unwrap().modified().unwrap(), store);
    // The twin: an installation brings the copy, and everything is in order again.
    scene.run_ok(&release.install_from_layout_args());
    watch.wait_for(YES);
    let said: Vec<_> = watch.answers();
    assert!(!said.contains(&failed), "{said:?}");
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_reported_once() {
    let Some(unshare) = peer("unshare") else { return };
    if !Command::new(&unshare)
        .args(["--mount", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return say_skipped("no mount namespaces here");
    }
    let scene = Scene::new();
    node_with_a_release(&scene);
    let script = format!(
        "#!/bin/sh\nexec {} --mount sh -e -c '\n\
         mount --bind root/var/lib/cnister root/var/lib/cnister\n\
         mount -o remount,bind,ro root/var/lib/cnister\n\
         exec {} \"$@\"' sh \"$@\"\n",
        unshare.display(),
        env!("CARGO_BIN_EXE_cnister"),
    );
    let program = scene.write("read-only", script);
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    let mut watch = Watch::start_program(&scene, &program, "1s", &REPAIR);
    watch.wait_for("no");
    watch.wait_for_start("no: read-only: ");
    watch.wait_for("no");
    let warning = "warning: cannot report whether the node is ready: ";
    assert!(watch.remark().starts_with(warning));
    // Two more checks.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(watch.answers(), [""; 0]);
    assert!(!scene.at("root/var/lib/cnister/ready").exists());
}

#[test]
fn a_repair_forgets_no_release_that_is_wanted_and_was_refused() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let unsigned = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    scene.run_ok(&format!("{} --on-refusal keep", unsigned.install_from_layout_args()));
    let refused =
        "no: wanted-not-installed: the wanted release `oci:layout-b` was refused (no-signature)";
    let mut watch = Watch::start_for_changes(&scene, &REPAIR);
    watch.wait_for(refused);
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    let size = release.files["bridge"].len();
    watch.wait_for(&format!("  repair   /opt/cni/bin/bridge ({size} bytes)"));
    watch.wait_for(refused);
    assert_eq!(watch.stop(), "");
    assert!(!scene.at("root/var/lib/cnister/ready").exists());
}

#[test]
fn a_repair_that_was_killed_at_any_system_call_is_finished_by_the_next_watch() {
    let scene = Scene::in_memory();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_cnister"));
    let Some(strace) = Strace::new(&scene, &program) else { return };
    let release = node_with_a_release(&scene);
    let good = scene.tree(node::BIN);
    let bin = scene.at(node::BIN);
    fs::write(bin.join("bridge"), "altered").unwrap();
    fs::remove_file(bin.join("macvlan")).unwrap();
    node::keep_as(&scene, "before");
    // The repair of a check is the same as that of a watch, and its process ends by itself.
    let words = "check --root root --repair --no-probe --no-closure";
    let points = strace.points(words);
    assert!(points.len() > 20, "only {} points", points.len());
    let altered = Release { name: "altered", files: [("bridge", b"altered".to_vec())].into() };
    let mut hit = BTreeSet::new();
    for (point, calls) in points.iter().step_by(2) {
        node::bring_back(&scene, "before");
        fs::set_permissions(bin.join("bridge"), PermissionsExt::from_mode(0o755)).unwrap();
        let (_, reached) = strace.inject(words, &point.call, *calls, Fault::Kill);
        let Some(reached) = reached else { continue };
        let what = format!("killed at {reached:?}");
        assert_eq!(node::unsound(&scene, &[&release, &altered]), None, "{what}");
        let mut watch = Watch::start_for_changes(&scene, &REPAIR);
        watch.wait_for(YES);
        watch.stop();
        // An empty staging directory may remain until the next one is needed: no runtime looks into
        // a directory.
        let mut found = scene.tree(node::BIN);
        found.remove(".cnister");
        node::assert_same(&good, &found, &what);
        assert!(!scene.at("root/var/lib/cnister/journal.json").exists(), "{what}");
        hit.insert(reached);
    }
    eprintln!("a repair was killed at {} points", hit.len());
    assert!(hit.len() >= 8, "only at {hit:?}");
}
