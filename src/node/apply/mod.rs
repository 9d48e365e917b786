//! Changing a node: installing, repairing, rolling back, uninstalling.
//!
//! Every change goes through one engine that carries out a plan: everything is staged and checked
//! before anything that a runtime could call changes. What is to be done is decided in `plan`.

mod action;
mod bring;
mod changes;
mod copies;
mod directory;
mod engine;
mod held;
mod install;
mod preflight;
mod records;
mod restore;
mod stage;
mod undo;
mod uninstall;

pub use action::{Action, Progress};
pub use bring::Restored;
pub use engine::{Applied, apply};
pub use install::{Files, InstallOutcome, InstallRequest, RolledBackRule, install};
pub use preflight::{Records, obstacle, state_obstacle, surroundings};
pub use records::{KeptPolicy, Record, RollbackRecord, refusal_obstacle};
pub use restore::{RepairOutcome, RollbackOptions, Run, bring_back, repair, roll_back};
pub use uninstall::{foresee_uninstallation, uninstall};
