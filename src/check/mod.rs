//! Asking about a node and changing nothing: whether the files are still those that were signed,
//! whether configurations and pods have the plugins that they need, and what an error of a runtime
//! comes from.
//!
//! The findings advise or refuse. None of them is a reason to believe a byte.

pub mod explain;
mod installed;
mod node_check;
mod others;
pub mod probe;
mod report;
mod requirements;
mod view;

pub use installed::{Question, check};
pub use node_check::NodeCheck;
pub use report::{FileState, Installed, NeedReport, Occasion, PluginReport, Report};
pub use requirements::{Configurations, check_requirements};
pub use view::compare_view;
