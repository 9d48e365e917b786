//! An installation that is killed, at every system call and at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Instant;

use super::node;
use super::release::Release;
use super::strace::{Fault, Point, Strace};
use super::support::{Scene, peer};

/// What nodes run, where it is built; else the program of this build, whose installation is the same.
fn program() -> PathBuf {
    let node = std::env::var_os("CNISTER_NODE_BINARY").map(PathBuf::from).filter(|path| path.is_file());
    node.unwrap_or_else(|| env!("CARGO_BIN_EXE_cnister").into())
}

fn releases(scene: &Scene, size: usize) -> (Release, Release) {
    // One plugin of the first is not in the second, and the other way round.
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], size);
    (first, Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], size))
}

/// Starts `words` on the node that was kept as `before` and stops it at every point, each time from the beginning.
/// `judge` looks at what that leaves.
fn at_every_point(
    scene: &Scene,
    strace: &Strace<'_>,
    words: &str,
    fault: Fault,
    judge: &mut dyn FnMut(&Output, &Point),
) {
    let started = Instant::now();
    node::bring_back(scene, "before");
    let points = strace.points(words);
    let mut hit = BTreeSet::new();
    for (point, calls) in &points {
        // A second thread reads files, so how many the first one opens differs between runs by a few.
        let nearby = (0..40).map(|attempt| calls.saturating_add_signed([0, 1, -1, 2, -2, 3, -3][attempt % 7]));
        for calls in nearby {
            if hit.contains(point) {
                break;
            }
            node::bring_back(scene, "before");
            let (output, reached) = strace.inject(words, &point.call, calls, fault);
            // A neighbour may be a call that only reads. A process can be killed there too; but a disk that is full does
            // not refuse it, so an error there would be a state that no disk makes.
            let possible = |reached: &Point| fault == Fault::Kill || points.iter().any(|(point, _)| point == reached);
            if let Some(reached) = reached.filter(|reached| possible(reached) && !hit.contains(reached)) {
                judge(&output, &reached);
                hit.insert(reached);
            }
        }
        assert!(hit.contains(point), "no run was stopped at {point:?}, only at {hit:?}");
    }
    eprintln!("{words}: {fault:?} at {} points, {:.1} s", points.len(), started.elapsed().as_secs_f64());
    assert!(points.len() > 20, "only {} points", points.len());
}

/// Kills `words` at every point, and looks at the node after that and after running it again.
fn kill_everywhere(scene: &Scene, strace: &Strace<'_>, words: &str, releases: &[&Release], and: &mut dyn FnMut(&str)) {
    node::bring_back(scene, "before");
    let before = scene.tree(node::BIN);
    scene.must(words);
    let wanted = scene.tree("root");
    at_every_point(scene, strace, words, Fault::Kill, &mut |_, point| {
        let what = format!("killed at {point:?}");
        assert_eq!(node::unsound(scene, releases), None, "{what}");
        node::assert_none_missing(scene, &before, &what);
        node::keep_as(scene, "killed");
        node::finish(scene, &program(), words, &what);
        node::assert_same(&wanted, &scene.tree("root"), &format!("{what}, and run again"));
        node::bring_back(scene, "killed");
        and(&what);
    });
}

#[test]
fn a_first_installation_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, _) = releases(&scene, 0);
    node::new(&scene);
    node::keep_as(&scene, "before");
    kill_everywhere(&scene, &strace, &first.words_for_staged(), &[&first], &mut |_| {});
}

#[test]
fn an_upgrade_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = releases(&scene, 0);
    node::new(&scene);
    scene.must(&first.words_for_staged());
    node::keep_as(&scene, "before");
    kill_everywhere(&scene, &strace, &second.words_for_layout(), &[&first, &second], &mut |what| {
        // The power came back: both sets are good ones, and so is what lies between.
        let checked = scene.must("check --root root --at-boot").stdout;
        assert!(checked.contains("\nyes"), "{what}: {checked}");
        // Whoever changes their mind gets the first set again.
        node::finish(&scene, &program(), &first.words_for_layout(), &format!("{what}, then back"));
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}, then back");
    });
}

#[test]
fn an_adoption_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, _) = releases(&scene, 0);
    node::new(&scene);
    let theirs = Release { name: "theirs", files: [("bridge", b"theirs".to_vec())].into() };
    let bridge = scene.write(&format!("{}/bridge", node::BIN), "theirs");
    fs::set_permissions(bridge, fs::Permissions::from_mode(0o755)).unwrap();
    node::keep_as(&scene, "before");
    let words = format!("{} --foreign adopt", first.words_for_staged());
    kill_everywhere(&scene, &strace, &words, &[&first, &theirs], &mut |_| {});
    // The copy of what was there is part of what the runs were compared by.
    assert!(scene.tree("root/var/lib/cnister/originals").len() == 1);
}

#[test]
fn two_releases_that_are_killed_one_after_the_other_are_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = releases(&scene, 0);
    node::new(&scene);
    node::keep_as(&scene, "empty");
    let words = first.words_for_staged();
    let points = strace.points(&words);
    let (receipt, calls) = points.iter().find(|(point, _)| point.what.ends_with("\"receipt.json\"")).unwrap();
    node::bring_back(&scene, "empty");
    // All plugins have their names, and only the journal says whose they are.
    let (_, reached) = strace.inject(&words, &receipt.call, *calls, Fault::Kill);
    assert_eq!(reached.as_ref(), Some(receipt));
    node::keep_as(&scene, "before");
    kill_everywhere(&scene, &strace, &second.words_for_staged(), &[&first, &second], &mut |_| {});
}

