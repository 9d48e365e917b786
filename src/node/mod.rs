//! Changing one node: observe, plan, apply.
//!
//! The plan is plain data, made by a pure function. Only `apply` changes plugin directories; it
//! takes the plan of a verified bundle and the lock of the state directory. Rollback and repair end
//! in such a plan as well: their files come from the local store and are compared with signed
//! digests like any others.
//!
//! Questions about a node that change nothing are in `check`.

mod apply;
pub mod boot;
mod error;
mod fact;
mod host;
mod lost;
mod payload;
mod plan;
mod state;
#[cfg(test)]
pub(crate) mod test_support;

pub use apply::{
    Action, Applied, Files, InstallOutcome, InstallRequest, KeptPolicy, Progress, Record, Records,
    RepairOutcome, Restored, RollbackOptions, RollbackRecord, RolledBackRule, Run, apply,
    bring_back, foresee_uninstallation, install, obstacle, refusal_obstacle, repair, roll_back,
    state_obstacle, surroundings, uninstall,
};
pub use error::NodeError;
pub(crate) use fact::{Fact, Moment, severity};
pub use host::{
    Attachment, Attachments, CacheDirectories, ForeignFiles, Found, Observed, ObservedDirectory,
    Obstacle, Overlap, Root, Sandbox, attachments, check_apart, check_overlap, observe, runtime,
};
pub(crate) use host::{
    PlacedPlugin, PlacedPlugins, Sizes, TransferError, copy_exactly, exposed_file, hash_plugin,
    look_around, observe_directory,
};
pub use lost::without_receipt;
pub use payload::{Layer, Payload, StageReport, Staged, Take, stage};
pub(crate) use plan::PLUGIN_MODE;
pub use plan::{
    Change, ExistingFiles, Force, ForeignRule, InstallOptions, Leftovers, ParseForeignRuleError,
    Plan, Step, Uninstallation, plan,
};
pub(crate) use state::{Claim, Earlier, EarlierBundles, strength};
pub use state::{
    Collected, Floor, Floors, Generation, History, Installation, InstalledDirectory, InstalledFile,
    Journal, JournalEntry, KeptReleases, MAX_GENERATIONS, Original, Owner, Purpose, RECORDS,
    Reading, Reason, Receipt, Refusal, Release, Releases, RolledBack, Schema, State, Stored,
    Unreadable, Writing, known_directories,
};
