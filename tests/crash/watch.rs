//! `watch`: what it notices between two checks, what it serves over HTTP, and its termination
//! message.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::node;
use super::release::Release;
use super::support::{Scene, peer, say_skipped};

pub(super) const YES: &str = "yes: every installed file is the one that was signed";
pub(super) const PLUGINS: [&str; 3] = ["bridge", "host-local", "macvlan"];

/// A running watch, stopped when it is dropped.
pub(super) struct Watch {
    child: Child,
    lines: Receiver<String>,
    errors: BufReader<ChildStderr>,
}

impl Watch {
    pub(super) fn start(scene: &Scene) -> Self {
        Self::start_with(scene, &[])
    }

    pub(super) fn start_with(scene: &Scene, more: &[&str]) -> Self {
        Self::start_program(scene, Path::new(env!("CARGO_BIN_EXE_cnister")), "1s", more)
    }

    /// A watch whose interval is longer than a test, so that it only checks for a reason.
    pub(super) fn start_for_changes(scene: &Scene, more: &[&str]) -> Self {
        Self::start_program(scene, Path::new(env!("CARGO_BIN_EXE_cnister")), "24h", more)
    }

    pub(super) fn start_program(
        scene: &Scene,
        program: &Path,
        interval: &str,
        more: &[&str],
    ) -> Self {
        let mut command = scene.command(program);
        command.args(["watch", "--interval", interval, "--root", "root"]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, errors }
    }

