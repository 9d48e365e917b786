//! Files beneath an open directory.
//!
//! A [`Directory`] is a held handle. Every file is reached from it and never by an absolute path,
//! so that replacing a directory or a link between two steps cannot redirect a write (time of check
//! to time of use). Files get their final name only when they are complete and durable. What the
//! files mean is the caller's business, `node` above all.

mod attributes;
mod changes;
mod directory;
mod drop_in;
mod error;
mod filesystem;
mod hold;
mod input;
mod kind;
mod label;
mod link;
mod lock;
mod lookup;
mod overlap;
mod root;
mod sandbox;
mod stamp;
mod write;

#[cfg(feature = "publish")]
pub use attributes::has_capabilities;
pub use attributes::{Attributes, gives_write};
pub use changes::{Change, Changes, Mark};
pub use directory::{Directory, DirectoryEntry, Ownership, RegularFile, Resolve, component};
pub use drop_in::deciding;
pub(crate) use drop_in::{DropIn, DropIns, UNIT_PLACES};
pub use error::DiskError;
pub use filesystem::{FileSystem, overrides_permissions};
pub use hold::Hold;
pub use input::{open_file, open_input};
pub use kind::FileKind;
pub use label::give_label;
pub use lock::Lock;
pub use lookup::{Looked, Passed, Target};
pub use overlap::{Overlap, check_overlap};
pub use root::Root;
pub use sandbox::Sandbox;
pub use stamp::Stamp;
pub use write::{Prepared, Unfinished, directory_of, start_writing, write_atomic};
