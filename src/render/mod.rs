//! Renders manifests for nodes from verified bundles, and a page about an image for auditors.
//!
//! Pure: verified bundles, evidence and a policy in, text out. No registry or cluster is contacted.
//! The text is complete, so a review of it is a review of what nodes will do; nodes verify the
//! image again before they install anything.

mod config_map;
mod container;
mod daemonset;
mod deployment;
mod error;
mod html;
mod namespace;
mod pinned;
mod watching;
mod yaml;

pub use daemonset::DaemonSet;
pub use deployment::{Deployment, Sight};
pub use error::RenderError;
pub use html::{AttachedReferrer, Audit, Judgement, html};
pub use namespace::{Namespace, ParseNamespaceError};
pub use pinned::{ParsePinnedError, PinnedImage};
pub use watching::{Repair, Watching};

/// The name of the DaemonSet, and the prefix of its ConfigMaps' names.
const NAME: &str = "cnister";