#[test]
fn a_staging_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (release, _) = releases(&scene, 0);
    fs::create_dir(scene.at("root")).unwrap();
    node::keep_as(&scene, "before");
    let words = format!("stage --image image-{} root", release.name);
    scene.must(&words);
    let wanted = scene.tree("root");
    at_every_point(&scene, &strace, &words, Fault::Kill, &mut |_, point| {
        let what = format!("killed at {point:?}, and run again");
        assert_eq!(scene.must(&words).stderr, "", "{what}");
        node::assert_same(&wanted, &scene.tree("root"), &what);
    });
}

#[test]
fn a_disk_that_is_full_at_any_system_call_is_said_and_leaves_the_node_as_it_was() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = releases(&scene, 0);
    node::new(&scene);
    scene.must(&first.words_for_staged());
    node::keep_as(&scene, "before");
    let before = scene.tree(node::BIN);
    let words = second.words_for_layout();
    at_every_point(&scene, &strace, &words, Fault::Error("ENOSPC"), &mut |output, point| {
        let what = format!("no space at {point:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains("error: ") && said.contains(": No space left on device"), "{what}: {said}");
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}");
        // Whatever takes room or writes comes before the first plugin gets its name.
        if ["openat", "write", "mkdirat", "fchmod"].contains(&point.call.as_str()) {
            node::assert_same(&before, &scene.tree(node::BIN), &what);
            let checked = scene.must("check --root root").stdout;
            assert!(checked.contains("\ntest 1.0.0, "), "{what}: {checked}");
        }
        node::finish(&scene, &program(), &words, &what);
    });
}

#[test]
fn an_upgrade_that_is_killed_at_any_moment_is_finished_by_the_next_run() {
    let scene = Scene::new();
    let Some(timeout) = peer("timeout") else { return };
    let (first, second) = releases(&scene, 2_000_000);
    node::new(&scene);
    scene.must(&first.words_for_layout());
    let clean = Instant::now();
    assert!(scene.command(program()).args(second.words_for_layout().split(' ')).status().unwrap().success());
    let clean = clean.elapsed().as_secs_f64();
    let mut killed = 0;
    for round in 0..50_u32 {
        let release = if round % 2 == 0 { &first } else { &second };
        let words = release.words_for_layout();
        // The golden ratio's multiples fill an interval evenly, however many there are.
        let seconds = clean * (f64::from(round) * 0.618_033_988_75).fract();
        let mut command = scene.command(&timeout);
        command.args(["-s", "KILL", &format!("{seconds:.6}")]).arg(program()).args(words.split_whitespace());
        let before = scene.tree(node::BIN);
        // Reads until the program itself has closed its output: only then it is gone.
        let output = command.output().unwrap();
        let was_killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
        killed += u32::from(was_killed);
        let what = format!("round {round}, stopped after {seconds:.6} s");
        assert!(was_killed || output.status.success(), "{what}: {output:?}");
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "{what}");
        node::assert_none_missing(&scene, &before, &what);
        node::finish(&scene, &program(), &words, &what);
    }
    eprintln!("killed in {killed} of 50 runs of {clean:.3} s");
    assert!(killed > 0);
}

#[test]
fn two_installations_at_once_end_in_one_of_the_two_sets() {
    let scene = Scene::in_memory();
    let (first, second) = releases(&scene, 500_000);
    node::new(&scene);
    for round in 0..10 {
        let start = |release: &Release| {
            let mut command = scene.command(program());
            command.args(release.words_for_layout().split(' ')).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut children = [start(&first), start(&second)];
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "round {round}");
        }
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "round {round}");
        let checked = scene.must("check --root root").stdout;
        assert_eq!(checked.matches("  proven ").count(), 3, "round {round}: {checked}");
    }
}

#[test]
fn after_a_power_cut_no_name_is_of_a_file_that_is_not_on_disk() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let (first, second) = releases(&scene, 0);
    node::new(&scene);
    for words in [first.words_for_staged(), second.words_for_layout()] {
        let (mut files, mut volatile) = (BTreeSet::new(), BTreeSet::new());
        let mut renamed = 0;
        for (point, _) in strace.points(&words) {
            let what = &point.what;
            let (paths, names) = (between(what, '<', '>'), between(what, '"', '"'));
            match (point.call.as_str(), &paths[..], &names[..]) {
                ("openat", [directory], [name]) => drop(files.insert(format!("{directory}/{name}"))),
                ("write" | "fchmod", [path, ..], _) if files.contains(*path) => {
                    volatile.insert((*path).to_owned());
                }
                ("fsync" | "fdatasync", [path, ..], _) => drop(volatile.remove(*path)),
                ("renameat" | "renameat2", [from, to], [old, new]) => {
                    assert!(!volatile.contains(&format!("{from}/{old}")), "{what}: not synced");
                    // The journal's name before the plugins', and those before the receipt's.
                    let elsewhere: Vec<_> = volatile.iter().filter(|path| *path != to).collect();
                    assert_eq!(elsewhere, [""; 0], "{what}: an earlier name is not synced");
                    volatile.insert((*to).to_owned());
                    renamed += usize::from(*new == "journal.json" || *new == "receipt.json" || to.ends_with("/bin"));
                }
                ("unlinkat", [directory], ["journal.json"]) => {
                    assert!(!volatile.contains(*directory), "{what}: the receipt's name is not synced");
                }
                _ => {}
            }
        }
        assert_eq!(renamed, 5, "journal, three plugins and receipt");
    }
}

/// The parts of a text that stand between these characters.
fn between(text: &str, start: char, end: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(start) {
        let Some((part, after)) = after.split_once(end) else { break };
        parts.push(part);
        rest = after;
    }
    parts
}
