//! Every verb of a node against what can have the name of a record, of a policy or of a directory:
//! none waits for it, and each says what it is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{CWD, FileType, RenameFlags, renameat_with};
use rustix::process::{Pid, Signal, kill_process};

use super::support::Scene;
use super::{BOUND, PLUGINS, Release, installed, is_root, node_of, within_bound};

const VERBS: [&str; 10] = [
    "check --root root --no-probe",
    "check --root root --at-boot",
    "status --root root",
    "watch --root root --ready",
    "boot enable --root root --dry-run",
    "check --root root --at-boot --repair",
    "gc --root root",
    "boot disable --root root",
    "rollback --root root",
    "uninstall --root root",
];

type Thing = (&'static str, fn(&Path));

const FIFO: Thing = ("a FIFO", |path| node_of(path, FileType::Fifo));
const DEVICE: Thing = ("a device", |path| node_of(path, FileType::CharacterDevice));
const DANGLING: Thing = ("a link to nothing", |path| symlink("nowhere", path).unwrap());
const SPARSE: Thing = ("a sparse file", |path| {
    fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
});
const FILE: Thing = ("a file", |path| fs::write(path, "x").unwrap());

/// What has a name.
const THINGS: [Thing; 10] = [
    FIFO,
    DEVICE,
    DANGLING,
    SPARSE,
    FILE,
    ("a socket", |path| node_of(path, FileType::Socket)),
    ("a directory", |path| fs::create_dir_all(path.join("inner")).unwrap()),
    ("a link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ("a link to a FIFO", |path| {
        let name = path.with_extension("fifo");
        node_of(&name, FileType::Fifo);
        symlink(name.file_name().unwrap(), path).unwrap();
    }),
    ("a link without an end", |path| symlink("/dev/zero", path).unwrap()),
];

fn put(path: &Path, make: fn(&Path)) {
    drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
    make(path);
}

/// Puts it there in one step, so that a watch at no moment finds nothing.
fn exchange(scene: &Scene, place: &str, make: fn(&Path)) {
    let path = scene.at("root").join(place);
    let aside = scene.at("aside").join(path.file_name().unwrap());
    fs::create_dir_all(scene.at("aside")).unwrap();
    put(&aside, make);
    let flags = if fs::symlink_metadata(&path).is_ok() {
        RenameFlags::EXCHANGE
    } else {
        RenameFlags::empty()
    };
    renameat_with(CWD, &aside, CWD, &path, flags).unwrap();
}

fn copy(scene: &Scene, from: &str, to: &str) {
    drop(fs::remove_dir_all(scene.at(to)));
    let run = scene.command("cp").arg("-a").args([from, to]).status();
    assert!(run.is_ok_and(|status| status.success()));
}

/// A node with two generations, kept as `kept`, and what installs a third.
fn node(scene: &Scene) -> String {
    installed(scene);
    fs::create_dir_all(scene.at("root/etc/systemd/system")).unwrap();
    scene.run_ok(&Release::new(scene, "b", "1.1.0", &PLUGINS, 0).install_args());
    copy(scene, "root", "kept");
    Release::new(scene, "c", "1.2.0", &PLUGINS, 0).install_args()
}

/// Whether a verb leaves the node as it is, even where it succeeds.
fn only_asks(words: &str) -> bool {
    let asks = ["check", "status", "watch"].iter().any(|verb| words.starts_with(verb));
    (asks && !words.contains("--repair")) || words.contains("--dry-run")
}

