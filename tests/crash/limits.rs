//! Resource limits on a node: the size of the program, the memory of a check and of a watch, and a
//! watch's CPU time.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::support::{Scene, node_binary, note_peer, peer, peers_folder};
use super::watch::{Watch, eventually, get};

/// The largest size of the stripped program, in bytes.
const PROGRAM: u64 = 8 * 1024 * 1024;
/// The peak memory of a check, in KiB.
const MEMORY: u64 = 12 * 1024;
/// The peak memory of a watch that repairs and serves HTTP, in KiB.
const WATCHING: u64 = 16 * 1024;
/// The CPU time of a watch in a second without changes, in microseconds.
const IDLE: u64 = 200;

#[test]
fn the_program_of_a_node_is_small() {
    let Some(program) = node_binary() else { return };
    let size = fs::metadata(program).unwrap().len();
    eprintln!("the node binary has {size} bytes");
    assert!(size <= PROGRAM, "{size} bytes");
}

/// A node and a layout with every upstream plugin, and the node build; `None` if either is missing.
pub(super) fn upstream(compression: &str) -> Option<(Scene, PathBuf)> {
    let folder = peers_folder().join("plugins");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains('.') && !name.chars().any(|c| c.is_ascii_uppercase()))
        .collect();
    names.sort();
    note_peer("plugins", names.len() >= 18);
    let program = node_binary().filter(|_| names.len() >= 18)?;
    let scene = Scene::new();
    let definition = format!(
        "apiVersion: cnister.dev/v1\nkind: Bundle\nname: upstream\nversion: 1.0.0\nplatforms: [linux/amd64]\n\
         sources: [{{name: here, directory: {}}}]\nplugins: [{}]\ntool: none\ncompression: {compression}\n",
        folder.display(),
        names.join(", ")
    );
    scene.write("bundle.yaml", definition);
    scene.run_ok("build bundle.yaml -o layout");
    scene.run_ok("keygen");
    scene.run_ok("sign --key cosign.key oci:layout");
    fs::create_dir(scene.at("root")).unwrap();
    Some((scene, program))
}

#[test]
fn a_check_of_all_upstream_plugins_needs_little_memory() {
    // GNU time: the peak of a child starts at that of its parent, and this process is larger than
    // what it measures.
    let (Some((scene, program)), Some(time)) = (upstream("none"), peer("time")) else { return };
    for words in [
        "install --key cosign.pub --root root oci:layout",
        "check --root root --no-probe",
        "check --root root",
    ] {
        let mut command = scene.command(&time);
        command.args(["-f", "%M", "-o", "peak"]).arg(&program).args(words.split(' '));
        let run = scene.run_command(&mut command);
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        let peak: u64 = fs::read_to_string(scene.at("peak")).unwrap().trim().parse().unwrap();
        eprintln!("{words}: {peak} KiB at most");
        assert!(!words.starts_with("check") || peak < MEMORY, "{words}: {peak} KiB");
    }
}

#[test]
fn a_watch_of_all_upstream_plugins_needs_little_memory_and_no_time_when_nothing_happens() {
    let Some((scene, program)) = upstream("none") else { return };
    scene.run_ok("install --key cosign.pub --root root oci:layout");
    let plugins =
        fs::read_dir(scene.at("root/opt/cni/bin")).unwrap().map(|entry| entry.unwrap().path());
    let plugins: Vec<_> = plugins.collect();
    let mut watch =
        Watch::start_program(&scene, &program, "24h", &["--repair", "--listen", "127.0.0.1:0"]);
    let address = watch.address();
    let yes = "yes: every installed file is the one that was signed";
    watch.wait_for(yes);
    // Several checks, with plugins that are executed, readers that connect, and all plugins
    // restored.
    for round in 1..=3 {
        plugins.iter().for_each(|plugin| fs::write(plugin, format!("altered {round}")).unwrap());
        watch.wait_for("no");
        assert_eq!(get(&address, "/healthz").0, "200");
        watch.wait_for(yes);
        let written = plugins.len() * round;
        let enough = |line: &str| line.parse::<usize>().unwrap() >= written;
        let repairs = || {
            get(&address, "/metrics")
                .1
                .lines()
                .find_map(|line| line.strip_prefix("cnister_repairs_total ").map(enough))
        };
        eventually(|| repairs() == Some(true));
    }
    let peak: u64 = status(watch.pid(), "VmHWM:");
    eprintln!("a watch: {peak} KiB at most");
    assert!(peak < WATCHING, "{peak} KiB");

    // Low CPU time takes long to measure. The quietest of several seconds counts: the first one
    // still waits for changes.
    let seconds = (0..5).map(|_| {
        let before = spent(watch.pid());
        std::thread::sleep(Duration::from_secs(1));
        let after = spent(watch.pid());
        (after.0 - before.0, after.1 - before.1)
    });
    let (time, switches) = seconds.min().unwrap();
    eprintln!("an idle watch: {time} microseconds and {switches} wake-ups a second");
    assert!(time <= IDLE && switches <= 1, "{time} microseconds and {switches} wake-ups a second");
    assert_eq!(watch.stop(), "");
}

/// Returns a number from `/proc/PID/status`.
fn status(pid: u32, name: &str) -> u64 {
    number(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), name)
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Returns the microseconds of CPU time of all threads of a process, and how often they went to
/// sleep.
pub(super) fn spent(pid: u32) -> (u64, u64) {
    let threads =
        fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
    let of_thread = threads.map(|thread| {
        let nanoseconds = fs::read_to_string(thread.join("schedstat")).unwrap();
        let nanoseconds: u64 = nanoseconds.split(' ').next().unwrap().parse().unwrap();
        let status = fs::read_to_string(thread.join("status")).unwrap();
        (nanoseconds / 1000, number(&status, "voluntary_ctxt_switches:"))
    });
    of_thread.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}
