//! The node's file system as it is: the root that every path is opened beneath, the files with
//! plugin names, who else reads or writes them, and what this process may still change.
//!
//! Nothing here decides. It hands facts to `plan`, and keeps a path from leading out of the root.

mod attachments;
mod file;
mod observe;
mod overlap;
mod root;
pub mod runtime;
mod sandbox;
mod sandboxes;
mod surroundings;
mod transfer;

pub use attachments::{Attachment, Attachments, CacheDirectories, attachments};
pub use file::{Found, Obstacle};
pub(crate) use file::{Sizes, find, hash_plugin};
pub use observe::{ForeignFiles, Observed, ObservedDirectory, check_apart, observe};
pub(crate) use observe::{STAGING, observe_directory};
pub use overlap::{Overlap, check_overlap};
pub use root::Root;
pub(crate) use runtime::{PlacedPlugin, PlacedPlugins};
pub use sandbox::Sandbox;
pub(crate) use surroundings::{exposed_file, look_around, not_executable};
pub(crate) use transfer::{Expected, TransferError, altered_finding, copy, copy_exactly, hash};
