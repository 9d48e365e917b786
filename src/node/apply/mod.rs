//! Changing a node: installing, repairing, rolling back, uninstalling.
//!
//! Every change goes through one engine that carries out a plan: everything is staged and checked
//! before anything that a runtime could call changes. What is to be done is decided in `plan`.

mod action;
mod engine;
mod machine;
mod preflight;
mod removal;
mod restore;

pub use action::{Action, Progress};
pub use engine::{KeptPolicy, Record, RollbackRecord, apply};
pub use preflight::{Records, preflight, surroundings};
pub use removal::uninstall;
pub use restore::{RepairOutcome, Restored, RollbackOptions, Run, bring_back, repair, roll_back};
