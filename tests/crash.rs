//! What happens to a node when things go wrong: killed runs, full disks, files replaced by other
//! installers, and environments without anything else in them.
//!
//! The plugins are handmade programs of a few hundred bytes for linux/amd64.

#![cfg(all(feature = "publish", target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

#[path = "crash/canary.rs"]
mod canary;
#[path = "crash/change.rs"]
mod change;
#[path = "crash/fail.rs"]
mod fail;
#[path = "crash/keep.rs"]
mod keep;
#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/limits.rs"]
mod limits;
#[path = "crash/matrix.rs"]
mod matrix;
#[path = "crash/memory.rs"]
mod memory;
#[path = "crash/memory_verbs.rs"]
mod memory_verbs;
#[path = "crash/mutant.rs"]
mod mutant;
#[path = "crash/node.rs"]
mod node;
#[path = "crash/places.rs"]
mod places;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/replay.rs"]
mod replay;
#[path = "crash/stage.rs"]
mod stage;
mod support;

use support::{forge, plugin, release, strace};
#[path = "crash/trace.rs"]
mod trace;
#[path = "crash/upkeep.rs"]
mod upkeep;
#[path = "crash/watch.rs"]
mod watch;
