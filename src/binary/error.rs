//! Why a file is not a program, or why that could not be determined.
//!
//! The two are kept apart: a file that cannot be read may still be a valid program.

use std::io;

use crate::model::Platform;

/// Why bytes are not a program that a node could run. Each text follows "`NAME`" or "it".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// A file of another format; the text names it and continues "it".
    #[error("is not an ELF program: it {0}")]
    NotElf(&'static str),
    /// A cut-off file.
    #[error("is cut short: {part} ends at byte {end}, the file has {size}")]
    Truncated {
        /// What is past the end.
        part: &'static str,
        /// The offset of the end of the part, in bytes from the start of the file.
        end: u64,
        /// The size of the file.
        size: u64,
    },
    /// A header that contradicts itself or the specification.
    #[error("has a malformed ELF header: {0}")]
    Malformed(&'static str),
    /// ELF, but nothing that can be started.
    #[error("is {0}, expected a program")]
    Kind(&'static str),
    /// An architecture that no platform of ours has.
    #[error(
        "is built for ELF machine {machine} ({bits}-bit, {order}-endian), which is none of the supported platforms"
    )]
    Machine {
        /// The header's `e_machine`.
        machine: u16,
        /// 32 or 64.
        bits: u8,
        /// `little` or `big`.
        order: &'static str,
    },
    /// The architecture of another platform.
    #[error("is built for {found}, expected {expected}")]
    Platform {
        /// The platform that was asked for.
        expected: Platform,
        /// The platform of the file.
        found: Platform,
    },
}

/// Why a file is not known to be a program.
#[derive(Debug, thiserror::Error)]
pub enum ReadElfError {
    /// It was read, and is none.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// It could not be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
}

impl ElfError {
    /// A field of something that was found to be in the file is not.
    pub(super) const OUTSIDE: Self = Self::Malformed("a field is outside the file");
}
