//! An installation with the memory of a small init container, including page cache: a container's
//! limit counts what it reads and writes, and installers that copied faster than the disk were
//! killed for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::forge::Forge;
use super::limits::upstream;
use super::support::{Run, Scene, peers_folder, say_skipped};

/// The limit, in bytes.
const LIMIT: u64 = 32 * 1024 * 1024;

/// A cgroup with that limit, removed when it is dropped.
pub(super) struct Cgroup {
    folder: PathBuf,
    peak: &'static str,
}

impl Cgroup {
    /// Creates it, or prints a line and returns `None` if no limit can be set.
    pub(super) fn new(name: &str) -> Option<Self> {
        // Version 1 if present, otherwise version 2.
        for (root, limit, swap, peak) in [
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                "memory.max_usage_in_bytes",
            ),
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max", "memory.peak"),
        ] {
            let folder =
                Path::new(root).join(format!("cnister-test-{name}-{}", std::process::id()));
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let cgroup = Self { folder, peak };
            // Linux 5.19 is the first to count the peak in version 2.
            let counts = cgroup.folder.join(peak).exists();
            if counts && fs::write(cgroup.folder.join(limit), LIMIT.to_string()).is_ok() {
                // Memory and swap together in version 1, no swap in version 2. Not every kernel
                // counts it.
                let swapped = if limit == "memory.max" { 0 } else { LIMIT };
                drop(fs::write(cgroup.folder.join(swap), swapped.to_string()));
                return Some(cgroup);
            }
        }
        say_skipped("no cgroup can be given a memory limit and counts the peak here");
        None
    }

    /// Runs a program in it.
    pub(super) fn run(&self, scene: &Scene, program: &Path, words: &str) -> Run {
        let mut command = scene.command("sh");
        command
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.folder.join("cgroup.procs"));
        scene.run_command(command.arg(program).args(words.split(' ')))
    }

    /// Returns the peak charge in bytes, of all that was run in it.
    pub(super) fn peak(&self) -> u64 {
        fs::read_to_string(self.folder.join(self.peak)).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let started = Instant::now();
        // Processes that just ended may still be accounted for.
        while fs::remove_dir(&self.folder).is_err() && started.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}

/// Returns the root of the image in `layout`, as the container that stages its files sees it.
fn write_image(scene: &Scene) {
    let forge = Forge::new(scene.at("layout"));
    let manifest =
        forge.read(forge.read(&forge.tagged())["manifests"][0]["digest"].as_str().unwrap());
    let text = manifest["layers"][1]["annotations"]["dev.cnister.bundle.json"].as_str().unwrap();
    scene.write("image/usr/share/cnister/bundle.json", text);
    let files: Value = serde_json::from_str(text).unwrap();
    for file in files["plugins"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        scene.put_program(
            &peers_folder().join("plugins").join(name),
            &format!("image/opt/cni/bin/{name}"),
        );
    }
}

#[test]
fn upstream_plugins_are_installed_in_a_container_of_32_mib() {
    let Some((scene, program)) = upstream("zstd") else { return };
    scene.run_ok("evidence oci:layout -o evidence.json");
    write_image(&scene);
    fs::create_dir(scene.at("staged")).unwrap();
    fs::create_dir(scene.at("other")).unwrap();
    for words in [
        "install --key cosign.pub --root root oci:layout",
        "stage --image image staged",
        "install --key cosign.pub --root other --from staged --evidence evidence.json",
    ] {
        let Some(cgroup) = Cgroup::new("install") else { return };
        let run = cgroup.run(&scene, &program, words);
        assert_eq!(run.code, 0, "{words}: {}{}", run.stdout, run.stderr);
        eprintln!("{words}: {} of {LIMIT} bytes", cgroup.peak());
    }
    let installed = fs::read_dir(scene.at("other/opt/cni/bin")).unwrap();
    let size: u64 = installed.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(size > 2 * LIMIT, "{size} bytes are no test of the limit");
    // The limit works: a program that uses as much memory is killed.
    let keep = scene.write("keep.sh", format!("head -c {size} /dev/zero | tail -c {size} | wc -c"));
    let Some(cgroup) = Cgroup::new("install") else { return };
    let held = cgroup.run(&scene, Path::new("sh"), keep.to_str().unwrap());
    assert_ne!(held.stdout.lines().last(), Some(size.to_string().as_str()), "{}", held.stderr);
}
