//! The node's file system as it is: the files with plugin names, the attachments that need them,
//! and who else reads or writes them.
//!
//! Nothing here decides; it hands facts to `plan`. Every path is opened beneath [`Root`], which
//! keeps it from leading out of the root.

mod attachments;
mod file;
mod observe;
pub mod runtime;
mod sandboxes;
mod surroundings;
mod transfer;

pub use crate::disk::{Overlap, Root, Sandbox, check_overlap};
pub use attachments::{Attachment, Attachments, CacheDirectories, attachments};
pub use file::{Found, Obstacle};
pub(crate) use file::{Sizes, find, hash_plugin};
pub use observe::{ForeignFiles, Observed, ObservedDirectory, check_apart, observe};
pub(crate) use observe::{STAGING, observe_directory};
pub(crate) use runtime::{PlacedPlugin, PlacedPlugins};
pub(crate) use surroundings::{exposed_directory, exposed_file, look_around, not_executable};
pub(crate) use transfer::{Expected, TransferError, altered_finding, copy, copy_exactly, hash};