    /// Waits for a line; otherwise a watch that never prints it would block the test.
    pub(super) fn wait_for(&self, wanted: &str) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line == wanted => return,
                Ok(line) => said.push(line),
                Err(error) => panic!("`{wanted}` was not said, {error}; but:\n{}", said.join("\n")),
            }
        }
    }

    /// Waits for a line with this beginning.
    pub(super) fn wait_for_start(&self, wanted: &str) {
        let wait = || {
            self.lines
                .recv_timeout(Duration::from_secs(30))
                .unwrap_or_else(|error| panic!("{wanted}: {error}"))
        };
        while !wait().starts_with(wanted) {}
    }

    /// Returns what it has answered since the last wait.
    pub(super) fn answers(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Returns its address, which it prints before its first check.
    pub(super) fn address(&mut self) -> String {
        let line = self.remark();
        let address = line
            .strip_prefix("listening at http://")
            .and_then(|rest| rest.strip_suffix("/metrics"));
        address.unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Returns the next line on standard error.
    pub(super) fn remark(&mut self) -> String {
        let mut line = String::new();
        self.errors.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Returns the process, for measurements.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a watch that ends because it cannot continue; returns its standard error.
    pub(super) fn end(&mut self) -> String {
        // Its output ends when it does.
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(30)) {
            drop(line);
        }
        drop(self.child.kill());
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(3), "{said}");
        said
    }

    /// Stops it as the kubelet does; returns its standard error.
    pub(super) fn stop(&mut self) -> String {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns status and body of a response.
pub(super) fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

pub(super) fn node_with_a_release(scene: &Scene) -> Release {
    let release = Release::new(scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(scene);
    scene.run_ok(&release.install_from_layout_args());
    release
}

#[test]
fn a_change_is_reported_long_before_the_next_interval() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let mut watch = Watch::start_for_changes(&scene, &[]);
    watch.wait_for(YES);
    // Written in place, renamed, removed, given other permissions: each is noticed.
    let altered = "no: digest-drift: `/opt/cni/bin/bridge` was altered";
    let changes: [(&dyn Fn(), &str); 4] = [
        (&|| fs::write(bin.join("bridge"), "in place").unwrap(), altered),
        (&|| fs::rename(scene.write("new", "renamed"), bin.join("bridge")).unwrap(), altered),
        (
            &|| fs::remove_file(bin.join("bridge")).unwrap(),
            "no: plugin-missing: `/opt/cni/bin/bridge` is gone",
        ),
        (
            &|| {
                let rights = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                fs::set_permissions(bin.join("bridge"), rights).unwrap();
            },
            "no: digest-drift: `/opt/cni/bin/bridge` has a different mode",
        ),
    ];
    for (change, said) in changes {
        change();
        watch.wait_for(said);
        watch.wait_for("no");
        // The installer's records are watched as well.
        scene.run_ok(&release.install_from_layout_args());
        watch.wait_for(YES);
    }
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_directory_that_is_exchanged_is_looked_after_again() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let mut watch = Watch::start_for_changes(&scene, &[]);
    watch.wait_for(YES);
    // kubernetes/kubernetes#115629: a package deletes the directory and creates it again.
    fs::rename(&bin, scene.at("aside")).unwrap();
    watch.wait_for("no: plugin-missing: `/opt/cni/bin/bridge` is gone");
    scene.run_ok(&release.install_from_layout_args());
    watch.wait_for(YES);
    fs::write(bin.join("macvlan"), "altered in the new one").unwrap();
    watch.wait_for("no: digest-drift: `/opt/cni/bin/macvlan` was altered");
    assert_eq!(watch.stop(), "");
}

#[test]
fn a_first_installation_is_heard_where_there_is_a_state_directory() {
    let scene = Scene::new();
    let release = Release::new(&scene, "a", "1.0.0", &PLUGINS, 0);
    node::new(&scene);
    fs::create_dir_all(scene.at("root/var/lib/cnister")).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(scene.at("root/var/lib/cnister"), private).unwrap();
    let mut watch = Watch::start_for_changes(&scene, &["--key", "cosign.pub"]);
    watch.wait_for(
        "no: not-installed: there is no receipt: nothing was installed here, or it was deleted",
    );
    scene.run_ok(&release.install_from_layout_args());
    watch.wait_for(YES);
    assert_eq!(watch.stop(), "");
}

#[test]
fn another_installer_is_named_by_what_it_leaves() {
    let scene = Scene::new();
    node_with_a_release(&scene);
    let bin = scene.at(node::BIN);
    let mut watch = Watch::start_for_changes(&scene, &[]);
    watch.wait_for(YES);
    fs::rename(bin.join("bridge"), bin.join("bridge.old")).unwrap();
    fs::write(bin.join("bridge"), "another one").unwrap();
    watch.wait_for("no: digest-drift: `/opt/cni/bin/bridge` was altered");
    assert_eq!(
        watch.stop(),
        "note: `bridge.old` beside `/opt/cni/bin/bridge` is typical of dropgz (Azure)\n"
    );
}

/// Changes a file as the kernel does not report it; `None` if that cannot be done here. A process
/// that writes through a mapping still has the file open: closing it would be reported.
fn change_unheard(scene: &Scene, how: &str, path: &Path) -> Option<Option<Child>> {
    let mapped = "import mmap, sys
file = open(sys.argv[1], 'r+b')
view = mmap.mmap(file.fileno(), 0)
view[0:4] = b'ELF?'
view.flush()
print('written', flush=True)
sys.stdin.read()";
    if how == "mapped" {
        let mut command = scene.command(peer("python3")?);
        command.args(["-c", mapped]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "written\n");
        return Some(Some(child));
    }
    // By another name, in a directory that is not watched.
    fs::hard_link(path, scene.at("other")).unwrap();
    if how == "another name" {
        fs::write(scene.at("other"), "altered").unwrap();
    }
    Some(None)
}

#[test]
fn a_change_that_the_kernel_does_not_report_is_noted_once() {
    for (how, expected) in [
        ("mapped", "no: digest-drift: `/opt/cni/bin/bridge` was altered"),
        ("another name", "no: digest-drift: `/opt/cni/bin/bridge` was altered"),
        ("a second name", ""),
    ] {
        let scene = Scene::new();
        node_with_a_release(&scene);
        let path = scene.at(node::BIN).join("bridge");
        let changed = || {
            let metadata = fs::metadata(&path).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        let program = Path::new(env!("CARGO_BIN_EXE_cnister"));
        let mut watch = Watch::start_program(&scene, program, "1s", &["--listen", "127.0.0.1:0"]);
        let address = watch.address();
        watch.wait_for(YES);
        // From the third check on, it has something to compare with.
        let checked = || get(&address, "/metrics").1;
        let wait = || {
            let before = checked();
            eventually(|| checked() != before);
        };
        (0..3).for_each(|_| wait());
        let before = changed();
        let Some(holder) = change_unheard(&scene, how, &path) else { continue };
        if changed() == before {
            // Only a mapping can be written without that.
            say_skipped("this file system does not say when a mapping was written");
            drop(holder.map(|mut holder| holder.kill()));
            continue;
        }
        if expected.is_empty() {
            (0..3).for_each(|_| wait());
            assert_eq!(watch.answers(), [""; 0], "{how}: the answer is the same");
        } else {
            watch.wait_for(expected);
            (0..2).for_each(|_| wait());
        }
        let note = "note: `/opt/cni/bin/bridge` was changed, and the kernel did not report it ";
        let said = watch.stop();
        if let Some(mut holder) = holder {
            drop(holder.stdin.take());
            holder.wait().unwrap();
        }
        assert_eq!(said.matches(note).count(), 1, "{how}: {said}");
        assert_eq!(said.lines().count(), 1, "{how}: {said}");
    }
}

#[test]
fn answers_over_http_what_it_found() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let unsigned = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    let mut watch = Watch::start_for_changes(&scene, &["--listen", "127.0.0.1:0"]);
    let address = watch.address();
    let ask = |path: &str| get(&address, path);
    let has = |line: &str| {
        assert!(
            ask("/metrics").1.lines().any(|found| found == line),
            "{line}: {}",
            ask("/metrics").1
        )
    };
    watch.wait_for(YES);
    let status = || ["/healthz", "/readyz", "/metrics", "/"].map(|path| ask(path).0);
    eventually(|| ask("/readyz").0 == "200");
    assert_eq!(status(), ["200", "200", "200", "404"]);
    has("cnister_proof_ok 1");
    has("cnister_drift_total 0");
    assert!(ask("/metrics").1.contains("cnister_bundle_info{bundle=\"test\",digest=\"sha256:"));
    assert!(!ask("/metrics").1.contains("cnister_install_refused"));

    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    watch.wait_for("no: digest-drift: `/opt/cni/bin/bridge` was altered");
    eventually(|| ask("/readyz").0 == "503");
    assert_eq!(status(), ["200", "503", "200", "404"]);
    has("cnister_proof_ok 0");
    has("cnister_drift_total 1");

    // A refused release makes the node unready, although nothing is wrong with the installed one.
    scene.run_ok(&release.install_from_layout_args());
    watch.wait_for(YES);
    scene.run_ok(&format!("{} --on-refusal keep", unsigned.install_from_layout_args()));
    watch.wait_for(
        "no: wanted-not-installed: the wanted release `oci:layout-b` was refused (no-signature)",
    );
    eventually(|| ask("/metrics").1.contains("cnister_install_refused{code=\"no-signature\"} 1\n"));
    has("cnister_proof_ok 1");
    assert_eq!(ask("/readyz").0, "503");
    assert_eq!(watch.stop(), "");
}

/// What is printed on standard output is served a moment later.
pub(super) fn eventually(holds: impl Fn() -> bool) {
    assert!((0..10_000).any(|_| holds()), "it never was so");
}

#[test]
fn refuses_to_listen_where_everyone_can_connect() {
    let scene = Scene::new();
    for address in ["0.0.0.0:9464", "[::]:9464"] {
        let run = scene.cnister(["watch", "--root", "root", "--listen", address]);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(
            run.stderr.contains("use a loopback address, or the pod's own from `status.podIP`"),
            "{}",
            run.stderr
        );
    }
    // The twin asks for a valid address that is not this machine's (RFC 5737).
    node_with_a_release(&scene);
    let run = scene.cnister(["watch", "--root", "root", "--listen", "192.0.2.1:9464"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: cannot listen at 192.0.2.1:9464: "), "{}", run.stderr);
}

#[test]
fn leaves_a_termination_message_if_the_last_check_did_not_succeed() {
    let scene = Scene::new();
    node_with_a_release(&scene);
    let words = ["--termination-log", "log"];
    scene.write("log", "");
    let log = || fs::read_to_string(scene.at("log")).unwrap();
    let mut watch = Watch::start_for_changes(&scene, &words);
    watch.wait_for(YES);
    watch.stop();
    assert_eq!(log(), "", "there is nothing to say");

    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    let mut watch = Watch::start_for_changes(&scene, &words);
    watch.wait_for("no");
    watch.stop();
    assert_eq!(log(), "no: digest-drift: `/opt/cni/bin/bridge` was altered");
    // A watch that cannot start says why.
    scene.write("log", "");
    scene.cnister([
        "watch",
        "--root",
        "root",
        "--termination-log",
        "log",
        "--policy-sha256",
        &"0".repeat(64),
    ]);
    assert!(log().starts_with("no: policy-digest: "), "{}", log());
}

#[test]
fn a_kept_release_is_reported_in_the_status_of_the_pod() {
    let scene = Scene::new();
    let release = node_with_a_release(&scene);
    let unsigned = Release::unsigned(&scene, "b", "1.1.0", &PLUGINS, 0);
    scene.write("log", "");
    let log = || fs::read_to_string(scene.at("log")).unwrap();
    let more = "--on-refusal keep --termination-log log";
    scene.run_ok(&format!("{} {more}", release.install_from_layout_args()));
    assert_eq!(log(), "");
    scene.run_ok(&format!("{} {more}", unsigned.install_from_layout_args()));
    let expected = "warning: the wanted release is NOT installed; the installed plugins were kept; no-signature: ";
    assert!(log().starts_with(expected), "{}", log());
}

#[test]
fn a_check_leaves_its_numbers_for_a_collector() {
    let scene = Scene::new();
    node_with_a_release(&scene);
    let numbers = || fs::read_to_string(scene.at("numbers/cnister.prom")).unwrap();
    fs::create_dir(scene.at("numbers")).unwrap();
    scene.run_ok("check --root root --textfile numbers/cnister.prom");
    assert!(
        numbers().contains("\ncnister_proof_ok 1\n") && !numbers().contains("drift"),
        "{}",
        numbers()
    );
    fs::write(scene.at(node::BIN).join("bridge"), "altered").unwrap();
    assert_eq!(scene.run("check --root root --textfile numbers/cnister.prom").code, 1);
    assert!(numbers().contains("\ncnister_proof_ok 0\n"), "{}", numbers());
    assert_eq!(fs::read_dir(scene.at("numbers")).unwrap().count(), 1, "nothing else is left");
    // A check that fails is not a good one either.
    let lock = fs::File::open(scene.at("root/var/lib/cnister/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(
        scene.run("check --root root --lock-timeout 0 --textfile numbers/cnister.prom").code,
        3
    );
    drop(lock);
    assert!(
        numbers().ends_with("# TYPE cnister_proof_ok gauge\ncnister_proof_ok 0\n"),
        "{}",
        numbers()
    );
    let run = scene.run("check --root root --textfile numbers/cnister.txt");
    assert!(run.code == 2 && run.stderr.contains("a name that ends in .prom"), "{}", run.stderr);
    let run = scene.run("check --root root --textfile absent/cnister.prom");
    assert_eq!(run.code, 3, "{}", run.stderr);
}
