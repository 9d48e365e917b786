//! A node over time: generations, rollback, repair from the local store, pruning, uninstallation,
//! and damaged state.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "generations/exposed.rs"]
mod exposed;
#[path = "generations/leftovers.rs"]
mod leftovers;
#[path = "crash/node.rs"]
#[allow(dead_code, reason = "the crash tests use more of it")]
mod node;
#[path = "generations/records.rs"]
mod records;
#[path = "generations/removal.rs"]
mod removal;
#[path = "generations/repair.rs"]
mod repair;
#[path = "generations/replay.rs"]
mod replay;
#[path = "generations/rewrapped.rs"]
mod rewrapped;
#[path = "generations/rollback.rs"]
mod rollback;
#[path = "generations/same_bytes.rs"]
mod same_bytes;
#[path = "generations/state.rs"]
mod state;
mod support;
#[path = "generations/takeover.rs"]
mod takeover;
#[path = "generations/unproven.rs"]
mod unproven;
#[path = "generations/unreadable.rs"]
mod unreadable;
#[path = "generations/unwanted.rs"]
mod unwanted;
#[path = "generations/verdicts.rs"]
mod verdicts;

use std::fs;

use release::Release;
use support::{Run, Scene, forge, plugin, release};

/// A node with `second` installed over `first`, whose images no longer exist: everything restored
/// comes from the node.
fn upgraded(scene: &Scene) -> (Release, Release) {
    let first = Release::new(scene, "a", "1.0.0", &["bridge", "host-local", "macvlan"], 0);
    let second = Release::new(scene, "b", "1.1.0", &["bridge", "macvlan", "vlan"], 0);
    node::new(scene);
    scene.run_ok(&first.install_args());
    scene.run_ok(&second.install_from_layout_args());
    (first, second)
}

fn take_images_away(scene: &Scene) {
    for name in ["layout-a", "layout-b", "staged-a", "staged-b", "image-a", "image-b"] {
        drop(fs::remove_dir_all(scene.at(name)));
    }
}

/// The plugins with these contents, each with the release that it is from.
fn of_release(scene: &Scene, release: &Release) -> Vec<String> {
    let has = |name: &str| fs::read(scene.at(node::BIN).join(name)).ok();
    release
        .files
        .iter()
        .filter(|(name, bytes)| has(name).as_ref() == Some(bytes))
        .map(|(name, _)| (*name).into())
        .collect()
}

fn assert_refused(run: &Run, code: &str) {
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains(&format!("no: {code}: ")), "{code}: {}", run.stdout);
}
