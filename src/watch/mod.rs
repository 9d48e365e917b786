//! Asking again and again: what changed, what is repaired and when, and who is told.
//!
//! The questions are those of `check`, and the repairs those of `node`.

mod event_loop;
mod health;
mod installers;
mod lookout;
mod metrics;
mod node_condition;
mod ready;
mod repairs;
mod schedule;

pub use event_loop::{Job, trace, watch};
pub use health::Health;
pub use installers::{Trace, installer_of};
pub use lookout::{Lookout, Names};
pub use metrics::Metrics;
pub use node_condition::{
    ConditionError, ConditionName, ConditionStatus, NodeCondition, NodeName,
    ParseConditionNameError, ParseNodeNameError,
};
pub use ready::{LONGEST_INTERVAL, ReadyFile, ReadyFileError};
pub use repairs::{Decision, Held, Repairs};
