//! An installation that is killed, at every system call and at any moment.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Instant;

use super::matrix::{Change, FAULTS, at_every_point, program, releases};
use super::node;
use super::release::Release;
use super::strace::{Fault, Strace};
use super::support::{Scene, peer};

#[test]
fn a_first_installation_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::first_installation().stop_everywhere(Fault::Kill);
}

#[test]
fn an_upgrade_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::upgrade().stop_everywhere(Fault::Kill);
}

#[test]
fn an_adoption_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    let adoption = Change::adoption();
    adoption.stop_everywhere(Fault::Kill);
    // The copy of the previous file is part of what the runs were compared by.
    assert!(adoption.scene.tree("root/var/lib/cnister/originals").len() == 1);
}

#[test]
fn a_takeover_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::takeover().stop_everywhere(Fault::Kill);
}

#[test]
fn two_releases_that_are_killed_one_after_the_other_are_finished_by_the_next_run() {
    Change::second_after_killed().stop_everywhere(Fault::Kill);
}

#[test]
fn an_upgrade_of_two_directories_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::upgrade_of_two_directories().stop_everywhere(Fault::Kill);
}

#[test]
fn a_rollback_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::rollback().stop_everywhere(Fault::Kill);
}

#[test]
fn an_uninstallation_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::uninstallation().stop_everywhere(Fault::Kill);
}

#[test]
fn a_pruning_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::pruning().stop_everywhere(Fault::Kill);
}

#[test]
fn a_replacement_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::replacement().stop_everywhere(Fault::Kill);
}

#[test]
fn a_repair_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::repair().stop_everywhere(Fault::Kill);
}

#[test]
fn a_repair_of_two_bundles_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::repair_of_two_bundles().stop_everywhere(Fault::Kill);
}

#[test]
fn a_repair_of_replaced_plugins_that_is_killed_at_any_system_call_is_finished_by_the_next_run() {
    Change::replaced_obstacles().stop_everywhere(Fault::Kill);
}

#[test]
fn a_staging_that_is_stopped_at_any_system_call_is_finished_by_the_next_run() {
    let scene = Scene::in_memory();
    let Some(strace) = Strace::new(&scene, program()) else { return };
    let [release, _] = releases(&scene, 0);
    fs::create_dir(scene.at("root")).unwrap();
    node::keep_as(&scene, "before");
    let words = format!("stage --image image-{} root", release.name);
    scene.run_ok(&words);
    let wanted = scene.tree("root");
    for fault in FAULTS {
        let points =
            at_every_point(&scene, &strace, "staging", &words, fault, 1, &mut |output, point| {
                let what = format!("{fault:?} at {point:?}, and run again");
                assert!(
                    fault == Fault::Kill || output.status.code() == Some(3),
                    "{what}: {output:?}"
                );
                assert_eq!(scene.run_ok(&words).stderr, "", "{what}");
                node::assert_same(&wanted, &scene.tree("root"), &what);
            });
        assert!(points > 20, "only {points} points");
    }
}

#[test]
fn an_upgrade_that_is_killed_at_any_moment_is_finished_by_the_next_run() {
    let scene = Scene::new();
    let Some(timeout) = peer("timeout") else { return };
    let [first, second] = releases(&scene, 2_000_000);
    node::new(&scene);
    scene.run_ok(&first.install_from_layout_args());
    let clean = Instant::now();
    assert!(
        scene
            .command(program())
            .args(second.install_from_layout_args().split(' '))
            .status()
            .unwrap()
            .success()
    );
    let clean = clean.elapsed().as_secs_f64();
    let mut killed = 0;
    for round in 0..50_u32 {
        let release = if round % 2 == 0 { &first } else { &second };
        let words = release.install_from_layout_args();
        // Multiples of the golden ratio fill an interval evenly, whatever their number.
        let seconds = clean * (f64::from(round) * 0.618_033_988_75).fract();
        let mut command = scene.command(&timeout);
        command
            .args(["-s", "KILL", &format!("{seconds:.6}")])
            .arg(program())
            .args(words.split_whitespace());
        let before = scene.tree(node::BIN);
        // Reads until the program itself has closed its output: only then has it ended.
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
    let [first, second] = releases(&scene, 500_000);
    node::new(&scene);
    for round in 0..10 {
        let start = |release: &Release| {
            let mut command = scene.command(program());
            command
                .args(release.install_from_layout_args().split(' '))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut children = [start(&first), start(&second)];
        for child in &mut children {
            assert!(child.wait().unwrap().success(), "round {round}");
        }
        assert_eq!(node::unsound(&scene, &[&first, &second]), None, "round {round}");
        let checked = scene.run_ok("check --root root").stdout;
        assert_eq!(checked.matches("  proven ").count(), 3, "round {round}: {checked}");
    }
}
