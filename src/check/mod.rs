//! Questions about a node, which change nothing: whether the files are still those that were
//! signed, whether configurations and pods have the plugins that they need, and what caused an
//! error of a runtime.
//!
//! Whether an image is trusted is decided in `trust`; changes, repairs included, are made in
//! `node`. What is found here is reported, and never makes content trusted: everything that is
//! installed is verified again.

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
