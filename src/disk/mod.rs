//! Files beneath an opened directory.
//!
//! A [`Directory`] is a held handle; everything is reached from it, never by a path from the root
//! of the file system, so that nobody can swap a directory between two steps. Nothing here knows
//! what the files mean.

mod changes;
mod directory;
mod error;
mod filesystem;
mod kind;
mod label;
mod link;
mod lock;
mod lookup;
mod write;

pub use changes::{Change, Changes, Mark};
pub use directory::{Directory, Entry, Ownership, RegularFile, Resolve, component};
pub use error::DiskError;
pub use filesystem::{FileSystem, overrides_permissions};
pub use kind::FileKind;
pub use label::give_label;
pub use lock::Lock;
pub use lookup::{Looked, Passed, Target};
pub use write::{Prepared, Unfinished, start_writing};
