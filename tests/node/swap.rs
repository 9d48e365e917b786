//! Plugins that are executed all the time while two bundles of them replace each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use std::{fs, thread};

use crate::namespace::host_network;
use crate::netns::PodNetwork;
use crate::support::{self, Run, Scene};

/// Where two builds of the same plugins are; the second is from `make peers`.
const DEBIAN: &str = "/usr/lib/cni";
const PLUGINS: [&str; 3] = ["macvlan", "static", "portmap"];
const INSTALLS: usize = 500;

/// Builds and signs a bundle of the plugins in a directory.
fn release(scene: &Scene, name: &str, version: &str, plugins: &Path) {
    let platform = cnister::model::Platform::host();
    let definition = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: test\nversion: {version}\nplatforms: [{platform}]\n\
         sources: [{{name: here, directory: {}}}]\nplugins: [{}]\ntool: none\n",
        plugins.display(),
        PLUGINS.join(", ")
    );
    scene.write(&format!("{name}.yaml"), definition);
    scene.run_ok(&format!("build {name}.yaml -o {name}"));
    scene.run_ok(&format!("sign --key cosign.key oci:{name}"));
}

/// Executes a plugin as its runtime would, to ask for its version.
fn version_of(plugin: &Path) -> Result<(), String> {
    let mut command = Command::new(plugin);
    command.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{}: {error}", plugin.display()))?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && answer.contains("supportedVersions") {
        return Ok(());
    }
    Err(format!(
        "{}: {}: {answer}{}",
        plugin.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The bundle from which a check saw every plugin.
fn seen_whole(run: &Run) -> Result<&'static str, String> {
    let whole = run.code == 0 && run.stdout.matches("  proven ").count() == PLUGINS.len();
    let versions: Vec<_> = ["1.0.0", "1.1.0"]
        .into_iter()
        .filter(|version| run.stdout.contains(&format!("test {version}, ")))
        .collect();
    match versions[..] {
        [version] if whole && !run.stdout.contains("mixed") => Ok(version),
        _ => Err(format!("a check ends with {}:\n{}{}", run.code, run.stdout, run.stderr)),
    }
}

/// Stops background work when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn plugins_can_be_executed_at_any_time_while_bundles_replace_each_other() {
    let (upstream, debian) = (support::peers_folder().join("plugins"), Path::new(DEBIAN));
    let present = |folder: &Path| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    support::note_peer("plugins-of-debian", present(debian));
    support::note_peer("plugins", present(&upstream));
    let (Some(program), true) = (support::node_binary(), PodNetwork::possible()) else { return };
    if !present(debian) || !present(&upstream) {
        return;
    }
    let scene = Scene::in_memory();
    scene.run_ok("keygen");
    release(&scene, "old", "1.0.0", debian);
    release(&scene, "new", "1.1.0", &upstream);

    let host = host_network();
    let memory =
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let pod = PodNetwork::start_in(memory);
    let bin = pod.namespace().node("/opt/cni/bin");
    fs::remove_file(bin.join("static")).expect("the node's own plugin is there");
    let root = pod.namespace().root();
    let run = |words: String| {
        let words = format!("{words} --root {}", root.display());
        scene.run_command(scene.command(&program).args(words.split(' ')))
    };
    let install = |name: &str| {
        let run = run(format!("install --key cosign.pub oci:{name}"));
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    };
    install("old");

    let started = Instant::now();
    let done = AtomicBool::new(false);
    let (attachments, versions) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (failed, failures) = mpsc::channel::<String>();
    let (begins, begun) = mpsc::channel();
    let forever = |counter: &AtomicUsize, what: &dyn Fn() -> Result<(), String>| {
        while !done.load(Ordering::Relaxed) {
            match what() {
                Ok(()) => _ = counter.fetch_add(1, Ordering::Relaxed),
                Err(error) => return drop(failed.send(error)),
            }
        }
    };
    let (forever, run, sender) = (&forever, &run, &failed);
    let checked = thread::scope(|scope| {
        // Also if an installation fails: the others would run forever.
        let stop = Stop(&done);
        let network = PodNetwork::macvlan();
        scope.spawn({
            let (pod, attachments) = (&pod, &attachments);
            move || forever(attachments, &|| pod.add_and_delete(&network))
        });
        for plugin in PLUGINS {
            let (path, versions) = (bin.join(plugin), &versions);
            scope.spawn(move || forever(versions, &|| version_of(&path)));
        }
        let checker = scope.spawn(move || {
            let mut seen = BTreeMap::new();
            // About one check per installation.
            while begun.recv().is_ok() {
                while begun.try_recv().is_ok() {}
                match seen_whole(&run("check".to_owned())) {
                    Ok(version) => *seen.entry(version).or_insert(0) += 1,
                    Err(error) => drop(sender.send(error)),
                }
            }
            seen
        });
        for number in 0..INSTALLS {
            begins.send(()).expect("the checks still run");
            install(if number % 2 == 0 { "new" } else { "old" });
        }
        drop(begins);
        drop(stop);
        checker.join().expect("the checks end")
    });
    drop(failed);
    let seconds = started.elapsed().as_secs_f64();
    let (attachments, versions) = (attachments.into_inner(), versions.into_inner());
    eprintln!(
        "{INSTALLS} installs in {seconds:.1} s, beside them {attachments} times ADD and DEL, {versions} times VERSION, \
         and checks {checked:?}"
    );
    assert_eq!(failures.into_iter().collect::<Vec<_>>(), [""; 0]);
    assert!(attachments > 50 && versions > 500, "{attachments} attachments, {versions} answers");
    // A check waits for an installation to finish, so there are fewer of them.
    assert!(checked.len() == 2 && checked.values().sum::<i32>() > 10, "{checked:?}");
    assert_eq!(pod.interfaces(), [""; 0]);
    assert_eq!(pod.stop().into_iter().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(host_network(), host);
}
