//! One node: what is there, what is wanted, the plan between them, and what was done.
//!
//! Observe, plan, apply. The plan is plain data, made by a pure function; only `apply` changes plugin directories, and
//! it takes the plan of a verified bundle and the lock of the state directory.

mod apply;
mod check;
mod confine;
mod decide;
mod error;
mod layer;
mod observe;
mod payload;
mod plan;
pub mod probe;
mod ready;
pub mod receipt;
mod root;
mod stage;
mod staged;
mod state;
#[cfg(test)]
pub(crate) mod test_support;
mod transfer;
mod watch;

pub use apply::{Action, Progress, Record, apply};
pub use check::{Condition, Installed, Occasion, PluginReport, Question, Report, check};
pub use decide::{ForeignRule, Wishes, plan};
pub use error::NodeError;
pub use layer::Layer;
pub use observe::{Found, Observed, ObservedDirectory, check_apart, observe};
pub use payload::{Payload, Take};
pub use plan::{Change, Plan, Step};
pub use ready::{ReadyFile, ReadyFileError};
pub use receipt::{Journal, Receipt, Refusal};
pub use root::{HostPath, ParseHostPathError, Root};
pub use stage::{StageReport, stage};
pub use staged::Staged;
pub use state::{Reading, State, Writing};
pub use watch::watch;
