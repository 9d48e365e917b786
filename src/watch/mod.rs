//! Checking continuously: what changed, what is repaired and when, and who is notified.
//!
//! [`Watch`] runs until a signal comes. The pure `observer` decides what it does about each answer;
//! `check` makes the checks and `node` the repairs. Printing is the job of the caller.

mod driver;
mod event_loop;
mod health;
mod installers;
mod lookout;
mod memory;
mod metrics;
mod node_condition;
mod observer;
mod ready;
mod repair_once;
mod repairs;
mod schedule;
mod upkeep;

pub use driver::Watch;
pub use health::Health;
pub use metrics::Metrics;
pub use node_condition::{
    ConditionError, ConditionName, ConditionStatus, NodeCondition, NodeName,
    ParseConditionNameError, ParseNodeNameError,
};
pub use observer::{Ending, Message, OutOfReach};
pub use ready::{LONGEST_INTERVAL, ReadyFile, ReadyFileError};
pub use repair_once::check_and_repair;
