//! What is applied to nodes: the text of manifests, made from bundles that were verified.
//!
//! Pure: verified bundles, evidence and a policy in, text out. Nothing here asks a registry or a
//! cluster; the text is complete, so that a review of it is a review of what nodes will do.

mod config_map;
mod container;
mod daemonset;
mod deployment;
mod error;
mod namespace;
mod pinned;
mod watching;
mod yaml;

pub use daemonset::DaemonSet;
pub use deployment::{Deployment, Sight};
pub use error::RenderError;
pub use namespace::{Namespace, ParseNamespaceError};
pub use pinned::{ParsePinnedError, PinnedImage};
pub use watching::{Repair, Watching};

/// The name of the DaemonSet, and what the names of its ConfigMaps start with.
const NAME: &str = "cnister";
