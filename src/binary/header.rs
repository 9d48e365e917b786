//! The ELF header (System V gABI, chapter 4): what kind of file it is, for which machine, and where
//! its tables are.
//!
//! It is parsed from the first bytes of a file, which are all that this module sees.

use super::error::ElfError;
use crate::model::Platform;

/// How numbers are written in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    /// 64-bit rather than 32-bit.
    pub(super) wide: bool,
    /// Big-endian rather than little-endian.
    pub(super) big: bool,
}

/// How long a number is.
#[derive(Clone, Copy)]
pub(super) enum Size {
    Two,
    Four,
    /// Eight bytes in a 64-bit file, four in a 32-bit one.
    Word,
}

/// What the header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) encoding: Encoding,
    /// `e_type`.
    pub(super) kind: u16,
    /// `e_machine`.
    machine: u16,
    /// `e_entry`.
    pub(super) entry: u64,
    pub(super) segments: Table,
    pub(super) sections: Table,
    /// `e_shstrndx`: the section with the names of all sections.
    pub(super) names: u16,
}

/// Where a table is. Its length has 16 bits, which is what bounds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) offset: u64,
    pub(super) entry_size: u16,
    pub(super) count: u16,
}

impl Encoding {
    /// The number at an offset, if all of it is there.
    pub(super) fn number(self, bytes: &[u8], at: usize, size: Size) -> Option<u64> {
        let width = match size {
            Size::Two => 2,
            Size::Four => 4,
            Size::Word if self.wide => 8,
            Size::Word => 4,
        };
        let bytes = bytes.get(at..at.checked_add(width)?)?;
        let append = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, append)
        } else {
            bytes.iter().rev().fold(0, append)
        })
    }

    /// A number whose place was checked before.
    pub(super) fn field(self, bytes: &[u8], at: usize, size: Size) -> Result<u64, ElfError> {
        self.number(bytes, at, size).ok_or(ElfError::OUTSIDE)
    }

    /// Its four-byte twin.
    pub(super) fn half(self, bytes: &[u8], at: usize) -> Result<u32, ElfError> {
        u32::try_from(self.field(bytes, at, Size::Four)?).map_err(|_| ElfError::OUTSIDE)
    }

    /// Its two-byte twin.
    fn quarter(self, bytes: &[u8], at: usize) -> Result<u16, ElfError> {
        u16::try_from(self.field(bytes, at, Size::Two)?).map_err(|_| ElfError::OUTSIDE)
    }
}

impl Header {
    /// How many bytes of a file say whether it is ELF, and if not, what it looks like.
    pub(super) const START: usize = 512;

    /// Parses the header at the start of a file of `size` bytes.
    pub(super) fn parse(start: &[u8], size: u64) -> Result<Self, ElfError> {
        if !start.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf(looks_like(start)));
        }
        let cut = |end| ElfError::Truncated { part: "its header", end, size };
        let byte = |at: usize| start.get(at).copied().ok_or(cut(52));
        let wide = match byte(4)? {
            1 => false,
            2 => true,
            _ => return Err(ElfError::Malformed("the class is neither 32-bit nor 64-bit")),
        };
        let big = match byte(5)? {
            1 => false,
            2 => true,
            _ => {
                return Err(ElfError::Malformed("the byte order is neither little nor big endian"));
            }
        };
        if byte(6)? != 1 {
            return Err(ElfError::Malformed("the version is not 1"));
        }
        let length = if wide { 64 } else { 52 };
        let header = start.get(..length).ok_or(cut(length as u64))?;
        let encoding = Encoding { wide, big };
        let table = |offset: usize, entry_size: usize| {
            Ok(Table {
                offset: encoding.field(header, offset, Size::Word)?,
                entry_size: encoding.quarter(header, entry_size)?,
                count: encoding.quarter(header, entry_size + 2)?,
            })
        };
        Ok(Self {
            encoding,
            kind: encoding.quarter(header, 16)?,
            machine: encoding.quarter(header, 18)?,
            entry: encoding.field(header, 24, Size::Word)?,
            segments: if wide { table(32, 54)? } else { table(28, 42)? },
            sections: if wide { table(40, 58)? } else { table(32, 46)? },
            names: encoding.quarter(header, if wide { 62 } else { 50 })?,
        })
    }

    /// The platform, if machine, width and byte order agree on one: `e_machine` 21 is big-endian
    /// ppc64 as well.
    pub(super) fn platform(&self) -> Result<Platform, ElfError> {
        let Encoding { wide, big } = self.encoding;
        Platform::of_elf_machine(self.machine)
            .filter(|platform| {
                let architecture = platform.architecture();
                (wide, big) == (architecture != "arm", architecture == "s390x")
            })
            .ok_or(ElfError::Machine {
                machine: self.machine,
                bits: if wide { 64 } else { 32 },
                order: if big { "big" } else { "little" },
            })
    }
}

/// What a file that is not ELF most likely is.
fn looks_like(bytes: &[u8]) -> &'static str {
    let known: [(&[u8], &str); 13] = [
        (b"#!", "is a script (it starts with `#!`)"),
        (b"\x1f\x8b", "is gzip-compressed"),
        (b"\x28\xb5\x2f\xfd", "is zstd-compressed"),
        (b"\xfd7zXZ\0", "is xz-compressed"),
        (b"BZh", "is bzip2-compressed"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"!<arch>\n", "is an `ar` archive (a .deb or a static library)"),
        (b"MZ", "is a Windows program"),
        (b"\xcf\xfa\xed\xfe", "is a macOS program"),
        (b"\xca\xfe\xba\xbe", "is a macOS program"),
        (b"version https://git-lfs", "is a git-lfs pointer; fetch the file behind it"),
        (b"<", "starts like HTML; was an error page downloaded?"),
        (b"{", "starts like JSON; was an error answer downloaded?"),
    ];
    if bytes.is_empty() {
        return "is empty";
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "is a tar archive";
    }
    if bytes.iter().take(512).all(|byte| *byte == 0) {
        return "contains only zero bytes";
    }
    known
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
        .map_or("does not start with `\\x7fELF`", |(_, text)| text)
}
