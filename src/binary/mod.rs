//! Facts about programs, from their bytes: the platform, the linkage and what Go's linker recorded.
//!
//! Everything here takes a file that is in memory; its size is bounded by whoever read it. Nothing
//! is executed, every offset is checked, and no input decides how deep anything recurses.

mod buildinfo;
mod elf;
#[cfg(test)]
pub(crate) mod sample;

pub use buildinfo::GoBuild;
pub use elf::{Elf, ElfError, Linkage};