/// Puts each thing in the place, and asks every verb.
fn ask(scene: &Scene, place: &str, verbs: &[&str]) {
    let name = place.rsplit('/').next().unwrap();
    for (thing, make) in THINGS {
        if thing == DEVICE.0 && !is_root() {
            continue;
        }
        let mut is_as_it_was = false;
        for words in verbs {
            if !is_as_it_was {
                copy(scene, "kept", "root");
                put(&scene.at("root").join(place), make);
            }
            let run = within_bound(scene, words);
            let what = format!("{place}, {thing}, {words}: {run:?}");
            // Text that is no policy is a request that never works.
            let is_text = name == "policy.yaml" && [FILE.0, SPARSE.0].contains(&thing);
            assert!(run.code <= 1 || (is_text && run.code == 2), "{what}");
            // A boot needs a static program first, and a probe says nothing.
            let is_silent = words.contains("--ready") || words.starts_with("boot enable");
            let said = format!("{}{}", run.stdout, run.stderr);
            let names_it = said.contains(name)
                || (place.contains("/evidence/") && said.contains("the evidence of the installed"));
            assert!(run.code == 0 || is_silent || names_it, "{what}");
            is_as_it_was = run.code != 0 || only_asks(words);
        }
    }
}

#[test]
fn no_verb_waits_for_what_has_the_name_of_a_record() {
    let scene = Scene::in_memory();
    let install = node(&scene);
    let verbs = [&VERBS[..], &[&install]].concat();
    for name in ["receipt", "journal", "refusal", "rolled-back", "floors"] {
        ask(&scene, &format!("var/lib/cnister/{name}.json"), &verbs);
    }
    ask(&scene, "var/lib/cnister/ready", &verbs);
}

#[test]
fn no_verb_waits_for_what_has_the_name_of_a_policy_or_of_a_kept_file() {
    let scene = Scene::in_memory();
    let install = node(&scene);
    let verbs = [&VERBS[..], &[&install]].concat();
    ask(&scene, "etc/cnister/policy.yaml", &verbs);
    // Those of the installed releases, and of the one that is to be installed.
    copy(&scene, "kept", "root");
    scene.run_ok(&install);
    for (directory, some) in [("evidence", 3), ("generations", 1), ("store", 1)] {
        let directory = format!("var/lib/cnister/{directory}");
        let entries = fs::read_dir(scene.at("root").join(&directory)).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).take(some).collect();
        for name in names {
            ask(&scene, &format!("{directory}/{}", name.to_str().unwrap()), &verbs);
        }
    }
}

#[test]
fn no_verb_waits_for_the_policy_of_the_host_itself() {
    let scene = Scene::in_memory();
    installed(&scene);
    let at = |name: &str| scene.at("root").join(name).to_str().unwrap().to_owned();
    let (state, policies) = (at("var/lib/cnister"), at("etc/cnister"));
    let path = scene.at("root/etc/cnister/policy.yaml");
    let text = fs::read(&path).unwrap();
    for (thing, make) in THINGS {
        if thing == DEVICE.0 && !is_root() {
            continue;
        }
        put(&path, make);
        for verb in ["check --no-probe", "check --at-boot", "rollback --dry-run", "watch"] {
            let words = format!("{verb} --state-dir {state} --policy-dir {policies}");
            let run = within_bound(&scene, &words);
            let what = format!("{thing}, {words}: {run:?}");
            let expected = if [FILE.0, SPARSE.0].contains(&thing) { 2 } else { 1 };
            assert_eq!(run.code, expected, "{what}");
            assert!(format!("{}{}", run.stdout, run.stderr).contains("policy.yaml"), "{what}");
        }
    }
    // The twin: on the host, a link leads where it leads there.
    put(&path, |path| symlink("../policy-of-a-volume", path).unwrap());
    scene.write("root/etc/policy-of-a-volume", text);
    let words = format!("check --at-boot --state-dir {state} --policy-dir {policies}");
    let run = within_bound(&scene, &words);
    assert!(run.stdout.contains("no: plugin-missing: "), "it is judged: {run:?}");
}

/// A watch and what it says, line by line.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(scene: &Scene, more: &[&str]) -> Self {
        let mut command = scene.command(env!("CARGO_BIN_EXE_cnister"));
        command.args(["watch", "--root", "root", "--interval", "1s"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        let also = sender.clone();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| also.send(line))
        });
        Self { child, lines }
    }

    fn wait_for(&self, wanted: &str, what: &str) {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(3 * BOUND) {
            if line.starts_with(wanted) {
                return;
            }
            said.push(line);
        }
        panic!("{what}: `{wanted}` was not said, but {said:#?}");
    }

    /// Stops it as the kubelet does.
    fn stop(mut self, what: &str) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        assert_eq!(self.child.try_wait().unwrap(), None, "{what}: it has ended");
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{what}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const YES: &str = "yes: ";

