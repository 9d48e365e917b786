//! One node: what is there, what is wanted, the plan between them, and what was done.
//!
//! Observe, plan, apply. The plan is plain data, made by a pure function; only `apply` changes
//! plugin directories, and it takes the plan of a verified bundle and the lock of the state
//! directory. Going back and repairing end in such a plan, too; their bytes come from the local
//! store and are compared with what was signed like any others.
//!
//! Around that stand questions, which change nothing: whether the files are still those that were
//! signed (`check`), whether configurations and pods have the plugins that they need (`closure`,
//! `view`, `attachments`), what would go wrong before anything is written (`preflight`,
//! `surroundings`, `runtime`), and what an error of a runtime comes from (`explain`). Their
//! findings advise or refuse. None of them is a reason to believe a byte.

mod apply;
mod attachments;
pub mod boot;
mod check;
mod claim;
mod closure;
pub mod cni;
mod condition;
mod confine;
mod decide;
mod error;
pub mod explain;
mod floor;
mod generation;
mod health;
mod in_use;
mod layer;
mod machine;
mod metrics;
mod observe;
mod payload;
mod plan;
mod preflight;
pub mod probe;
mod ready;
pub mod receipt;
mod restore;
mod root;
pub mod runtime;
mod sandbox;
mod stage;
mod staged;
mod state;
mod store;
mod surroundings;
#[cfg(test)]
pub(crate) mod test_support;
mod transfer;
mod uninstall;
pub mod unit;
mod view;
mod watch;

pub use apply::{Action, KeptPolicy, OwnersWord, Progress, Record, apply, uninstall};
pub use attachments::{Attachment, Attachments, CacheDirectories, attachments};
pub use check::{Condition, Installed, Occasion, PluginReport, Question, Report, check};
pub use closure::{Configurations, NeedReport, close};
pub use condition::{
    ConditionError, ConditionName, NodeCondition, NodeName, ParseConditionNameError,
    ParseNodeNameError, Saying,
};
pub use decide::{ForeignRule, Leftovers, Present, Wishes, plan};
pub use error::NodeError;
pub use floor::{Floor, Floors};
pub use generation::{MAX_GENERATIONS, Past};
pub use health::Health;
pub use layer::Layer;
pub use metrics::Metrics;
pub use observe::{Found, Observed, ObservedDirectory, check_apart, observe};
pub use payload::{Payload, Take};
pub use plan::{Change, Plan, Step};
pub use preflight::{Records, preflight, surroundings};
pub use ready::{LONGEST_INTERVAL, ReadyFile, ReadyFileError};
pub use receipt::{Journal, Purpose, Receipt, Refusal, RolledBack};
pub use restore::{Back, Brought, Restored, Run, bring_back, repair, roll_back};
pub use root::{HostPath, ParseHostPathError, Root};
pub use sandbox::Reach;
pub use stage::{StageReport, stage};
pub use staged::Staged;
pub use state::{RECORDS, Reading, State, Writing};
pub use store::Stored;
pub use uninstall::{Force, Uninstallation};
pub use view::compare_view;
pub use watch::{Decision, Held, Job, Lookout, Names, Repairs, Target, Trace, trace, watch, whose};
