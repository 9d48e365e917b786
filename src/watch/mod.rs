//! Checking again and again: what changed, what is repaired and when, and who is told.
//!
//! [`Watch`] runs until a signal comes. What it does about each answer, the pure `observer`
//! decides; the checks are those of `check`, the repairs those of `node`. Printing is the caller's.

mod driver;
mod event_loop;
mod health;
mod installers;
mod lookout;
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