#[test]
fn a_watch_outlives_what_has_the_name_of_a_file_or_a_directory() {
    let plugin = "no: in-the-way: `/opt/cni/bin/macvlan` is ";
    let state = "no: state-damaged: `root/var/lib/cnister/";
    let cases: [(&str, Thing, &str); 16] = [
        ("opt/cni/bin", FILE, "no: in-the-way: `root/opt/cni/bin` is a regular file"),
        ("opt/cni/bin", FIFO, "no: in-the-way: `root/opt/cni/bin` is a FIFO"),
        ("opt/cni/bin", DANGLING, "no: "),
        ("opt/cni", FILE, "no: in-the-way: `root/opt/cni` is a regular file"),
        ("opt/cni/bin/.cnister", FILE, YES),
        ("opt/cni/bin/macvlan", FIFO, plugin),
        ("opt/cni/bin/macvlan", ("a socket", |path| node_of(path, FileType::Socket)), plugin),
        ("opt/cni/bin/macvlan", DEVICE, plugin),
        ("opt/cni/bin/macvlan", SPARSE, "no: digest-drift: `/opt/cni/bin/macvlan` was altered"),
        ("var/lib/cnister/lock", FIFO, state),
        ("var/lib/cnister/receipt.json", FIFO, state),
        ("var/lib/cnister/journal.json", SPARSE, "no: state-damaged: "),
        ("var/lib/cnister/floors.json", DANGLING, state),
        ("var/lib/cnister", FILE, "no: in-the-way: `root/var/lib/cnister` is a regular file"),
        ("var/lib/cnister", DANGLING, "no: in-the-way: `root/var/lib/cnister` is a symbolic link"),
        ("etc/cnister/policy.yaml", FIFO, YES),
    ];
    let scene = Scene::in_memory();
    node(&scene);
    for (place, (thing, make), expected) in cases {
        if thing == DEVICE.0 && !is_root() {
            continue;
        }
        for repairs in [false, true] {
            let more: &[&str] = if repairs { &["--repair"] } else { &[] };
            let what = format!("{place}, {thing}, {repairs}");
            let is_repaired = repairs && place.starts_with("opt/cni/bin/");
            let expected = if is_repaired { YES } else { expected };
            // While it runs, and before it starts. Without a policy it cannot judge, and ends.
            copy(&scene, "kept", "root");
            let watch = Watch::start(&scene, more);
            watch.wait_for(YES, &what);
            exchange(&scene, place, make);
            if expected != YES || is_repaired && !place.ends_with(".cnister") {
                watch.wait_for(expected, &what);
            } else {
                // Nothing is said of it, and the watch goes on.
                fs::write(scene.at("root/opt/cni/bin/bridge"), "altered").unwrap();
                watch.wait_for(if repairs { YES } else { "no: digest-drift: " }, &what);
            }
            watch.stop(&what);
            if place.starts_with("etc") {
                continue;
            }
            copy(&scene, "kept", "root");
            put(&scene.at("root").join(place), make);
            let watch = Watch::start(&scene, more);
            watch.wait_for(expected, &what);
            watch.stop(&what);
        }
    }
}

#[test]
fn a_watch_that_has_no_policy_says_what_has_its_name() {
    let scene = Scene::in_memory();
    node(&scene);
    for (thing, make) in [FIFO, DANGLING, SPARSE] {
        put(&scene.at("root/etc/cnister/policy.yaml"), make);
        let run = within_bound(&scene, "watch --root root");
        assert!(run.code == 1 || thing == SPARSE.0 && run.code == 2, "{thing}: {run:?}");
        assert!(run.stderr.contains("policy.yaml"), "{thing}: {run:?}");
    }
}
