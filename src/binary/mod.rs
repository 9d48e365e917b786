//! Facts about programs, from their bytes: the platform, the linkage and what Go's linker recorded.
//!
//! A file is read in ranges ([`ReadAt`]), and the longest of them is bounded here: a file that
//! claims much is neither held in memory nor read again and again. Opening one is the caller's job.
//! Nothing is executed, every offset is checked, and no input decides how deep anything recurses.

mod buildinfo;
mod comparison;
mod elf;
mod error;
mod go_release;
mod header;
mod linker_flags;
mod modules;
mod packer;
mod read_at;
#[cfg(test)]
pub(crate) mod sample;
mod settings;
#[cfg(test)]
mod watched;

pub use buildinfo::GoBuild;
pub use comparison::{Comparison, DifferingSection, DifferingValue};
pub use elf::{Elf, Linkage};
pub use error::{ElfError, ReadElfError};
pub use go_release::{GoRelease, ParseGoReleaseError};
pub use linker_flags::{linked_variables, split_flags};
pub use modules::{BuildInfo, GoModule, Replacement, Vcs};
pub use packer::Packer;
pub use read_at::ReadAt;
